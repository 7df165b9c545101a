//! What all commands know, and how they fail.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::settings::{self, Folders};

/// Reads a variable of the environment.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// How a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Arguments or settings are invalid.
    Usage(String),
    /// The command could not do its work.
    CouldNotRun(String),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Usage(text)
    }
}

/// What all commands know.
pub struct Context<'e> {
    /// The folders of the program.
    pub folders: Folders,
    /// The environment.
    pub environment: Environment<'e>,
}

/// The folders of the program, from the environment.
///
/// # Errors
/// There is no home directory.
pub fn folders(environment: Environment<'_>) -> Result<Folders, String> {
    let path = |name| environment(name).map(PathBuf::from);
    Folders::new(
        path("HOME"),
        path("XDG_CONFIG_HOME"),
        path("XDG_STATE_HOME"),
    )
}

/// The token, from the environment, a file, or `setup`.
///
/// # Errors
/// The token cannot be read.
pub fn token(context: &Context<'_>, file: Option<&Path>) -> Result<Option<String>, String> {
    if file.is_none()
        && let Some(text) = (context.environment)("SESSION_PIPELINE_TOKEN")
    {
        return settings::check_token(&text.to_string_lossy()).map(Some);
    }
    settings::read_token(&context.folders, file)
}
