//! The danger: the files of the database are not what was written to them, or can't be written.
//!
//! Each cause ends in a message that names the thing, the reason and the remedy, and in exit code 3
//! where the database can't be used. Once the cause is gone, the end is the same as without it.
//! What befalls the log stands in `log`, what befalls the database file in `file`, a checkpoint that
//! is cut off in `torn`; a full disk in
//! `full`, who may have the files in `hands`.

mod file;
mod full;
mod hands;
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

/// Sessions at the beginning.
const SESSIONS: usize = 6;
/// Days of changes, each of them one run, of which only the log knows.
const DAYS: usize = 4;

/// A data dir as `kill -9` leaves it: the first day is in the database file, the others are in the
/// log, and after each of them the state was as in `days`.
struct Killed {
    files: Files,
    days: Vec<Left>,
}

/// Files by their path below a folder.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What is left of sessions: rows and states, but for times and running numbers.
type Left = BTreeMap<&'static str, Vec<String>>;

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

/// A configuration in which all that a run processes is one commit, however slow the machine is.
fn one_commit_a_run(dir: &DataDir) -> Config {
    let config = dir.config();
    let group = GroupLimits {
        wait_max: Duration::from_secs(3600),
        ..config.group.clone()
    };
    Config { group, ..config }
}

fn killed() -> &'static Killed {
    static KILLED: OnceLock<Killed> = OnceLock::new();
    KILLED.get_or_init(|| {
        let dir = usage_dir();
        let open = || TestPipeline::open_with(&dir, one_commit_a_run(&dir), &[usage()]);
        for number in 0..SESSIONS {
            dir.write(&key(number), conversation(number, 3));
        }
        open().run("usage");
        let mut days = vec![left(&dir)];
        let pipeline = open();
        let mut image = copy(&dir);
        for day in 1..=DAYS {
            dir.append(&key(day), conversation(day + 100, 2));
            dir.write(&key(day + 200), conversation(day + 200, day));
            assert_eq!(pipeline.run("usage").stats.processed, 2);
            image = copy(&dir);
            days.push(left(&image));
            // Looking into it brought its log into the file.
            image = copy(&dir);
        }
        drop(pipeline);
        let killed = Killed {
            files: files_of(image.path()),
            days,
        };
        let distinct: BTreeSet<&Left> = killed.days.iter().collect();
        assert_eq!(distinct.len(), DAYS + 1, "each day left something new");
        assert!(killed.log().len() > 1000);
        killed
    })
}

impl Killed {
    /// A data dir of its own with these files.
    fn lay(&self) -> DataDir {
        lay(&self.files)
    }

    fn database(&self) -> &[u8] {
        &self.files[Path::new("state/system.duckdb")]
    }

    fn log(&self) -> &[u8] {
        &self.files[Path::new("state/system.duckdb.wal")]
    }

    /// How it is in the end, whatever happened: as a fresh database has it.
    fn end(&self) -> &Left {
        self.days.last().unwrap()
    }
}

/// A data dir of its own with these files.
fn lay(files: &Files) -> DataDir {
    let dir = DataDir::without_sessions_root();
    for (path, bytes) in files {
        let path = dir.path().join(path);
        // As the program makes them: of other modes it would warn.
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

/// What a kill would leave at this moment. Made by another process: were the files opened and
/// closed by this one, the lock on the database would be gone.
fn copy(dir: &DataDir) -> DataDir {
    let copy = DataDir::without_sessions_root();
    let copied = Command::new("cp")
        .args(["-R", "."])
        .arg(copy.path())
        .current_dir(dir.path())
        .status();
    assert!(copied.unwrap().success());
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

/// What is left in a database that nobody has open, and that it is sound in itself.
fn left(dir: &DataDir) -> Left {
    let mut left = Left::new();
    for table in ["messages", "events", "sessions"] {
        let kept = format!(
            "SELECT COLUMNS(name -> name NOT IN ('session_seq', 'recorded_at', 'first_run')) FROM usage.{table} ORDER BY ALL"
        );
        left.insert(table, rows(dir, &kept));
        let orphans = format!(
            "SELECT DISTINCT r.session_file, r.session_seq FROM usage.{table} r ANTI JOIN session_processor_state s
             ON s.processor_name = 'usage' AND s.session_file = r.session_file AND s.session_seq = r.session_seq"
        );
        assert_eq!(rows(dir, &orphans), [""; 0], "rows of no session: {table}");
    }
    let state = "SELECT session_file, username, items_extracted, file_hash, missing_since IS NULL
        FROM session_processor_state ORDER BY ALL";
    left.insert("state", rows(dir, state));
    let failures = "SELECT session_file, fault FROM session_failures ORDER BY ALL";
    left.insert("failures", rows(dir, failures));
    left
}

/// One run that nobody disturbs, and what is left then.
fn run_through(dir: &DataDir) -> Left {
    let ran = TestPipeline::open(dir, &[usage()]).run("usage");
    assert_eq!(ran.stats.errors, 0, "{:?}", ran.stats);
    left(dir)
}

/// Opens it, and gives the message where it is refused.
fn refusal(dir: &DataDir) -> Option<StoreError> {
    Store::open(&dir.config().store_options(), clock::START).err()
}

/// The program ends with exit code 3, and what it says begins so; nothing was changed.
fn is_refused_by_the_program(dir: &DataDir, arguments: &[&str], beginning: &str) {
    let before = database_files(dir);
    let CliOutput {
        code,
        stdout,
        stderr,
    } = run_cli(dir, arguments);
    assert_eq!((code, stdout.as_str()), (3, ""), "{stderr}");
    assert!(
        stderr.starts_with(&format!("error: {beginning}")),
        "{stderr}"
    );
    assert!(
        database_files(dir) == before,
        "nothing was changed by refusing"
    );
}

/// The files of the database.
fn database_files(dir: &DataDir) -> Files {
    let mut files = files_of(&dir.path().join("state"));
    files.retain(|path, _| path.to_string_lossy().contains("duckdb"));
    files
}
