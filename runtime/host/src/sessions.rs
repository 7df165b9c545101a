//! The sessions on disk: the root folder and the one walker over it.
//!
//! Scan, health and listings all use this walker, so they can never disagree.
//! Everything below the root is hostile: no link is followed, neither here nor when a session is
//! opened, since every step goes through the descriptor of the folder before it.

mod ahead;

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use ahead::Found;

/// How deep folders may be nested: each level holds one descriptor open.
const DEPTH_MAX: usize = 64;

/// What the file system says of a file: equal observations mean an unchanged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change of content, in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Time of the last change of the inode; no program can set it.
    pub ctime_ns: i64,
}

impl Observed {
    fn of(stat: &rustix::fs::Stat) -> Self {
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
        }
    }
}

/// Something that a run passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = RunNote))]
pub struct Note {
    /// Its path below the sessions root.
    pub path: String,
    /// Why it was passed over, and what helps.
    pub reason: String,
}

/// Notes and links listed by a walk; the others are counted.
const LISTED_MAX: usize = 100;

/// What a walk came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// How many sessions were found.
    pub found: u64,
    /// What was passed over in a way that someone should know of, at most a hundred; one more says
    /// how many others there are.
    pub notes: Vec<Note>,
    /// Notes that are not listed.
    pub notes_left_out: u64,
    /// Linked folders and sessions, which are not followed.
    pub links: Links,
    /// Whether every folder could be read to its end. Where not, a session that was not seen may
    /// still be there.
    pub is_complete: bool,
}

/// Links below the root that would lead to sessions. The policy is not to follow them, as a link
/// may lead anywhere; but whoever set one expects its sessions to count, so each is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// How many there are.
    pub count: u64,
    /// Where, fit for a terminal; at most a hundred.
    pub paths: Vec<String>,
}

impl Links {
    fn add(&mut self, key: &str, name: &str) {
        self.count += 1;
        if self.paths.len() < LISTED_MAX {
            let path = crate::fault::printable(&format!("{key}{name}"));
            self.paths.push(path);
        }
    }

    /// How many are not listed.
    pub fn left_out(&self) -> u64 {
        self.count.saturating_sub(self.paths.len() as u64)
    }
}

impl Walk {
    /// Everything that was passed over, links included.
    pub fn all_notes(&self) -> Vec<Note> {
        let mut notes = self.notes.clone();
        let linked = |path: &String| Note {
            path: path.clone(),
            reason: "links are not followed, so no session behind it is processed; move its \
                     target here, or mount it in place of the link"
                .to_owned(),
        };
        notes.extend(self.links.paths.iter().map(linked));
        if let more @ 1.. = self.links.left_out() {
            notes.push(Note {
                path: "…".to_owned(),
                reason: format!("{more} more links are not followed"),
            });
        }
        notes
    }

    fn note(&mut self, note: Note) {
        if self.notes.len() < LISTED_MAX {
            self.notes.push(note);
        } else {
            self.notes_left_out += 1;
        }
    }

    /// Counts what is not listed.
    fn end(&mut self) {
        self.links.paths.sort_unstable();
        if self.notes_left_out > 0 {
            self.notes.push(Note {
                path: "…".to_owned(),
                reason: format!("{} more are passed over", self.notes_left_out),
            });
        }
    }
}

/// The root folder of the sessions, held open.
#[derive(Debug)]
pub struct SessionsRoot {
    path: PathBuf,
    folder: OwnedFd,
    opens: AtomicU64,
}

impl SessionsRoot {
    /// Opens the root; the root itself may be a link. `None` where there is none.
    ///
    /// # Errors
    /// When the root is there and can't be opened as a folder.
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

    /// Where the root lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open folder itself.
    pub fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// How many sessions were opened through this value so far.
    pub fn opens(&self) -> u64 {
        self.opens.load(Ordering::Relaxed)
    }

