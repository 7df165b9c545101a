//! The entry point of the program. Only this file reads the environment.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    session_pipeline_push::cli::main(std::env::args_os(), &environment)
}

#[expect(
    clippy::disallowed_methods,
    reason = "only `main` reads the environment"
)]
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
