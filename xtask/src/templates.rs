//! `cargo xtask templates`: what an author starts with, tried as an author would.
//!
//! Each language's project comes out of the built program, is built and tested by its own two
//! commands, and its processor is inspected, verified and run: all must write the same rows. Then the tutorial
//! is done as it says. Where a language, or the network for its packages, is missing, it is skipped
//! and says so.

mod project;
mod tutorial;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::prerequisites;
use crate::stages::{StageResult, Stages};
use crate::workspace::{Workspace, output, status};
use project::{Language, Project};

/// Make, build, test and run a processor in each language, and compare their rows.
///
/// Needs Node and npm for JavaScript, and Python; what is not here is skipped.
/// Packages are kept in the cache dir (`XDG_CACHE_HOME`, else `~/.cache`), so that later runs are quick.
#[derive(clap::Args)]
pub struct Args {
    /// Only these (default: all)
    #[arg(value_enum)]
    only: Vec<Language>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    prerequisites::ensure(workspace)?;
    ensure!(workspace.build()?, "the build failed");
    let only = if args.only.is_empty() {
        Language::value_variants()
    } else {
        &args.only
    };
    let mut stages = Stages::default();
    check(workspace, only, &mut stages)?;
    print!("\n{}", stages.summary());
    Ok(stages.exit_code())
}

/// All of it, as stages of all tests, which have built the program already.
pub fn all(workspace: &Workspace, stages: &mut Stages) -> Result<()> {
    check(workspace, Language::value_variants(), stages)
}

fn check(workspace: &Workspace, only: &[Language], stages: &mut Stages) -> Result<()> {
    let folder = ProjectsFolder::emptied(workspace)?;
    let mut processors = Vec::new();
    for &language in only {
        let project = Project::new(workspace, &folder, language);
        stages.run(language.stage(), || {
            let outcome = project.check()?;
            if outcome.is_ok && !outcome.is_skipped {
                processors.push(project.name.clone());
            }
            Ok(outcome)
        });
    }
    stages.run("same rows", || same_rows(workspace, &folder, &processors));
    if only.contains(&Language::Rust) {
        stages.run("tutorial", || tutorial::check(workspace, &folder));
    }
    Ok(())
}

/// Where projects are made, each time anew, and what they have in common.
struct ProjectsFolder {
    /// A folder a language. Always at the same place, or cargo would keep every try for ever.
    projects: PathBuf,
    /// Where all processors run.
    data_dir: PathBuf,
    /// What cargo compiles for projects: the one thing that stays.
    cargo_target: PathBuf,
}

impl ProjectsFolder {
    fn emptied(workspace: &Workspace) -> Result<Self> {
        let base = workspace.target_dir.join("xtask/templates");
        let folder = Self {
            projects: base.join("projects"),
            data_dir: base.join("data"),
            cargo_target: base.join("target"),
        };
        for emptied in [&folder.projects, &folder.data_dir] {
            if emptied.exists() {
                fs::remove_dir_all(emptied)
                    .with_context(|| format!("cannot empty `{}`", emptied.display()))?;
            }
        }
        for made in [
            &folder.projects,
            &folder.data_dir.join("processors"),
            &folder.cargo_target,
        ] {
            fs::create_dir_all(made)
                .with_context(|| format!("cannot make `{}`", made.display()))?;
        }
        Ok(folder)
    }
}

/// Whether cargo can get packages now: asked only after something failed.
fn registry_is_reached(workspace: &Workspace) -> Result<bool> {
    let mut command = workspace.cargo(["info", "--quiet", "proptest"]);
    command.stdout(Stdio::null());
    Ok(status(command)?.success())
}

/// Holds the rows of all processors against each other, as the database has them.
fn same_rows(
    workspace: &Workspace,
    folder: &ProjectsFolder,
    processors: &[String],
) -> Result<StageResult> {
    if processors.len() < 2 {
        eprintln!("skipped: there are not two processors to compare");
        return Ok(StageResult::skipped());
    }
    let example = ["build", "--workspace", "--quiet", "--example", "table_rows"];
    ensure!(
        status(workspace.cargo(example))?.success(),
        "the build failed"
    );
    let mut rows = BTreeMap::new();
    for processor in processors {
        let found = table_rows(workspace, &folder.data_dir, processor, "messages")?;
        rows.insert(processor, found);
    }
    let Some((first, expected)) = rows.pop_first() else {
        return Ok(StageResult::skipped());
    };
    ensure!(
        !expected.is_empty(),
        "`{first}` has no rows, so nothing is compared"
    );
    // The session, the line, the time and the words.
    ensure!(
        expected.lines().all(|row| row.split('\t').count() == 4),
        "`{first}` has rows without all their cells, so not all is compared"
    );
    let mut is_ok = true;
    for (processor, found) in &rows {
        if *found != expected {
            is_ok = false;
            println!("`{first}` and `{processor}` wrote different rows:");
            let only = |these: &str, those: &str, sign| {
                for line in these
                    .lines()
                    .filter(|line| !those.lines().any(|other| other == *line))
                {
                    println!("{sign} {line}");
                }
            };
            only(&expected, found, '-');
            only(found, &expected, '+');
        }
    }
    println!(
        "{} processors, {} rows each",
        processors.len(),
        expected.lines().count()
    );
    Ok(StageResult::of(is_ok))
}

/// The rows of a session-owned table, a line each.
fn table_rows(
    workspace: &Workspace,
    data_dir: &Path,
    processor: &str,
    table: &str,
) -> Result<String> {
    let example = ["build", "--workspace", "--quiet", "--example", "table_rows"];
    ensure!(
        status(workspace.cargo(example))?.success(),
        "the build failed"
    );
    let mut command = Command::new(workspace.target_dir.join("debug/examples/table_rows"));
    command.arg(data_dir).args([processor, table]);
    output(command)
}
