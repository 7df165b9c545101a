//! Decides when a failed session is retried: back-off and quarantine, as a pure state machine.
//!
//! Failures are stored in the table `session_failures`.

use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::fault::{Fault, FaultKind};

/// Number of failures that send a session to quarantine. Only failures caused by the session or the
/// component count, for the same content and the same component.
pub const FAILURES_MAX: u32 = 5;
/// The maximum back-off between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// The failures of a session for its current content and the current component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailureState {
    /// All consecutive failures. They determine the back-off.
    pub attempts: u32,
    /// Failures that the session or the component caused. They determine the quarantine.
    pub own_attempts: u32,
    /// The earliest time of the next attempt. `None`: immediately.
    pub next_attempt_at: Option<UtcMicros>,
    /// The start of the quarantine. `None`: not in quarantine.
    pub quarantined_at: Option<UtcMicros>,
}

/// How the content that failed compares to the content of the previous failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedContent {
    /// The content is the same, as far as is known.
    Same,
    /// The content has changed. Earlier failures do not apply to it.
    Other,
    /// The content could not be read completely. This is neither a change nor a failure of the
    /// content.
    Unknown,
}

impl FailedContent {
    /// Compares the content with the previous content. `None` is a content that could not be read.
    pub fn compare(before: Option<ContentHash>, now: Option<ContentHash>) -> Self {
        match (before, now) {
            (_, None) => Self::Unknown,
            (Some(before), Some(now)) if before != now => Self::Other,
            _ => Self::Same,
        }
    }
}

impl FailureState {
    /// Returns the state after one more failure of the same component at `now`.
    #[must_use]
    pub fn after(
        self,
        fault: &Fault,
        content: FailedContent,
        now: UtcMicros,
        cadence: Duration,
    ) -> Self {
        let before = match content {
            FailedContent::Other => Self::default(),
            FailedContent::Same | FailedContent::Unknown => self,
        };
        let attempts = before.attempts.saturating_add(1);
        // A content that could not be read completely is not blamed for the failure.
        let is_own = content != FailedContent::Unknown && fault.is_permanent();
        let own_attempts = before.own_attempts.saturating_add(u32::from(is_own));
        let is_hopeless =
            fault.kind == FaultKind::Crash || (is_own && own_attempts >= FAILURES_MAX);
        Self {
            attempts,
            own_attempts,
            next_attempt_at: (attempts >= 2).then(|| now.plus(wait(attempts, cadence))),
            // An outage in between does not end the quarantine.
            quarantined_at: before.quarantined_at.or(is_hopeless.then_some(now)),
        }
    }

    /// Whether a run can try the session now. A run that a person started ignores the back-off.
    pub fn verdict(&self, now: UtcMicros, is_started_by_person: bool) -> RetryDecision {
        if self.quarantined_at.is_some() {
            RetryDecision::Quarantined
        } else if self.is_in_backoff(now, is_started_by_person) {
            RetryDecision::Waiting
        } else {
            RetryDecision::Try
        }
    }

    /// Whether the session is in back-off. Ignores the quarantine.
    pub fn is_in_backoff(&self, now: UtcMicros, is_started_by_person: bool) -> bool {
        !is_started_by_person && self.next_attempt_at.is_some_and(|at| now < at)
    }
}

/// Whether a session can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// It can be tried.
    Try,
    /// It is in back-off after a failure.
    Waiting,
    /// It is in quarantine until its content or the component changes, or an operator releases it.
    Quarantined,
}

/// The back-off after the n-th consecutive failure: cadence × 2^(n−1), at most a day.
fn wait(attempts: u32, cadence: Duration) -> Duration {
    let factor = 1_u32
        .checked_shl(attempts.saturating_sub(1))
        .unwrap_or(u32::MAX);
    cadence.saturating_mul(factor).min(WAIT_MAX)
}
