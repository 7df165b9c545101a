//! Session snapshots: the bytes of a session up to its length at open, split into lines and hashed
//! while they are read. The content of a compressed session is its decompressed bytes.
//!
//! Snapshots use `read()`, never `mmap`: if another process truncates a mapped file, the kernel
//! kills this one.

mod ahead;
mod hash;
mod prefix;
mod zstd;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use memchr::{memchr, memchr_iter, memrchr};

use crate::clock::UtcMicros;
use crate::limits::Limits;
use crate::sessions::{FileStat, SessionsRoot};

pub use ahead::{Companions, HashedAhead, HashedBeginning};
pub use hash::{ContentHash, Hasher};
pub use prefix::HashedPrefix;
pub use zstd::decompress;

use ahead::{BeginningCheck, hash_together};
use prefix::PrefixHasher;
use zstd::ZstdContent;

/// Bytes per `read()`. 256 KiB measured fastest.
const READ_BYTES: usize = 256 << 10;
/// Smallest chunk. A guest that requests less gets this much.
const CHUNK_BYTES_MIN: usize = 4 << 10;
/// Largest chunk. A guest that requests more gets this much, because larger chunks only cost memory
/// and cache.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A run of whole lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The lines. Empty only at the end of the session.
    pub bytes: Vec<u8>,
    /// The 1-based number of the first line. Meaningless if `bytes` is empty.
    pub first_line: u64,
    /// Number of lines skipped just before this chunk because they exceed the line limit.
    pub skipped_lines: u32,
}

/// A snapshot that could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is shorter than it was at open.
    #[error("the file was truncated while it was being read")]
    Truncated,
    /// The beginning of the file changed after it was hashed.
    #[error("the file was changed while it was being read")]
    Changed,
    /// The operating system reports an error.
    #[error("cannot read the file")]
    Io(#[source] io::Error),
}

/// Where the bytes of a session come from.
enum Source {
    Plain(File),
    Zstd(Box<ZstdContent>),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Zstd(content) => content.read(buffer),
        }
    }
}

/// A session opened for reading.
pub struct Snapshot {
    source: Source,
    observed: FileStat,
    /// The length in bytes, decompressed.
    size: u64,
    read_at: UtcMicros,
    line_bytes_max: usize,
    chunk_bytes_max: usize,
    unread: u64,
    hasher: Hasher,
    /// Compares the beginning with bytes that were hashed before.
    hashed_before: Option<BeginningCheck>,
    /// Whether these bytes were others.
    has_changed: bool,
    /// Sessions that are hashed together with this one.
    companions: Companions,
    /// Finds the longest prefix of whole lines, if a checkpoint is possible.
    lines: Option<Box<PrefixHasher>>,
    /// The length of an earlier version of this session, to check whether its bytes are still a
    /// prefix.
    prefix_bytes: Option<u64>,
    /// The hash of the first `prefix_bytes` bytes, once they have been read.
    prefix_hash: Option<ContentHash>,
    /// Bytes that were read but not returned yet: the beginning of a line.
    carry: Vec<u8>,
    next_line: u64,
}

impl Snapshot {
    /// Opens a session in its current state. `read_at` is the time just before the call. A
    /// compressed session is checked up to the limit of its decompressed size.
    ///
    /// # Errors
    /// See [`SessionsRoot::open_session`]. Also fails if a compressed session is damaged.
    pub fn open(
        root: &SessionsRoot,
        key: &str,
        read_at: UtcMicros,
        limits: &Limits,
    ) -> io::Result<Self> {
        let (file, observed) = root.open_session(key)?;
        let (source, size) = match observed.is_compressed {
            false => (Source::Plain(file), observed.size),
            true => {
                let mut content = ZstdContent::new(file)?;
                let size = content.count(limits.session_bytes_max)?;
                content.rewind()?;
                (Source::Zstd(Box::new(content)), size)
            }
        };
        let line_bytes_max = limits.line_bytes_max;
        Ok(Self::new(source, observed, size, read_at, line_bytes_max))
    }

