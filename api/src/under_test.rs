//! The program that the test suite runs. It has the same command line as the released program, and
//! two environment variables that set options for tests. It is never packaged.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use session_pipeline::cli::{self, TestHooks};
use session_pipeline::shipped::SHIPPED;
use session_pipeline_pipeline::config::{Variables, variable_names};
use session_pipeline_store::kill_point;

fn main() -> ExitCode {
    if let Err(error) = kill_points() {
        // A test that requests kill points must not run without them.
        let _ = writeln!(std::io::stderr(), "error: {KILL_POINTS}: {error}");
        return ExitCode::from(2);
    }
    let hooks = TestHooks {
        compiled: environment(COMPILED).map(PathBuf::from),
    };
    cli::main(std::env::args_os(), variables(), environment, hooks)
}

/// A cache of compiled components that all tests share.
const COMPILED: &str = "SESSION_PIPELINE_COMPILED";
/// The points at which the process kills itself, for crash tests.
const KILL_POINTS: &str = "SESSION_PIPELINE_KILL_POINTS";

#[expect(
    clippy::disallowed_methods,
    reason = "only `main` reads the environment"
)]
fn kill_points() -> Result<(), String> {
    let Some(plan) = std::env::var_os(KILL_POINTS) else {
        return Ok(());
    };
    let plan: kill_point::KillPlan = plan.to_string_lossy().parse()?;
    kill_point::install(&plan).map_err(|error| error.to_string())
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
