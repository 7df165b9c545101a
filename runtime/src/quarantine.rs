//! When a failed session is tried again: back-off and quarantine as a pure state machine
//! (ARCHITECTURE.md §5).

use std::time::Duration;

use crate::clock::UtcMicros;
use crate::fault::FaultKind;

/// Failures of its own making, on the same content by the same component, after which a session is
/// tried no more.
pub const FAILURES_MAX: u32 = 5;
/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// What is known of a session's failures on its present content by the present component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// All failures in a row.
    pub attempts: u32,
    /// When it may be tried again; `None`: at once.
    pub next_attempt_at: Option<UtcMicros>,
    /// Since when it is not tried any more.
    pub quarantined_at: Option<UtcMicros>,
}

impl Failures {
    /// What one more failure at `now` makes of it.
    #[must_use]
    pub fn after(self, fault: FaultKind, now: UtcMicros, cadence: Duration) -> Self {
        let attempts = self.attempts.saturating_add(1);
        let is_hopeless =
            fault == FaultKind::Crash || (fault.is_of_own_making() && attempts >= FAILURES_MAX);
        Self {
            attempts,
            next_attempt_at: (attempts >= 2).then(|| now.plus(wait(attempts, cadence))),
            quarantined_at: is_hopeless.then_some(now),
        }
    }

    /// Whether a run may try it now. A run that a person started ignores the wait.
    pub fn verdict(&self, now: UtcMicros, is_started_by_person: bool) -> Verdict {
        if self.quarantined_at.is_some() {
            Verdict::Quarantined
        } else if !is_started_by_person && self.next_attempt_at.is_some_and(|at| now < at) {
            Verdict::Waiting
        } else {
            Verdict::Try
        }
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
