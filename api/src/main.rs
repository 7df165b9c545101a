//! The program: the one place that reads the environment, the arguments and the clock.

use std::process::ExitCode;

fn main() -> ExitCode {
    session_pipeline::cli::main(std::env::args_os())
}
