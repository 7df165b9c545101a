//! Upload quotas per user, so that one user cannot fill the disk.
//!
//! A user's folder is counted once and then tracked. It is counted again before an upload is
//! rejected, to include files that an operator added or removed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use session_pipeline_host::clock::UtcMicros;

use crate::config::ServiceConfig;
use crate::upload::{UNFINISHED, UploadError};

/// Minimum time between two counts of a folder, however many uploads are rejected.
const COUNTED_EVERY: Duration = Duration::from_secs(60);
/// Free space is checked again after this many bytes of an upload.
const SPACE_CHECKED_EVERY: u64 = 1 << 20;

/// The usage of all users, shared by all uploads of the process.
#[derive(Debug, Default)]
pub struct UploadQuotas {
    users: Mutex<HashMap<String, Arc<Mutex<UserUsage>>>>,
}

/// The usage of one user, including uploads in progress.
#[derive(Debug, Default)]
struct UserUsage {
    bytes: u64,
    files: u64,
    pending_bytes: u64,
    pending_files: u64,
    counted_at: Option<UtcMicros>,
}

/// The quota of one user, and the free space to leave.
#[derive(Clone, Copy, Debug)]
struct Quota {
    bytes_max: u64,
    files_max: u64,
    free_space_min: u64,
}

impl Quota {
    fn of(config: &ServiceConfig) -> Self {
        Self {
            bytes_max: config.user_bytes_max,
            files_max: config.user_files_max,
            free_space_min: config.free_space_min,
        }
    }
}

/// The part of a user's quota that one upload uses. Returned on drop.
#[derive(Debug)]
pub(super) struct Share {
    usage: Arc<Mutex<UserUsage>>,
    quota: Quota,
    folder: PathBuf,
    bytes: u64,
    /// Number of bytes that the upload replaces. `None`: its file is new.
    replaces: Option<u64>,
    space_checked_at: u64,
    /// Whether its file is counted as pending.
    has_begun: bool,
}

impl UploadQuotas {
    /// Reserves quota for an upload to a file in the user's folder. `replaces` is the size of the
    /// bytes that it replaces: 0 if it is appended to a file, `None` if the file is new.
    pub(super) fn share(
        &self,
        config: &ServiceConfig,
        folder: &Path,
        replaces: Option<u64>,
        now: UtcMicros,
    ) -> Result<Share, UploadError> {
        let usage = {
            let mut users = lock(&self.users);
            let user = folder.to_string_lossy().into_owned();
            Arc::clone(users.entry(user).or_default())
        };
        let mut share = Share {
            usage,
            quota: Quota::of(config),
            folder: folder.to_owned(),
            bytes: 0,
            replaces,
            space_checked_at: 0,
            has_begun: false,
        };
        share.check_space()?;
        let usage = Arc::clone(&share.usage);
        let mut usage = lock(&usage);
        let is_recent = |at: UtcMicros| now < at.plus(COUNTED_EVERY);
        let is_first = usage.counted_at.is_none();
        if is_first {
            usage.count(folder, now).map_err(UploadError::Io)?;
        }
        let mut checked = share.check(&usage, 0);
        if checked.is_err() && !usage.counted_at.is_some_and(is_recent) {
            usage.count(folder, now).map_err(UploadError::Io)?;
            checked = share.check(&usage, 0);
        }
        checked?;
        usage.pending_files += share.new_files();
        share.has_begun = true;
        drop(usage);
        Ok(share)
    }
}

impl Share {
    /// Reserves quota for further bytes, before they are written.
    pub(super) fn add(&mut self, bytes: u64) -> Result<(), UploadError> {
        if self.bytes - self.space_checked_at >= SPACE_CHECKED_EVERY {
            self.check_space()?;
        }
        let usage = Arc::clone(&self.usage);
        let mut usage = lock(&usage);
        self.check(&usage, bytes)?;
        usage.pending_bytes += bytes;
        self.bytes += bytes;
        Ok(())
    }

    /// Returns quota for bytes that are not stored after all.
    pub(super) fn release(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        let mut usage = lock(&self.usage);
        usage.pending_bytes = usage.pending_bytes.saturating_sub(bytes);
    }

    /// Counts the finished upload.
    pub(super) fn keep(&self) {
        let mut usage = lock(&self.usage);
        usage.bytes = usage
            .bytes
            .saturating_sub(self.replaces.unwrap_or(0))
            .saturating_add(self.bytes);
        usage.files += self.new_files();
    }

    fn check(&self, usage: &UserUsage, more: u64) -> Result<(), UploadError> {
        let bytes = usage.bytes + usage.pending_bytes + more;
        let bytes_max = self.quota.bytes_max;
        if bytes > bytes_max.saturating_add(self.replaces.unwrap_or(0)) {
            return Err(UploadError::QuotaBytes(bytes_max));
        }
        let files = usage.files + usage.pending_files;
        let files_max = self.quota.files_max;
        if !self.has_begun && files + self.new_files() > files_max {
            return Err(UploadError::QuotaFiles(files_max));
        }
        Ok(())
    }

    fn new_files(&self) -> u64 {
        u64::from(self.replaces.is_none())
    }

    fn check_space(&mut self) -> Result<(), UploadError> {
        self.space_checked_at = self.bytes;
        let free_min = self.quota.free_space_min;
        if free_min == 0 {
            return Ok(());
        }
        let stat =
            rustix::fs::statvfs(&self.folder).map_err(|errno| UploadError::Io(errno.into()))?;
        if stat.f_bavail.saturating_mul(stat.f_frsize) < free_min {
            return Err(UploadError::Space(free_min));
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.has_begun {
            return;
        }
        let mut usage = lock(&self.usage);
        usage.pending_bytes = usage.pending_bytes.saturating_sub(self.bytes);
        usage.pending_files = usage.pending_files.saturating_sub(self.new_files());
    }
}

impl UserUsage {
    fn count(&mut self, folder: &Path, now: UtcMicros) -> io::Result<()> {
        let (mut bytes, mut files) = (0_u64, 0_u64);
        let mut folders = vec![folder.to_owned()];
        while let Some(below) = folders.pop() {
            let entries = match fs::read_dir(&below) {
                // A subfolder that can't be read contains no sessions, or was removed meanwhile.
                Err(_) if below != folder => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file()
                    && !entry.file_name().to_string_lossy().starts_with(UNFINISHED)
                {
                    // A file that was removed meanwhile has no size.
                    bytes = bytes.saturating_add(length_of(&entry.path()).unwrap_or(0));
                    files += 1;
                }
            }
        }
        (self.bytes, self.files, self.counted_at) = (bytes, files, Some(now));
        Ok(())
    }
}

pub(super) fn length_of(path: &Path) -> Option<u64> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
