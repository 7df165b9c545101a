//! Requests to process sessions again that arrive during a run.
//!
//! A run reads the state rows once, during its scan. A session can be marked as due after the scan,
//! and even after its bytes were read. The commit would then clear the mark and lose the request.
//! Therefore, a run watches the requests from its scan on, and its commits leave those sessions
//! due. Requests and commits both run on the writer's thread. Nothing needs to be stored: a process
//! that dies before the commit has not cleared any mark.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The requests for one processor since the scan of its run.
#[derive(Debug, Default)]
pub struct ReprocessRequests(Mutex<RequestedKeys>);

#[derive(Debug, Default)]
struct RequestedKeys {
    all: bool,
    keys: HashSet<String>,
}

impl ReprocessRequests {
    /// Whether reprocessing of this session was requested.
    pub fn includes(&self, key: &str) -> bool {
        let requested = self.lock();
        requested.all || requested.keys.contains(key)
    }

    fn add(&self, key: Option<&str>) {
        let mut requested = self.lock();
        match key {
            Some(key) => {
                requested.keys.insert(key.to_owned());
            }
            None => requested.all = true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, RequestedKeys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runs in progress that watch requests, by processor: at most one each.
#[derive(Debug, Default)]
pub(crate) struct RequestWatches(Mutex<HashMap<String, Weak<ReprocessRequests>>>);

impl RequestWatches {
    /// Watches the requests for a processor until the returned value is dropped.
    pub(crate) fn watch(&self, processor: &str) -> Arc<ReprocessRequests> {
        let requests = Arc::new(ReprocessRequests::default());
        let mut watches = self.lock();
        watches.retain(|_, watch| watch.strong_count() > 0);
        watches.insert(processor.to_owned(), Arc::downgrade(&requests));
        requests
    }

    /// Forwards a request to the run in progress, if there is one. `None` means all sessions.
    pub(crate) fn add(&self, processor: &str, key: Option<&str>) {
        if let Some(requests) = self.lock().get(processor).and_then(Weak::upgrade) {
            requests.add(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<ReprocessRequests>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
