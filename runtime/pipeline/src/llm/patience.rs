//! Waiting as an argument, as time is one: between attempts, and until a provider may be asked again.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Somebody who waits.
pub trait Patience: std::fmt::Debug + Send + Sync {
    /// Waits for so long, or until it is told to stop.
    fn wait(&self, time: Duration, stop: &StopSign);
}

/// Waits for real.
#[derive(Debug, Default)]
pub struct RealPatience;

impl Patience for RealPatience {
    fn wait(&self, time: Duration, stop: &StopSign) {
        stop.wait_for(time);
    }
}

/// What tells those who wait to stop.
#[derive(Debug, Default)]
pub struct StopSign {
    is_up: Mutex<bool>,
    raised: Condvar,
}

impl StopSign {
    /// Whether it was raised.
    pub fn is_up(&self) -> bool {
        *self.is_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so long, or until it is raised.
    pub fn wait_for(&self, time: Duration) {
        let is_up = self.is_up.lock().unwrap_or_else(PoisonError::into_inner);
        // Who holds the lock after a panic did nothing to it.
        drop(self.raised.wait_timeout_while(is_up, time, |is_up| !*is_up));
    }

    pub(super) fn raise(&self) {
        *self.is_up.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.raised.notify_all();
    }
}
