//! `cargo xtask new-processor`: the program's own `new`, for this repository.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

use crate::prerequisites;
use crate::workspace::{Workspace, status};

/// Start a processor: what `session-pipeline new` makes, in `processors-wasm` or where you say.
///
/// It is a project of its own, which no other crate here knows of.
#[derive(clap::Args)]
pub struct Args {
    /// What the processor is called
    name: String,
    /// What it is written in: rust, js or python
    #[arg(long, default_value = "rust")]
    lang: String,
    /// Where to make it [default: processors-wasm/NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    prerequisites::ensure(workspace)?;
    ensure!(workspace.build()?, "the build failed");
    let default = || workspace.root.join("processors-wasm").join(&args.name);
    let mut command = Command::new(workspace.program());
    command
        .args(["new", &args.name, "--lang", &args.lang, "--path"])
        .arg(args.path.clone().unwrap_or_else(default));
    let code = status(command)?.code();
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(3)))
}
