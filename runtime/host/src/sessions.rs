//! Session files on disk: the root folder and the walker.
//!
//! Scan, health and listings all use the same walker, so that they agree. The contents of the root
//! are untrusted. Links are never followed, neither by the walker nor when a session is opened:
//! each path component is opened relative to the descriptor of its parent folder.

mod ahead;
mod append;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use ahead::FoundSessions;
pub use append::AppendRecord;

/// Maximum nesting of folders. Each level needs an open descriptor.
const DEPTH_MAX: usize = 64;
/// Pause between two attempts to open a session to which an upload appends. An append takes
/// milliseconds.
const APPEND_CHECKED_EVERY: Duration = Duration::from_millis(1);
/// Maximum number of such attempts.
const APPEND_CHECKS_MAX: usize = 1000;

/// The metadata of a file. If it is equal, the file is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Length of the file in bytes.
    pub size: u64,
    /// Time of the last content change, in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Time of the last inode change, in nanoseconds since the epoch. Programs cannot set it.
    pub ctime_ns: i64,
    /// Whether the file is a session that is compressed with zstd. Its size then says nothing about
    /// the length of its content.
    pub is_compressed: bool,
}

/// What the stored size of a compressed file has in addition to its size. No file is this large.
const COMPRESSED_SIZE: u64 = 1 << 62;

impl FileStat {
    /// The metadata that a database stores as these columns.
    pub fn from_columns(size: i64, mtime_ns: i64, ctime_ns: i64) -> Self {
        let size = u64::try_from(size).unwrap_or(0);
        Self {
            size: size & !COMPRESSED_SIZE,
            mtime_ns,
            ctime_ns,
            is_compressed: size & COMPRESSED_SIZE != 0,
        }
    }

    /// The columns of a database: the size, `mtime_ns` and `ctime_ns`. An earlier version of this
    /// program takes the size of a compressed file for that of another file, so it reads it again.
    pub fn columns(self) -> (i64, i64, i64) {
        let mark = if self.is_compressed {
            COMPRESSED_SIZE
        } else {
            0
        };
        let size = self.size.min(COMPRESSED_SIZE - 1) | mark;
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        (size, self.mtime_ns, self.ctime_ns)
    }

    fn of(stat: &rustix::fs::Stat, is_compressed: bool) -> Self {
        #[expect(
            clippy::unnecessary_cast,
            reason = "the fields have other types on other platforms"
        )]
        let nanos = |seconds: i64, nanos| {
            (seconds as i64)
                .saturating_mul(1_000_000_000)
                .saturating_add(nanos as i64)
        };
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
            ctime_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
            is_compressed,
        }
    }
}

/// A path that the walker skipped, and the reason. Never fatal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = RunNote))]
pub struct SkippedPath {
    /// The path, safe to print.
    pub path: String,
    /// The reason, and how to fix it.
    pub reason: String,
}

/// Maximum number of notes and of links that a walk lists. It counts the rest.
const LISTED_MAX: usize = 100;

/// The result of a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkReport {
    /// The number of sessions found.
    pub found: u64,
    /// Skipped paths that the operator should know about, at most 100. A final entry reports how
    /// many more there are.
    pub skipped: Vec<SkippedPath>,
    /// The number of notes that are not listed.
    pub unlisted: u64,
    /// Linked folders and sessions. They are not followed.
    pub links: SkippedLinks,
    /// Whether every folder could be read completely. If not, sessions that were not seen can still
    /// exist.
    pub is_complete: bool,
}

/// Links below the root that could lead to sessions. They are not followed, because a link can
/// point anywhere. They are reported, because the person who created a link expects its sessions to
/// count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedLinks {
    /// The number of links.
    pub count: u64,
    /// Their paths, safe to print. At most 100.
    pub paths: Vec<String>,
}

impl SkippedLinks {
    fn add(&mut self, key: &str, name: &str) {
        self.count += 1;
        if self.paths.len() < LISTED_MAX {
            let path = crate::fault::printable(&format!("{key}{name}"));
            self.paths.push(path);
        }
    }

    /// The number of links that are not listed.
    pub fn unlisted(&self) -> u64 {
        self.count.saturating_sub(self.paths.len() as u64)
    }
}

impl WalkReport {
    /// All skipped paths, including links.
    pub fn all_skipped(&self) -> Vec<SkippedPath> {
        let mut notes = self.skipped.clone();
        let linked = |path: &String| SkippedPath {
            path: path.clone(),
            reason: "links are not followed, so sessions behind this link are not processed; \
                     move the target here, or mount it in place of the link"
                .to_owned(),
        };
        notes.extend(self.links.paths.iter().map(linked));
        if let more @ 1.. = self.links.unlisted() {
            notes.push(SkippedPath {
                path: "…".to_owned(),
                reason: match more {
                    1 => "1 more link that is not followed".to_owned(),
                    more => format!("{more} more links that are not followed"),
                },
            });
        }
        notes
    }

