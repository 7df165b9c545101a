//! The entry point of the program. Only this file reads the environment.

use std::ffi::OsString;
use std::process::ExitCode;

use session_pipeline::cli::TestHooks;
use session_pipeline_pipeline::config::{VARIABLES, Variables};

fn main() -> ExitCode {
    session_pipeline::cli::main(
        std::env::args_os(),
        variables(),
        environment,
        TestHooks::default(),
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "only `main` reads the environment"
)]
fn variables() -> Variables {
    let found = VARIABLES.map(|name| Some((name, std::env::var_os(name)?)));
    found.into_iter().flatten().collect()
}

/// Looks up a variable that the configuration names.
#[expect(
    clippy::disallowed_methods,
    reason = "only `main` reads the environment"
)]
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
