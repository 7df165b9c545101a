//! Hazard: the files of the database are damaged or cannot be written.
//!
//! In each case, the program prints an error that names the file, the reason and the remedy. If the
//! database is unusable, it exits with code 3. After the cause is removed, the data is the same as
//! without the fault.
//!
//! - `log`: damage to the log
//! - `file`: damage to the database file
//! - `torn`: an interrupted checkpoint
//! - `sequence`: lost commits
//! - `full`: a full disk
//! - `access`: permissions and concurrent access

mod access;
mod file;
mod full;
mod log;
mod sequence;
mod torn;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use session_pipeline_harness::{DataDir, TestPipeline, Transcript, clock};
use session_pipeline_pipeline::config::{Config, GroupLimits};
use session_pipeline_store::{Store, StoreError};

use crate::cli::{CliOutput, run_cli};
use crate::database::rows;
use crate::guests::{usage, usage_dir};

/// The number of sessions on the first day.
const SESSIONS: usize = 6;
/// Further days, with one run each. Their commits are only in the log.
const DAYS: usize = 4;

/// A data directory after `kill -9`. The first day is in the database file. The other days are in
/// the log.
struct CrashImage {
    files: Files,
    /// The data after each day.
    days: Vec<SessionData>,
}

/// The contents of files, by their path relative to a folder.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The rows and states of sessions by table, without times and sequence numbers.
type SessionData = BTreeMap<&'static str, Vec<String>>;

fn key(number: usize) -> String {
    format!("user-{}/{number}.jsonl", number % 2)
}

fn conversation(number: usize, turns: usize) -> Transcript {
    (0..turns).fold(Transcript::new(&format!("s{number}")), |session, turn| {
        session.user("go on").assistant(|message| {
            let message = message.id(&format!("msg_{number}_{turn}"));
            message
                .model("claude-opus-4-5")
                .tokens(100 + turn as u64, 20)
                .tool("Bash")
        })
    })
}

/// Returns a configuration in which a run makes a single commit, even on a slow machine.
fn one_commit_per_run(dir: &DataDir) -> Config {
    let config = dir.config();
    let group = GroupLimits {
        wait_max: Duration::from_secs(3600),
        ..config.group.clone()
    };
    Config { group, ..config }
}

fn crash_image() -> &'static CrashImage {
    static IMAGE: OnceLock<CrashImage> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let dir = usage_dir();
        let open = || TestPipeline::open_with(&dir, one_commit_per_run(&dir), &[usage()]);
        for number in 0..SESSIONS {
            dir.write(&key(number), conversation(number, 3));
        }
        open().run("usage");
        let mut days = vec![session_data(&dir)];
        let pipeline = open();
        let mut image = copy(&dir);
        for day in 1..=DAYS {
            dir.append(&key(day), conversation(day + 100, 2));
            dir.write(&key(day + 200), conversation(day + 200, day));
            assert_eq!(pipeline.run("usage").stats.processed, 2);
            image = copy(&dir);
            days.push(session_data(&image));
            // Reading the copy checkpointed its log, so copy again.
            image = copy(&dir);
        }
        drop(pipeline);
        let result = CrashImage {
            files: files_of(image.path()),
            days,
        };
        let distinct: BTreeSet<&SessionData> = result.days.iter().collect();
        assert_eq!(distinct.len(), DAYS + 1, "each day must change the data");
        assert!(result.log().len() > 1000);
        result
    })
}

impl CrashImage {
    /// Returns a new data directory with a copy of the files.
    fn to_dir(&self) -> DataDir {
        dir_with_files(&self.files)
    }

    fn database(&self) -> &[u8] {
        &self.files[Path::new("state/system.duckdb")]
    }

    fn log(&self) -> &[u8] {
        &self.files[Path::new("state/system.duckdb.wal")]
    }

    /// The data after the last day, which is also the data of a fresh database.
    fn final_data(&self) -> &SessionData {
        self.days.last().unwrap()
    }
}

/// Returns a new data directory with these files.
fn dir_with_files(files: &Files) -> DataDir {
    let dir = DataDir::without_sessions_root();
    for (path, bytes) in files {
        let path = dir.path().join(path);
        // The program warns about folders with any other mode.
        let mut private = fs::DirBuilder::new();
        let folder = path.parent().unwrap();
        private.recursive(true).mode(0o700).create(folder).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

fn log_path(dir: &DataDir) -> PathBuf {
    dir.path().join("state/system.duckdb.wal")
}

/// Copies the files as a kill at this moment would leave them. The copy is made by another process,
/// because closing the files in this process would release its lock on the database.
fn copy(dir: &DataDir) -> DataDir {
    let copy = DataDir::without_sessions_root();
    let status = Command::new("cp")
        .args(["-R", "."])
        .arg(copy.path())
        .current_dir(dir.path())
        .status();
    assert!(status.unwrap().success());
    copy
}

fn files_of(root: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_owned();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

/// Returns the data in a database that is not open, and checks its consistency.
fn session_data(dir: &DataDir) -> SessionData {
    let mut data = SessionData::new();
    for table in ["messages", "events", "sessions"] {
        let content = format!(
            "SELECT COLUMNS(name -> name NOT IN ('session_seq', 'recorded_at', 'first_run')) FROM usage.{table} ORDER BY ALL"
        );
        data.insert(table, rows(dir, &content));
        let orphans = format!(
            "SELECT DISTINCT r.session_file, r.session_seq FROM usage.{table} r ANTI JOIN session_processor_state s
             ON s.processor_name = 'usage' AND s.session_file = r.session_file AND s.session_seq = r.session_seq"
        );
        assert_eq!(
            rows(dir, &orphans),
            [""; 0],
            "`{table}` has rows without a session"
        );
    }
    let state = "SELECT session_file, username, items_extracted, file_hash, missing_since IS NULL
        FROM session_processor_state ORDER BY ALL";
    data.insert("state", rows(dir, state));
    let failures = "SELECT session_file, fault FROM session_failures ORDER BY ALL";
    data.insert("failures", rows(dir, failures));
    data
}

/// Completes one run and returns the data.
fn run_to_completion(dir: &DataDir) -> SessionData {
    let run = TestPipeline::open(dir, &[usage()]).run("usage");
    assert_eq!(run.stats.errors, 0, "{:?}", run.stats);
    session_data(dir)
}

/// Opens the database and returns the error, if any.
fn open_error(dir: &DataDir) -> Option<StoreError> {
    Store::open(&dir.config().store_options(), clock::START).err()
}

/// Asserts that the program exits with code 3, that its error starts with `prefix`, and that it
/// leaves the files unchanged.
fn assert_program_rejects(dir: &DataDir, arguments: &[&str], prefix: &str) {
    let before = database_files(dir);
    let CliOutput {
        code,
        stdout,
        stderr,
    } = run_cli(dir, arguments);
    assert_eq!((code, stdout.as_str()), (3, ""), "{stderr}");
    assert!(stderr.starts_with(&format!("error: {prefix}")), "{stderr}");
    assert!(
        database_files(dir) == before,
        "the rejected files were changed"
    );
}

/// Returns the files of the database.
fn database_files(dir: &DataDir) -> Files {
    let mut files = files_of(&dir.path().join("state"));
    files.retain(|path, _| path.to_string_lossy().contains("duckdb"));
    files
}
