//! The lock on running processors: at most one run of each.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::run::RunError;

/// The processors that are running.
#[derive(Default)]
pub(super) struct RunningProcessors {
    names: Mutex<BTreeSet<String>>,
    ended: Condvar,
}

impl RunningProcessors {
    /// Locks a processor until the returned lock is dropped.
    pub(super) fn take(&self, name: &str) -> Result<RunLock<'_>, RunError> {
        if !self.lock().insert(name.to_owned()) {
            return Err(RunError::AlreadyRunning(name.to_owned()));
        }
        Ok(RunLock {
            running: self,
            name: name.to_owned(),
        })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    pub(super) fn wait_until_idle(&self, at_most: Duration) -> bool {
        let (names, _) = self
            .ended
            .wait_timeout_while(self.lock(), at_most, |names| !names.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        names.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lock on a processor. Released on drop, including after a panic.
pub(super) struct RunLock<'a> {
    running: &'a RunningProcessors,
    name: String,
}

impl Drop for RunLock<'_> {
    fn drop(&mut self) {
        self.running.lock().remove(&self.name);
        self.running.ended.notify_all();
    }
}
