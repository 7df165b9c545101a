//! The folder of processors: which files lie in it, and what they hold. Nothing is judged here, and
//! nothing written.
//!
//! Whoever may put a file there is trusted no further than a transcript: no link is followed, only
//! regular files are opened, and no more of one is read than a component may have.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use session_pipeline_host::clock::UtcMicros;

/// More files than anybody has processors; the others are refused, so that a folder of the wrong
/// things is not compiled for days.
const FILES_MAX: usize = 100;

/// What the file system says of a file: equal stamps mean an unchanged file.
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

    /// Whether the file had been quiet for so long before `now`. The times of a younger one may yet
    /// stand still while it changes, as with sessions (BEHAVIOUR.md A3).
    pub(super) fn is_quiet(&self, now: UtcMicros, window: std::time::Duration) -> bool {
        let (seconds, nanos) = self.mtime;
        let changed_at = seconds
            .saturating_mul(1_000_000)
            .saturating_add(nanos / 1000);
        changed_at < now.minus(window).0
    }
}

/// A name in the folder that ends like a component's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The name.
    pub(super) file: String,
    /// What the file system says of it, or why it is none.
    pub(super) stamp: Result<Stamp, String>,
}

/// What reading a file came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Its bytes, and what the file system says of what was read.
    Read(Stamp, Vec<u8>),
    /// It is not read as long as it is so.
    Refused(Stamp, String),
    /// It could not be read now.
    Failed(String),
    /// It changed while it was read.
    Changing,
}

/// The files in the folder that end in `.wasm` and are not hidden, in the order of their names;
/// none where there is no folder. The folder itself may be a link.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Found>> {
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
                // Gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(unreadable(&error)),
            },
        };
        found.push(Found {
            file: name.to_string_lossy().into_owned(),
            stamp,
        });
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    for surplus in found.iter_mut().skip(FILES_MAX) {
        surplus.stamp = Err(format!(
            "there are more than {FILES_MAX} files in the folder; take away what is no processor"
        ));
    }
    Ok(found)
}

/// Whether any file in the folder may be a component.
pub(super) fn has_files(folder: &Path) -> bool {
    list(folder).is_ok_and(|found| !found.is_empty())
}

/// Reads a file, and no more of it than `bytes_max`.
pub(super) fn read(folder: &Path, file: &str, bytes_max: u64) -> Reading {
    match try_read(folder, file, bytes_max) {
        Ok(reading) => reading,
        Err(error) => Reading::Failed(unreadable(&error)),
    }
}

/// The stamp of a file as it is now, where it is a regular one.
pub(super) fn stamp(folder: &Path, file: &str) -> Option<Stamp> {
    let metadata = fs::symlink_metadata(folder.join(file)).ok()?;
    stamp_of(&metadata).ok()
}

fn try_read(folder: &Path, file: &str, bytes_max: u64) -> io::Result<Reading> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut opened: File = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(folder.join(file))?;
    let stamp = match stamp_of(&opened.metadata()?) {
        Ok(stamp) => stamp,
        Err(reason) => return Ok(Reading::Failed(reason)),
    };
    if stamp.size > bytes_max {
        let size = stamp.size;
        let reason = format!("the component has {size} bytes; {bytes_max} are allowed");
        return Ok(Reading::Refused(stamp, reason));
    }
    let mut bytes = Vec::new();
    (&mut opened)
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    let is_same = stamp_of(&opened.metadata()?) == Ok(stamp) && bytes.len() as u64 == stamp.size;
    Ok(match is_same {
        true => Reading::Read(stamp, bytes),
        false => Reading::Changing,
    })
}

fn stamp_of(metadata: &Metadata) -> Result<Stamp, String> {
    let kind = metadata.file_type();
    if kind.is_file() {
        Ok(Stamp::of(metadata))
    } else if kind.is_symlink() {
        Err("it is a link, and links are not followed; put the file itself there".to_owned())
    } else if kind.is_dir() {
        Err("it is a folder and no file; move it away".to_owned())
    } else {
        Err("it is no regular file; move it away".to_owned())
    }
}

fn unreadable(error: &io::Error) -> String {
    format!("it can't be read ({error}); check its permissions")
}
