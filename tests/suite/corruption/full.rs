//! The disk is full: at a commit, at a checkpoint, when a compiled component is to be kept.
//!
//! Two ways to a full disk. A limit on the size of files works everywhere; a small disk in memory
//! is the real thing, and wants a namespace of the user's own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use duckdb::Connection;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use session_pipeline_harness::program;

use super::{
    CliOutput, DAYS, DataDir, Files, Left, conversation, files_of, key, killed, lay, left,
    log_path, run_cli, run_through,
};
use crate::cli::serve::ServerProcess;
use crate::guests::usage_dir;

/// Runs the program with files that grow no further than so many half KiB. The shell ignores the
/// signal that would end the program instead of telling it, and the program inherits that.
const LIMITED: &str = r#"trap "" XFSZ; ulimit -f "$1"; shift; exec "$@""#;

/// Copies the data dir to a disk of its own of so many KiB, runs the program there, and copies
/// back what it left.
const ON_A_SMALL_DISK: &str = r#"kib=$1; data_dir=$2; shift 2
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

/// Runs a processor while no file can grow beyond so many bytes.
fn run_limited(dir: &DataDir, bytes: u64) -> CliOutput {
    let mut command = shell(LIMITED);
    command
        .arg(bytes.div_ceil(512).to_string())
        .arg(program::path());
    command.args(["run", "usage", "--data-dir"]).arg(dir.path());
    CliOutput::of(dir, command.output().unwrap())
}

/// The same, as root over disks of its own and nothing else.
pub(super) fn in_a_namespace(script: &str) -> Command {
    let mut command = Command::new("unshare");
    let own = ["--user", "--map-root-user", "--mount", "sh", "-c"];
    command.args(own).args([script, "sh"]).stdin(Stdio::null());
    command
}

/// Whether this machine lets us mount a disk of our own.
pub(super) fn has_own_mounts() -> bool {
    let mounted = in_a_namespace("mount -t tmpfs tmpfs /mnt").output();
    let has = mounted.is_ok_and(|output| output.status.success());
    if !has {
        println!("NOT TRIED: this machine gives us no disk of our own (`unshare --user --mount`)");
    }
    has
}

/// Runs a processor on a disk on which so many bytes are free.
fn run_on_a_small_disk(dir: &DataDir, free: u64) -> CliOutput {
    let used: u64 = files_of(dir.path())
        .values()
        .map(|bytes| (bytes.len() as u64).next_multiple_of(4096))
        .sum();
    let mut command = in_a_namespace(ON_A_SMALL_DISK);
    let kib = (used + free) / 1024;
    command
        .arg(kib.to_string())
        .arg(dir.path())
        .arg(program::path())
        .args(["run", "usage"]);
    CliOutput::of(dir, command.output().unwrap())
}

/// A data dir in which all is at rest and a day's work is to be done, and what is left of it where
/// the disk is never full.
fn with_work() -> (DataDir, &'static Left) {
    static AT_WORK: OnceLock<(Files, Left)> = OnceLock::new();
    let (files, end) = AT_WORK.get_or_init(|| {
        let dir = killed().lay();
        run_through(&dir);
        for day in 1..=DAYS {
            dir.append(&key(day), conversation(day + 300, 2));
            dir.write(&key(day + 400), conversation(day + 400, 4));
        }
        (files_of(dir.path()), run_through(&dir))
    });
    (lay(files), end)
}

/// It is told, if anything went wrong, and how; and with room again all comes to the same end.
fn is_told_and_made_good(dir: &DataDir, ended: &CliOutput, end: &Left) -> Told {
    let told = Told::of(ended);
    assert_eq!(&run_through(dir), end, "after {ended:?}");
    told
}

/// What the program says of a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// Nothing: there was room enough.
    Nothing,
    /// A file of ours beside the database could not be written.
    File,
    /// A commit was refused.
    Commit,
    /// A checkpoint was refused, and the database with it.
    Checkpoint,
}

impl Told {
    fn of(ended: &CliOutput) -> Self {
        if ended.code == 0 {
            return Self::Nothing;
        }
        assert_eq!(ended.code, 3, "{ended:?}");
        let said = ended
            .stderr
            .lines()
            .find(|line| line.starts_with("error: "));
        let said = said.unwrap_or_else(|| panic!("{ended:?}"));
        assert!(said.contains("disk"), "what to do is said: {ended:?}");
        assert!(
            said.contains("No space left on device") || said.contains("File too large"),
            "why is said: {ended:?}"
        );
        if said.contains(": the disk is full or not writable") {
            Self::Commit
        } else if said.contains("the database stopped working and must be reopened") {
            Self::Checkpoint
        } else {
            assert!(
                said.contains("cannot ") || said.contains("can't be "),
                "{ended:?}"
            );
            Self::File
        }
    }
}

