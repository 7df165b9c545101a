//! How long to wait between attempts, and how many there are.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// The first pause and the longest (BEHAVIOUR.md 7.12).
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

/// The pauses of one request: each about twice as long as the one before, and drawn by lot around
/// that, so that those who failed together do not come again together.
#[derive(Debug)]
pub(super) struct Pauses(ExponentialBackoff);

impl Pauses {
    /// The pauses between so many attempts.
    pub fn new(attempts: u32) -> Self {
        let times = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST)
            .with_max_delay(LONGEST)
            .with_factor(2.0)
            .with_jitter()
            .with_max_times(times);
        Self(pauses.build())
    }

    /// The pause before the next attempt; `None`: there is none.
    pub fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}
