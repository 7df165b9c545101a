//! What was sent: a journal with one line per change, in a folder that one process at a time uses.
//!
//! If the journal is lost or old, nothing is sent twice: the server reports what it has.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::ends::FileEnds;
use crate::hash::{HashState, Hex};
use crate::kill_point::kill_point;
use crate::walk::LocalStat;

const JOURNAL: &str = "files.jsonl";
const LOCK: &str = "lock";
const WAITING: &str = "waiting";
const STATUS: &str = "status.json";
/// The journal is rewritten when it has this many lines more than twice the number of files.
const SUPERSEDED_MAX: usize = 200;
/// Pause between two attempts to get the lock.
const LOCK_CHECKED_EVERY: Duration = Duration::from_millis(100);

/// What was sent of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The path on the server.
    pub path: String,
    /// The file when everything was sent. `None`: more has to be sent, or the file changed just
    /// before it was read.
    pub clean: Option<LocalStat>,
    /// Number of bytes of the local file that were sent.
    pub read: u64,
    /// The hash of these bytes.
    pub read_sha256: Hex,
    /// The ends of these bytes. `None`: all of them have to be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<FileEnds>,
    /// Number of bytes that the server got for them.
    pub sent: u64,
    /// The hash of the bytes that the server got.
    pub sent_state: HashState,
    /// The version of the redaction rules. `None`: nothing was redacted.
    pub rules: Option<i64>,
    /// Why the server does not accept the file in its current form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwanted: Option<String>,
}

/// The result of the last attempts, for `doctor`. Times are seconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// When the last attempt started.
    pub attempted_at: u64,
    /// When the last attempt sent everything.
    pub succeeded_at: u64,
    /// When all files were last compared with the server.
    pub compared_at: u64,
    /// When an agent last called the hook.
    pub hooked_at: u64,
    /// What was wrong with the last call of the hook.
    pub hook_note: Option<String>,
    /// Why the last attempt stopped.
    pub error: Option<String>,
    /// The number of files that could not be sent yet.
    pub pending_files: u64,
    /// The size of the parts of these files that were not sent, in bytes.
    pub pending_bytes: u64,
    /// Files that the server does not accept, with reasons. At most 20.
    pub unwanted: Vec<String>,
    /// Paths that were skipped, with reasons. At most 20.
    pub skipped: Vec<String>,
}

/// The records of one server and token.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    journal: File,
    records: Records,
    lines: usize,
    /// Locked as long as the process uses the state.
    _lock: File,
}

/// How long to wait for another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Do not wait.
    No,
    /// Wait, unless a third process is waiting already. That one will send everything.
    Until(Duration),
}

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process uses it.
    #[error("another `session-pipeline-push` is sending to this server (`{0}` is locked)")]
    Busy(String),
    /// Another process waits for it, and will do the same.
    #[error("another `session-pipeline-push` is about to send everything")]
    Waiting,
    /// The disk fails.
    #[error("cannot use the state in `{path}`; check its permissions and free space")]
    Io {
        /// The folder.
        path: String,
        /// The error.
        #[source]
        source: io::Error,
    },
}

impl State {
    /// Opens the state in a folder, and creates it if necessary.
    ///
    /// # Errors
    /// Another process uses it, or the disk fails.
    pub fn open(folder: &Path, wait: Wait) -> Result<Self, StateError> {
        let failed = |source| StateError::Io {
            path: folder.display().to_string(),
            source,
        };
        create_private_folder(folder).map_err(failed)?;
        let lock = lock(folder, wait)?;
        kill_point("state locked");
        let records = read(&folder.join(JOURNAL)).map_err(failed)?;
        let (records, lines) = records;
        let mut state = Self {
            journal: append_to(&folder.join(JOURNAL)).map_err(failed)?,
            folder: folder.to_owned(),
            lines,
            records,
            _lock: lock,
        };
        // Also ends a line that a dying process has not completed.
        state.compact_if(|_| false).map_err(failed)?;
        Ok(state)
    }

