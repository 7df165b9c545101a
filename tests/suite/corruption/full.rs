//! The disk is full during a commit, during a checkpoint, or when a compiled component is stored.
//!
//! The tests fill the disk in two ways. A limit on the size of files works everywhere. A small
//! tmpfs is a real full disk, but needs a user namespace.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use duckdb::Connection;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use session_pipeline_harness::program;

use super::{
    CliOutput, DAYS, DataDir, Files, SessionData, conversation, crash_image, dir_with_files,
    files_of, key, log_path, run_cli, run_to_completion, session_data,
};
use crate::cli::serve::ServerProcess;
use crate::guests::usage_dir;

/// Runs the program with a file size limit in units of 512 bytes. The shell ignores the signal that
/// would kill the program, and the program inherits that, so its writes fail with an error.
const LIMIT_SCRIPT: &str = r#"trap "" XFSZ; ulimit -f "$1"; shift; exec "$@""#;

/// Copies the data directory to a new tmpfs of this many KiB, runs the program there, and copies
/// the result back.
const SMALL_DISK_SCRIPT: &str = r#"kib=$1; data_dir=$2; shift 2
disk=$(mktemp -d) || exit 99
mount -t tmpfs -o "size=${kib}k" tmpfs "$disk" && cp -R "$data_dir/." "$disk" || exit 99
"$@" --data-dir "$disk"; code=$?
rm -rf "$data_dir/state" && cp -R "$disk/state" "$data_dir/state" || exit 99
umount "$disk"; rmdir "$disk"; exit $code"#;

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).stdin(Stdio::null());
    command
}

/// Runs a processor with a file size limit in bytes.
fn run_with_file_limit(dir: &DataDir, bytes: u64) -> CliOutput {
    let mut command = shell(LIMIT_SCRIPT);
    command
        .arg(bytes.div_ceil(512).to_string())
        .arg(program::path());
    command.args(["run", "usage", "--data-dir"]).arg(dir.path());
    CliOutput::of(dir, command.output().unwrap())
}

/// Returns a shell command that runs as root in its own user and mount namespace.
pub(super) fn in_namespace(script: &str) -> Command {
    let mut command = Command::new("unshare");
    let arguments = ["--user", "--map-root-user", "--mount", "sh", "-c"];
    command
        .args(arguments)
        .args([script, "sh"])
        .stdin(Stdio::null());
    command
}

/// Returns whether this machine allows mounts in a user namespace.
pub(super) fn can_mount() -> bool {
    let output = in_namespace("mount -t tmpfs tmpfs /mnt").output();
    let can_mount = output.is_ok_and(|output| output.status.success());
    if !can_mount {
        println!(
            "SKIPPED: this machine does not allow mounts in a user namespace (`unshare --user --mount`)"
        );
    }
    can_mount
}

/// Runs a processor on a disk with this many free bytes.
fn run_on_small_disk(dir: &DataDir, free: u64) -> CliOutput {
    let used: u64 = files_of(dir.path())
        .values()
        .map(|bytes| (bytes.len() as u64).next_multiple_of(4096))
        .sum();
    let mut command = in_namespace(SMALL_DISK_SCRIPT);
    let kib = (used + free) / 1024;
    command
        .arg(kib.to_string())
        .arg(dir.path())
        .arg(program::path())
        .args(["run", "usage"]);
    CliOutput::of(dir, command.output().unwrap())
}

/// Returns a data directory with one day of pending changes, and the data that a run produces if
/// the disk is not full.
fn dir_with_pending_sessions() -> (DataDir, &'static SessionData) {
    static STATE: OnceLock<(Files, SessionData)> = OnceLock::new();
    let (files, expected) = STATE.get_or_init(|| {
        let dir = crash_image().to_dir();
        run_to_completion(&dir);
        for day in 1..=DAYS {
            dir.append(&key(day), conversation(day + 300, 2));
            dir.write(&key(day + 400), conversation(day + 400, 4));
        }
        (files_of(dir.path()), run_to_completion(&dir))
    });
    (dir_with_files(files), expected)
}

