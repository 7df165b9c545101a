//! When a failed session is tried again: back-off and quarantine as a pure state machine
//! (ARCHITECTURE.md §5).
//!
//! Failures are recorded in the table `session_failures`.

use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::fault::{Fault, FaultKind};

/// Failures of its own making, on the same content by the same component, after which a session is
/// tried no more.
pub const FAILURES_MAX: u32 = 5;
/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// What is known of a session's failures on its present content by the present component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// All failures in a row: the wait follows from them.
    pub attempts: u32,
    /// Those of them that the session or the component caused: quarantine follows from these.
    pub own_attempts: u32,
    /// When it may be tried again; `None`: at once.
    pub next_attempt_at: Option<UtcMicros>,
    /// Since when it is not tried any more.
    pub quarantined_at: Option<UtcMicros>,
}

/// How the content that failed stands to the one that failed before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// It is the same, as far as is known.
    Same,
    /// It is another one: what was counted of the one before says nothing of it.
    Other,
    /// It could not be read to its end. That is no sign of change, and no fault of a content.
    Unknown,
}

impl Content {
    /// Holds a content against the one before it, each by its hash where it could be read.
    pub fn against(before: Option<ContentHash>, now: Option<ContentHash>) -> Self {
        match (before, now) {
            (_, None) => Self::Unknown,
            (Some(before), Some(now)) if before != now => Self::Other,
            _ => Self::Same,
        }
    }
}

impl Failures {
    /// What one more failure of the same component makes of it at `now`.
    #[must_use]
    pub fn after(self, fault: &Fault, content: Content, now: UtcMicros, cadence: Duration) -> Self {
        let before = match content {
            Content::Other => Self::default(),
            Content::Same | Content::Unknown => self,
        };
        let attempts = before.attempts.saturating_add(1);
        // What nobody could read to its end is not held against any content.
        let is_own = content != Content::Unknown && fault.is_of_own_making();
        let own_attempts = before.own_attempts.saturating_add(u32::from(is_own));
        let is_hopeless =
            fault.kind == FaultKind::Crash || (is_own && own_attempts >= FAILURES_MAX);
        Self {
            attempts,
            own_attempts,
            next_attempt_at: (attempts >= 2).then(|| now.plus(wait(attempts, cadence))),
            // An outage in between lets nobody out.
            quarantined_at: before.quarantined_at.or(is_hopeless.then_some(now)),
        }
    }

    /// Whether a run may try it now. A run that a person started ignores the wait.
    pub fn verdict(&self, now: UtcMicros, is_started_by_person: bool) -> Verdict {
        if self.quarantined_at.is_some() {
            Verdict::Quarantined
        } else if self.waits(now, is_started_by_person) {
            Verdict::Waiting
        } else {
            Verdict::Try
        }
    }

    /// Whether its time has not come yet, quarantine aside.
    pub fn waits(&self, now: UtcMicros, is_started_by_person: bool) -> bool {
        !is_started_by_person && self.next_attempt_at.is_some_and(|at| now < at)
    }
}

/// Whether a session may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Try,
    /// It waits after a failure.
    Waiting,
    /// Not until its content or the component changes, or an operator releases it.
    Quarantined,
}

/// The wait after the n-th failure in a row: cadence × 2^(n−1), at most a day.
fn wait(attempts: u32, cadence: Duration) -> Duration {
    let factor = 1_u32
        .checked_shl(attempts.saturating_sub(1))
        .unwrap_or(u32::MAX);
    cadence.saturating_mul(factor).min(WAIT_MAX)
}
