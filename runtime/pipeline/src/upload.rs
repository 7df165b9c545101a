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
    /// A folder has the name of the session.
    #[error(
        "a folder among your sessions has the name `{0}`; send the session under another name, or ask an operator to remove the folder"
    )]
    Folder(String),
    /// Something else is where a folder has to be.
    #[error(
        "`{0}` in the data dir is not a folder, so your sessions cannot be stored there; ask an operator to move it away"
    )]
    NoFolder(String),
    /// The file system allows only shorter names or paths.
    #[error(
        "the file name `{0}` is too long for the file system of the sessions; send the session under a shorter name"
    )]
    NameTooLong(String),
    /// The folder was removed while the session arrived.
    #[error("the folder of your sessions was removed during the upload; send the session again")]
    Removed,
    /// There is no room, or no right to it.
    #[error("the session can't be kept; check free space and permissions of the data dir")]
    Io(#[source] io::Error),
}

impl UploadError {
    /// Whether the disk, or the user's share of it, is full.
    pub fn is_full(&self) -> bool {
        let full = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ];
        match self {
            Self::Quota(_) | Self::Space(_) => true,
            Self::Io(error) => full.contains(&error.kind()),
            _ => false,
        }
    }

    /// Why a file of this name could not be stored in the folder of its user.
    fn of(error: io::Error, name: &str) -> Self {
        match error.kind() {
            io::ErrorKind::IsADirectory => Self::Folder(name.to_owned()),
            io::ErrorKind::InvalidFilename => Self::NameTooLong(name.to_owned()),
            io::ErrorKind::NotFound => Self::Removed,
            // Without its text, which can have a path of this machine.
            kind => Self::Io(kind.into()),
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
/// When the folders of the users can't be read, or a file can't be removed; all others are.
pub fn discard_unfinished(config: &Config) -> io::Result<u64> {
    if !is_ours(config) {
        return Ok(0);
    }
    let users = match fs::read_dir(&config.sessions_root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        users => users?,
    };
    let (mut removed, mut failed) = (0, None);
    for user in users {
        let user = user?;
        // Not a link: what lies behind one is not ours.
        if !user.file_type()?.is_dir() {
            continue;
        }
        match discard_unfinished_in(&user.path()) {
            Ok(of_user) => removed += of_user,
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(removed), Err)
}

/// The same in one folder. What can't be removed is in the way of none of the others.
fn discard_unfinished_in(folder: &Path) -> io::Result<u64> {
    let (mut removed, mut failed) = (0, None);
    for file in fs::read_dir(folder)? {
        let file = file?;
        // What uploads leave are files, so a folder is somebody else's.
        if !file.file_name().to_string_lossy().starts_with(UNFINISHED) || file.file_type()?.is_dir()
        {
            continue;
        }
        match fs::remove_file(file.path()) {
            Ok(()) => removed += 1,
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(removed), Err)
}

/// Whether sessions lie where uploads may put them.
fn is_ours(config: &Config) -> bool {
    config.sessions_root == config.data_dir.join("user_sessions")
}

/// Makes the folder of a user, unless there is one. The folder of all sessions may be a link that the
/// operator made. A link below it could lead anywhere.
fn make_folder(root: &Path, user_id: &str) -> Result<PathBuf, UploadError> {
    let folder = root.join(user_id);
    let made = fs::create_dir_all(root).and_then(|()| fs::create_dir(&folder));
    if fs::symlink_metadata(&folder).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(folder);
    }
    match made.map_err(|error| error.kind()) {
        Err(io::ErrorKind::AlreadyExists) if root.is_dir() => {
            Err(UploadError::NoFolder(format!("user_sessions/{user_id}")))
        }
        Err(io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
            Err(UploadError::NoFolder("user_sessions".to_owned()))
        }
        Err(kind) => Err(UploadError::of(kind.into(), user_id)),
        Ok(()) => Err(UploadError::Removed),
    }
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
    let failed = |error| UploadError::of(error, name);
    let folder = make_folder(&config.sessions_root, user_id)?;
    // Found out before the session is sent.
    match fs::symlink_metadata(folder.join(name)) {
        Ok(metadata) if metadata.is_dir() => return Err(UploadError::Folder(name.to_owned())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let share = ledger.share(&config.service, &folder, name, now)?;
    let file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(&folder)
        .map_err(failed)?;
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
