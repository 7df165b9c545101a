//! One slot file: the session that a worker is processing, in a format that detects partial writes.
//!
//! The first line contains the length and the MD5 of the rest, which is one JSON document. Anything
//! else (a blank slot, a partial record, an unrelated file) is ignored.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use md5::{Digest as _, Md5};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use session_pipeline_host::content::ContentHash;
use session_pipeline_store::kill_point::kill_point;

/// The start of every record, with the version of the format.
const MAGIC: &str = "in-flight 1";
/// The start of an unused slot.
const BLANK: &[u8] = b"nobody\n";
/// More than the longest key with every character escaped.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// A session in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlightRecord {
    /// The processor.
    pub processor: String,
    /// The session's key.
    pub session: String,
    /// The digest of the component.
    pub component: String,
    /// The session's size at the time of the scan, in bytes.
    pub size: u64,
    /// The MD5 of its content in hexadecimal, if it was known before.
    pub hash: Option<String>,
    /// Whether no other session was processed at the time.
    pub is_alone: bool,
    /// How often a process died while it processed this content alone.
    pub deaths: u32,
}

impl InFlightRecord {
    /// The hash of the content, if it was known.
    pub fn content(&self) -> Option<ContentHash> {
        self.hash.as_deref().and_then(ContentHash::from_hex)
    }

    /// The bytes of the slot file.
    pub fn encode(&self) -> Vec<u8> {
        let document = serde_json::to_string(self).unwrap_or_default();
        let digest = ContentHash(Md5::digest(document.as_bytes()).into());
        format!("{MAGIC} {} {digest}\n{document}", document.len()).into_bytes()
    }

    /// Parses a slot file. Bytes after the record are left from a longer one and ignored.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = bytes.strip_prefix(MAGIC.as_bytes())?.strip_prefix(b" ")?;
        let end = memchr::memchr(b'\n', text)?;
        let (head, rest) = text.split_at_checked(end)?;
        let (length, digest) = std::str::from_utf8(head).ok()?.split_once(' ')?;
        let length: usize = length.parse().ok()?;
        let document = rest.get(1..length.checked_add(1)?)?;
        let is_whole = ContentHash::from_hex(digest)? == ContentHash(Md5::digest(document).into());
        is_whole
            .then(|| serde_json::from_slice(document).ok())
            .flatten()
    }
}

/// An open slot file. A write is one system call without a sync: it has to outlive the process, not
/// the machine.
#[derive(Debug)]
pub(super) struct Slot(File);

impl Slot {
    /// Opens a slot, and creates it if it does not exist. Does not follow links.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(Self(file))
    }

    pub(super) fn read(&self) -> io::Result<Option<InFlightRecord>> {
        let mut bytes = Vec::new();
        (&self.0).take(RECORD_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(InFlightRecord::decode(&bytes))
    }

    pub(super) fn write(&self, record: &InFlightRecord) -> io::Result<()> {
        self.0.write_all_at(&record.encode(), 0)?;
        kill_point("slot written");
        Ok(())
    }

    pub(super) fn blank(&self) -> io::Result<()> {
        self.0.write_all_at(BLANK, 0)
    }
}
