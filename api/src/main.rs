//! The program: the one place that reads the environment, the arguments and the clock.

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
    reason = "here is the `main` that reads the environment"
)]
fn variables() -> Variables {
    let found = VARIABLES.map(|name| Some((name, std::env::var_os(name)?)));
    found.into_iter().flatten().collect()
}

/// The value of a variable that the configuration names.
#[expect(
    clippy::disallowed_methods,
    reason = "here is the `main` that reads the environment"
)]
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
