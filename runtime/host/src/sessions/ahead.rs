//! A walk on a separate thread, ahead of the consumer of its results. Querying the file system
//! takes longer than everything that is done with the results.

use std::io;
use std::mem::take;
use std::panic::resume_unwind;

use crossbeam_channel::{Receiver, bounded};

use crate::sessions::{FileStat, SessionsRoot, WalkReport};

/// Sessions per batch. Large enough that the channel costs nothing.
const BATCH_SESSIONS: usize = 1024;
/// Maximum number of batches that the walk can be ahead. The walk finds about this many while a
/// million state rows are read. At 100 bytes per session, they take about 26 MB.
const BATCHES_AHEAD: usize = 256;

/// A batch of sessions.
#[derive(Default)]
struct Batch {
    /// All keys, concatenated.
    keys: String,
    /// The end offset of each key, and the metadata of its session.
    found: Vec<(usize, FileStat)>,
}

impl Batch {
    fn push(&mut self, key: &str, observed: FileStat) {
        self.keys.push_str(key);
        self.found.push((self.keys.len(), observed));
    }
}

/// The sessions that a walk finds, as a stream.
pub struct FoundSessions(Receiver<Batch>);

impl FoundSessions {
    /// Calls `visit` for every session until the walk ends.
    pub fn each(self, mut visit: impl FnMut(&str, FileStat)) {
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
    /// Like [`SessionsRoot::walk`], but starts before `consume` is ready for sessions and stays
    /// ahead of it. Returns the result of `consume` and the result of the walk.
    ///
    /// # Errors
    /// The second value contains the errors of the walk.
    pub fn walk_ahead<T>(
        &self,
        consume: impl FnOnce(FoundSessions) -> T,
    ) -> (T, io::Result<WalkReport>) {
        std::thread::scope(|scope| {
            let (batches, found) = bounded(BATCHES_AHEAD);
            let walker = scope.spawn(move || {
                let mut batch = Batch::default();
                // If the consumer stopped early, sending fails, and the rest of the walk has no
                // effect.
                let walk = self.walk(|key, observed| {
                    batch.push(key, observed);
                    if batch.found.len() == BATCH_SESSIONS {
                        let _ = batches.send(take(&mut batch));
                    }
                });
                let _ = batches.send(batch);
                walk
            });
            let consumed = consume(FoundSessions(found));
            let walk = walker.join().unwrap_or_else(|panic| resume_unwind(panic));
            (consumed, walk)
        })
    }
}
