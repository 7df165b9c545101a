//! The snapshot of a session: its bytes up to the length at open, as lines, hashed as they are read.
//!
//! Read with `read()` and never mapped: another process that truncates a mapped file kills ours.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use md5::{Digest as _, Md5};
use memchr::{memchr, memchr_iter, memrchr};
use serde::{Deserialize, Serialize};

use crate::clock::UtcMicros;
use crate::sessions::{Observed, SessionsRoot};

/// What is read at once: the measured optimum.
const READ_BYTES: usize = 256 << 10;
/// A guest that asks for less than this at once gets this much.
const CHUNK_BYTES_MIN: usize = 4 << 10;
/// A guest that asks for more than this at once gets this much: more only costs memory and cache.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// The MD5 of a session's bytes; lowercase hexadecimal in the database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContentHash(pub [u8; 16]);

impl ContentHash {
    /// Reads the hexadecimal form.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let (pairs, []) = hex.as_bytes().as_chunks::<2>() else {
            return None;
        };
        if pairs.len() != bytes.len() {
            return None;
        }
        // Once for every session that is known, so without a detour over numbers of any length.
        let digit = |byte: u8| char::from(byte).to_digit(16);
        for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Some whole lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The lines; empty only at the end.
    pub bytes: Vec<u8>,
    /// The number of the first of them, from 1; without meaning where there is none.
    pub first_line: u64,
    /// How many lines above the line limit were left out just before.
    pub passed_over: u32,
}

/// Why a snapshot could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file holds less than it did at open.
    #[error("the file became shorter while it was read")]
    Shrunk,
    /// The system says no.
    #[error("the file can't be read")]
    Io(#[source] io::Error),
}

/// A session opened for reading.
pub struct Snapshot {
    file: File,
    observed: Observed,
    read_at: UtcMicros,
    line_bytes_max: usize,
    chunk_bytes_max: usize,
    unread: u64,
    hasher: Md5,
    /// The length of an earlier content, where it matters whether it is still the beginning.
    prefix_bytes: Option<u64>,
    /// The hash of that many bytes, once they have been read.
    prefix_hash: Option<ContentHash>,
    /// Bytes that were read and not yet handed out: the beginning of a line.
    carry: Vec<u8>,
    next_line: u64,
}

impl Snapshot {
    /// Opens a session as it is now. `read_at` is the time just before.
    ///
    /// # Errors
    /// As [`SessionsRoot::open_session`].
    pub fn open(
        root: &SessionsRoot,
        key: &str,
        read_at: UtcMicros,
        line_bytes_max: usize,
    ) -> io::Result<Self> {
        let (file, observed) = root.open_session(key)?;
        Ok(Self::new(file, observed, read_at, line_bytes_max))
    }

    /// A session that lies nowhere but in memory: for what is tried out, and never committed.
    ///
    /// # Errors
    /// When the system gives no memory for it.
    pub fn of_bytes(bytes: &[u8], line_bytes_max: usize) -> io::Result<Self> {
        let mut file = nowhere()?;
        file.write_all(bytes)?;
        file.rewind()?;
        let observed = Observed {
            size: bytes.len() as u64,
            mtime_ns: 0,
            ctime_ns: 0,
        };
        Ok(Self::new(file, observed, UtcMicros(0), line_bytes_max))
    }

    fn new(file: File, observed: Observed, read_at: UtcMicros, line_bytes_max: usize) -> Self {
        Self {
            file,
            observed,
            read_at,
            line_bytes_max,
            chunk_bytes_max: CHUNK_BYTES_MAX,
            unread: observed.size,
            hasher: Md5::new(),
            prefix_bytes: None,
            prefix_hash: None,
            carry: Vec::new(),
            next_line: 1,
        }
    }

    /// The same handed out in smaller pieces: about so much at once, whatever the guest asks for, and
    /// at least a line. Its rows must not depend on it.
    #[must_use]
    pub fn in_chunks_of(mut self, bytes_max: usize) -> Self {
        self.chunk_bytes_max = bytes_max.max(1);
        self
    }

    /// Also hashes that many bytes at the beginning: where the session had this length before, the
    /// hash tells whether it has only grown since.
    #[must_use]
    pub fn hashing_prefix(mut self, bytes: Option<u64>) -> Self {
        self.prefix_bytes = bytes.filter(|bytes| *bytes <= self.observed.size);
        self
    }

    /// The hash of the prefix, where that much was asked for and read.
    pub fn prefix_hash(&self) -> Option<ContentHash> {
        self.prefix_hash
    }

    /// What the file system said of it at open.
    pub fn observed(&self) -> Observed {
        self.observed
    }

    /// When it was opened.
    pub fn read_at(&self) -> UtcMicros {
        self.read_at
    }

    /// Goes back to the first byte, up to the same length.
    ///
    /// # Errors
    /// When the file can't be moved to its beginning.
    pub fn rewind(&mut self) -> Result<(), ReadError> {
        self.file.seek(SeekFrom::Start(0)).map_err(ReadError::Io)?;
        self.unread = self.observed.size;
        self.hasher = Md5::new();
        self.prefix_hash = None;
        self.carry.clear();
        self.next_line = 1;
        Ok(())
    }