    /// A session that exists only in memory, for trial runs that are never committed.
    ///
    /// # Errors
    /// The operating system cannot provide memory for it.
    pub fn from_bytes(bytes: &[u8], line_bytes_max: usize) -> io::Result<Self> {
        let file = in_memory(bytes)?;
        let observed = FileStat {
            size: bytes.len() as u64,
            mtime_ns: 0,
            ctime_ns: 0,
            is_compressed: false,
        };
        let (source, read_at) = (Source::Plain(file), UtcMicros(0));
        Ok(Self::new(
            source,
            observed,
            observed.size,
            read_at,
            line_bytes_max,
        ))
    }

    fn new(
        source: Source,
        observed: FileStat,
        size: u64,
        read_at: UtcMicros,
        line_bytes_max: usize,
    ) -> Self {
        Self {
            source,
            observed,
            size,
            read_at,
            line_bytes_max,
            chunk_bytes_max: CHUNK_BYTES_MAX,
            unread: size,
            hasher: Hasher::default(),
            hashed_before: None,
            has_changed: false,
            companions: Companions::new(),
            lines: None,
            prefix_bytes: None,
            prefix_hash: None,
            carry: Vec::new(),
            next_line: 1,
        }
    }

    /// Limits chunks to about `bytes_max`, but at least one line, whatever the guest requests. The
    /// rows of a processor must not depend on the chunk size.
    #[must_use]
    pub fn with_chunk_size(mut self, bytes_max: usize) -> Self {
        self.chunk_bytes_max = bytes_max.max(1);
        self
    }

    /// Also hashes the first `bytes` bytes. If the session had this length before, the hash shows
    /// whether the session has only grown since.
    #[must_use]
    pub fn with_prefix_hash(mut self, bytes: Option<u64>) -> Self {
        self.prefix_bytes = bytes.filter(|bytes| *bytes <= self.size);
        self
    }

    /// Uses what is known about the hash of the first bytes. If the file has other bytes now,
    /// reading fails, and it must be opened again. Without effect if a shorter prefix is hashed.
    #[must_use]
    pub fn with_hashed_beginning(mut self, beginning: Option<HashedBeginning>) -> Self {
        let bytes_max = self.prefix_bytes.map_or(self.size, |_| 0);
        let beginning = beginning.filter(|beginning| beginning.bytes() <= bytes_max);
        self.hashed_before = beginning.map(HashedBeginning::check);
        self
    }

    /// Also hashes these sessions while this one is read.
    #[must_use]
    pub fn with_companions(mut self, companions: Companions) -> Self {
        self.companions = companions;
        self
    }

    /// Also hashes the longest prefix of whole lines, so that a reader of the grown session can
    /// continue behind it. Costs a tenth of the MD5. Has no effect on a compressed session, or if the hash of its
    /// beginning is already known.
    #[must_use]
    pub fn with_checkpoint(mut self) -> Self {
        self.lines = (!self.observed.is_compressed && self.hashed_before.is_none())
            .then(|| Box::new(PrefixHasher::new()));
        self
    }

    /// The same snapshot again, to read it a second time after the first. `None` for a compressed
    /// session, or if the system has no more descriptors.
    pub fn duplicate(&self) -> Option<Self> {
        let Source::Plain(file) = &self.source else {
            return None;
        };
        // The two share their position, so both rewind first.
        let source = Source::Plain(file.try_clone().ok()?);
        let same = Self::new(
            source,
            self.observed,
            self.size,
            self.read_at,
            self.line_bytes_max,
        );
        let same = match self.lines {
            Some(_) => same.with_checkpoint(),
            None => same,
        };
        Some(same.with_prefix_hash(self.prefix_bytes))
    }

    /// The longest prefix of whole lines, once the snapshot has been read to its end. `None` if it
    /// was not requested, if there is no whole line, or if the last line exceeds the line limit
    /// before its end: it counts as skipped although it is not complete.
    pub fn whole_lines(&self) -> Option<&HashedPrefix> {
        let prefix = self.lines.as_ref()?.latest()?;
        let rest = self.size.checked_sub(prefix.bytes)?;
        (self.is_read() && rest <= self.line_bytes_max as u64).then_some(prefix)
    }

