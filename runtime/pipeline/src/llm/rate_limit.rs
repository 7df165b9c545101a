//! The rate limit of a provider. It applies to all requests, so all wait until the same time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The end of the wait, on the monotonic clock.
#[derive(Debug, Default)]
pub struct RateLimit(AtomicU64);

impl RateLimit {
    /// Extends the wait to this time.
    pub fn until(&self, then: Duration) {
        let micros = u64::try_from(then.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_max(micros, Ordering::SeqCst);
    }

    /// The remaining wait at this time.
    pub fn remaining(&self, now: Duration) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst)).saturating_sub(now)
    }
}
