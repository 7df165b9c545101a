//! A verified beginning of a session: what a later reader needs to check that it is unchanged, and
//! to continue behind it without processing it again.

use memchr::memchr_iter;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::content::hash::Hasher;

/// The first lines of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashedPrefix {
    /// The length in bytes. The last of them is a newline.
    pub bytes: u64,
    /// The number of lines.
    pub lines: u64,
    /// The state of the MD5 hasher after these bytes, from which the hash of the whole session
    /// continues.
    pub md5_state: Vec<u8>,
    /// The XXH3 hash of these bytes, 128 bits in big-endian order. It detects changes ten times as
    /// fast as MD5, and like MD5 not those of an attacker.
    pub check: [u8; 16],
}

impl HashedPrefix {
    /// The MD5 hasher after these bytes. `None` if the state is damaged.
    pub(super) fn hasher(&self) -> Option<Hasher> {
        Hasher::from_state(&self.md5_state).filter(|hasher| hasher.bytes() == self.bytes)
    }
}

/// Finds the longest prefix of whole lines while the bytes of a session are read.
pub(super) struct PrefixHasher {
    check: Xxh3,
    bytes: u64,
    lines: u64,
    latest: Option<HashedPrefix>,
}

impl PrefixHasher {
    pub(super) fn new() -> Self {
        Self {
            check: Xxh3::new(),
            bytes: 0,
            lines: 0,
            latest: None,
        }
    }

    /// Adds whole lines, after which the MD5 has this state.
    pub(super) fn end_lines(&mut self, lines: &[u8], md5: &Hasher) {
        self.check.update(lines);
        self.bytes += lines.len() as u64;
        self.lines += memchr_iter(b'\n', lines).count() as u64;
        self.latest = Some(HashedPrefix {
            bytes: self.bytes,
            lines: self.lines,
            md5_state: md5.state(),
            check: self.check.digest128().to_be_bytes(),
        });
    }

    /// Adds bytes that end no line, or that were hashed before.
    pub(super) fn skip(&mut self, bytes: &[u8]) {
        self.check.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Whether exactly the bytes of this prefix were added. If so, continues from it.
    pub(super) fn accept(&mut self, prefix: &HashedPrefix) -> bool {
        let is_same =
            self.bytes == prefix.bytes && self.check.digest128().to_be_bytes() == prefix.check;
        if is_same {
            self.lines = prefix.lines;
            self.latest = Some(prefix.clone());
        }
        is_same
    }

    /// The longest prefix of whole lines so far.
    pub(super) fn latest(&self) -> Option<&HashedPrefix> {
        self.latest.as_ref()
    }
}