    /// What was sent of all files.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// What was sent of a file.
    pub fn get(&self, path: &str) -> Option<&FileRecord> {
        self.records.get(path)
    }

    /// Records what was sent of a file.
    ///
    /// # Errors
    /// The disk fails.
    pub fn put(&mut self, record: FileRecord) -> io::Result<()> {
        let line = serde_json::to_string(&record)? + "\n";
        // Two writes, so that a test can kill the process between them.
        let halves = line.as_bytes().split_at_checked(line.len() / 2);
        let (first, rest) = halves.unwrap_or((line.as_bytes(), b""));
        self.journal.write_all(first)?;
        kill_point("record half written");
        self.journal.write_all(rest)?;
        kill_point("record written");
        self.lines += 1;
        self.records.insert(record.path.clone(), record);
        Ok(())
    }

    /// Forgets files that are gone, once the journal is long.
    ///
    /// # Errors
    /// The disk fails.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) -> io::Result<()> {
        self.compact_if(|path| !is_there(path))
    }

    fn compact_if(&mut self, is_gone: impl Fn(&str) -> bool) -> io::Result<()> {
        if self.lines <= 2 * self.records.len() + SUPERSEDED_MAX {
            return Ok(());
        }
        self.records.retain(|path, _| !is_gone(path));
        let mut text = Vec::new();
        for record in self.records.values() {
            serde_json::to_writer(&mut text, record)?;
            text.push(b'\n');
        }
        let journal = self.folder.join(JOURNAL);
        write_private(&journal, &text)?;
        self.journal = append_to(&journal)?;
        self.lines = self.records.len();
        Ok(())
    }
}

/// What was sent, by path.
pub type Records = HashMap<String, FileRecord>;

/// Reads what was sent, even while another process uses the state.
///
/// # Errors
/// The file cannot be read.
pub fn records(folder: &Path) -> io::Result<Records> {
    read(&folder.join(JOURNAL)).map(|(records, _)| records)
}