/// Asserts that a failure is reported, and that a run with enough space produces the expected data.
fn assert_reported_and_recovered(
    dir: &DataDir,
    ended: &CliOutput,
    expected: &SessionData,
) -> FailedWrite {
    let failed_write = FailedWrite::of(ended);
    assert_eq!(&run_to_completion(dir), expected, "after {ended:?}");
    failed_write
}

/// The write that failed because the disk was full, as the program reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FailedWrite {
    /// There was enough space.
    None,
    /// A file other than the database.
    File,
    /// A commit.
    Commit,
    /// A checkpoint, which also invalidates the database.
    Checkpoint,
}

impl FailedWrite {
    fn of(ended: &CliOutput) -> Self {
        if ended.code == 0 {
            return Self::None;
        }
        assert_eq!(ended.code, 3, "{ended:?}");
        let message = ended
            .stderr
            .lines()
            .find(|line| line.starts_with("error: "));
        let message = message.unwrap_or_else(|| panic!("{ended:?}"));
        assert!(
            message.contains("disk"),
            "the error has no remedy: {ended:?}"
        );
        assert!(
            message.contains("No space left on device") || message.contains("File too large"),
            "the error has no reason: {ended:?}"
        );
        if message.contains(": the disk is full or not writable") {
            Self::Commit
        } else if message.contains("the database stopped working and must be reopened") {
            Self::Checkpoint
        } else {
            assert!(
                message.contains("cannot ") || message.contains("can't be "),
                "{ended:?}"
            );
            Self::File
        }
    }
}

/// Like [`dir_with_pending_sessions`], but the log is longer than any other file that a run writes,
/// so a file size limit affects the log first.
fn dir_with_long_log() -> (DataDir, &'static SessionData) {
    static FILES: OnceLock<Files> = OnceLock::new();
    let (dir, expected) = dir_with_pending_sessions();
    let files = FILES.get_or_init(|| {
        let connection = Connection::open(dir.database_path()).unwrap();
        // The file is longer still, so that a log can be at the limit while the file is not.
        let rows = "INSERT INTO session_costs (processor_name, session_file, run_id)
            SELECT 'f', md5(i::VARCHAR), md5((i + 1)::VARCHAR) FROM range(150000) r(i);
            CHECKPOINT;
            PRAGMA disable_checkpoint_on_shutdown; SET checkpoint_threshold = '1TB';
            INSERT INTO session_costs (processor_name, session_file, run_id)
            SELECT 'p', md5(i::VARCHAR), md5((i + 1)::VARCHAR) FROM range(90000) r(i)";
        connection.execute_batch(rows).unwrap();
        drop(connection);
        files_of(dir.path())
    });
    (dir_with_files(files), expected)
}

fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

#[test]
fn a_file_size_limit_at_a_commit_or_checkpoint_only_fails_the_run() {
    let (dir, _) = dir_with_long_log();
    let log = bytes_of(&log_path(&dir));
    let file = bytes_of(&dir.database_path());
    println!("a log of {log} bytes, a file of {file}");
    assert!(1 << 20 < log && log + (1 << 18) < file);
    let mut failures = Vec::new();
    for limit in [0, log, log + 1000, log + 8000, file, file + (64 << 20)] {
        let (dir, expected) = dir_with_long_log();
        let ended = run_with_file_limit(&dir, limit);
        failures.push(assert_reported_and_recovered(&dir, &ended, expected));
    }
    println!("failed writes: {failures:?}");
    let all = [
        FailedWrite::File,
        FailedWrite::Commit,
        FailedWrite::Checkpoint,
        FailedWrite::None,
    ];
    assert!(all.iter().all(|one| failures.contains(one)), "{failures:?}");
}

#[test]
fn a_full_disk_only_fails_the_run() {
    if !can_mount() {
        return;
    }
    let mut failures = Vec::new();
    // The saved blocks take about 1 MiB, and then the checkpoint itself needs space.
    for free in [0, 4, 16, 64, 256, 1024, 1280, 1536, 1792, 2048, 2560, 65536] {
        let (dir, expected) = dir_with_pending_sessions();
        let ended = run_on_small_disk(&dir, free << 10);
        failures.push(assert_reported_and_recovered(&dir, &ended, expected));
    }
    println!("failed writes: {failures:?}");
    let all = [
        FailedWrite::File,
        FailedWrite::Commit,
        FailedWrite::Checkpoint,
        FailedWrite::None,
    ];
    assert!(all.iter().all(|one| failures.contains(one)), "{failures:?}");
}