    /// Whether all bytes have been read and returned.
    pub fn is_read(&self) -> bool {
        self.unread == 0 && self.carry.is_empty()
    }

    /// Reads the beginning of the session. If it equals the prefix, the snapshot continues behind
    /// it, and the hash of the whole session without reading the prefix again. Otherwise, returns
    /// false and begins at the first byte.
    ///
    /// # Errors
    /// The file was truncated or cannot be read.
    pub fn continue_after(&mut self, prefix: &HashedPrefix) -> Result<bool, ReadError> {
        self.rewind()?;
        let hasher = prefix.hasher();
        let (Source::Plain(file), Some(hasher), true) =
            (&mut self.source, hasher, prefix.bytes <= self.size)
        else {
            return Ok(false);
        };
        let mut lines = PrefixHasher::new();
        let mut buffer = Vec::new();
        let mut missing = prefix.bytes;
        while missing > 0 {
            buffer.clear();
            let wanted = missing.min(READ_BYTES as u64);
            let read = Read::by_ref(file)
                .take(wanted)
                .read_to_end(&mut buffer)
                .map_err(ReadError::Io)?;
            if read == 0 {
                return Err(ReadError::Truncated);
            }
            lines.skip(&buffer);
            missing -= read as u64;
        }
        if !lines.accept(prefix) {
            self.rewind()?;
            return Ok(false);
        }
        self.hasher = hasher;
        self.unread = self.size - prefix.bytes;
        self.prefix_hash = (self.prefix_bytes == Some(prefix.bytes)).then(|| self.hasher.finish());
        self.next_line = prefix.lines + 1;
        self.lines = self.lines.is_some().then(|| Box::new(lines));
        Ok(true)
    }

    /// The hash of the prefix, if one was requested and has been read.
    pub fn prefix_hash(&self) -> Option<ContentHash> {
        self.prefix_hash
    }

    /// The length of the session in bytes, decompressed. A compressed session above the limit has
    /// one byte more than the limit, however long it is.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file metadata at open.
    pub fn observed(&self) -> FileStat {
        self.observed
    }

    /// The time at which the session was opened.
    pub fn read_at(&self) -> UtcMicros {
        self.read_at
    }

    /// Returns to the first byte. The length stays the same.
    ///
    /// # Errors
    /// The file cannot be rewound.
    pub fn rewind(&mut self) -> Result<(), ReadError> {
        let rewound = match &mut self.source {
            Source::Plain(file) => file.seek(SeekFrom::Start(0)).map(drop),
            Source::Zstd(content) => content.rewind(),
        };
        rewound.map_err(ReadError::Io)?;
        self.unread = self.size;
        self.hasher = Hasher::default();
        self.hashed_before = None;
        self.has_changed = false;
        self.lines = self.lines.is_some().then(|| Box::new(PrefixHasher::new()));
        self.prefix_hash = None;
        self.carry.clear();
        self.next_line = 1;
        Ok(())
    }

