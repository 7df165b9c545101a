//! `cargo xtask templates`: tests the project templates and the tutorial like a new author would.
//!
//! For each language, the built program creates a project. The build and test commands of the
//! project must succeed, and its processor is inspected, verified and run. The processors of all
//! languages must write the same rows. Then the commands of the tutorial are run. A language is
//! skipped with a message if its toolchain or the network for its packages is missing.

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

/// Create, build, test and run a processor in each language, and compare their rows
///
/// JavaScript needs Node and npm, and Python needs Python 3. Languages whose tools are missing are
/// skipped. Packages are cached in `XDG_CACHE_HOME`, or else `~/.cache`, so that later runs are
/// fast.
#[derive(clap::Args)]
pub struct Args {
    /// Languages to test (default: all)
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

/// Tests all languages as stages of `test`, which has already built the program.
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

/// The folders of the projects. They are emptied before each run.
struct ProjectsFolder {
    /// Contains one folder per language. The path is fixed, because cargo would store build output
    /// for each path indefinitely.
    projects: PathBuf,
    /// The data directory in which all processors run.
    data_dir: PathBuf,
    /// The target directory of the projects. It is not emptied.
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
        for old in [&folder.projects, &folder.data_dir] {
            if old.exists() {
                fs::remove_dir_all(old)
                    .with_context(|| format!("cannot empty `{}`", old.display()))?;
            }
        }
        for new in [
            &folder.projects,
            &folder.data_dir.join("processors"),
            &folder.cargo_target,
        ] {
            fs::create_dir_all(new)
                .with_context(|| format!("cannot create `{}`", new.display()))?;
        }
        Ok(folder)
    }
}

/// Whether cargo can reach the registry. Called only after a failure.
fn registry_is_reachable(workspace: &Workspace) -> Result<bool> {
    let mut command = workspace.cargo(["info", "--quiet", "proptest"]);
    command.stdout(Stdio::null());
    Ok(status(command)?.success())
}

/// Checks that the rows of all processors in the database are equal.
fn same_rows(
    workspace: &Workspace,
    folder: &ProjectsFolder,
    processors: &[String],
) -> Result<StageResult> {
    if processors.len() < 2 {
        eprintln!("skipped: the comparison needs at least two processors");
        return Ok(StageResult::skipped());
    }
    let example = workspace.workspace_cargo(["build", "--quiet", "--example", "table_rows"])?;
    ensure!(status(example)?.success(), "the build failed");
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
        "`{first}` has no rows, so there is nothing to compare"
    );
    // The columns are the session, the line, the time and the number of words.
    ensure!(
        expected.lines().all(|row| row.split('\t').count() == 4),
        "`{first}` has rows with missing cells, so the comparison would be incomplete"
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

/// The rows of a session-owned table, one per line.
fn table_rows(
    workspace: &Workspace,
    data_dir: &Path,
    processor: &str,
    table: &str,
) -> Result<String> {
    let example = workspace.workspace_cargo(["build", "--quiet", "--example", "table_rows"])?;
    ensure!(status(example)?.success(), "the build failed");
    let mut command = Command::new(workspace.target_dir.join("debug/examples/table_rows"));
    command.arg(data_dir).args([processor, table]);
    output(command)
}
