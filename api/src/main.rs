//! The entry point of the program. Only this file reads the environment.

use std::ffi::OsString;
use std::process::ExitCode;

use session_pipeline::cli::TestHooks;
use session_pipeline::shipped::SHIPPED;
use session_pipeline_pipeline::config::{Variables, variable_names};

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
    let names = variable_names(&SHIPPED).into_iter();
    let found = names.map(|name| Some((name, std::env::var_os(name)?)));
    found.flatten().collect()
}

/// Looks up a variable that the configuration names.
#[expect(
    clippy::disallowed_methods,
    reason = "only `main` reads the environment"
)]
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
