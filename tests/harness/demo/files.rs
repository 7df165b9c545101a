//! Writes the data directory.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::DemoFiles;
use super::recorder::Recording;

/// The configuration of a demo.
pub const CONFIG: &str = "\
# The configuration of this demo.

# Two sessions of a program that polled a build for a whole night have more rows than this.
# They fail and end in quarantine. Remove these two lines, then release the sessions.
[processors.usage.limits]
rows_max = 4000
";

/// A data directory.
#[derive(Debug)]
pub(super) struct Folder {
    sessions_root: PathBuf,
    written: DemoFiles,
}

impl Folder {
    pub(super) fn create(data_dir: &Path) -> io::Result<Self> {
        let sessions_root = data_dir.join("user_sessions");
        fs::create_dir_all(&sessions_root)?;
        fs::write(data_dir.join("config.toml"), CONFIG)?;
        Ok(Self {
            sessions_root,
            written: DemoFiles::default(),
        })
    }

    /// Writes a session.
    pub(super) fn write(&mut self, recording: &Recording) -> io::Result<()> {
        let path = self.sessions_root.join(&recording.key);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&path)?;
        file.write_all(&recording.bytes)?;
        let micros = u64::try_from(recording.ended_at.0).unwrap_or(0);
        let ended_at = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
        file.set_times(FileTimes::new().set_modified(ended_at))?;
        self.written.sessions += 1;
        self.written.subagents += u64::from(recording.is_subagent);
        self.written.bytes += recording.bytes.len() as u64;
        Ok(())
    }

    /// What was written so far.
    pub(super) fn written(&self) -> DemoFiles {
        self.written
    }
}
