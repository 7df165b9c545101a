//! What a test compiled, for the tests after it: nearly all of them begin with an empty data dir,
//! each may be a process of its own, and compiling would take them longer than all else.
//!
//! It lies in the target dir beside the tests, in files by component and engine, and goes with them
//! (`cargo clean`).
//! A test of compiling itself says by which compiler, and is not fed from here.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use session_pipeline_host::limits::Compiler;

/// By this variable a program that was built with debug assertions is told the folder.
const VARIABLE: &str = "SESSION_PIPELINE_COMPILED";
/// Where cargo puts the programs of tests.
const PROGRAMS: &str = "deps";

/// Compiles in this process what no test has compiled before.
pub fn compiler() -> Compiler {
    match folder() {
        Some(folder) => Compiler::Shared {
            folder: folder.to_owned(),
            compiler: Box::new(Compiler::InProcess),
        },
        None => Compiler::InProcess,
    }
}

/// The environment in which the program does so too.
///
/// ```
/// use std::process::Command;
/// use session_pipeline_harness::compiled;
///
/// let mut command = Command::new("session-pipeline");
/// command.env_clear().envs(compiled::environment());
/// ```
pub fn environment() -> Option<(&'static str, &'static Path)> {
    Some((VARIABLE, folder()?))
}

/// None where this program lies in no target dir, as that of a doc test.
fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let program = std::env::current_exe().ok()?;
        let folder = program.parent()?;
        let is_of_cargo = folder.file_name()? == PROGRAMS;
        is_of_cargo.then(|| folder.with_file_name("compiled-components"))
    };
    FOLDER.get_or_init(find).as_deref()
}
