//! `cargo xtask mutants`: small changes to the code, each of which some test should notice.
//!
//! cargo-mutants makes them, in place: a copy of the tree would have to compile DuckDB again. Each costs
//! a build, so our own crates are compiled without optimisation, and the modules of the suite that are
//! about the changed code are run, to the first test that fails.

mod sample;
mod score;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::soak::seed_by_chance;
use crate::stages::{Outcome, Stages};
use crate::workspace::{Workspace, status};
use score::{Fate, Passes, Score};
use trial::{PASSES, Trial, files_of};

/// Modules that decide and touch nothing: all their mutants are tried, those of the quickest first.
/// `tests/suite/pure.rs` compiles their tests alone.
const PURE: [&str; 7] = [
    "schedule",
    "content",
    "config",
    "health",
    "quarantine",
    "scan",
    "migrations",
];

/// Change the code in small ways, and see whether the tests notice.
///
/// Without modules: all mutants of the pure ones (schedule, content, config, health, quarantine, scan,
/// migrations), and a sample of all others of the runtime and of the api. With modules: all of theirs, or
/// a sample. What the tests that are about a module miss is tried again with more cases; whether others
/// would notice is not asked.
/// Needs cargo-mutants (`cargo install cargo-mutants --locked`), and a tree without uncommitted changes,
/// since it changes files in place and puts them back. Each mutant is a build and a run of tests: some
/// ten seconds, and a minute where tests start the program.
#[derive(clap::Args)]
pub struct Args {
    /// How many mutants, chosen by chance (default: 40 of what is not pure, all of what is named)
    #[arg(long)]
    sample: Option<usize>,
    /// Chooses the same sample again (default: by chance)
    #[arg(long)]
    seed: Option<u32>,
    /// Go on from earlier runs: only what they did not come to, and what they missed
    #[arg(long)]
    resume: bool,
    /// Modules by their word, such as `scan`
    modules: Vec<String>,
}

const SAMPLE_DEFAULT: usize = 40;

/// Files that only name others, or say what was compiled.
const WITHOUT_MUTANTS: [&str; 4] = ["lib", "main", "under_test", "build"];

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let has_mutants = Command::new("cargo-mutants")
        .args(["mutants", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    ensure!(
        has_mutants,
        "cargo-mutants is not installed; `cargo install cargo-mutants --locked` does that"
    );
    ensure_clean(workspace)?;
    // Some tests start the program, and cargo builds no other package's program for a test.
    ensure!(workspace.build()?, "the build failed");
    let seed = args.seed.unwrap_or_else(seed_by_chance);
    let output = workspace.target_dir.join("xtask/mutants");
    let mut tried = Tried {
        trial: Trial {
            workspace,
            seed,
            tmp: output.join("tmp"),
        },
        output,
        stages: Stages::default(),
        told: Vec::new(),
    };
    if !args.resume {
        remove(&tried.output)?;
    }
    if args.modules.is_empty() {
        let words = PURE.map(ToOwned::to_owned);
        tried.try_out("pure, whole", tried.mutants(&words)?)?;
        let rest = tried.mutants(&words_of_the_rest(&workspace.root)?)?;
        let size = args.sample.unwrap_or(SAMPLE_DEFAULT);
        let chosen = sample::choose(rest, size, u64::from(seed));
        tried.try_out("the rest, sample", chosen)?;
    } else {
        let mutants = tried.mutants(&args.modules)?;
        match args.sample {
            None => tried.try_out("whole", mutants)?,
            Some(size) => {
                let chosen = sample::choose(mutants, size, u64::from(seed));
                tried.try_out("sample", chosen)?;
            }
        }
    }
    // The program is left as the last mutant made it.
    ensure!(workspace.build()?, "the build failed");
    print!("\n{}\n", tried.stages.summary());
    for line in &tried.told {
        println!("{line}");
    }
    println!(
        "Seed: {seed}; what was done and said of each: {}",
        tried.output.display()
    );
    Ok(tried.stages.exit_code())
}

/// Mutants of each module, as cargo-mutants names them.
type Mutants = Vec<(String, Vec<String>)>;

struct Tried<'a> {
    trial: Trial<'a>,
    output: PathBuf,
    stages: Stages,
    told: Vec<String>,
}

