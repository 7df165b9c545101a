//! Requests in progress. A second identical request waits for the first one.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The hashes of requests in progress.
#[derive(Debug, Default)]
pub(super) struct RequestsInProgress {
    hashes: Mutex<HashSet<String>>,
    left: Condvar,
}

/// Exclusive right to send a request. The next identical request starts when it is dropped.
#[derive(Debug)]
pub(super) struct RequestTurn<'a> {
    of: &'a RequestsInProgress,
    hash: String,
}

impl RequestsInProgress {
    /// Waits until no identical request is in progress. `None` after the timeout.
    pub fn take(&self, hash: &str, time: Duration) -> Option<RequestTurn<'_>> {
        let hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut hashes, _) = self
            .left
            .wait_timeout_while(hashes, time, |hashes| hashes.contains(hash))
            .unwrap_or_else(PoisonError::into_inner);
        hashes.insert(hash.to_owned()).then(|| RequestTurn {
            of: self,
            hash: hash.to_owned(),
        })
    }
}

impl Drop for RequestTurn<'_> {
    fn drop(&mut self) {
        let mut hashes = self
            .of
            .hashes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        hashes.remove(&self.hash);
        self.of.left.notify_all();
    }
}