    /// Opens a session for reading without following any link and without waiting, say on a FIFO.
    ///
    /// # Errors
    /// When it is gone, is no regular file, or can't be opened.
    pub fn open_session(&self, key: &str) -> io::Result<(File, Observed)> {
        let mut components = key.split('/').peekable();
        let mut folder: Option<OwnedFd> = None;
        while let Some(component) = components.next() {
            let parent = folder
                .as_ref()
                .map_or_else(|| self.folder.as_fd(), AsFd::as_fd);
            if component.is_empty() || component == "." || component == ".." {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the session key is no plain path",
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
            let file = rustix::fs::openat(parent, component, flags, Mode::empty())?;
            let stat = rustix::fs::fstat(&file)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is no regular file",
                ));
            }
            self.opens.fetch_add(1, Ordering::Relaxed);
            return Ok((File::from(file), Observed::of(&stat)));
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the session key is empty",
        ))
    }

    /// Observes one session without opening it; `None` where it is gone or no regular file.
    pub fn observe(&self, key: &str) -> Option<Observed> {
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
        let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
            .then(|| Observed::of(&stat))
    }

    /// Calls `visit` for every session below the root, in the order of the file system.
    ///
    /// A session is a regular file `<user>/…/*.jsonl`; hidden files and folders, links, other files
    /// and files right in the root are passed over. Links that may lead to sessions are listed.
    ///
    /// # Errors
    /// When the root itself can't be read.
    pub fn walk(&self, visit: impl FnMut(&str, Observed)) -> io::Result<Walk> {
        self.walk_where(|_| true, visit)
    }

    /// As [`SessionsRoot::walk`], only for what is wanted by its key; the key of a folder ends with a
    /// slash. A session that is not wanted is counted and not looked at, a folder counts as one session.
    ///
    /// # Errors
    /// When the root itself can't be read.
    pub fn walk_where(
        &self,
        mut wants: impl FnMut(&str) -> bool,
        mut visit: impl FnMut(&str, Observed),
    ) -> io::Result<Walk> {
        let mut walk = Walk {
            is_complete: true,
            ..Walk::default()
        };
        let mut key = String::with_capacity(256);
        // A descriptor of its own: reading moves the position within the folder.
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

/// Whether the walker could give this key: `<user>/…/*.jsonl`, nothing of it hidden.
pub fn is_key(key: &str) -> bool {
    let mut components = key.split('/');
    key.ends_with(".jsonl")
        && key.contains('/')
        && components.all(|component| !component.is_empty() && !component.starts_with('.'))
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
    walk: &mut Walk,
    wants: &mut impl FnMut(&str) -> bool,
    visit: &mut impl FnMut(&str, Observed),
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
        let is_session_name = depth > 0 && name.to_bytes().ends_with(b".jsonl");
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
            visit_session(dir.fd()?, name, key, walk, wants, visit);
        }
    }
    for name in folders {
        let Some(text) = utf8_name(&name, key, walk) else {
            continue;
        };
        if depth == DEPTH_MAX {
            pass_over(
                walk,
                key,
                text,
                format!("it is nested more than {DEPTH_MAX} folders deep; move it up"),
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
            // Gone since it was listed, or swapped for a link: as if it had not been there.
            Ok(()) | Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {}
            Err(errno) => {
                pass_over(
                    walk,
                    key,
                    text,
                    format!("the folder can't be read ({errno}); check its permissions"),
                );
            }
        }
    }
    Ok(())
}

/// Whether a link stands where a session or a folder of sessions could. Its target is only asked
/// what it is. One that is gone may have been a folder, say of a disk that is not mounted.
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

fn visit_session(
    folder: BorrowedFd<'_>,
    name: &CStr,
    key: &mut String,
    walk: &mut Walk,
    wants: &mut impl FnMut(&str) -> bool,
    visit: &mut impl FnMut(&str, Observed),
) {
    let Some(text) = utf8_name(name, key, walk) else {
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
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
            key.push_str(text);
            walk.found += 1;
            visit(key, Observed::of(&stat));
            key.truncate(length);
        }
        Ok(_) | Err(Errno::NOENT) => {}
        Err(errno) => pass_over(
            walk,
            key,
            text,
            format!("the file can't be observed ({errno})"),
        ),
    }
}

fn utf8_name<'a>(name: &'a CStr, key: &str, walk: &mut Walk) -> Option<&'a str> {
    match name.to_str() {
        Ok(text) => Some(text),
        Err(_) => {
            // Its keys could not be written down, so nothing below it can be known: it never was.
            walk.note(Note {
                path: crate::fault::printable(&format!("{key}{}", name.to_string_lossy())),
                reason: "its name is not UTF-8; rename it".to_owned(),
            });
            None
        }
    }
}

fn pass_over(walk: &mut Walk, key: &str, name: &str, reason: String) {
    let note = Note {
        path: crate::fault::printable(&format!("{key}{name}")),
        reason,
    };
    if walk.is_complete {
        // The first that makes the walk incomplete is always listed, and before all others.
        walk.is_complete = false;
        walk.notes.insert(0, note);
    } else {
        walk.note(note);
    }
}
