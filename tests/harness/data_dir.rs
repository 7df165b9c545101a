//! Temporary data directories, and operations on their files.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use session_pipeline_host::clock::{Clock, UtcMicros};
#[cfg(feature = "pipeline")]
use session_pipeline_pipeline::config::Config;
use tempfile::TempDir;

use crate::clock::TestClock;
#[cfg(feature = "pipeline")]
use crate::compiled;

/// The age of a written file. It is old enough that a scan trusts its times.
const QUIET: Duration = Duration::from_secs(60);

/// A temporary data directory with a clock.
///
/// It is deleted when it is dropped. If the test panics or `KEEP_TEST_DIRS=1` is set, it is not
/// deleted and its path is printed.
///
/// Each change of a file sets a unique mtime, about one minute before the time of the clock. The
/// mtimes of the file system come from a coarse clock and can be equal for two changes.
/// [`DataDir::set_age`], [`DataDir::set_ahead`] and [`DataDir::set_mtime`] set other times.
///
/// ```
/// use session_pipeline_harness::DataDir;
///
/// let dir = DataDir::new();
/// dir.write("ada/one.jsonl", "{}\n");
/// dir.append("ada/one.jsonl", "{}\n");
/// assert_eq!(dir.read("ada/one.jsonl"), b"{}\n{}\n");
/// ```
#[derive(Debug)]
pub struct DataDir {
    /// `None` only during `drop`.
    folder: Option<TempDir>,
    clock: Arc<TestClock>,
    changes: AtomicI64,
}

impl Default for DataDir {
    fn default() -> Self {
        Self::new()
    }
}

impl DataDir {
    /// Creates a data directory with an empty `user_sessions` folder.
    pub fn new() -> Self {
        let dir = Self::without_sessions_root();
        fs::create_dir(dir.sessions_root()).expect("the sessions root is created");
        dir
    }

    /// Creates an empty data directory.
    pub fn without_sessions_root() -> Self {
        let test = std::thread::current()
            .name()
            .unwrap_or("test")
            .replace("::", "-");
        // Test names can be long, and the paths of sockets have a maximum length.
        let prefix: String = test.chars().take(60).chain(['-']).collect();
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir()
            .expect("a temporary folder is created");
        Self {
            folder: Some(folder),
            clock: Arc::default(),
            changes: AtomicI64::new(0),
        }
    }

    /// Creates a data directory without sessions and with a copy of the state of `other`. The cases
    /// of a property can share the work of creating a database and compiling components.
    ///
    /// The database of `other` must be closed.
    pub fn with_state_of(other: &Self) -> Self {
        Self::with_state_in(&other.path().join("state"))
    }

    /// Creates a data directory without sessions and with a copy of this state folder.
    pub fn with_state_in(state: &Path) -> Self {
        let dir = Self::new();
        copy_folder(state, &dir.path().join("state"));
        dir
    }

    /// Copies the state folder. The database must be closed.
    pub fn copy_state_to(&self, folder: &Path) {
        copy_folder(&self.path().join("state"), folder);
    }

    /// The path of the data directory.
    pub fn path(&self) -> &Path {
        self.folder
            .as_ref()
            .expect("the folder exists until drop")
            .path()
    }

    /// The path of the sessions root.
    pub fn sessions_root(&self) -> PathBuf {
        self.path().join("user_sessions")
    }

    /// The path of a session.
    pub fn session_path(&self, key: &str) -> PathBuf {
        self.sessions_root().join(key)
    }

    /// The path of the database file, which might not exist yet.
    pub fn database_path(&self) -> PathBuf {
        self.path().join("state").join("system.duckdb")
    }

    /// The clock of all pipelines that are opened on this directory.
    pub fn clock(&self) -> &Arc<TestClock> {
        &self.clock
    }

    /// A configuration for this directory, with two workers and the shared cache of compiled
    /// components.
    #[cfg(feature = "pipeline")]
    pub fn config(&self) -> Config {
        Config {
            workers: 2,
            compiler: compiled::compiler(),
            ..Config::new(self.path())
        }
    }

    /// Writes a session and creates its folders. Replaces an existing session.
    pub fn write(&self, key: &str, content: impl AsRef<[u8]>) {
        let path = self.session_path(key);
        fs::create_dir_all(path.parent().expect("a key has a folder"))
            .expect("the folders are created");
        fs::write(&path, content).expect("the session is written");
        self.touch(key);
    }

