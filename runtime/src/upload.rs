//! Transcripts that arrive over the network, put among the sessions (BEHAVIOUR.md 1.5, A24).
//!
//! A file is written under a hidden name beside its place, synced, and renamed: a run sees all of
//! it or nothing. A transcript that is sent again takes the place of the one before.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::Config;

/// The longest name.
const NAME_CHARS_MAX: usize = 200;

/// How the names of files begin that are not all there yet; hidden from runs.
const UNFINISHED: &str = ".upload-";

/// Why an upload is refused.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The name could lead astray.
    #[error(
        "the file name can't be used; give 1 to 200 of the characters A-Z a-z 0-9 . _ - and no dot at its beginning"
    )]
    Name,
    /// The sessions are somebody else's.
    #[error(
        "this service reads its sessions from another folder than its own, and puts none there; unset SESSION_DATA_DIR, or copy them there"
    )]
    ElsewhereRoot,
    /// There is no room, or no right to it.
    #[error("the session can't be kept; check free space and permissions of the data dir")]
    Io(#[source] io::Error),
}

/// A transcript on its way: removed unless it is finished.
#[derive(Debug)]
pub struct Incoming {
    file: tempfile::NamedTempFile,
    folder: PathBuf,
    name: String,
    size: u64,
}

/// Whether a name may become a file's (BEHAVIOUR.md 1.2); what begins with a dot would be hidden
/// from runs.
pub fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.starts_with('.')
        && (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.chars().all(is_allowed)
}

/// Removes what uploads left that a crash cut off; gives how many files. Only before any begins.
///
/// # Errors
/// When the folders of the users can't be read, or a file can't be removed.
pub fn discard_unfinished(config: &Config) -> io::Result<u64> {
    if !is_ours(config) {
        return Ok(0);
    }
    let users = match fs::read_dir(&config.sessions_root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        users => users?,
    };
    let mut removed = 0;
    for user in users {
        let user = user?;
        // Not a link: what lies behind one is not ours.
        if !user.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(user.path())? {
            let file = file?;
            if file.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_file(file.path())?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// Whether sessions lie where uploads may put them.
fn is_ours(config: &Config) -> bool {
    config.sessions_root == config.data_dir.join("user_sessions")
}

/// Makes a place for a transcript of a user.
///
/// # Errors
/// When the name can't be used, the sessions lie elsewhere, or the disk refuses.
pub fn begin(config: &Config, user_id: &str, name: &str) -> Result<Incoming, UploadError> {
    if !is_ours(config) {
        return Err(UploadError::ElsewhereRoot);
    }
    // An id is ours, and a name of one folder; but it comes from a table that people can change.
    if !is_name(name) || !is_name(user_id) {
        return Err(UploadError::Name);
    }
    let folder = config.sessions_root.join(user_id);
    let open = || -> io::Result<_> {
        fs::create_dir_all(&config.sessions_root)?;
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // A link in its place could lead anywhere.
        if !fs::symlink_metadata(&folder)?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                "the user's folder is a link or a file",
            ));
        }
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&folder)
    };
    Ok(Incoming {
        file: open().map_err(UploadError::Io)?,
        name: name.to_owned(),
        size: 0,
        folder,
    })
}

impl Incoming {
    /// How much has arrived.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Puts it in its place, on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(self) -> Result<u64, UploadError> {
        let place = || -> io::Result<()> {
            let path = self.folder.join(&self.name);
            let file = self.file.into_temp_path();
            File::open(&file)?.sync_all()?;
            file.persist(path)?;
            sync(&self.folder)
        };
        place().map(|()| self.size).map_err(UploadError::Io)
    }
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.as_file_mut().write(bytes)?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
