//! Hashing the next sessions while one is read.
//!
//! Two messages are hashed together in little more than the time of one, so the bytes of a session
//! are hashed together with those of sessions that are processed later. When such a session is
//! read, a fast hash checks that its beginning still has the bytes that were hashed, and the MD5
//! continues behind them.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use xxhash_rust::xxh3::Xxh3Default;

use crate::content::hash::Hasher;
use crate::sessions::SessionsRoot;

/// Bytes per read. Stays in the processor's cache until it is hashed.
const READ_BYTES: usize = 32 << 10;

/// The hash of the first bytes of a session, with a fast hash that recognizes these bytes.
#[derive(Clone, Default)]
pub struct HashedBeginning {
    pub(super) hasher: Hasher,
    check: Xxh3Default,
}

impl HashedBeginning {
    /// The number of bytes.
    pub fn bytes(&self) -> u64 {
        self.hasher.bytes()
    }

    /// Recognizes these bytes in what is read later.
    pub(super) fn check(self) -> BeginningCheck {
        let left = self.bytes();
        let seen = Xxh3Default::new();
        BeginningCheck {
            beginning: self,
            left,
            seen,
        }
    }
}

/// Compares the first bytes of a session with those that were hashed before.
pub(super) struct BeginningCheck {
    beginning: HashedBeginning,
    /// Bytes of the beginning that were not read yet.
    left: u64,
    seen: Xxh3Default,
}

impl BeginningCheck {
    /// Takes the next bytes. Returns those behind the beginning.
    pub(super) fn read<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let length = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let (known, rest) = bytes.split_at(length);
        self.seen.update(known);
        self.left -= length as u64;
        rest
    }

    pub(super) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// The state of the MD5 behind the beginning. `None` if the bytes are others.
    pub(super) fn into_hasher(self) -> Option<Hasher> {
        (self.seen.digest128() == self.beginning.check.digest128()).then_some(self.beginning.hasher)
    }
}

/// A session that is hashed before it is processed.
struct Ahead {
    file: File,
    /// Bytes of the file that were not hashed yet.
    unread: u64,
    beginning: HashedBeginning,
    buffer: Vec<u8>,
}

/// A session that is hashed together with others until someone takes its hash to process it.
pub struct HashedAhead(Mutex<Option<Ahead>>);

impl HashedAhead {
    /// Opens a session to hash it together with others. `None` if it is compressed.
    ///
    /// # Errors
    /// See [`SessionsRoot::open_session`].
    pub fn open(root: &SessionsRoot, key: &str) -> io::Result<Option<Self>> {
        let (file, observed) = root.open_session(key)?;
        Ok((!observed.is_compressed).then(|| {
            Self(Mutex::new(Some(Ahead {
                file,
                unread: observed.size,
                beginning: HashedBeginning::default(),
                buffer: Vec::new(),
            })))
        }))
    }

    /// Stops hashing this session. Returns what is known, once.
    pub fn take(&self) -> Option<HashedBeginning> {
        let ahead = self.lock().take()?;
        (ahead.beginning.bytes() > 0).then_some(ahead.beginning)
    }

    /// Whether there is nothing left to hash, or the hash was taken.
    pub fn is_done(&self) -> bool {
        self.lock().as_ref().is_none_or(|ahead| ahead.unread == 0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Ahead>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the beginning of `bytes` to the hasher, and as many bytes of this session to its hash.
    /// Returns the rest of `bytes`: all of them if this session has no bytes left.
    fn hash_with<'b>(&self, hasher: &mut Hasher, bytes: &'b [u8]) -> &'b [u8] {
        let mut ahead = self.lock();
        let Some(ahead) = ahead.as_mut() else {
            return bytes;
        };
        let wanted = ahead.unread.min(bytes.len().min(READ_BYTES) as u64);
        ahead.buffer.clear();
        // An error or an early end leaves the rest of the session to the one who processes it.
        let read = (&mut ahead.file)
            .take(wanted)
            .read_to_end(&mut ahead.buffer);
        if read.is_err() || ahead.buffer.is_empty() {
            ahead.unread = 0;
        }
        ahead.unread = ahead.unread.saturating_sub(ahead.buffer.len() as u64);
        let (bytes, rest) = bytes.split_at(ahead.buffer.len().min(bytes.len()));
        ahead.beginning.check.update(&ahead.buffer);
        hasher.update_pair(bytes, &mut ahead.beginning.hasher, &ahead.buffer);
        if ahead.unread == 0 {
            ahead.buffer = Vec::new();
        }
        rest
    }
}

/// The sessions to hash together with the one that is read, the next one last.
pub type Companions = Vec<Arc<HashedAhead>>;

/// Adds bytes to the hasher, together with bytes of the companions.
pub(super) fn hash_together(hasher: &mut Hasher, mut bytes: &[u8], companions: &mut Companions) {
    while !bytes.is_empty()
        && let Some(companion) = companions.last()
    {
        let rest = companion.hash_with(hasher, bytes);
        if rest.len() == bytes.len() {
            companions.pop();
        }
        bytes = rest;
    }
    hasher.update(bytes);
}