    /// Appends to a session.
    pub fn append(&self, key: &str, content: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.session_path(key))
            .expect("the session exists");
        file.write_all(content.as_ref())
            .expect("the session is written");
        self.touch(key);
    }

    /// Changes only the times of a session.
    pub fn touch(&self, key: &str) {
        self.set_age(key, QUIET);
    }

    /// Sets the mtime of a session to `age` before the time of the clock. Subtracts less than a
    /// microsecond so that each mtime is unique.
    pub fn set_age(&self, key: &str, age: Duration) {
        self.set_mtime_ns(key, self.now_ns() - as_nanos(age) - self.serial());
    }

    /// Sets the mtime of a session to `by` after the time of the clock, like [`DataDir::set_age`].
    pub fn set_ahead(&self, key: &str, by: Duration) {
        self.set_mtime_ns(key, self.now_ns() + as_nanos(by) - self.serial());
    }

    /// Sets the mtime of a session to an exact time.
    pub fn set_mtime(&self, key: &str, mtime: UtcMicros) {
        self.set_mtime_ns(key, mtime.as_nanos());
    }

    /// Sets the mtime of a session in nanoseconds since 1970. Negative values are before 1970.
    pub fn set_mtime_ns(&self, key: &str, mtime_ns: i64) {
        let distance = Duration::from_nanos(mtime_ns.unsigned_abs());
        let mtime = if mtime_ns < 0 {
            SystemTime::UNIX_EPOCH - distance
        } else {
            SystemTime::UNIX_EPOCH + distance
        };
        // The owner can set the times through a read-only descriptor. Opening for writing would
        // change them.
        File::open(self.session_path(key))
            .and_then(|file| file.set_times(FileTimes::new().set_modified(mtime)))
            .expect("the times of the session are set");
    }

    /// Renames a session. Replaces an existing session at the new key.
    pub fn rename(&self, from: &str, to: &str) {
        let path = self.session_path(to);
        fs::create_dir_all(path.parent().expect("a key has a folder"))
            .expect("the folders are created");
        fs::rename(self.session_path(from), path).expect("the session is renamed");
    }

    /// Deletes a session.
    pub fn delete(&self, key: &str) {
        fs::remove_file(self.session_path(key)).expect("the session exists");
    }

    /// The content of a session.
    pub fn read(&self, key: &str) -> Vec<u8> {
        fs::read(self.session_path(key)).expect("the session exists")
    }

    /// The path of a file in the processors folder.
    pub fn processor_path(&self, file: &str) -> PathBuf {
        self.path().join("processors").join(file)
    }

    /// Places a file in the processors folder atomically, by writing a copy and renaming it.
    /// Replaces an existing file.
    pub fn drop_processor(&self, file: &str, component: impl AsRef<[u8]>) {
        let path = self.processor_path(file);
        let folder = path.parent().expect("the path has a folder");
        fs::create_dir_all(folder).expect("the folders are created");
        let copy = folder.join(".copy");
        fs::write(&copy, component).expect("the component is written");
        fs::rename(copy, path).expect("the component is renamed");
    }

    /// Writes a file in the processors folder in place, as an unfinished copy does. `bytes` can be
    /// the beginning of a component.
    pub fn copy_processor(&self, file: &str, bytes: impl AsRef<[u8]>) {
        let path = self.processor_path(file);
        fs::create_dir_all(path.parent().expect("the path has a folder"))
            .expect("the folders are created");
        fs::write(path, bytes).expect("the component is written");
    }

    /// Removes a file from the processors folder.
    pub fn remove_processor(&self, file: &str) {
        fs::remove_file(self.processor_path(file)).expect("the component exists");
    }

    /// Whether the session exists and is a regular file.
    pub fn has_session(&self, key: &str) -> bool {
        self.session_path(key).is_file()
    }

    fn now_ns(&self) -> i64 {
        self.clock.now().as_nanos()
    }

    /// A number of nanoseconds below 1,000 that decreases with each change, so that later changes
    /// get later mtimes. It repeats after 1,000 changes.
    fn serial(&self) -> i64 {
        999 - self.changes.fetch_add(1, Ordering::SeqCst) % 1000
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let Some(mut folder) = self.folder.take() else {
            return;
        };
        if std::thread::panicking() || keep_was_requested() {
            folder.disable_cleanup(true);
            print_location(folder.path());
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a developer sets this for one test run; no test result depends on it"
)]
fn keep_was_requested() -> bool {
    std::env::var("KEEP_TEST_DIRS").is_ok_and(|value| value == "1")
}

#[expect(
    clippy::print_stderr,
    reason = "the failure output includes the path of the data directory"
)]
fn print_location(path: &Path) {
    eprintln!("data directory of this test: {}", path.display());
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("the folder is created");
    for entry in fs::read_dir(from).expect("the folder is listed") {
        let entry = entry.expect("the folder is listed");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("the file is copied");
        }
    }
}

fn as_nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).expect("the duration is less than 200 years")
}
