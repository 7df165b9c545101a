//! The place of an uploaded file: its folder, opened without following links, and the files in it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{UNFINISHED, UploadError, UploadPath};

const FOLDER_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What identifies one version of a file. If it is equal, the bytes are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileVersion {
    pub(super) size: u64,
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

/// Whether a file has other names, which a change in place would change too: backups can be made of
/// hard links.
pub(super) fn has_other_names(file: &File) -> io::Result<bool> {
    Ok(rustix::fs::fstat(file)?.st_nlink > 1)
}

impl FileVersion {
    #[expect(
        clippy::unnecessary_cast,
        reason = "the fields have other types on other platforms"
    )]
    fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::fstat(file)?))
    }
}

/// An open folder, and the name of the file in it.
#[derive(Debug)]
pub(super) struct Place {
    /// The folder of the file, and before it the folders that were created for it, with the parent
    /// and the name of each.
    folder: OwnedFd,
    created: Vec<(OwnedFd, String)>,
    name: String,
    /// The path, for errors.
    path: String,
    is_used: bool,
}

impl Place {
    /// Opens the folder of a path below a user's folder. `None` if it does not exist.
    pub(super) fn find(user_folder: &Path, path: &UploadPath) -> Result<Option<Self>, UploadError> {
        Self::open(user_folder, path, false)
    }

    /// Opens the folder of a path, and creates it if necessary. Folders that were created are
    /// removed on drop unless a file was put there.
    pub(super) fn create(user_folder: &Path, path: &UploadPath) -> Result<Self, UploadError> {
        Self::open(user_folder, path, true)?.ok_or(UploadError::Removed)
    }

    fn open(
        user_folder: &Path,
        path: &UploadPath,
        creates: bool,
    ) -> Result<Option<Self>, UploadError> {
        let (folders, name) = path.split();
        let mut folder = match rustix::fs::open(user_folder, FOLDER_FLAGS, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(UploadError::of(errno.into(), path.as_str())),
        };
        let mut created = Vec::new();
        for component in folders {
            let mut opened = rustix::fs::openat(&folder, component, FOLDER_FLAGS, Mode::empty());
            if matches!(opened, Err(Errno::NOENT)) {
                if !creates {
                    return Ok(None);
                }
                match rustix::fs::mkdirat(&folder, component, Mode::from_raw_mode(0o777)) {
                    Ok(()) => {
                        let parent = folder.try_clone().map_err(UploadError::Io)?;
                        created.push((parent, component.to_owned()));
                    }
                    // Another upload has created it.
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(UploadError::of(errno.into(), path.as_str())),
                }
                opened = rustix::fs::openat(&folder, component, FOLDER_FLAGS, Mode::empty());
            }
            folder = opened.map_err(|errno| match errno {
                Errno::NOTDIR | Errno::LOOP => UploadError::NotAFolder(format!(
                    "{component}` in the path `{path}`, below `user_sessions"
                )),
                errno => UploadError::of(errno.into(), path.as_str()),
            })?;
        }
        Ok(Some(Self {
            folder,
            created,
            name: name.to_owned(),
            path: path.as_str().to_owned(),
            is_used: false,
        }))
    }

    /// Opens the file for reading and writing. `None` if it does not exist.
    ///
    /// # Errors
    /// Something else is in its place, or it cannot be opened.
    pub(super) fn open_file(&self) -> Result<Option<File>, UploadError> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // A special file is not even opened, because opening some has an effect.
        match rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {}
                FileType::Directory => return Err(UploadError::Folder(self.path.clone())),
                _ => return Err(UploadError::NotAFile(self.path.clone())),
            },
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed(errno)),
        }
        match rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => Err(UploadError::NotAFile(self.path.clone())),
            Err(errno) => Err(self.failed(errno)),
        }
    }

    /// Creates a hidden file next to the target.
    pub(super) fn stage(&self) -> Result<(File, String), UploadError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{UNFINISHED}{}-{number}", std::process::id());
            let mode = Mode::RUSR | Mode::WUSR;
            match rustix::fs::openat(&self.folder, &name, flags, mode) {
                Ok(file) => return Ok((File::from(file), name)),
                // A file of an earlier process with the same id.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(self.failed(errno)),
            }
        }
    }

    /// Renames a file in the folder.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), UploadError> {
        rustix::fs::renameat(&self.folder, from, &self.folder, to)
            .map_err(|errno| self.failed(errno))
    }

    /// Moves a file to the target.
    pub(super) fn put(&mut self, staged: &str) -> Result<(), UploadError> {
        self.rename(staged, &self.name)?;
        self.is_used = true;
        Ok(())
    }

    /// Removes a file in the folder, if it exists.
    pub(super) fn remove(&self, name: &str) {
        // The next start of the server removes what is left.
        let _ = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty());
    }

    /// Makes the entries of the folder, and of those that were created, durable.
    pub(super) fn sync(&self) -> Result<(), UploadError> {
        let parents = self.created.iter().map(|(parent, _)| parent.as_fd());
        for folder in parents.chain([self.folder.as_fd()]) {
            rustix::fs::fsync(folder).map_err(|errno| self.failed(errno))?;
        }
        Ok(())
    }

    /// The open folder.
    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// The name of the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn failed(&self, errno: Errno) -> UploadError {
        UploadError::of(errno.into(), &self.path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_used {
            return;
        }
        for (parent, name) in self.created.iter().rev() {
            // Fails if another upload uses the folder.
            let _ = rustix::fs::unlinkat(parent, name.as_str(), AtFlags::REMOVEDIR);
        }
    }
}
