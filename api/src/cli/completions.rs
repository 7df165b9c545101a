//! `completions`: prints shell completion scripts.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CommandFailure, Exit};

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Shell to generate the script for
    shell: Shell,
}

pub(super) fn completions(arguments: &CompletionsArgs) -> Result<Exit, CommandFailure> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Cli::command(),
        "session-pipeline",
        &mut script,
    );
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(&script).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(
            CommandFailure::could_not_run(format!("cannot write to standard output: {error}")),
        ),
        _ => Ok(Exit::Done),
    }
}
