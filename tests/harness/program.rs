//! Runs the program in its own process, with an empty environment. A test can kill it at a kill
//! point or after a time.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::data_dir::DataDir;

/// The environment variable with the kill plan.
const KILL_POINTS: &str = "SESSION_PIPELINE_KILL_POINTS";
/// The number of the signal SIGKILL.
const SIGKILL: i32 = 9;

/// The path of the program for tests, which reads additional environment variables. Cargo places it
/// in the target directory, next to the test programs.
///
/// # Panics
/// The program was not built.
pub fn path() -> PathBuf {
    sibling("session-pipeline-under-test")
}

/// The path of the program that collects sessions.
///
/// # Panics
/// The program was not built.
pub fn push_path() -> PathBuf {
    sibling("session-pipeline-push")
}

fn sibling(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test program is available");
    let folder = test.parent().expect("the test program is in a folder");
    let folder = match folder.ends_with("deps") {
        true => folder
            .parent()
            .expect("the `deps` folder is in the target directory"),
        false => folder,
    };
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "`{}` does not exist; build the workspace first",
        program.display()
    );
    program
}

/// A command that runs the program in a data directory, with an empty environment and no input.
pub fn command(dir: &DataDir) -> Command {
    let mut command = Command::new(path());
    command
        .env_clear()
        .current_dir(dir.path())
        .stdin(Stdio::null());
    command
}

/// Like [`command`], with the argument `--data-dir`.
///
/// ```no_run
/// use session_pipeline_harness::{DataDir, program};
///
/// let dir = DataDir::new();
/// let output = program::command_with_data_dir(&dir).args(["run", "usage"]).output().unwrap();
/// assert!(output.status.success());
/// ```
pub fn command_with_data_dir(dir: &DataDir) -> Command {
    let mut command = command(dir);
    command.arg("--data-dir").arg(dir.path());
    command
}

/// When a process of the program is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The process is not killed.
    None,
    /// The process is killed at a kill point. The syntax is that of kill plans.
    At(String),
    /// The process is killed after this time.
    After(Duration),
}

/// How a process of the program ended.
#[derive(Debug)]
pub enum ProgramEnd {
    /// The process exited.
    Exited(Output),
    /// The process was killed. Contains the kill points that it recorded: the point at which it was
    /// killed, or that point and all later points if it was killed after a delay.
    Killed(Vec<String>),
}

/// Runs the program until it exits or is killed.
///
/// ```no_run
/// use session_pipeline_harness::DataDir;
/// use session_pipeline_harness::program::{self, Interruption, ProgramEnd};
///
/// let dir = DataDir::new();
/// let mut run = program::command_with_data_dir(&dir);
/// run.args(["run", "usage"]);
/// let end = program::run(run, &dir, &Interruption::At("scan done".to_owned()));
/// assert!(matches!(end, ProgramEnd::Killed(points) if points == ["scan done"]));
/// ```
///
/// # Panics
/// The program cannot be started.
pub fn run(mut command: Command, dir: &DataDir, interruption: &Interruption) -> ProgramEnd {
    let record = dir.path().join("killed-at");
    // Delete the record of an earlier process.
    let _ = fs::remove_file(&record);
    if let Interruption::At(place) = interruption {
        command.env(KILL_POINTS, format!("kill:{place}:{}", record.display()));
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    if let Interruption::After(limit) = interruption {
        // The test is about this point in time, so it does not wait for an event.
        std::thread::sleep(*limit);
        // The program might have exited already.
        let _ = child.kill();
    }
    let output = child.wait_with_output().expect("the program exits");
    if output.status.signal() != Some(SIGKILL) {
        return ProgramEnd::Exited(output);
    }
    // The file is missing if the program was not killed at a kill point.
    let points = fs::read_to_string(&record).unwrap_or_default();
    ProgramEnd::Killed(points.lines().map(ToOwned::to_owned).collect())
}
