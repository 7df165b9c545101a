//! `cargo xtask fuzz`: the targets in `tests/suite/fuzz`, each for a given time; and those in
//! `tests/fuzz`, which hold the same laws against inputs that are led by coverage.

mod coverage;

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::soak::seed_by_chance;
use crate::stages::Stages;
use crate::tally::Tally;
use crate::test;
use crate::workspace::Workspace;
use coverage::Led;

const TARGETS: &str = "tests/suite/fuzz";

/// Hold what reads something from outside against inputs that nobody thought of.
///
/// Inputs are good ones with something done to them, and each is held against a law.
/// What breaks it is made small, told, and kept in `tests/proptest-regressions` for every later run.
///
/// What needs neither the database nor the sandbox is tried as long again with inputs that are led by
/// coverage, where cargo-fuzz (`cargo install cargo-fuzz --locked`) and a nightly compiler are here.
/// What breaks a law then is told with its file; put that into `tests/fuzz/seeds`.
#[derive(clap::Args)]
pub struct Args {
    /// Which one (default: all, one after the other)
    target: Option<String>,
    /// For how long each
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Begins with the same inputs again (default: by chance)
    #[arg(long)]
    seed: Option<u32>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let mut targets = targets(workspace)?;
    if let Some(target) = &args.target {
        let known = targets.join(", ");
        targets.retain(|name| name == target);
        ensure!(
            !targets.is_empty(),
            "there is no target `{target}`; there are: {known}"
        );
    }
    crate::prerequisites::ensure(workspace)?;
    let seed = args.seed.unwrap_or_else(seed_by_chance);
    let tally = Tally::new(workspace, "fuzz-tally")?;
    let mut stages = Stages::default();
    let mut told = String::new();
    for target in &targets {
        tally.clear()?;
        stages.run(target, || {
            let mut command = workspace.cargo(["test", "--workspace", "--test", "suite", "--"]);
            command
                .arg(format!("fuzz::{target}::"))
                .env("SESSION_PIPELINE_FUZZ_SECONDS", args.seconds.to_string())
                .env_remove("PROPTEST_CASES")
                .env("PROPTEST_RNG_SEED", seed.to_string());
            tally.prepare(&mut command);
            test::counted(command)
        });
        let executions = tally.sums()?.of_name("cases");
        tell(&mut told, target, executions)?;
        if let Some(led) = Led::find(workspace, target) {
            let name = format!("{target}, led by coverage");
            let mut executions = 0;
            stages.run(&name, || led.run(args.seconds, seed, &mut executions));
            tell(&mut told, &name, executions)?;
        }
    }
    print!("\n{}\n{told}", stages.summary());
    println!("Seed: {seed} (the same inputs first: cargo xtask fuzz --seed {seed})");
    Ok(stages.exit_code())
}

fn tell(told: &mut String, name: &str, inputs: u64) -> Result<()> {
    writeln!(told, "{name:<28} {inputs:>9} inputs").context("a string takes all")
}

/// One a file.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join(TARGETS);
    let entries = folder
        .read_dir()
        .with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(ToOwned::to_owned));
    }
    names.sort();
    Ok(names)
}
