//! The folder of processors: lists and reads its files. Judges nothing and writes nothing.
//!
//! The files are untrusted, like transcripts. Links are not followed, only regular files are
//! opened, and at most the maximum size of a component is read.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use session_pipeline_host::clock::UtcMicros;

/// More files than any installation needs. The rest is rejected, so that a folder of unrelated
/// files does not keep the compiler busy.
const FILES_MAX: usize = 100;

/// File metadata. An equal stamp means an unchanged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the file was unchanged for `window` before `now`. A file that changed more recently
    /// can change again without a new timestamp.
    pub(super) fn is_quiet(&self, now: UtcMicros, window: std::time::Duration) -> bool {
        let (seconds, nanos) = self.mtime;
        let changed_at = seconds
            .saturating_mul(1_000_000)
            .saturating_add(nanos / 1000);
        changed_at < now.minus(window).0
    }
}

/// A visible name in the folder that ends in `.wasm`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FolderEntry {
    /// The file name.
    pub(super) file: String,
    /// Its metadata, or why it can't be a component.
    pub(super) stamp: Result<Stamp, String>,
}

/// The result of reading a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadResult {
    /// Its bytes, with the metadata at that time.
    Read(Stamp, Vec<u8>),
    /// Rejected until the file changes.
    Rejected(Stamp, String),
    /// Could not be read this time.
    Failed(String),
    /// The file changed during the read.
    Changing,
}

/// The visible `.wasm` files in the folder, sorted by name. Empty if there is no folder. The folder
/// itself can be a link.
pub(super) fn list(folder: &Path) -> io::Result<Vec<FolderEntry>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b".") || !bytes.ends_with(b".wasm") {
            continue;
        }
        let stamp = match name.to_str() {
            None => Err("its name is not UTF-8; rename it".to_owned()),
            Some(_) => match fs::symlink_metadata(folder.join(&name)) {
                Ok(metadata) => stamp_of(&metadata),
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(unreadable(&error)),
            },
        };
        found.push(FolderEntry {
            file: name.to_string_lossy().into_owned(),
            stamp,
        });
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    for surplus in found.iter_mut().skip(FILES_MAX) {
        surplus.stamp = Err(format!(
            "the folder contains more than {FILES_MAX} files; remove those that are not processors"
        ));
    }
    Ok(found)
}

/// Whether the folder contains any file that could be a component.
pub(super) fn has_files(folder: &Path) -> bool {
    list(folder).is_ok_and(|found| !found.is_empty())
}

/// Reads a file, at most `bytes_max` bytes.
pub(super) fn read(folder: &Path, file: &str, bytes_max: u64) -> ReadResult {
    match try_read(folder, file, bytes_max) {
        Ok(reading) => reading,
        Err(error) => ReadResult::Failed(unreadable(&error)),
    }
}

/// The current metadata of a regular file.
pub(super) fn stamp(folder: &Path, file: &str) -> Option<Stamp> {
    let metadata = fs::symlink_metadata(folder.join(file)).ok()?;
    stamp_of(&metadata).ok()
}

fn try_read(folder: &Path, file: &str, bytes_max: u64) -> io::Result<ReadResult> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut opened: File = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(folder.join(file))?;
    let stamp = match stamp_of(&opened.metadata()?) {
        Ok(stamp) => stamp,
        Err(reason) => return Ok(ReadResult::Failed(reason)),
    };
    if stamp.size > bytes_max {
        let size = stamp.size;
        let reason = format!("the component has {size} bytes, more than the allowed {bytes_max}");
        return Ok(ReadResult::Rejected(stamp, reason));
    }
    let mut bytes = Vec::new();
    (&mut opened)
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    let is_same = stamp_of(&opened.metadata()?) == Ok(stamp) && bytes.len() as u64 == stamp.size;
    Ok(match is_same {
        true => ReadResult::Read(stamp, bytes),
        false => ReadResult::Changing,
    })
}

fn stamp_of(metadata: &Metadata) -> Result<Stamp, String> {
    let kind = metadata.file_type();
    if kind.is_file() {
        Ok(Stamp::of(metadata))
    } else if kind.is_symlink() {
        Err("links are not followed; put the file itself into the folder".to_owned())
    } else if kind.is_dir() {
        Err("it is a folder; remove it".to_owned())
    } else {
        Err("it is not a regular file; remove it".to_owned())
    }
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot read the file: {error}; check its permissions")
}
