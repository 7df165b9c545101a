//! Who holds a data directory, read from its lock file.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::path::Path;

use session_pipeline_host::regular;

/// Who holds a data dir, as its lock file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process.
    pub pid: Option<u32>,
    /// Its address, where it is a server.
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
    /// Who holds a data dir now; `None` where nobody does, or nobody can tell.
    pub fn of(state_dir: &Path) -> Option<Self> {
        let file = regular::open(&state_dir.join("lock")).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(Self::read(&file)),
            // It is given back with the file.
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }

    pub(crate) fn read(file: &File) -> Self {
        let mut text = String::new();
        // Who it is only makes the message better.
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
