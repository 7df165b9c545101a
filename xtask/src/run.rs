//! `cargo xtask run`: build the program, process sessions, print the report.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

use crate::prerequisites;
use crate::workspace::{Workspace, status};

pub const EXAMPLE_SESSIONS: &str = "tests/fixtures/sessions";
const EXAMPLE_DATA: &str = "data/example";

/// Build the program, process sessions and print the usage report.
///
/// Without PATH the example sessions of this project are processed, and kept in `data/example`.
/// With one, what is kept goes to the program's own place: `DATA_DIR`, else `./data`.
/// The first build takes 30 to 40 minutes on two cores, since DuckDB and wasmtime are compiled.
#[derive(clap::Args)]
pub struct Args {
    /// A root of sessions, such as ~/.claude/projects: one folder per user or project, with *.jsonl below
    path: Option<PathBuf>,
    /// Where to keep the database and all else
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Passed on to `session-pipeline run usage`
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
        "`{}` is no folder; name a root of sessions, such as ~/.claude/projects",
        sessions.display()
    );
    let data_dir = match &args.data_dir {
        Some(data_dir) => data_dir.clone(),
        None if is_example => workspace.root.join(EXAMPLE_DATA),
        // The program's own rule, said here only so that we can tell where it keeps what.
        None => env::var_os("DATA_DIR").map_or_else(|| "data".into(), PathBuf::from),
    };

    prerequisites::ensure(workspace)?;
    ensure!(workspace.build()?, "the build failed");

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
    // 1 means done with failed sessions: what the others gave is worth a report.
    if processed > 1 {
        return Ok(ExitCode::from(processed));
    }
    let mut report = program();
    report.args(["report", "usage"]);
    let reported = exit_code(report)?;
    eprintln!(
        "To see it again: {} --data-dir {} report usage --by day",
        workspace.program().display(),
        data_dir.display()
    );
    Ok(ExitCode::from(processed.max(reported)))
}

/// A program ended by a signal has no code; it counts as one that could not run.
fn exit_code(command: Command) -> Result<u8> {
    let code = status(command)?.code();
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(3))
}
