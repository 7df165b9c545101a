//! `cargo xtask run`: builds the program, processes sessions and prints the usage report.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

use crate::prerequisites;
use crate::workspace::{Workspace, status};

pub const EXAMPLE_SESSIONS: &str = "tests/fixtures/sessions";
const EXAMPLE_DATA: &str = "data/example";

/// Build the program, process sessions and print the usage report
///
/// Without PATH, it processes the example sessions of this project, with the data directory
/// `data/example`. With PATH, the default data directory is that of the program: `DATA_DIR`, or
/// else `./data`.
#[derive(clap::Args)]
pub struct Args {
    /// Sessions root, such as ~/.claude/projects: one folder per user or project, with *.jsonl
    /// files
    path: Option<PathBuf>,
    /// Data directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Arguments for `session-pipeline run usage`
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let is_example = args.path.is_none();
    let sessions = args
        .path
        .clone()
        .unwrap_or_else(|| workspace.root.join(EXAMPLE_SESSIONS));
    ensure!(
        sessions.is_dir(),
        "`{}` is not a folder; pass a sessions root, such as ~/.claude/projects",
        sessions.display()
    );
    let data_dir = match &args.data_dir {
        Some(data_dir) => data_dir.clone(),
        None if is_example => workspace.root.join(EXAMPLE_DATA),
        // The default of the program, repeated here to print the path of the database.
        None => env::var_os("DATA_DIR").map_or_else(|| "data".into(), PathBuf::from),
    };

    prerequisites::ensure(workspace)?;
    ensure!(workspace.build_program()?, "the build failed");

    eprintln!("Sessions: {}", sessions.display());
    eprintln!(
        "Database: {}",
        data_dir.join("state/system.duckdb").display()
    );
    let program = || {
        let mut command = Command::new(workspace.program());
        command
            .arg("--sessions")
            .arg(&sessions)
            .arg("--data-dir")
            .arg(&data_dir);
        command
    };

    let mut process = program();
    process.args(["run", "usage"]).args(&args.args);
    let processed = exit_code(process)?;
    // Exit code 1: some sessions failed. Report on the others.
    if processed > 1 {
        return Ok(ExitCode::from(processed));
    }
    let mut report = program();
    report.args(["report", "usage"]);
    let reported = exit_code(report)?;
    eprintln!(
        "To print a report again: {} --data-dir {} report usage --by day",
        workspace.program().display(),
        data_dir.display()
    );
    Ok(ExitCode::from(processed.max(reported)))
}

/// Returns the exit code, or 3 if a signal ended the program.
fn exit_code(command: Command) -> Result<u8> {
    let code = status(command)?.code();
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(3))
}
