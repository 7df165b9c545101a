//! SHA-256 hashes of stored files, and their state, so that a file that grows is not read again.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::place::FileVersion;

/// Maximum number of remembered states, of about 300 bytes each.
const STATES_MAX: usize = 8192;
const READ_BYTES: usize = 256 << 10;

/// The SHA-256 of the bytes of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FileDigest(pub [u8; 32]);

impl FileDigest {
    /// Parses 64 hexadecimal digits. Returns `None` for any other text.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let (pairs, []) = hex.as_bytes().as_chunks::<2>() else {
            return None;
        };
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
        }
        Some(Self(bytes))
    }

    pub(super) fn of(state: &Sha256) -> Self {
        Self(state.clone().finalize().into())
    }
}

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The states of files, by user and path.
#[derive(Debug, Default)]
pub(super) struct DigestCache(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    states: HashMap<String, Entry>,
    /// Increases with each use.
    uses: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    version: FileVersion,
    state: Sha256,
    used: u64,
}

impl DigestCache {
    /// The state of a version of a file, if it is known.
    pub(super) fn known(&self, key: &str, version: FileVersion) -> Option<Sha256> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.uses += 1;
        let uses = entries.uses;
        let entry = entries.states.get_mut(key)?;
        entry.used = uses;
        (entry.version == version).then(|| entry.state.clone())
    }

    /// The state after all bytes of a file. Reads the file unless the state is known.
    pub(super) fn state(&self, key: &str, file: &File, version: FileVersion) -> io::Result<Sha256> {
        if let Some(state) = self.known(key, version) {
            return Ok(state);
        }
        let state = read(file, version.size)?;
        self.insert(key, version, state.clone());
        Ok(state)
    }

    pub(super) fn insert(&self, key: &str, version: FileVersion, state: Sha256) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.states.len() >= STATES_MAX && !entries.states.contains_key(key) {
            // Forget the half that was not used for longest.
            let middle = entries.uses.saturating_sub(STATES_MAX as u64 / 2);
            entries.states.retain(|_, entry| entry.used > middle);
            if entries.states.len() >= STATES_MAX {
                entries.states.clear();
            }
        }
        entries.uses += 1;
        let used = entries.uses;
        let entry = Entry {
            version,
            state,
            used,
        };
        entries.states.insert(key.to_owned(), entry);
    }
}

fn read(file: &File, size: u64) -> io::Result<Sha256> {
    let mut state = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    while at < size {
        let read = file.read_at(&mut buffer, at)?;
        let wanted = usize::try_from(size - at).unwrap_or(usize::MAX).min(read);
        if wanted == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.update(buffer.get(..wanted).unwrap_or_default());
        at += wanted as u64;
    }
    Ok(state)
}
