//! Sessions of a run that are hashed before their turn, together with the one that is processed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use session_pipeline_host::content::{Companions, HashedAhead, HashedBeginning};
use session_pipeline_host::sessions::SessionsRoot;

use crate::scan::{Candidate, ContentCheck};

/// Sessions below this size are not hashed ahead: opening them twice takes longer than hashing.
const BYTES_MIN: u64 = 64 << 10;
/// Number of sessions that one session is hashed together with.
const COMPANIONS_MAX: usize = 8;
/// How far to look for them.
const CANDIDATES_AHEAD: usize = 64;

/// How the bytes of a session are hashed.
#[derive(Default)]
pub(super) struct Hashing {
    /// What is known about its first bytes.
    pub(super) beginning: Option<HashedBeginning>,
    /// Later sessions that are hashed together with it.
    pub(super) companions: Companions,
}

/// The sessions of a run that are hashed ahead.
pub(super) struct HashedSessions<'a> {
    candidates: &'a [Candidate],
    root: &'a SessionsRoot,
    workers: usize,
    ahead: Mutex<Ahead>,
}

#[derive(Default)]
struct Ahead {
    /// The first candidate that was not considered yet.
    next: usize,
    sessions: BTreeMap<usize, Arc<HashedAhead>>,
}

impl<'a> HashedSessions<'a> {
    pub(super) fn new(candidates: &'a [Candidate], root: &'a SessionsRoot, workers: usize) -> Self {
        Self {
            candidates,
            root,
            workers,
            ahead: Mutex::default(),
        }
    }

    /// What was hashed of a session whose turn it is, and what to hash together with it.
    pub(super) fn start(&self, index: usize) -> Hashing {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let beginning = ahead.sessions.remove(&index).and_then(|own| own.take());
        let size = self
            .candidates
            .get(index)
            .map_or(0, |candidate| candidate.observed.size);
        if size < BYTES_MIN {
            return Hashing {
                beginning,
                companions: Companions::new(),
            };
        }
        // Nobody else hashes these. The other references are gone with their sessions.
        let mut companions: Companions = ahead
            .sessions
            .values()
            .filter(|session| Arc::strong_count(session) == 1 && !session.is_done())
            .take(COMPANIONS_MAX)
            .cloned()
            .collect();
        let mut bytes = 0;
        // The other workers start the next ones immediately.
        ahead.next = ahead.next.max(index.saturating_add(self.workers));
        let end = index.saturating_add(CANDIDATES_AHEAD);
        while companions.len() < COMPANIONS_MAX && bytes < size && ahead.next < end {
            let at = ahead.next;
            ahead.next += 1;
            let Some(candidate) = self.candidates.get(at) else {
                break;
            };
            if candidate.observed.size < BYTES_MIN || !is_hashed_once(candidate) {
                continue;
            }
            // An error will be met again, and reported, when its turn comes.
            if let Ok(Some(session)) = HashedAhead::open(self.root, &candidate.key) {
                let session = Arc::new(session);
                bytes += candidate.observed.size;
                ahead.sessions.insert(at, Arc::clone(&session));
                companions.push(session);
            }
        }
        companions.reverse();
        Hashing {
            beginning,
            companions,
        }
    }
}

/// Whether the whole content is hashed once, from its beginning to its end.
fn is_hashed_once(candidate: &Candidate) -> bool {
    candidate.check == ContentCheck::Nothing && candidate.known_bytes().is_none()
}
