//! Uploads: transcripts that arrive over the network and become sessions.
//!
//! A file is written under a hidden name in its target folder, synced, and renamed, so a run sees
//! either the complete file or none. Uploading the same name again replaces the file.
//!
//! A form has one whole file ([`begin`]). Programs that collect sessions send what is new
//! ([`resume`]), which is appended to the stored file.

mod append;
mod cleanup;
mod digest;
mod path;
mod place;
mod quota;
mod redacted;
mod resumable;

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;

use crate::config::Config;

pub use cleanup::discard_unfinished;
pub use digest::FileDigest;
pub use path::UploadPath;
pub use resumable::{
    FinishedUpload, LONG_LINE_BYTES, ResumableUpload, StoredFile, UploadChange, UploadPart, resume,
    stored,
};

use digest::DigestCache;
use quota::UploadQuotas;
use redacted::RedactionCheck;

/// Maximum length of a file name.
const NAME_CHARS_MAX: usize = 200;

/// The prefix of unfinished uploads. The dot hides them from runs.
const UNFINISHED: &str = ".upload-";

/// Why an upload is rejected.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The name could leave the user's folder or is not valid for a session.
    #[error(
        "invalid file name `{}`: send a name of 1 to 200 characters of A-Z a-z 0-9 . _ - that ends with `.jsonl`, `.jsonl.gz` or `.jsonl.zst` and does not start with a dot",
        printable(.0)
    )]
    Name(String),
    /// The path could leave the user's folder or is not valid for a session.
    #[error(
        "invalid path `{0}`: send 1 to 8 names with `/` between them, each of 1 to 200 characters of A-Z a-z 0-9 . _ - without a leading dot, the last one ending with `.jsonl` or `.meta.json`, or below a folder `chats` with `.json`"
    )]
    Path(String),
    /// The stored file is not the one that the client continues.
    #[error(
        "the stored file `{path}` has {} bytes and differs from the bytes before the offset; continue after them if they are the beginning of your file, or else send the whole file with the offset 0",
        stored.size
    )]
    Mismatch {
        /// The path of the file.
        path: String,
        /// What is stored.
        stored: StoredFile,
    },
    /// Something else is in place of the file.
    #[error("`{0}` in your sessions is not a regular file; ask an operator to remove it")]
    NotAFile(String),
    /// The server accepts only redacted sessions.
    #[error(
        "the upload contains {0} values that look like secrets, and this server accepts only redacted sessions; run `session-pipeline-push` with `--redact`"
    )]
    Secrets(u64),
    /// A line is too long to be checked for secrets.
    #[error(
        "a line is longer than {0} bytes, so it cannot be checked for secrets, and this server accepts only redacted sessions; run `session-pipeline-push` with `--redact`"
    )]
    LongLine(u64),
    /// The upload continues a line, so its secrets can't be found.
    #[error(
        "the upload begins within a line or continues a file without lines, and this server accepts only redacted sessions; send whole lines, or the whole file with the offset 0"
    )]
    WithinLine,
    /// The upload ends within a line.
    #[error(
        "the upload ends within a line, and this server accepts only redacted sessions; send whole lines"
    )]
    OpenLine,
    /// The user's quota of bytes is used up.
    #[error(
        "the quota of {} for one user's sessions is used up; ask an operator to remove old sessions or to raise the quota in the section `[service]` of the config file",
        bytesize::ByteSize(*.0).display().iec()
    )]
    QuotaBytes(u64),
    /// The user's quota of files is used up.
    #[error(
        "the quota of {0} sessions for one user is used up; ask an operator to remove old sessions or to raise the quota in the section `[service]` of the config file"
    )]
    QuotaFiles(u64),
    /// The disk has too little free space.
    #[error("the disk of the sessions has less than {} of free space; free some space, or lower `free_space_min` in the section `[service]` of the config file", bytesize::ByteSize(*.0).display().iec())]
    Space(u64),
    /// The sessions root is outside the data directory.
    #[error(
        "uploads are disabled because the sessions root is outside the data directory; unset SESSION_DATA_DIR and `sessions` in the config file, or copy the session into the sessions root"
    )]
    ForeignRoot,
    /// A folder with this name exists.
    #[error(
        "`{0}` is the name of a folder in your sessions; use another name, or ask an operator to remove the folder"
    )]
    Folder(String),
    /// A file is in place of a folder.
    #[error(
        "`{0}` in the data directory is not a folder, so it cannot store sessions; ask an operator to remove it"
    )]
    NotAFolder(String),
    /// The file system does not allow a name or path of this length.
    #[error("file name `{0}` is too long for the file system of the sessions; use a shorter name")]
    NameTooLong(String),
    /// The folder was removed during the upload.
    #[error("the folder of your sessions was removed during the upload; upload the session again")]
    Removed,
    /// A write failed.
    #[error("cannot store the session; check free space and permissions of the data directory")]
    Io(#[source] io::Error),
}

impl UploadError {
    /// Whether the disk or the user's quota is full.
    pub fn is_full(&self) -> bool {
        let full = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ];
        match self {
            Self::QuotaBytes(_) | Self::QuotaFiles(_) | Self::Space(_) => true,
            Self::Io(error) => full.contains(&error.kind()),
            _ => false,
        }
    }

    /// Maps an I/O error for a file in the user's folder.
    fn of(error: io::Error, name: &str) -> Self {
        match error.kind() {
            io::ErrorKind::IsADirectory => Self::Folder(name.to_owned()),
            io::ErrorKind::InvalidFilename => Self::NameTooLong(name.to_owned()),
            io::ErrorKind::NotFound => Self::Removed,
            // Drop the text of the error, which can contain a path.
            kind => Self::Io(kind.into()),
        }
    }
}

