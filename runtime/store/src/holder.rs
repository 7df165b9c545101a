//! Identifies the process that has locked a data directory, from the lock file.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::path::Path;

use session_pipeline_host::regular;

/// The process that has locked a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process id.
    pub pid: Option<u32>,
    /// The URL, if the process is a server.
    pub url: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.pid, &self.url) {
            (Some(pid), Some(url)) => write!(f, "the server at {url} (process {pid})"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, _) => f.write_str("another process"),
        }
    }
}

impl Holder {
    /// The process that has locked the data directory. `None` if it is unlocked or the lock cannot
    /// be checked.
    pub fn current(state_dir: &Path) -> Option<Self> {
        let file = regular::open(&state_dir.join("lock")).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(Self::read(&file)),
            // Closing the file releases the lock.
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }

    pub(crate) fn read(file: &File) -> Self {
        let mut text = String::new();
        // Ignore errors. The holder only improves the error message.
        let _ = file.take(4096).read_to_string(&mut text);
        let mut lines = text.lines();
        let pid = lines.next().and_then(|pid| pid.parse().ok());
        let url = lines
            .next()
            .map(session_pipeline_host::fault::printable)
            .filter(|url| !url.is_empty());
        Self { pid, url }
    }
}