/// Sets the file size limit of a server in bytes. `None` removes it.
fn limit(serving: &ServerProcess, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(serving.id()).unwrap()).unwrap();
    let limit = Rlimit {
        current: bytes.or(getrlimit(Resource::Fsize).current),
        ..getrlimit(Resource::Fsize)
    };
    prlimit(Some(pid), Resource::Fsize, limit).unwrap();
}

fn serve(dir: &DataDir) -> ServerProcess {
    // There is no limit at the start.
    let mut command = shell(r#"trap "" XFSZ; exec "$@""#);
    command.arg(program::path());
    ServerProcess::start_by(command, dir, &[], &[])
}

#[test]
fn a_server_with_a_full_disk_recovers_once_there_is_space() {
    let (dir, expected) = dir_with_long_log();
    let serving = serve(&dir);
    for free in [0, 200, 1000, 4000] {
        limit(&serving, Some(bytes_of(&log_path(&dir)) + free));
        let ended = run_cli(&dir, &["run", "usage"]);
        assert_eq!(ended.code, 3, "{ended:?}");
        assert!(
            ended.stderr.contains(": the disk is full or not writable"),
            "{ended:?}"
        );
        limit(&serving, None);
        assert_eq!(
            run_cli(&dir, &["status"]).code,
            0,
            "the server must be healthy again"
        );
    }
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    assert_eq!(serving.stop(), 0);
    assert_eq!(&session_data(&dir), expected);
}

#[test]
fn a_server_exits_with_an_error_if_its_database_fails_and_the_next_one_recovers() {
    // The tables of the processor do not exist yet. Creating them ends with a checkpoint.
    let dir = DataDir::new();
    assert_eq!(run_cli(&dir, &["migrate"]).code, 0);
    // No other file that a run writes is as long as the database, so the limit affects it alone.
    let connection = Connection::open(dir.database_path()).unwrap();
    let rows = "INSERT INTO session_costs (processor_name, session_file, run_id)
        SELECT 'p', md5(i::VARCHAR), md5((i + 1)::VARCHAR) FROM range(60000) r(i); CHECKPOINT;";
    connection.execute_batch(rows).unwrap();
    drop(connection);
    dir.write(&key(1), conversation(1, 3));
    let serving = serve(&dir);
    limit(&serving, Some(bytes_of(&dir.database_path())));
    let ended = run_cli(&dir, &["run", "usage"]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("the database stopped working and must be reopened; check its disk"),
        "{ended:?}"
    );
    let (code, stderr) = serving.wait();
    assert_eq!(code, 3, "{stderr}");
    assert!(
        stderr.contains("the database stopped working and must be reopened"),
        "{stderr}"
    );
    let ended = run_cli(&dir, &["run", "usage"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let other = DataDir::new();
    other.write(&key(1), conversation(1, 3));
    assert_eq!(session_data(&dir), run_to_completion(&other));
}

#[test]
fn a_compiled_component_that_cannot_be_stored_is_reported_and_compiled_again_later() {
    if !can_mount() {
        return;
    }
    let dir = usage_dir();
    dir.write(&key(1), conversation(1, 3));
    let components = dir.path().join("state/components");
    fs::remove_dir_all(&components).unwrap();
    fs::create_dir(&components).unwrap();
    let script = r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@""#;
    // Space for nothing, for the component, and for half of its compiled code.
    for size in ["4k", "300k", "600k"] {
        let mut command = in_namespace(script);
        command.arg(size).arg(&components).arg(program::path());
        command.args(["run", "usage", "--data-dir"]).arg(dir.path());
        let ended = CliOutput::of(&dir, command.output().unwrap());
        assert_eq!(ended.code, 3, "{ended:?}");
        for part in [
            "unavailable: host: ",
            "state/components/",
            "No space left on device",
            "free space",
        ] {
            assert!(ended.stderr.contains(part), "{part}: {ended:?}");
        }
    }
    let other = usage_dir();
    other.write(&key(1), conversation(1, 3));
    assert_eq!(run_to_completion(&dir), run_to_completion(&other));
}