/// An upload in progress. It is removed on drop unless it was finished.
#[derive(Debug)]
pub struct IncomingUpload {
    file: tempfile::NamedTempFile,
    folder: PathBuf,
    name: String,
    size: u64,
    share: quota::Share,
    check: Option<RedactionCheck>,
    key: String,
}

/// The state that all uploads of a process share.
#[derive(Debug, Default)]
pub struct Uploads {
    quotas: UploadQuotas,
    digests: DigestCache,
    locks: PathLocks,
}

/// Locks of files, so that only one upload at a time changes a file.
#[derive(Debug)]
struct PathLocks {
    hasher: RandomState,
    locks: [Mutex<()>; 64],
}

impl Default for PathLocks {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            locks: [const { Mutex::new(()) }; 64],
        }
    }
}

impl PathLocks {
    /// Locks a file. Another file can have the same lock.
    fn lock(&self, key: &str) -> Option<MutexGuard<'_, ()>> {
        let number = self.hasher.hash_one(key) % self.locks.len() as u64;
        let lock = self.locks.get(usize::try_from(number).ok()?)?;
        Some(lock.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a name is valid for an uploaded file. Names with a leading dot would be hidden from
/// runs.
pub fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.starts_with('.')
        && (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.chars().all(is_allowed)
}

/// Whether the sessions root is the one that accepts uploads.
fn accepts_uploads(config: &Config) -> bool {
    config.sessions_root == config.data_dir.join("user_sessions")
}

/// Creates the folder of a user if necessary. The operator can make the sessions root a link, but
/// links below it are not followed.
fn create_folder(root: &Path, user_id: &str) -> Result<PathBuf, UploadError> {
    let folder = root.join(user_id);
    let created = fs::create_dir_all(root).and_then(|()| fs::create_dir(&folder));
    if fs::symlink_metadata(&folder).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(folder);
    }
    match created.map_err(|error| error.kind()) {
        Err(io::ErrorKind::AlreadyExists) if root.is_dir() => {
            Err(UploadError::NotAFolder(format!("user_sessions/{user_id}")))
        }
        Err(io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
            Err(UploadError::NotAFolder("user_sessions".to_owned()))
        }
        Err(kind) => Err(UploadError::of(kind.into(), user_id)),
        Ok(()) => Err(UploadError::Removed),
    }
}

/// Starts the upload of a transcript.
///
/// # Errors
/// If the name is invalid, uploads are disabled, the quota or the disk is full, or the disk fails.
pub fn begin(
    config: &Config,
    uploads: &Uploads,
    user_id: &str,
    name: &str,
    now: UtcMicros,
) -> Result<IncomingUpload, UploadError> {
    if !accepts_uploads(config) {
        return Err(UploadError::ForeignRoot);
    }
    // The program creates ids that are valid names, but the table can be edited.
    if !is_name(name)
        || !is_name(user_id)
        || !session_pipeline_host::sessions::is_key(&format!("{user_id}/{name}"))
    {
        return Err(UploadError::Name(name.to_owned()));
    }
    let failed = |error| UploadError::of(error, name);
    let folder = create_folder(&config.sessions_root, user_id)?;
    // Report it before the upload is sent.
    match fs::symlink_metadata(folder.join(name)) {
        Ok(metadata) if metadata.is_dir() => return Err(UploadError::Folder(name.to_owned())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let replaces = quota::length_of(&folder.join(name));
    let share = uploads
        .quotas
        .share(&config.service, &folder, replaces, now)?;
    let file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(&folder)
        .map_err(failed)?;
    Ok(IncomingUpload {
        file,
        name: name.to_owned(),
        size: 0,
        share,
        folder,
        check: config
            .upload
            .require_redacted
            .then(|| RedactionCheck::new(true)),
        key: format!("{user_id}/{name}"),
    })
}

impl IncomingUpload {
    /// The number of bytes received.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Moves the file to its place durably. Returns its size in bytes.
    ///
    /// # Errors
    /// If the disk fails, or the file contains secrets and the server accepts only redacted ones.
    pub fn finish(self, uploads: &Uploads) -> Result<u64, UploadError> {
        if let Some(check) = self.check {
            check.finish(true)?;
        }
        // Otherwise, the file could be replaced while an upload is appended to it.
        let _guard = uploads.locks.lock(&self.key);
        let name = self.name;
        let place = || -> io::Result<()> {
            let path = self.folder.join(&name);
            let file = self.file.into_temp_path();
            File::open(&file)?.sync_all()?;
            file.persist(path)?;
            self.share.keep();
            sync(&self.folder)
        };
        place()
            .map(|()| self.size)
            .map_err(|error| UploadError::of(error, &name))
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// If the quota or the disk is full, or the disk fails.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        self.share.add(bytes.len() as u64)?;
        if let Some(check) = &mut self.check {
            check.write(bytes)?;
        }
        io::Write::write_all(self.file.as_file_mut(), bytes).map_err(UploadError::Io)?;
        self.size += bytes.len() as u64;
        Ok(())
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