impl Tried<'_> {
    fn mutants(&self, words: &[String]) -> Result<Mutants> {
        let mut mutants = Mutants::new();
        for word in words {
            let mut command = self.trial.cargo_mutants();
            command.arg("--list");
            for file in files_of(word) {
                command.arg("--file").arg(file);
            }
            let output = command.output().context("cannot start cargo-mutants")?;
            ensure!(
                output.status.success(),
                "cargo-mutants can't list those of `{word}`: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            let listed: Vec<String> = String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(ToOwned::to_owned)
                .collect();
            ensure!(
                !listed.is_empty(),
                "there are no mutants of `{word}`; name a module of a crate in `runtime` or of `api/src`, or `migrations`"
            );
            mutants.push((word.clone(), listed));
        }
        Ok(mutants)
    }

    /// Tries mutants out, the modules one after the other, and tells how many were caught.
    fn try_out(&mut self, what: &str, mutants: Mutants) -> Result<()> {
        let mut score = Score::default();
        let mut missed = Vec::new();
        for (word, mutants) in mutants {
            let passes = Passes::of(self.output.join(&word));
            let time = self.trial.time_without_mutant(&word)?;
            for pass in &PASSES {
                let fates = passes.fates()?;
                let left: Vec<&str> = mutants
                    .iter()
                    .map(String::as_str)
                    .filter(|name| matches!(fates.get(*name), None | Some(Fate::Missed)))
                    .collect();
                if left.is_empty() {
                    break;
                }
                let name = format!(
                    "{word}, {} of {} mutants, {} cases",
                    left.len(),
                    mutants.len(),
                    pass.cases
                );
                let command = self
                    .trial
                    .command(&word, &left, (pass, time), &passes.next()?)?;
                self.stages.run(&name, || {
                    // 2: some were missed, 3: some went on for ever; both are told below.
                    let code = status(command)?.code();
                    Ok(Outcome::of(matches!(code, Some(0 | 2 | 3))))
                });
                // What tests leave that are ended in their midst.
                remove(&self.trial.tmp)?;
            }
            let fates = passes.fates()?;
            let mut of_module = Score::default();
            for name in mutants {
                let Some(fate) = fates.get(&name) else {
                    self.told.push(format!("  not tried: {name}"));
                    continue;
                };
                score.add(*fate);
                of_module.add(*fate);
                if *fate == Fate::Missed {
                    missed.push(name);
                }
            }
            eprintln!("{word}: {of_module}");
            self.told.push(format!("  {word}: {of_module}"));
        }
        self.told.push(format!("{what}: {score}"));
        self.told
            .extend(missed.iter().map(|mutant| format!("  missed: {mutant}")));
        Ok(())
    }
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot empty `{}`", folder.display()))?;
    }
    Ok(())
}

/// All words of the runtime and the api that are not pure.
fn words_of_the_rest(root: &Path) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for folder in [
        "runtime/host/src",
        "runtime/store/src",
        "runtime/pipeline/src",
        "api/src",
    ] {
        let folder = root.join(folder);
        let entries = folder
            .read_dir()
            .with_context(|| format!("cannot read `{}`", folder.display()))?;
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let word = name
                .strip_suffix(".rs")
                .filter(|word| !PURE.contains(word) && !WITHOUT_MUTANTS.contains(word));
            words.extend(word.map(ToOwned::to_owned));
        }
    }
    words.sort();
    Ok(words)
}

/// A file that is changed twice at once would be lost.
fn ensure_clean(workspace: &Workspace) -> Result<()> {
    let output = Command::new("git")
        .args(["status", "--porcelain", "--untracked-files=no"])
        .current_dir(&workspace.root)
        .output()
        .context("cannot start git")?;
    if !output.status.success() {
        bail!("git can't tell whether files were changed");
    }
    ensure!(
        output.stdout.is_empty(),
        "there are changes that are not committed; mutants are made in place, so commit them or use another worktree"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::trial::modules_of;
    use super::*;

    #[test]
    fn every_word_has_modules_of_the_suite_that_are_about_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let words = words_of_the_rest(&root).unwrap();
        assert!(words.contains(&"store".to_owned()), "{words:?}");
        for word in words.iter().map(String::as_str).chain(PURE) {
            for module in modules_of(word) {
                let path = module.trim_end_matches("::").replace("::", "/");
                let file = root.join("tests/suite").join(path).with_extension("rs");
                assert!(file.is_file(), "`{word}` is tried with `{module}`");
            }
        }
    }
}