    /// The next whole lines of about `bytes_max`, at least one.
    ///
    /// # Errors
    /// When the file became shorter, or can't be read.
    pub fn next_chunk(&mut self, bytes_max: usize) -> Result<Chunk, ReadError> {
        // So no line within the measure can be above the line limit; a longer one stands alone.
        let bytes_max = bytes_max
            .clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX)
            .min(self.chunk_bytes_max)
            .min(self.line_bytes_max.max(1));
        let mut bytes = std::mem::take(&mut self.carry);
        let mut passed_over = 0;
        let mut searched = 0;
        loop {
            if bytes.len() < bytes_max && self.unread > 0 {
                let room = bytes_max - bytes.len();
                self.read_more(&mut bytes, room)?;
                continue;
            }
            if bytes.len() <= bytes_max && self.unread == 0 {
                let end = bytes.len();
                return Ok(self.hand_out(bytes, end, passed_over));
            }
            if let Some(newline) = memrchr(b'\n', bytes.get(..bytes_max).unwrap_or(&bytes)) {
                return Ok(self.hand_out(bytes, newline + 1, passed_over));
            }
            match memchr(b'\n', bytes.get(searched..).unwrap_or_default()) {
                Some(newline) if searched + newline <= self.line_bytes_max => {
                    return Ok(self.hand_out(bytes, searched + newline + 1, passed_over));
                }
                Some(newline) => {
                    bytes.drain(..=searched + newline);
                    (self.next_line, passed_over, searched) =
                        (self.next_line + 1, passed_over + 1, 0);
                }
                // Too long wherever it ends: nothing of it is kept.
                None if bytes.len() > self.line_bytes_max => {
                    self.skip_line(&mut bytes)?;
                    (self.next_line, passed_over, searched) =
                        (self.next_line + 1, passed_over + 1, 0);
                }
                None if self.unread == 0 => {
                    let end = bytes.len();
                    return Ok(self.hand_out(bytes, end, passed_over));
                }
                None => {
                    searched = bytes.len();
                    self.read_more(&mut bytes, READ_BYTES)?;
                }
            }
        }
    }

    /// Reads what is left, and gives the hash of the whole snapshot.
    ///
    /// # Errors
    /// When the file became shorter, or can't be read.
    pub fn finish(&mut self) -> Result<ContentHash, ReadError> {
        let mut buffer = std::mem::take(&mut self.carry);
        while self.unread > 0 {
            buffer.clear();
            self.read_more(&mut buffer, READ_BYTES)?;
        }
        Ok(ContentHash(self.hasher.clone().finalize().into()))
    }

    fn hand_out(&mut self, mut bytes: Vec<u8>, end: usize, passed_over: u32) -> Chunk {
        if end < bytes.len() {
            self.carry
                .extend_from_slice(bytes.get(end..).unwrap_or_default());
            bytes.truncate(end);
        }
        let first_line = self.next_line;
        // Nobody asks for the number after the last line, and most sessions are a single chunk.
        if self.unread > 0 || !self.carry.is_empty() {
            self.next_line += memchr_iter(b'\n', &bytes).count() as u64;
        }
        Chunk {
            bytes,
            first_line,
            passed_over,
        }
    }

    /// Replaces the present line, however long, by what was read beyond it.
    fn skip_line(&mut self, bytes: &mut Vec<u8>) -> Result<(), ReadError> {
        loop {
            bytes.clear();
            self.read_more(bytes, READ_BYTES)?;
            if let Some(newline) = memchr(b'\n', bytes) {
                bytes.drain(..=newline);
                return Ok(());
            }
            if self.unread == 0 {
                bytes.clear();
                return Ok(());
            }
        }
    }

    /// Reads on by at most `room` bytes, hashing them.
    fn read_more(&mut self, bytes: &mut Vec<u8>, room: usize) -> Result<(), ReadError> {
        let start = bytes.len();
        let wanted = (room as u64).min(self.unread);
        bytes.reserve_exact(usize::try_from(wanted).unwrap_or(READ_BYTES));
        let read = (&mut self.file)
            .take(wanted)
            .read_to_end(bytes)
            .map_err(ReadError::Io)?;
        self.hash(bytes.get(start..).unwrap_or_default());
        self.unread -= read as u64;
        if read == 0 && wanted > 0 {
            Err(ReadError::Shrunk)
        } else {
            Ok(())
        }
    }
}

impl Snapshot {
    /// Hashes what was read next, and notes the hash at the end of the prefix.
    fn hash(&mut self, bytes: &[u8]) {
        let already = self.observed.size - self.unread;
        let rest = self
            .prefix_bytes
            .and_then(|prefix| usize::try_from(prefix.checked_sub(already)?).ok())
            .filter(|_| self.prefix_hash.is_none())
            .and_then(|rest| bytes.split_at_checked(rest));
        let Some((prefix, bytes)) = rest else {
            self.hasher.update(bytes);
            return;
        };
        self.hasher.update(prefix);
        self.prefix_hash = Some(ContentHash(self.hasher.clone().finalize().into()));
        self.hasher.update(bytes);
    }
}

/// A file without a name, in memory where the system has such.
fn nowhere() -> io::Result<File> {
    #[cfg(target_os = "linux")]
    let file = rustix::fs::memfd_create("session", rustix::fs::MemfdFlags::CLOEXEC)?.into();
    #[cfg(not(target_os = "linux"))]
    let file = tempfile::tempfile()?;
    Ok(file)
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("observed", &self.observed)
            .field("unread", &self.unread)
            .finish_non_exhaustive()
    }
}
