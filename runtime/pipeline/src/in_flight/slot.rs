//! One slot file: what a worker is at, in a form that tells whether it is whole.
//!
//! A line that names the length and the MD5 of what follows, and then one JSON document. Anything
//! else (a blank slot, half a record, another program's file) is no record, and nobody's trouble.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use md5::{Digest as _, Md5};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use session_pipeline_host::content::ContentHash;
use session_pipeline_store::kill_point::reached;

/// How every record begins; the number is that of the form.
const MAGIC: &str = "in-flight 1";
/// What stands at the beginning of a slot in which nobody is.
const BLANK: &[u8] = b"nobody\n";
/// More than the longest key takes with every character escaped.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// What a worker is at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The processor.
    pub processor: String,
    /// The session's key.
    pub session: String,
    /// The digest of the component.
    pub component: String,
    /// The session's size when the scan saw it.
    pub size: u64,
    /// The MD5 of its content in hexadecimal, where that was known beforehand.
    pub hash: Option<String>,
    /// Whether nobody else was at any session.
    pub is_alone: bool,
    /// How often a process died before while it was alone at this content.
    pub deaths: u32,
}

impl Record {
    /// The content, where it was known.
    pub fn content(&self) -> Option<ContentHash> {
        self.hash.as_deref().and_then(ContentHash::from_hex)
    }

    /// The bytes of a slot.
    pub fn encode(&self) -> Vec<u8> {
        let document = serde_json::to_string(self).unwrap_or_default();
        let digest = ContentHash(Md5::digest(document.as_bytes()).into());
        format!("{MAGIC} {} {digest}\n{document}", document.len()).into_bytes()
    }

    /// Reads the bytes of a slot; what follows the record in it is left from a longer one.
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

/// An open slot file. Writing is one system call, and nothing is synced: it has to outlive our
/// process, not the machine.
#[derive(Debug)]
pub(super) struct Slot(File);

impl Slot {
    /// Opens a slot, making it where it is not there. Never through a link.
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
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Self(file))
    }

    pub(super) fn read(&self) -> io::Result<Option<Record>> {
        let mut bytes = Vec::new();
        (&self.0).take(RECORD_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Record::decode(&bytes))
    }

    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        self.0.write_all_at(&record.encode(), 0)?;
        reached("slot written");
        Ok(())
    }

    pub(super) fn blank(&self) -> io::Result<()> {
        self.0.write_all_at(BLANK, 0)
    }
}
