//! `cargo xtask new-processor`: `session-pipeline new`, with a default folder in this repository.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

use crate::prerequisites;
use crate::workspace::{Workspace, status};

/// Create a processor project with `session-pipeline new`, by default in `processors-wasm`
///
/// The project is independent: no crate of this repository depends on it.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the processor
    name: String,
    /// Language: rust, js or python
    #[arg(long, default_value = "rust")]
    lang: String,
    /// Project folder [default: processors-wasm/NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    prerequisites::ensure(workspace)?;
    ensure!(workspace.build_program()?, "the build failed");
    let default = || workspace.root.join("processors-wasm").join(&args.name);
    let mut command = Command::new(workspace.program());
    command
        .args(["new", &args.name, "--lang", &args.lang, "--path"])
        .arg(args.path.clone().unwrap_or_else(default));
    let code = status(command)?.code();
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(3)))
}
