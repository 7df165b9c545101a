//! A walk that is ahead of whoever looks at what it finds: on a thread of its own, since asking the
//! file system takes longer than anything that is done with the answers.

use std::io;
use std::mem::take;
use std::panic::resume_unwind;

use crossbeam_channel::{Receiver, bounded};

use crate::sessions::{Observed, SessionsRoot, Walk};

/// Sessions handed over at once: enough that handing over costs nothing.
const BATCH_SESSIONS: usize = 1024;
/// Batches that the walk may be ahead: about as many as it finds while a million state rows are read,
/// at a hundred bytes a session some 26 MB.
const BATCHES_AHEAD: usize = 256;

/// Some sessions that the walk has found.
#[derive(Default)]
struct Batch {
    /// All keys one after the other.
    keys: String,
    /// Where each ends, and what was observed of it.
    found: Vec<(usize, Observed)>,
}

impl Batch {
    fn push(&mut self, key: &str, observed: Observed) {
        self.keys.push_str(key);
        self.found.push((self.keys.len(), observed));
    }
}

/// What a walk finds, as it comes.
pub struct Found(Receiver<Batch>);

impl Found {
    /// Calls `visit` for every session, up to the walk's end.
    pub fn each(self, mut visit: impl FnMut(&str, Observed)) {
        for batch in self.0 {
            let mut start = 0;
            for (end, observed) in batch.found {
                visit(batch.keys.get(start..end).unwrap_or_default(), observed);
                start = end;
            }
        }
    }
}

impl SessionsRoot {
    /// As [`SessionsRoot::walk`], begun while `look` still gets ready for what is found, and ahead of
    /// it from then on.
    ///
    /// # Errors
    /// Those of the walk are its result, beside what `look` gave.
    pub fn walk_ahead<T>(&self, look: impl FnOnce(Found) -> T) -> (T, io::Result<Walk>) {
        std::thread::scope(|scope| {
            let (batches, found) = bounded(BATCHES_AHEAD);
            let walker = scope.spawn(move || {
                let mut batch = Batch::default();
                // Where nobody listens any more, the walk is of no use to anybody.
                let walk = self.walk(|key, observed| {
                    batch.push(key, observed);
                    if batch.found.len() == BATCH_SESSIONS {
                        let _ = batches.send(take(&mut batch));
                    }
                });
                let _ = batches.send(batch);
                walk
            });
            let looked = look(Found(found));
            let walk = walker.join().unwrap_or_else(|panic| resume_unwind(panic));
            (looked, walk)
        })
    }
}