/// The same with a log that is longer than any other file we write: where files may not grow, it
/// is the log that has no room.
fn with_long_log() -> (DataDir, &'static Left) {
    static LONG: OnceLock<Files> = OnceLock::new();
    let (dir, end) = with_work();
    let files = LONG.get_or_init(|| {
        let connection = Connection::open(dir.database_path()).unwrap();
        let rows = "PRAGMA disable_checkpoint_on_shutdown; SET checkpoint_threshold = '1TB';
            INSERT INTO session_costs (processor_name, session_file, run_id)
            SELECT 'p', md5(i::VARCHAR), md5((i + 1)::VARCHAR) FROM range(60000) r(i)";
        connection.execute_batch(rows).unwrap();
        drop(connection);
        files_of(dir.path())
    });
    (lay(files), end)
}

fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

#[test]
fn a_disk_that_fills_up_at_a_commit_or_a_checkpoint_costs_nothing_but_the_run() {
    let (dir, _) = with_long_log();
    let log = bytes_of(&log_path(&dir));
    let file = bytes_of(&dir.database_path());
    println!("a log of {log} bytes, a file of {file}");
    assert!(1 << 20 < log && log + (1 << 18) < file);
    let mut told = Vec::new();
    for limit in [0, log, log + 1000, log + 8000, file, file + (64 << 20)] {
        let (dir, end) = with_long_log();
        told.push(is_told_and_made_good(&dir, &run_limited(&dir, limit), end));
    }
    println!("told: {told:?}");
    let all = [Told::File, Told::Commit, Told::Checkpoint, Told::Nothing];
    assert!(all.iter().all(|one| told.contains(one)), "{told:?}");
}

#[test]
fn a_disk_that_is_really_full_costs_nothing_but_the_run() {
    if !has_own_mounts() {
        return;
    }
    let mut told = Vec::new();
    // The blocks that a checkpoint may write over take about a mebibyte, and then it wants room itself.
    for free in [0, 4, 16, 64, 256, 1024, 1280, 1536, 1792, 2048, 2560, 65536] {
        let (dir, end) = with_work();
        let ended = run_on_a_small_disk(&dir, free << 10);
        told.push(is_told_and_made_good(&dir, &ended, end));
    }
    println!("told: {told:?}");
    let all = [Told::File, Told::Commit, Told::Checkpoint, Told::Nothing];
    assert!(all.iter().all(|one| told.contains(one)), "{told:?}");
}

/// Lets no file of a server grow beyond so many bytes; none: as far as they like.
fn limit(serving: &ServerProcess, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(serving.id()).unwrap()).unwrap();
    let limit = Rlimit {
        current: bytes.or(getrlimit(Resource::Fsize).current),
        ..getrlimit(Resource::Fsize)
    };
    prlimit(Some(pid), Resource::Fsize, limit).unwrap();
}

fn serve(dir: &DataDir) -> ServerProcess {
    // Unlimited at first.
    let mut command = shell(r#"trap "" XFSZ; exec "$@""#);
    command.arg(program::path());
    ServerProcess::start_by(command, dir, &[], &[])
}

#[test]
fn a_server_whose_disk_is_full_at_a_commit_goes_on_when_there_is_room_again() {
    let (dir, end) = with_long_log();
    let serving = serve(&dir);
    for room in [0, 200, 1000, 4000] {
        limit(&serving, Some(bytes_of(&log_path(&dir)) + room));
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
            "it is as well as before"
        );
    }
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    assert_eq!(serving.stop(), 0);
    assert_eq!(&left(&dir), end);
}

#[test]
fn a_server_whose_database_gave_up_ends_and_says_so_and_the_next_one_goes_on() {
    // Its tables are not there yet: to define them ends with a checkpoint.
    let dir = DataDir::new();
    assert_eq!(run_cli(&dir, &["migrate"]).code, 0);
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
    let (code, said) = serving.wait();
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("the database stopped working and must be reopened"),
        "{said}"
    );
    let ended = run_cli(&dir, &["run", "usage"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let other = DataDir::new();
    other.write(&key(1), conversation(1, 3));
    assert_eq!(left(&dir), run_through(&other));
}

#[test]
fn a_compiled_component_that_can_not_be_kept_is_told_and_made_again_when_there_is_room() {
    if !has_own_mounts() {
        return;
    }
    let dir = usage_dir();
    dir.write(&key(1), conversation(1, 3));
    let components = dir.path().join("state/components");
    fs::remove_dir_all(&components).unwrap();
    fs::create_dir(&components).unwrap();
    let script = r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@""#;
    // Room for nothing, for the component, and for half of what it is compiled to.
    for room in ["4k", "300k", "600k"] {
        let mut command = in_a_namespace(script);
        command.arg(room).arg(&components).arg(program::path());
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
    assert_eq!(run_through(&dir), run_through(&other));
}
