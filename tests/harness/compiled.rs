//! A cache of compiled components that all tests share. Most tests start with an empty data
//! directory, often in their own process, and would spend most of their time compiling.
//!
//! The cache is in the target directory next to the test programs, with one file per component and
//! engine. `cargo clean` deletes it. Tests of the compiler choose a compiler and do not use the
//! cache.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use session_pipeline_host::limits::Compiler;

/// The environment variable with the folder of the cache. Only programs that are built with debug
/// assertions read it.
const VARIABLE: &str = "SESSION_PIPELINE_COMPILED";
/// The name of the folder in which cargo places test programs.
const PROGRAMS: &str = "deps";

/// Returns a compiler that uses the cache. It compiles missing components in this process.
pub fn compiler() -> Compiler {
    match folder() {
        Some(folder) => Compiler::Shared {
            folder: folder.to_owned(),
            compiler: Box::new(Compiler::InProcess),
        },
        None => Compiler::InProcess,
    }
}

/// The environment variable that makes the program use the cache as well.
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

/// `None` if this program is not in a target directory. This is the case for doc tests.
fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let program = std::env::current_exe().ok()?;
        let folder = program.parent()?;
        let is_cargo_folder = folder.file_name()? == PROGRAMS;
        is_cargo_folder.then(|| folder.with_file_name("compiled-components"))
    };
    FOLDER.get_or_init(find).as_deref()
}
