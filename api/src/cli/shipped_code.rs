//! The compiled code of the shipped processors that is installed with the program.
//!
//! Compiling them takes most of the time of the first run with a data directory. A package contains
//! their code, and `cargo xtask` adds it to a build. Without it, a run compiles them.

use std::path::{Path, PathBuf};

use session_pipeline_host::fault::error_chain;
use session_pipeline_host::limits::Limits;
use session_pipeline_host::sandbox;

use super::{CommandFailure, Exit};
use crate::shipped::SHIPPED;

/// The folders that can contain the code, for a program with this path: next to the program, as in
/// a package and a target directory, and as in `/usr/local`. DuckDB's library is found in the same
/// way.
pub(super) fn folders(program: &Path) -> Vec<PathBuf> {
    let Some(parent) = program.parent() else {
        return Vec::new();
    };
    ["compiled", "../lib/session-pipeline"]
        .map(|folder| parent.join(folder))
        .into()
}

/// Writes the code to one of these folders. It is compiled with the default limits. The limits that
/// an operator can set do not affect it.
pub(super) fn compile(folder: &Path) -> Result<Exit, CommandFailure> {
    let components = SHIPPED.map(|shipped| shipped.component);
    sandbox::install(folder, &Limits::default(), &components)
        .map_err(|error| CommandFailure::could_not_run(error_chain(&error)))?;
    Ok(Exit::Done)
}
