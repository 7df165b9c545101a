//! Finds the files to send. Links below a root are not followed, and special files are not opened.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use globset::GlobSet;
use serde::{Deserialize, Serialize};

use crate::compressed::plain_name;
use crate::roots::Root;

/// Deeper folders are not visited. The server accepts paths of 8 components.
const DEPTH_MAX: usize = 7;
/// Maximum number of paths that a walk lists as skipped.
const SKIPPED_MAX: usize = 20;

/// The metadata of a file. If it is equal, the file is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalStat {
    /// Length in bytes.
    pub size: u64,
    /// The number of the inode.
    pub inode: u64,
    /// Time of the last content change, in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Time of the last inode change, in nanoseconds since the epoch.
    pub ctime_ns: i64,
}

impl LocalStat {
    /// The metadata of an open file.
    pub fn of(metadata: &fs::Metadata) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            size: metadata.len(),
            inode: metadata.ino(),
            mtime_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A file to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    /// The path on the server.
    pub path: String,
    /// The local path.
    pub local: PathBuf,
    /// Whether the local file is compressed. The path on the server is that of the plain file.
    pub is_compressed: bool,
    /// The metadata when it was found.
    pub stat: LocalStat,
}

/// The result of a walk.
#[derive(Debug, Default)]
pub struct Walk {
    /// The files, in order of their paths.
    pub files: Vec<LocalFile>,
    /// Paths that were skipped, with reasons. At most 20.
    pub skipped: Vec<String>,
    /// Whether every folder could be read.
    pub is_complete: bool,
}

/// Finds the files below all roots. A root that does not exist has none.
pub fn walk(roots: &[Root], exclude: &GlobSet) -> Walk {
    let mut walk = Walk {
        is_complete: true,
        ..Walk::default()
    };
    for root in roots {
        walk.folder(&root.folder, &root.name, "", 0, exclude);
    }
    walk.files.sort_by(|a, b| a.path.cmp(&b.path));
    walk
}

impl Walk {
    fn skip(&mut self, path: &Path, reason: &str) {
        if self.skipped.len() < SKIPPED_MAX {
            let path = path.display().to_string();
            self.skipped
                .push(format!("`{}`: {reason}", path.escape_debug()));
        }
    }

    /// `server` is the path on the server, and `below` the path below the root, for patterns.
    fn folder(
        &mut self,
        folder: &Path,
        server: &str,
        below: &str,
        depth: usize,
        exclude: &GlobSet,
    ) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.is_complete = false;
                return self.skip(folder, &format!("cannot read the folder ({error})"));
            }
        };
        for entry in entries {
            let Ok(entry) = entry else {
                self.is_complete = false;
                continue;
            };
            let path = entry.path();
            // The kind of the entry itself, not of the target of a link.
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                if kind.is_dir() {
                    self.skip(&path, "the name is not UTF-8");
                }
                continue;
            };
            let plain = plain_name(name);
            let is_session = plain.is_some()
                || name.ends_with(".jsonl")
                || name.ends_with(".meta.json")
                // Older versions of Gemini CLI store a session as one document. The server accepts
                // the same files: `is_key` in the crate `host`, which this program does not use.
                || (name.ends_with(".json") && server.split('/').any(|folder| folder == "chats"));
            if name.starts_with('.') || !(kind.is_dir() || (kind.is_file() && is_session)) {
                continue;
            }
            let below = match below {
                "" => name.to_owned(),
                below => format!("{below}/{name}"),
            };
            // A pattern for a session applies to it also after its agent has compressed it.
            let is_excluded = |path: &str| exclude.is_match(path);
            if is_excluded(&below) || plain_name(&below).is_some_and(is_excluded) {
                continue;
            }
            // An agent that continues a session decompresses it first.
            if plain.is_some_and(|plain| folder.join(plain).symlink_metadata().is_ok()) {
                continue;
            }
            let server = match plain.filter(|_| kind.is_file()) {
                Some(plain) => format!("{server}/{plain}"),
                None => format!("{server}/{name}"),
            };
            if kind.is_dir() {
                match depth {
                    DEPTH_MAX.. => self.skip(&path, "it is in too many folders"),
                    _ => self.folder(&path, &server, &below, depth + 1, exclude),
                }
                continue;
            }
            // A file that vanishes meanwhile is skipped.
            if let Ok(metadata) = entry.metadata() {
                self.files.push(LocalFile {
                    path: server,
                    local: path,
                    is_compressed: plain.is_some(),
                    stat: LocalStat::of(&metadata),
                });
            }
        }
    }
}

/// Opens a file for reading. Does not follow a link, and does not block on a special file. `None` if
/// the file is gone or is not a regular file.
///
/// # Errors
/// The file cannot be opened.
pub fn open(path: &Path) -> io::Result<Option<(File, LocalStat)>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            // A link in place of the file, or a special file without another end.
            let is_other = [rustix::io::Errno::LOOP, rustix::io::Errno::NXIO]
                .iter()
                .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
            return if is_other { Ok(None) } else { Err(error) };
        }
    };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then(|| (file, LocalStat::of(&metadata))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use globset::{Glob, GlobSetBuilder};

    use super::*;

    #[test]
    fn only_regular_files_with_sessions_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in [
            "p/s1.jsonl",
            "p/s1/subagents/agent-a.jsonl",
            "p/s1/subagents/agent-a.meta.json",
            "p/notes.txt",
            "p/.hidden.jsonl",
            "p/both.jsonl",
            "p/both.jsonl.zst",
            "p/idle.jsonl.zst",
            "p/idle.json.zst",
            "private/s2.jsonl",
            "p/secret.jsonl.zst",
            "1/2/3/4/5/6/7/8/deep.jsonl",
        ] {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), "{}\n").unwrap();
        }
        symlink(at("private"), at("p/link")).unwrap();
        symlink(at("private/s2.jsonl"), at("p/link.jsonl")).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("p/fifo.jsonl"), fifo, mode, 0).unwrap();
        let root = Root {
            name: "claude".to_owned(),
            folder: dir.path().to_owned(),
        };
        let missing = Root {
            name: "codex".to_owned(),
            folder: at("missing"),
        };
        let exclude = GlobSetBuilder::new()
            .add(Glob::new("private/**").unwrap())
            .add(Glob::new("**/secret.jsonl").unwrap())
            .build()
            .unwrap();
        let walk = walk(&[root, missing], &exclude);
        let paths: Vec<&str> = walk.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "claude/p/both.jsonl",
                "claude/p/idle.jsonl",
                "claude/p/s1.jsonl",
                "claude/p/s1/subagents/agent-a.jsonl",
                "claude/p/s1/subagents/agent-a.meta.json",
            ]
        );
        let is_compressed = |file: &LocalFile| file.path == "claude/p/idle.jsonl";
        for file in &walk.files {
            assert_eq!(file.is_compressed, is_compressed(file), "{}", file.path);
        }
        assert!(walk.is_complete);
        assert_eq!(walk.skipped.len(), 1, "{:?}", walk.skipped);
        for odd in ["p/link.jsonl", "p/fifo.jsonl", "p/gone.jsonl"] {
            assert!(open(&at(odd)).unwrap().is_none(), "{odd}");
        }
        assert!(open(&at("p/s1.jsonl")).unwrap().is_some());
    }
}