    fn note(&mut self, note: SkippedPath) {
        if self.skipped.len() < LISTED_MAX {
            self.skipped.push(note);
        } else {
            self.unlisted += 1;
        }
    }

    /// Adds the entry that counts the rest.
    fn end(&mut self) {
        self.links.paths.sort_unstable();
        if self.unlisted > 0 {
            self.skipped.push(SkippedPath {
                path: "…".to_owned(),
                reason: match self.unlisted {
                    1 => "1 more path was skipped".to_owned(),
                    more => format!("{more} more paths were skipped"),
                },
            });
        }
    }
}

/// The root folder of the sessions, kept open.
#[derive(Debug)]
pub struct SessionsRoot {
    path: PathBuf,
    folder: OwnedFd,
    opens: AtomicU64,
}

impl SessionsRoot {
    /// Opens the root, which can be a link. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// The root exists but cannot be opened as a folder.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(folder) => Ok(Some(Self {
                path: path.to_owned(),
                folder,
                opens: AtomicU64::new(0),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The path of the root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open root folder.
    pub fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// The number of sessions opened so far.
    pub fn sessions_opened(&self) -> u64 {
        self.opens.load(Ordering::Relaxed)
    }

    /// Opens the file of a session for reading. Does not follow links and does not block on special
    /// files such as FIFOs. If the session is compressed, the bytes of the file are too. If an
    /// upload died while it appended to the session, the size is that before the append, so that no
    /// reader sees a part of an upload.
    ///
    /// # Errors
    /// The session is gone, is not a regular file, or cannot be opened.
    pub fn open_session(&self, key: &str) -> io::Result<(File, FileStat)> {
        let mut components = key.split('/').peekable();
        let mut folder: Option<OwnedFd> = None;
        while let Some(component) = components.next() {
            let parent = folder
                .as_ref()
                .map_or_else(|| self.folder.as_fd(), AsFd::as_fd);
            if component.is_empty() || component == "." || component == ".." {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the session key contains an empty, `.` or `..` component",
                ));
            }
            if components.peek().is_some() {
                folder = Some(open_folder(parent, component)?);
                continue;
            }
            let flags = OFlags::RDONLY
                | OFlags::NOFOLLOW
                | OFlags::NONBLOCK
                | OFlags::NOCTTY
                | OFlags::CLOEXEC;
            let open = |name: &str| rustix::fs::openat(parent, name, flags, Mode::empty());
            let (file, is_compressed) = match open(component) {
                Err(Errno::NOENT) if is_key_of_lines(key) => {
                    (open(&compressed_name(component))?, true)
                }
                opened => (opened?, false),
            };
            let stat = stat_between_appends(&file)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "not a regular file",
                ));
            }
            let (file, mut stat) = (File::from(file), FileStat::of(&stat, is_compressed));
            if let Some(record) = AppendRecord::open(parent, component)?
                && record.is_unfinished(&file, stat.size)?
            {
                stat.size = record.length();
            }
            self.opens.fetch_add(1, Ordering::Relaxed);
            return Ok((file, stat));
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the session key is empty",
        ))
    }

    /// Reads the metadata of a session without opening it. `None` if it is gone or not a regular
    /// file.
    pub fn stat(&self, key: &str) -> Option<FileStat> {
        let (folder, name) = match key.rsplit_once('/') {
            Some((folders, name)) => {
                let mut folder: Option<OwnedFd> = None;
                for component in folders.split('/') {
                    let parent = folder
                        .as_ref()
                        .map_or_else(|| self.folder.as_fd(), AsFd::as_fd);
                    folder = Some(open_folder(parent, component).ok()?);
                }
                (folder?, name)
            }
            None => return None,
        };
        let stat = |name: &str| rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let (stat, is_compressed) = match stat(name) {
            Err(Errno::NOENT) if is_key_of_lines(key) => (stat(&compressed_name(name)).ok()?, true),
            stat => (stat.ok()?, false),
        };
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
            .then(|| FileStat::of(&stat, is_compressed))
    }

    /// Calls `visit` for every session below the root, in file system order.
    ///
    /// A session is a regular file `<user>/…/*.jsonl`, `<user>/…/*.jsonl.zst`, or `<user>/…/*.json`
    /// in a folder `chats` or below one. The key of a compressed session has no `.zst`, so a session
    /// has the same key when its agent compresses it. If both files exist, the compressed one is
    /// not a session. The walker skips hidden files and folders, links, other files, and files directly
    /// in the root. Links that could lead to sessions are
    /// listed.
    ///
    /// # Errors
    /// The root itself cannot be read.
    pub fn walk(&self, visit: impl FnMut(&str, FileStat)) -> io::Result<WalkReport> {
        self.walk_filtered(|_| true, visit)
    }

    /// Like [`SessionsRoot::walk`], limited to keys that `wants` accepts. The key of a folder ends
    /// with a slash. A session that is not wanted is counted but not visited. A folder that is not
    /// wanted counts as one session.
    ///
    /// # Errors
    /// The root itself cannot be read.
    pub fn walk_filtered(
        &self,
        mut wants: impl FnMut(&str) -> bool,
        mut visit: impl FnMut(&str, FileStat),
    ) -> io::Result<WalkReport> {
        let mut walk = WalkReport {
            is_complete: true,
            ..WalkReport::default()
        };
        let mut key = String::with_capacity(256);
        // Use a separate descriptor, because reading moves the position in the folder.
        let root = rustix::fs::openat(
            &self.folder,
            c".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        walk_folder(root, 0, &mut key, &mut walk, &mut wants, &mut visit)?;
        walk.end();
        Ok(walk)
    }
}

