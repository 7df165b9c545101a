//! `cargo xtask bench`: runs the benchmarks in `tests/benches`.
//!
//! With `--record`, the figures replace those in `docs/performance.md`.
//!
//! They use the `dev` profile, which optimizes the dependencies and the runtime. The default of
//! `cargo bench` is the `bench` profile, which would compile DuckDB and wasmtime a second time.

mod figures;

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::TargetKind;

use crate::prerequisites;
use crate::workspace::{Workspace, status};

/// Run the benchmarks
///
/// Compare the ratios. Absolute times depend on the machine.
/// The build is that of `run` and `test`: one profile, with optimized dependencies.
#[derive(clap::Args)]
pub struct Args {
    /// Benchmark to run (default: all)
    name: Option<String>,
    /// Replace the figures of the benchmark in `docs/performance.md`
    #[arg(long, requires = "name")]
    record: bool,
    /// Arguments for the benchmark program
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let names = bench_names(workspace);
    let is_known = args
        .name
        .as_ref()
        .is_none_or(|name| names.contains(&name.as_str()));
    ensure!(
        is_known && !names.is_empty(),
        "no such benchmark; available: {}",
        names.join(", ")
    );

    prerequisites::ensure(workspace)?;
    // Some benchmarks start the program. They use the output of this build.
    ensure!(workspace.build()?, "the build failed");
    let mut command = workspace.workspace_cargo(["bench", "--profile", "dev"])?;
    for name in names
        .iter()
        .filter(|name| args.name.as_ref().is_none_or(|chosen| chosen == *name))
    {
        command.args(["--bench", name]);
    }
    command.arg("--").args(&args.args);
    if let (true, Some(name)) = (args.record, &args.name) {
        let output = printed(command)?;
        return figures::record(workspace, name, &args.args, &output).map(|()| ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(u8::from(!status(command)?.success())))
}

/// Runs a command and returns its output, which is also printed.
fn printed(mut command: Command) -> Result<String> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("the output is not piped")?;
    let mut output = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        output.push_str(&line);
        output.push('\n');
    }
    ensure!(child.wait()?.success(), "the benchmark failed");
    Ok(output)
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
