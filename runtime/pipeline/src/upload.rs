//! Transcripts that arrive over the network, put among the sessions (BEHAVIOUR.md 1.5, A24).
//!
//! A file is written under a hidden name beside its place, synced, and renamed: a run sees all of
//! it or nothing. A transcript that is sent again takes the place of the one before.

mod quota;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;

use crate::config::Config;

pub use quota::Ledger;

/// The longest name.
const NAME_CHARS_MAX: usize = 200;

/// How the names of files begin that are not all there yet; hidden from runs.
const UNFINISHED: &str = ".upload-";

/// Why an upload is refused.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The name could lead out of the user's folder, or could not be that of a session.
    #[error(
        "invalid file name `{}`: send a name of 1 to 200 characters of A-Z a-z 0-9 . _ - that ends with `.jsonl` or `.jsonl.gz` and does not start with a dot",
        printable(.0)
    )]
    Name(String),
    /// The user has uploaded as much as allowed.
    #[error(
        "{0}; ask an operator to remove old sessions or to raise the quota in the section `[service]` of the config file"
    )]
    Quota(String),
    /// The disk has too little free space.
    #[error("the disk of the sessions has less than {} free; free some space, or lower `free_space_min` in the section `[service]` of the config file", bytesize::ByteSize(*.0).display().iec())]
    Space(u64),
    /// The sessions are somebody else's.
    #[error(
        "this service reads its sessions from another folder than its own, and puts none there; unset SESSION_DATA_DIR, or copy them there"
    )]
    ElsewhereRoot,
    /// There is no room, or no right to it.
    #[error("the session can't be kept; check free space and permissions of the data dir")]
    Io(#[source] io::Error),
}

impl UploadError {
    /// Whether the disk, or the user's share of it, is full.
    pub fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        match self {
            Self::Quota(_) | Self::Space(_) => true,
            Self::Io(error) => full.contains(&error.kind()),
            Self::Name(_) | Self::ElsewhereRoot => false,
        }
    }
}

/// A transcript on its way: removed unless it is finished.
#[derive(Debug)]
pub struct Incoming {
    file: tempfile::NamedTempFile,
    folder: PathBuf,
    name: String,
    size: u64,
    share: quota::Share,
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
/// When the name can't be used, the sessions are elsewhere, there is no room, or the disk fails.
pub fn begin(
    config: &Config,
    ledger: &Ledger,
    user_id: &str,
    name: &str,
    now: UtcMicros,
) -> Result<Incoming, UploadError> {
    if !is_ours(config) {
        return Err(UploadError::ElsewhereRoot);
    }
    // An id is ours, and a name of one folder; but it comes from a table that people can change.
    if !is_name(name)
        || !is_name(user_id)
        || !session_pipeline_host::sessions::is_key(&format!("{user_id}/{name}"))
    {
        return Err(UploadError::Name(name.to_owned()));
    }
    let folder = config.sessions_root.join(user_id);
    let make_folder = || -> io::Result<()> {
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
        Ok(())
    };
    make_folder().map_err(UploadError::Io)?;
    let share = ledger.share(&config.service, &folder, name, now)?;
    let file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(&folder)
        .map_err(UploadError::Io)?;
    Ok(Incoming {
        file,
        name: name.to_owned(),
        size: 0,
        share,
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
            self.share.keep();
            sync(&self.folder)
        };
        place().map(|()| self.size).map_err(UploadError::Io)
    }

    /// Writes further bytes.
    ///
    /// # Errors
    /// When there is no room for them, or the disk fails.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        self.share.add(bytes.len() as u64)?;
        io::Write::write_all(self.file.as_file_mut(), bytes).map_err(UploadError::Io)?;
        self.size += bytes.len() as u64;
        Ok(())
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
