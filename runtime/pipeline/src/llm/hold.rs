//! When a provider asks to slow down it asks all of us: one time before which nobody sends anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Until when everybody waits, on the monotonic clock.
#[derive(Debug, Default)]
pub struct Hold(AtomicU64);

impl Hold {
    /// Nobody sends anything before then.
    pub fn until(&self, then: Duration) {
        let micros = u64::try_from(then.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_max(micros, Ordering::SeqCst);
    }

    /// How long to wait at this time.
    pub fn left(&self, now: Duration) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst)).saturating_sub(now)
    }
}
