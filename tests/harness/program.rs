//! The program itself, in a process of its own: started on a data dir without anybody's
//! environment, and killed at a place or a moment of a test's choice.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::data_dir::DataDir;

/// By this variable the program is told where it dies.
const KILL_POINTS: &str = "SESSION_PIPELINE_KILL_POINTS";
/// What `kill -9` sends.
const KILL: i32 = 9;

/// Where the program lies that tests start, which obeys their variables: beside the tests, as cargo builds it for the workspace.
///
/// # Panics
/// When it was not built.
pub fn path() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its program");
    let folder = test.parent().expect("a program lies in a folder");
    let folder = match folder.ends_with("deps") {
        true => folder
            .parent()
            .expect("the folder of cargo's programs lies in one"),
        false => folder,
    };
    let program = folder.join("session-pipeline-under-test");
    assert!(
        program.is_file(),
        "`{}` is not there; build the workspace first",
        program.display()
    );
    program
}

/// The program in the folder of a data dir, without an environment and without input.
pub fn in_folder(dir: &DataDir) -> Command {
    let mut command = Command::new(path());
    command
        .env_clear()
        .current_dir(dir.path())
        .stdin(Stdio::null());
    command
}

/// The same over that data dir.
///
/// ```no_run
/// use session_pipeline_harness::{DataDir, program};
///
/// let dir = DataDir::new();
/// let output = program::on(&dir).args(["run", "usage"]).output().unwrap();
/// assert!(output.status.success());
/// ```
pub fn on(dir: &DataDir) -> Command {
    let mut command = in_folder(dir);
    command.arg("--data-dir").arg(dir.path());
    command
}

/// How one start of the program is disturbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Not at all.
    None,
    /// By death at a place of `kill_point`, in the words of its plans.
    At(String),
    /// By death after so much time.
    After(Duration),
}

/// How one start of the program ended.
#[derive(Debug)]
pub enum ProgramEnd {
    /// By itself.
    Came(Output),
    /// By a kill, with the points that were written down: that at which it died, or all from the
    /// one on after which it did.
    Died(Vec<String>),
}

/// Runs the program until it ends or dies.
///
/// ```no_run
/// use session_pipeline_harness::DataDir;
/// use session_pipeline_harness::program::{self, Disturbance, End};
///
/// let dir = DataDir::new();
/// let mut run = program::on(&dir);
/// run.args(["run", "usage"]);
/// let end = program::live(run, &dir, &Disturbance::At("scan done".to_owned()));
/// assert!(matches!(end, End::Died(points) if points == ["scan done"]));
/// ```
///
/// # Panics
/// When it can't be started.
pub fn live(mut command: Command, dir: &DataDir, disturbance: &Disturbance) -> ProgramEnd {
    let record = dir.path().join("killed-at");
    // What an earlier start wrote down is not what this one did.
    let _ = fs::remove_file(&record);
    if let Disturbance::At(place) = disturbance {
        command.env(KILL_POINTS, format!("kill:{place}:{}", record.display()));
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    if let Disturbance::After(limit) = disturbance {
        // Not to wait for something: the moment itself is what is tried.
        std::thread::sleep(*limit);
        // It may have ended already.
        let _ = child.kill();
    }
    let output = child
        .wait_with_output()
        .expect("the program can be waited for");
    if output.status.signal() != Some(KILL) {
        return ProgramEnd::Came(output);
    }
    // There is none where it was not killed at a point.
    let points = fs::read_to_string(&record).unwrap_or_default();
    ProgramEnd::Died(points.lines().map(ToOwned::to_owned).collect())
}