/// Whether the walker could produce this key: `<user>/…/*.jsonl` without hidden components, or
/// `*.json` in a folder `chats` or below one.
pub fn is_key(key: &str) -> bool {
    let mut components = key.split('/');
    let Some((folder, name)) = key.rsplit_once('/') else {
        return false;
    };
    is_session_name(folder, name.as_bytes())
        && components.all(|component| !component.is_empty() && !component.starts_with('.'))
}

/// The metadata of an open session while no upload appends to it, so that its length does not
/// include a part of the received bytes. Other programs can lock the file too, so the time is
/// limited.
fn stat_between_appends(file: &OwnedFd) -> rustix::io::Result<rustix::fs::Stat> {
    let mut is_locked = false;
    for _ in 0..APPEND_CHECKS_MAX {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(APPEND_CHECKED_EVERY),
            locked => {
                // Some file systems have no locks.
                is_locked = locked.is_ok();
                break;
            }
        }
    }
    let stat = rustix::fs::fstat(file)?;
    if is_locked {
        rustix::fs::flock(file, FlockOperation::Unlock)?;
    }
    Ok(stat)
}

/// The folder in which Gemini CLI stores its sessions.
const CHATS: &str = "chats";
/// The end of the name of a session of lines.
const LINES: &str = ".jsonl";
/// What a session of lines has after its name if it is compressed. Codex CLI compresses idle
/// sessions.
pub const COMPRESSED_SUFFIX: &str = ".zst";

/// Whether the session with this key can be stored compressed.
fn is_key_of_lines(key: &str) -> bool {
    key.ends_with(LINES)
}

fn compressed_name(name: &str) -> String {
    format!("{name}{COMPRESSED_SUFFIX}")
}

/// The name of a compressed session without its suffix. `None` for any other name.
fn uncompressed_name(name: &CStr) -> Option<CString> {
    let plain = name
        .to_bytes()
        .strip_suffix(COMPRESSED_SUFFIX.as_bytes())
        .filter(|plain| plain.ends_with(LINES.as_bytes()))?;
    CString::new(plain).ok()
}

/// Whether a file in a folder has the name of a session. Older versions of Gemini CLI store a
/// session as one document. Elsewhere, `*.json` is anything, such as the manifest of a package.
fn is_session_name(folder: &str, name: &[u8]) -> bool {
    name.ends_with(LINES.as_bytes())
        || name.ends_with(b".json")
            // The first component is a user.
            && folder.split('/').skip(1).any(|component| component == CHATS)
}

