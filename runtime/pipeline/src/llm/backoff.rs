//! The pauses between attempts, and their number.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// The shortest pause. Later ones are capped at [`LONGEST`].
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

/// The pauses of one request: exponential back-off with jitter, so that requests that failed
/// together do not retry together.
#[derive(Debug)]
pub(super) struct Backoff(ExponentialBackoff);

impl Backoff {
    /// The pauses between this many attempts.
    pub fn new(attempts: u32) -> Self {
        let times = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let backoff = ExponentialBuilder::default()
            .with_min_delay(FIRST)
            .with_max_delay(LONGEST)
            .with_factor(2.0)
            .with_jitter()
            .with_max_times(times);
        Self(backoff.build())
    }

    /// The pause before the next attempt. `None`: no attempt is left.
    pub fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}
