//! A data dir of a test's own, and what can happen to the files in it.

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

/// How old a written file looks: old enough that a scan trusts its times.
const QUIET: Duration = Duration::from_secs(60);

/// A temporary data dir with its clock.
///
/// It is deleted at the end, unless the test panics or `KEEP_TEST_DIRS=1` is set: then it stays, and its path is printed.
///
/// Every change of a file gives it an mtime of its own, about a minute before the clock's now:
/// real files get theirs from a coarse clock, behind which two changes of one moment hide.
/// [`DataDir::set_age`] and its kin make files fresh, old, or of the future.
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
    /// `None` only while it is dropped.
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
    /// A data dir with an empty `user_sessions`.
    pub fn new() -> Self {
        let dir = Self::without_sessions_root();
        fs::create_dir(dir.sessions_root()).expect("the sessions root can be made");
        dir
    }

    /// A data dir in which nothing is.
    pub fn without_sessions_root() -> Self {
        let test = std::thread::current()
            .name()
            .unwrap_or("test")
            .replace("::", "-");
        // Some tests have sentences for names, and some paths lead to sockets.
        let prefix: String = test.chars().take(60).chain(['-']).collect();
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir()
            .expect("a temporary folder can be made");
        Self {
            folder: Some(folder),
            clock: Arc::default(),
            changes: AtomicI64::new(0),
        }
    }

    /// A data dir without sessions that begins with another one's state: so that not every case of
    /// a property makes a database and compiles components.
    ///
    /// Nobody may have the other one open.
    pub fn with_state_of(other: &Self) -> Self {
        let dir = Self::new();
        copy_folder(&other.path().join("state"), &dir.path().join("state"));
        dir
    }

    /// The data dir's path.
    pub fn path(&self) -> &Path {
        self.folder
            .as_ref()
            .expect("it is there until it is dropped")
            .path()
    }

    /// The folder of the sessions.
    pub fn sessions_root(&self) -> PathBuf {
        self.path().join("user_sessions")
    }

    /// Where a session lies.
    pub fn session_path(&self, key: &str) -> PathBuf {
        self.sessions_root().join(key)
    }

    /// The database file, whether or not it is there yet.
    pub fn database_path(&self) -> PathBuf {
        self.path().join("state").join("system.duckdb")
    }

    /// The clock of everything that is opened here.
    pub fn clock(&self) -> &Arc<TestClock> {
        &self.clock
    }

    /// The configuration for it: two workers, components compiled by this process or a test before.
    #[cfg(feature = "pipeline")]
    pub fn config(&self) -> Config {
        Config {
            workers: 2,
            compiler: compiled::compiler(),
            ..Config::new(self.path())
        }
    }

    /// Writes a session, making its folders; replaces what it held before.
    pub fn write(&self, key: &str, content: impl AsRef<[u8]>) {
        let path = self.session_path(key);
        fs::create_dir_all(path.parent().expect("a key names a file"))
            .expect("folders can be made");
        fs::write(&path, content).expect("a session can be written");
        self.touch(key);
    }

    /// Writes what comes next in a session.
    pub fn append(&self, key: &str, content: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.session_path(key))
            .expect("the session is there");
        file.write_all(content.as_ref())
            .expect("a session can be written");
        self.touch(key);
    }

    /// Changes a session's times and nothing else.
    pub fn touch(&self, key: &str) {
        self.set_age(key, QUIET);
    }

    /// As [`DataDir::touch`]: the file was last changed so long ago, by the clock, give or take
    /// less than a microsecond that no other change of a file shares.
    pub fn set_age(&self, key: &str, age: Duration) {
        self.set_mtime_ns(key, self.now_ns() - as_nanos(age) - self.serial());
    }

    /// As [`DataDir::set_age`], into the future.
    pub fn set_ahead(&self, key: &str, by: Duration) {
        self.set_mtime_ns(key, self.now_ns() + as_nanos(by) - self.serial());
    }

    /// Sets a session's mtime to an exact instant of the clock's time.
    pub fn set_mtime(&self, key: &str, mtime: UtcMicros) {
        self.set_mtime_ns(key, mtime.as_nanos());
    }

    /// Sets a session's mtime, in nanoseconds since 1970, or before it.
    pub fn set_mtime_ns(&self, key: &str, mtime_ns: i64) {
        let distance = Duration::from_nanos(mtime_ns.unsigned_abs());
        let mtime = if mtime_ns < 0 {
            SystemTime::UNIX_EPOCH - distance
        } else {
            SystemTime::UNIX_EPOCH + distance
        };
        // Opened for reading: times may be set by the owner, and opening for writing changes them.
        File::open(self.session_path(key))
            .and_then(|file| file.set_times(FileTimes::new().set_modified(mtime)))
            .expect("the times of a session can be set");
    }

    /// Gives a session another key; what was there before is gone.
    pub fn rename(&self, from: &str, to: &str) {
        let path = self.session_path(to);
        fs::create_dir_all(path.parent().expect("a key names a file"))
            .expect("folders can be made");
        fs::rename(self.session_path(from), path).expect("a session can be renamed");
    }

    /// Deletes a session.
    pub fn delete(&self, key: &str) {
        fs::remove_file(self.session_path(key)).expect("the session is there");
    }

    /// What a session holds.
    pub fn read(&self, key: &str) -> Vec<u8> {
        fs::read(self.session_path(key)).expect("the session is there")
    }

    /// Where a file of the folder of processors lies.
    pub fn processor_path(&self, file: &str) -> PathBuf {
        self.path().join("processors").join(file)
    }

    /// Puts a file into the folder of processors, whole at once, as whoever knows their trade does;
    /// what it held before is gone.
    pub fn drop_processor(&self, file: &str, component: impl AsRef<[u8]>) {
        let path = self.processor_path(file);
        let folder = path.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).expect("folders can be made");
        let copy = folder.join(".copy");
        fs::write(&copy, component).expect("a component can be written");
        fs::rename(copy, path).expect("a component can be renamed");
    }

    /// Writes into a file of the folder of processors where it lies, as a plain copy does on its
    /// way: the bytes may be the first of more.
    pub fn copy_processor(&self, file: &str, bytes: impl AsRef<[u8]>) {
        let path = self.processor_path(file);
        fs::create_dir_all(path.parent().expect("a file lies in a folder"))
            .expect("folders can be made");
        fs::write(path, bytes).expect("a component can be written");
    }

    /// Takes a file out of the folder of processors.
    pub fn take_processor(&self, file: &str) {
        fs::remove_file(self.processor_path(file)).expect("the component is there");
    }

    /// Whether there is such a session.
    pub fn has(&self, key: &str) -> bool {
        self.session_path(key).is_file()
    }

    fn now_ns(&self) -> i64 {
        self.clock.now().as_nanos()
    }

    /// Less than a microsecond, never the same in a thousand changes, and falling: what is changed
    /// later looks younger.
    fn serial(&self) -> i64 {
        999 - self.changes.fetch_add(1, Ordering::SeqCst) % 1000
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let Some(mut folder) = self.folder.take() else {
            return;
        };
        if std::thread::panicking() || is_kept() {
            folder.disable_cleanup(true);
            report_kept(folder.path());
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a developer's wish for one test run; no test depends on it"
)]
fn is_kept() -> bool {
    std::env::var("KEEP_TEST_DIRS").is_ok_and(|value| value == "1")
}

#[expect(
    clippy::print_stderr,
    reason = "where the evidence lies belongs beside the failure"
)]
fn report_kept(path: &Path) {
    eprintln!("the data dir of this test is kept: {}", path.display());
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("the folder can be listed") {
        let entry = entry.expect("the folder can be listed");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file can be copied");
        }
    }
}

fn as_nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).expect("a test lasts less than 200 years")
}