fn open_folder(
    parent: BorrowedFd<'_>,
    name: impl rustix::path::Arg,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn walk_folder(
    folder: OwnedFd,
    depth: usize,
    key: &mut String,
    walk: &mut WalkReport,
    wants: &mut impl FnMut(&str) -> bool,
    visit: &mut impl FnMut(&str, FileStat),
) -> rustix::io::Result<()> {
    let mut dir = Dir::new(folder)?;
    let mut folders = Vec::new();
    while let Some(entry) = dir.read() {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes().starts_with(b".") {
            continue;
        }
        let mut file_type = entry.file_type();
        let uncompressed = uncompressed_name(name);
        let is_session_name =
            depth > 0 && (uncompressed.is_some() || is_session_name(key, name.to_bytes()));
        if file_type == FileType::Unknown {
            match rustix::fs::statat(dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => file_type = FileType::from_raw_mode(stat.st_mode),
                Err(_) => continue,
            }
        }
        if file_type == FileType::Directory {
            folders.push(name.to_owned());
        } else if file_type == FileType::Symlink {
            if leads_to_sessions(dir.fd()?, name, is_session_name)
                && let Some(text) = utf8_name(name, key, walk)
            {
                walk.links.add(key, text);
            }
        } else if file_type == FileType::RegularFile && is_session_name {
            let file = SessionFile {
                name,
                uncompressed: uncompressed.as_deref(),
            };
            visit_session(dir.fd()?, &file, key, walk, wants, visit);
        }
    }
    for name in folders {
        let Some(text) = utf8_name(&name, key, walk) else {
            continue;
        };
        if depth == DEPTH_MAX {
            skip_unreadable(
                walk,
                key,
                text,
                format!("the folder has more than {DEPTH_MAX} parent folders; move it up"),
            );
            continue;
        }
        let length = key.len();
        key.push_str(text);
        key.push('/');
        if !wants(key) {
            walk.found += 1;
            key.truncate(length);
            continue;
        }
        let result = open_folder(dir.fd()?, name.as_c_str())
            .and_then(|folder| walk_folder(folder, depth + 1, key, walk, wants, visit));
        key.truncate(length);
        match result {
            // The folder disappeared after it was listed, or was replaced by a link. Treat it as
            // missing.
            Ok(()) | Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {}
            Err(errno) => {
                skip_unreadable(
                    walk,
                    key,
                    text,
                    format!("cannot read the folder ({errno}); check its permissions"),
                );
            }
        }
    }
    Ok(())
}

/// Whether a link is in a place where a session or a folder of sessions could be. Only the type of
/// its target is checked. A missing target counts, because it can be a folder on a disk that is not
/// mounted.
fn leads_to_sessions(folder: BorrowedFd<'_>, name: &CStr, is_session_name: bool) -> bool {
    match rustix::fs::statat(folder, name, AtFlags::NO_AUTOMOUNT) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => is_session_name,
            _ => false,
        },
        Err(_) => true,
    }
}

/// A file that the walker found.
struct SessionFile<'n> {
    name: &'n CStr,
    /// The name without the suffix of compressed sessions, if the file is one.
    uncompressed: Option<&'n CStr>,
}

fn visit_session(
    folder: BorrowedFd<'_>,
    file: &SessionFile<'_>,
    key: &mut String,
    walk: &mut WalkReport,
    wants: &mut impl FnMut(&str) -> bool,
    visit: &mut impl FnMut(&str, FileStat),
) {
    // Also if it is not a file: the key then leads to it.
    let is_hidden = file.uncompressed.is_some_and(|plain| {
        let stat = rustix::fs::statat(folder, plain, AtFlags::SYMLINK_NOFOLLOW);
        !matches!(stat, Err(Errno::NOENT))
    });
    if is_hidden {
        return;
    }
    let Some(text) = utf8_name(file.uncompressed.unwrap_or(file.name), key, walk) else {
        return;
    };
    let length = key.len();
    key.push_str(text);
    let is_wanted = wants(key);
    key.truncate(length);
    if !is_wanted {
        walk.found += 1;
        return;
    }
    match rustix::fs::statat(folder, file.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
            key.push_str(text);
            walk.found += 1;
            visit(key, FileStat::of(&stat, file.uncompressed.is_some()));
            key.truncate(length);
        }
        Ok(_) | Err(Errno::NOENT) => {}
        Err(errno) => skip_unreadable(
            walk,
            key,
            text,
            format!("cannot read the metadata of the file ({errno})"),
        ),
    }
}

fn utf8_name<'a>(name: &'a CStr, key: &str, walk: &mut WalkReport) -> Option<&'a str> {
    match name.to_str() {
        Ok(text) => Some(text),
        Err(_) => {
            // Keys below it would not be UTF-8, so no session below it was ever stored.
            walk.note(SkippedPath {
                path: crate::fault::printable(&format!("{key}{}", name.to_string_lossy())),
                reason: "the name is not UTF-8; rename it".to_owned(),
            });
            None
        }
    }
}

fn skip_unreadable(walk: &mut WalkReport, key: &str, name: &str, reason: String) {
    let note = SkippedPath {
        path: crate::fault::printable(&format!("{key}{name}")),
        reason,
    };
    if walk.is_complete {
        // The first note that makes the walk incomplete is always listed, before all others.
        walk.is_complete = false;
        walk.skipped.insert(0, note);
    } else {
        walk.note(note);
    }
}
