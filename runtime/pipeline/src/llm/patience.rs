//! Waiting as a dependency, like the clock, so that tests do not wait.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Waits between attempts and for rate limits.
pub trait Sleeper: std::fmt::Debug + Send + Sync {
    /// Waits for this long, or until the stop signal.
    fn wait(&self, time: Duration, stop: &StopSignal);
}

/// Waits in real time.
#[derive(Debug, Default)]
pub struct RealSleeper;

impl Sleeper for RealSleeper {
    fn wait(&self, time: Duration, stop: &StopSignal) {
        stop.wait_for(time);
    }
}

/// A signal that interrupts waits.
#[derive(Debug, Default)]
pub struct StopSignal {
    is_up: Mutex<bool>,
    raised: Condvar,
}

impl StopSignal {
    /// Whether the signal was raised.
    pub fn is_raised(&self) -> bool {
        *self.is_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for this long, or until the signal is raised.
    pub fn wait_for(&self, time: Duration) {
        let is_up = self.is_up.lock().unwrap_or_else(PoisonError::into_inner);
        // A poisoned lock is harmless here.
        drop(self.raised.wait_timeout_while(is_up, time, |is_up| !*is_up));
    }

    pub(super) fn raise(&self) {
        *self.is_up.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.raised.notify_all();
    }
}
