//! Completes or removes what uploads left behind when the process died.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{UNFINISHED, accepts_uploads, append};
use crate::config::Config;

/// Maximum depth of folders below a user's folder. Uploads create no deeper ones.
const DEPTH_MAX: usize = 8;
const FOLDER_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Completes appends and removes unfinished uploads after a crash. Returns the number of hidden
/// files. Call it before the first upload.
///
/// # Errors
/// If a user's folder can't be read or a file can't be removed. All other files are removed anyway.
pub fn discard_unfinished(config: &Config) -> io::Result<u64> {
    if !accepts_uploads(config) {
        return Ok(0);
    }
    // The root can be a link, but the folders in it can't.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = match rustix::fs::open(&config.sessions_root, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(0),
        root => root?,
    };
    let mut cleanup = Cleanup::default();
    let visited = cleanup.visit(root, 0);
    cleanup.failed.map_or(visited, Err)?;
    Ok(cleanup.removed)
}

#[derive(Default)]
struct Cleanup {
    removed: u64,
    failed: Option<io::Error>,
}

impl Cleanup {
    /// Cleans a folder. Continues after errors in folders below it.
    fn visit(&mut self, folder: OwnedFd, depth: usize) -> io::Result<()> {
        let mut dir = Dir::new(folder)?;
        let (mut folders, mut files) = (Vec::new(), Vec::new());
        while let Some(entry) = dir.read() {
            let entry = entry?;
            let name = entry.file_name();
            let is_unfinished = name.to_bytes().starts_with(UNFINISHED.as_bytes());
            if !is_unfinished && name.to_bytes().starts_with(b".") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW);
                    stat.map_or(FileType::Unknown, |stat| {
                        FileType::from_raw_mode(stat.st_mode)
                    })
                }
                kind => kind,
            };
            match kind {
                // Uploads leave only files, so a hidden folder has another origin.
                FileType::Directory if !is_unfinished => folders.push(name.to_owned()),
                FileType::Directory => {}
                // Nothing is uploaded into the root itself.
                _ if is_unfinished && depth > 0 => files.push(name.to_owned()),
                _ => {}
            }
        }
        for name in files {
            let folder = dir.fd()?;
            let recovered = match name.to_str() {
                Ok(record) => append::recover(folder, record),
                Err(_) => Ok(false),
            };
            let removed = match recovered {
                Ok(true) => Ok(()),
                Ok(false) => rustix::fs::unlinkat(folder, name.as_c_str(), AtFlags::empty())
                    .map_err(io::Error::from),
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) => self.removed += 1,
                Err(error) => self.failed = Some(error),
            }
        }
        if depth > DEPTH_MAX {
            return Ok(());
        }
        for name in folders {
            let opened = rustix::fs::openat(dir.fd()?, &name, FOLDER_FLAGS, Mode::empty());
            let visited = match opened {
                Ok(folder) => self.visit(folder, depth + 1),
                // Removed meanwhile, or replaced by a link.
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => Ok(()),
                Err(errno) => Err(errno.into()),
            };
            if let Err(error) = visited {
                self.failed = Some(error);
            }
        }
        Ok(())
    }
}
