//! `cargo xtask check`: all checks that run no tests, fastest first.

use std::fmt;
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::ValueEnum;

use crate::stages::{StageResult, Stages};
use crate::workspace::{Workspace, metadata, status};
use crate::{deny, prerequisites, tidy, walls};

/// Check format, layout, dependencies between crates, external dependencies, lints and docs
///
/// `test` runs the same checks first.
#[derive(clap::Args)]
pub struct Args {
    /// Checks to run (default: all)
    #[arg(value_enum)]
    only: Vec<Check>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Check {
    /// `cargo fmt --check`
    Fmt,
    /// Layout: module docs, file names, import cycles, listed migrations, tested guests, location
    /// of SQL
    Tidy,
    /// Dependencies between crates
    Walls,
    /// Licenses, sources and known vulnerabilities of dependencies, if cargo-deny is installed
    Deny,
    /// `cargo clippy` with warnings as errors
    Clippy,
    /// `cargo doc` with warnings as errors
    Docs,
}

/// A violation of a rule.
#[derive(Debug, PartialEq)]
pub struct Finding {
    /// A file, with an optional line number, or a package.
    pub place: String,
    pub reason: String,
    /// How to fix it.
    pub help: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}\n    help: {}",
            self.place, self.reason, self.help
        )
    }
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let mut stages = Stages::default();
    let only = if args.only.is_empty() {
        Check::value_variants()
    } else {
        &args.only
    };
    check(workspace, only, &mut stages)?;
    print!("\n{}", stages.summary());
    Ok(stages.exit_code())
}

pub fn check(workspace: &Workspace, only: &[Check], stages: &mut Stages) -> Result<()> {
    if only.contains(&Check::Fmt) {
        stages.run("fmt", || fmt(workspace));
    }
    if only.contains(&Check::Tidy) {
        stages.run("tidy", || {
            tidy::findings(&workspace.root).map(print_findings)
        });
    }
    if only.contains(&Check::Walls) {
        stages.run("walls", || {
            let guests = metadata(&workspace.guest_manifest())?;
            Ok(print_findings(walls::findings(
                &workspace.metadata,
                &guests,
            )))
        });
    }
    if only.contains(&Check::Deny) {
        stages.run("deny", || deny::check(workspace));
    }
    if only.contains(&Check::Clippy) || only.contains(&Check::Docs) {
        prerequisites::ensure(workspace)?;
    }
    if only.contains(&Check::Clippy) {
        stages.run("clippy", || clippy(workspace));
    }
    if only.contains(&Check::Docs) {
        stages.run("docs", || docs(workspace));
    }
    Ok(())
}

pub fn print_findings(findings: Vec<Finding>) -> StageResult {
    for finding in &findings {
        println!("{finding}");
    }
    StageResult::of(findings.is_empty())
}

fn fmt(workspace: &Workspace) -> Result<StageResult> {
    let ours = workspace.cargo(["fmt", "--all", "--check"]);
    let mut guests = workspace.guest_cargo("fmt");
    guests.args(["--all", "--check"]);
    let mut examples = workspace.cargo(["fmt", "--check"]);
    examples.current_dir(workspace.root.join("examples"));
    let examples = status(examples)?.success();
    let rest = both(ours, guests)?;
    Ok(StageResult::of(examples && rest.is_ok))
}

fn clippy(workspace: &Workspace) -> Result<StageResult> {
    // Pass `-D warnings` after `--`. RUSTFLAGS would rebuild every dependency.
    let strict = ["--all-targets", "--", "-D", "warnings"];
    let mut ours = workspace.workspace_cargo(["clippy"])?;
    ours.args(strict);
    let mut guests = workspace.guest_cargo("clippy");
    guests.arg("--workspace").args(strict);
    both(ours, guests)
}

fn docs(workspace: &Workspace) -> Result<StageResult> {
    let mut ours = workspace.workspace_cargo(["doc", "--no-deps"])?;
    ours.env("RUSTDOCFLAGS", "-D warnings");
    let mut guests = workspace.guest_cargo("doc");
    guests
        .args(["--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    both(ours, guests)
}

/// Runs both commands, even if the first fails, so that one run shows all errors.
fn both(ours: Command, guests: Command) -> Result<StageResult> {
    let ours = status(ours)?;
    let guests = status(guests)?;
    Ok(StageResult::of(ours.success() && guests.success()))
}
