//! The lock on the data directory. It is acquired before the database is opened.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use session_pipeline_host::regular;

use crate::error::StoreError;
use crate::holder::Holder;

/// The lock, held for the lifetime of this value. The operating system releases it if the process
/// dies.
#[derive(Debug)]
pub(crate) struct DataDirLock {
    file: File,
    path: PathBuf,
}

impl DataDirLock {
    pub(crate) fn take(data_dir: &Path, state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join("lock");
        let io = |source| StoreError::Io {
            path: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = regular::open_with(options.mode(0o600), &path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    data_dir: data_dir.to_owned(),
                    holder: Holder::read(&file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let lock = Self { file, path };
        lock.write("")?;
        Ok(lock)
    }

    pub(crate) fn announce(&self, url: &str) -> Result<(), StoreError> {
        self.write(url)
    }

    /// Overwrites the content first and truncates afterwards, so that concurrent readers always
    /// find our process id.
    fn write(&self, url: &str) -> Result<(), StoreError> {
        let text = format!("{}\n{url}", std::process::id());
        let text = format!("{}\n", text.trim_end());
        let mut file = &self.file;
        file.rewind()
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.set_len(text.len() as u64))
            .map_err(|source| StoreError::Io {
                path: self.path.clone(),
                source,
            })
    }
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that another thread is starting has the
        // file open until it calls `exec`. If unlocking fails, the lock is released with the last
        // handle.
        let _ = self.file.unlock();
    }
}