/// Reads the status of a state. The default if there is none, or if it is damaged.
pub fn status(folder: &Path) -> Status {
    let text = fs::read(folder.join(STATUS)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Changes the status of a state. Failures are ignored, because the status is only for people.
pub fn update_status(folder: &Path, update: impl FnOnce(&mut Status)) {
    let mut status = status(folder);
    update(&mut status);
    if let Ok(text) = serde_json::to_vec(&status) {
        let _ = write_private(&folder.join(STATUS), &text);
        kill_point("status updated");
    }
}

/// Creates a folder that only its owner can read.
///
/// # Errors
/// The disk fails.
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// Replaces a file that only its owner can read, so that readers see the old or the new content.
///
/// # Errors
/// The disk fails.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    // A file of a dead process with the same id can have other permissions.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .inspect(|()| kill_point("before rename"))
        .and_then(|()| fs::rename(&new, path))
        .inspect(|()| kill_point("after rename"));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

fn append_to(path: &Path) -> io::Result<File> {
    let options = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path);
    let mut file = options?;
    // An incomplete last line would damage the next one. An empty line is ignored.
    if file.metadata()?.len() > 0 {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// The path of a record, without the rest.
#[derive(Deserialize)]
struct RecordPath {
    path: String,
}

fn read(path: &Path) -> io::Result<(Records, usize)> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(<_>::default()),
        Err(error) => return Err(error),
    };
    // The last line of each file. Most lines are superseded, so only their paths are parsed.
    let (mut last_lines, mut lines) = (HashMap::new(), 0);
    for line in BufReader::new(file).split(b'\n') {
        lines += 1;
        let line = line?;
        if let Ok(RecordPath { path }) = serde_json::from_slice(&line) {
            last_lines.insert(path, line);
        }
    }
    let records = last_lines.into_iter().filter_map(|(path, line)| {
        let record = serde_json::from_slice::<FileRecord>(&line).ok()?;
        Some((path, record))
    });
    Ok((records.collect(), lines))
}

/// Locks a state. A process that waits holds a second lock, so that at most one waits.
fn lock(folder: &Path, wait: Wait) -> Result<File, StateError> {
    let path = folder.join(LOCK);
    let open = |path: &Path| {
        let options = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path);
        options.map_err(|source| StateError::Io {
            path: path.display().to_string(),
            source,
        })
    };
    let try_lock =
        |file: &File| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    let lock = open(&path)?;
    if try_lock(&lock) {
        return Ok(lock);
    }
    let busy = || StateError::Busy(path.display().to_string());
    let Wait::Until(time_max) = wait else {
        return Err(busy());
    };
    let waiting = open(&folder.join(WAITING))?;
    if !try_lock(&waiting) {
        return Err(StateError::Waiting);
    }
    let mut waited = Duration::ZERO;
    while waited < time_max {
        std::thread::sleep(LOCK_CHECKED_EVERY);
        waited += LOCK_CHECKED_EVERY;
        if try_lock(&lock) {
            return Ok(lock);
        }
    }
    Err(busy())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn record(path: &str, sent: u64) -> FileRecord {
        FileRecord {
            path: path.to_owned(),
            clean: None,
            read: sent,
            read_sha256: Hex("00".to_owned()),
            ends: None,
            sent,
            sent_state: HashState::default(),
            rules: None,
            unwanted: None,
        }
    }

    #[test]
    fn records_survive_a_restart_and_an_incomplete_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        let mut state = State::open(&folder, Wait::No).unwrap();
        state.put(record("a", 1)).unwrap();
        state.put(record("b\n\u{1b}", 2)).unwrap();
        state.put(record("a", 3)).unwrap();
        drop(state);
        let journal = folder.join(JOURNAL);
        let mut file = OpenOptions::new().append(true).open(&journal).unwrap();
        file.write_all(b"{\"path\":\"a\",\"sent\":9").unwrap();
        let mut state = State::open(&folder, Wait::No).unwrap();
        assert_eq!(state.get("a").unwrap().sent, 3);
        assert_eq!(state.get("b\n\u{1b}").unwrap().sent, 2);
        state.put(record("c", 4)).unwrap();
        drop(state);
        let state = State::open(&folder, Wait::No).unwrap();
        assert_eq!(state.get("c").unwrap().sent, 4);
        let mode = fs::metadata(&journal).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_long_journal_is_rewritten_without_files_that_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::open(dir.path(), Wait::No).unwrap();
        state.put(record("gone", 1)).unwrap();
        for sent in 0..2000 {
            state.put(record("a", sent)).unwrap();
        }
        state.retain(|path| path != "gone").unwrap();
        assert_eq!(state.lines, 1);
        state.put(record("b", 5)).unwrap();
        drop(state);
        let state = State::open(dir.path(), Wait::No).unwrap();
        assert_eq!(state.get("a").unwrap().sent, 1999);
        assert_eq!(state.get("b").unwrap().sent, 5);
        assert!(state.get("gone").is_none());
    }

    #[test]
    fn one_process_uses_a_state_and_one_waits() {
        let dir = tempfile::tempdir().unwrap();
        let first = State::open(dir.path(), Wait::No).unwrap();
        assert!(matches!(
            State::open(dir.path(), Wait::No),
            Err(StateError::Busy(_))
        ));
        let folder = dir.path().to_owned();
        let second = std::thread::spawn(move || {
            State::open(&folder, Wait::Until(Duration::from_secs(60))).map(|_| ())
        });
        let waiting = File::create(dir.path().join(WAITING)).unwrap();
        while rustix::fs::flock(&waiting, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = rustix::fs::flock(&waiting, FlockOperation::Unlock);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(
            State::open(dir.path(), Wait::Until(Duration::from_secs(60))),
            Err(StateError::Waiting)
        ));
        drop(first);
        second.join().unwrap().unwrap();
    }
}