    /// Returns the next whole lines, about `bytes_max` bytes and at least one line.
    ///
    /// # Errors
    /// The file was truncated or cannot be read.
    pub fn next_chunk(&mut self, bytes_max: usize) -> Result<Chunk, ReadError> {
        // With this bound, every line inside a chunk is below the line limit. A longer line gets
        // its own chunk.
        let bytes_max = bytes_max
            .clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX)
            .min(self.chunk_bytes_max)
            .min(self.line_bytes_max.max(1));
        let mut bytes = std::mem::take(&mut self.carry);
        let mut passed_over = 0;
        let mut searched = 0;
        loop {
            if self.has_changed {
                return Err(ReadError::Changed);
            }
            if bytes.len() < bytes_max && self.unread > 0 {
                let missing = bytes_max - bytes.len();
                self.read_more(&mut bytes, missing)?;
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
                // The line is too long wherever it ends. Drop its bytes.
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

    /// Reads the remaining bytes and returns the hash of the whole snapshot.
    ///
    /// # Errors
    /// The file was truncated or cannot be read.
    pub fn finish(&mut self) -> Result<ContentHash, ReadError> {
        let mut buffer = std::mem::take(&mut self.carry);
        while self.unread > 0 {
            buffer.clear();
            self.read_more(&mut buffer, READ_BYTES)?;
        }
        if self.has_changed {
            return Err(ReadError::Changed);
        }
        Ok(self.hasher.finish())
    }

    fn hand_out(&mut self, mut bytes: Vec<u8>, end: usize, passed_over: u32) -> Chunk {
        if end < bytes.len() {
            self.carry
                .extend_from_slice(bytes.get(end..).unwrap_or_default());
            bytes.truncate(end);
        }
        let first_line = self.next_line;
        // No caller needs the number after the last line, and most sessions are a single chunk.
        if self.unread > 0 || !self.carry.is_empty() {
            self.next_line += memchr_iter(b'\n', &bytes).count() as u64;
        }
        Chunk {
            bytes,
            first_line,
            skipped_lines: passed_over,
        }
    }

    /// Drops the current line, however long it is, and leaves in `bytes` what was read after it.
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

    /// Reads and hashes at most `bytes_max` more bytes.
    fn read_more(&mut self, bytes: &mut Vec<u8>, bytes_max: usize) -> Result<(), ReadError> {
        let start = bytes.len();
        let wanted = (bytes_max as u64).min(self.unread);
        bytes.reserve_exact(usize::try_from(wanted).unwrap_or(READ_BYTES));
        let read = (&mut self.source)
            .take(wanted)
            .read_to_end(bytes)
            .map_err(ReadError::Io)?;
        self.hash(bytes.get(start..).unwrap_or_default());
        self.unread -= read as u64;
        if read == 0 && wanted > 0 {
            Err(ReadError::Truncated)
        } else {
            Ok(())
        }
    }
}

impl Snapshot {
    /// Hashes the next bytes. Stores the intermediate hash at the end of the prefix.
    fn hash(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if let Some(check) = &mut self.hashed_before {
            bytes = check.read(bytes);
            if check.is_complete()
                && let Some(check) = self.hashed_before.take()
            {
                match check.into_hasher() {
                    Some(hasher) => self.hasher = hasher,
                    None => self.has_changed = true,
                }
            }
        }
        let already = self.size - self.unread;
        let rest = self
            .prefix_bytes
            .and_then(|prefix| usize::try_from(prefix.checked_sub(already)?).ok())
            .filter(|_| self.prefix_hash.is_none())
            .and_then(|rest| bytes.split_at_checked(rest));
        let Some((prefix, bytes)) = rest else {
            self.add(bytes);
            return;
        };
        self.add(prefix);
        self.prefix_hash = Some(self.hasher.finish());
        self.add(bytes);
    }

    /// Adds bytes to the hash, and to that of the whole lines.
    fn add(&mut self, bytes: &[u8]) {
        let Some(mut lines) = self.lines.take() else {
            return hash_together(&mut self.hasher, bytes, &mut self.companions);
        };
        let whole = memrchr(b'\n', bytes).map_or(0, |newline| newline + 1);
        let (whole, rest) = bytes.split_at_checked(whole).unwrap_or((&[], bytes));
        if !whole.is_empty() {
            hash_together(&mut self.hasher, whole, &mut self.companions);
            lines.end_lines(whole, &self.hasher);
        }
        hash_together(&mut self.hasher, rest, &mut self.companions);
        lines.skip(rest);
        self.lines = Some(lines);
    }
}

/// An unnamed file with these bytes, in memory where the system supports it.
///
/// # Errors
/// The operating system cannot provide memory for it.
pub fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = unnamed_file()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// An unnamed file, in memory where the system supports it.
fn unnamed_file() -> io::Result<File> {
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
