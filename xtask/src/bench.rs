//! `cargo xtask bench`: the programs in `tests/benches`, each line against its yardstick.
//!
//! They are built with the `dev` profile, whose dependencies and runtime are optimised.
//! `cargo bench` alone would take the `bench` profile, which compiles DuckDB and wasmtime a second time.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use cargo_metadata::TargetKind;

use crate::prerequisites;
use crate::workspace::{Workspace, status};

/// Run the benchmark programs; ratios count, absolute times only say where the floor lies.
///
/// They use the same build as `run` and `test`: one profile, with optimised dependencies.
#[derive(clap::Args)]
pub struct Args {
    /// Which one (default: all)
    word: Option<String>,
    /// Passed on to the benchmark program
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let names = bench_names(workspace);
    let is_known = args
        .word
        .as_ref()
        .is_none_or(|word| names.contains(&word.as_str()));
    ensure!(
        is_known && !names.is_empty(),
        "no such benchmark; there are: {}",
        names.join(", ")
    );

    prerequisites::ensure(workspace)?;
    // Benchmarks that start the program find it where a build leaves it, and build none themselves.
    ensure!(workspace.build()?, "the build failed");
    let mut command = workspace.cargo(["bench", "--workspace", "--profile", "dev"]);
    for name in names
        .iter()
        .filter(|name| args.word.as_ref().is_none_or(|word| word == *name))
    {
        command.args(["--bench", name]);
    }
    command.arg("--").args(&args.args);
    Ok(ExitCode::from(u8::from(!status(command)?.success())))
}

fn bench_names(workspace: &Workspace) -> Vec<&str> {
    let targets = workspace
        .metadata
        .packages
        .iter()
        .flat_map(|package| &package.targets);
    targets
        .filter(|target| target.kind.contains(&TargetKind::Bench))
        .map(|target| target.name.as_str())
        .collect()
}
