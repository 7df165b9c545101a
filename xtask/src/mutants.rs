//! `cargo xtask mutants`: small changes to the code, each of which some test should notice.
//!
//! cargo-mutants makes them, in place: a copy of the tree would have to compile DuckDB again. Each costs
//! a build, so our own crates are compiled without optimisation, and of the suite only the module of
//! the same word is run, to the first test that fails.

mod sample;
mod score;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::soak::seed_by_chance;
use crate::stages::{Outcome, Stages};
use crate::test;
use crate::workspace::{Workspace, cargo_path, forget_this_crate, status};
use score::{Fate, Passes, Score};

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

/// How hard the tests look at a mutant. Most are caught by a few cases of a property; what they miss
/// is looked at again.
struct Pass {
    cases: &'static str,
    /// Far longer than the tests of a module take: what takes longer has no end.
    seconds_max: u32,
    seconds_max_pure: u32,
}

const PASSES: [Pass; 2] = [
    Pass {
        cases: "8",
        seconds_max: 300,
        seconds_max_pure: 60,
    },
    Pass {
        cases: "32",
        seconds_max: 600,
        seconds_max_pure: 240,
    },
];

/// How our own crates are compiled: only they are compiled again for a mutant.
const QUICK: [&str; 4] = [
    "profile.dev.debug=false",
    "profile.dev.package.session-pipeline-runtime.opt-level=0",
    "profile.dev.package.session-pipeline-runtime.codegen-units=256",
    "profile.dev.package.session-pipeline-harness.opt-level=0",
];
/// So that the test runner takes [`FAIL_FAST`], which is not stable yet. Not set for the compiler:
/// everything would be compiled again.
const RUNNER: &str = "target.'cfg(unix)'.runner=[\"env\", \"RUSTC_BOOTSTRAP=1\"]";
const FAIL_FAST: [&str; 3] = ["-Z", "unstable-options", "--fail-fast"];

/// Change the code in small ways, and see whether the tests notice.
///
/// Without modules: all mutants of the pure ones (schedule, content, config, health, quarantine, scan,
/// migrations), and a sample of all others. With modules: all of theirs, or a sample.
/// Needs cargo-mutants (`cargo install cargo-mutants --locked`), and a tree without uncommitted changes,
/// since it changes files in place and puts them back. Each mutant is a build and a run of tests: some
/// ten seconds.
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
    let seed = args.seed.unwrap_or_else(seed_by_chance);
    let mut tried = Tried {
        workspace,
        seed,
        output: workspace.target_dir.join("xtask/mutants"),
        stages: Stages::default(),
        told: Vec::new(),
    };
    if !args.resume {
        remove(&tried.output)?;
    }
    if args.modules.is_empty() {
        let words = PURE.map(ToOwned::to_owned);
        tried.try_out("pure, whole", tried.mutants(&words)?)?;
        let rest = words_of(workspace)?;
        let rest: Vec<String> = rest
            .into_iter()
            .filter(|word| !PURE.contains(&word.as_str()))
            .collect();
        let size = args.sample.unwrap_or(SAMPLE_DEFAULT);
        let chosen = sample::choose(tried.mutants(&rest)?, size, u64::from(seed));
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
    workspace: &'a Workspace,
    seed: u32,
    output: PathBuf,
    stages: Stages,
    told: Vec<String>,
}

impl Tried<'_> {
    fn mutants(&self, words: &[String]) -> Result<Mutants> {
        let mut mutants = Mutants::new();
        for word in words {
            let mut command = self.cargo_mutants();
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
                "there are no mutants of `{word}`; name a module of `runtime/src`, or `migrations`"
            );
            mutants.push((word.clone(), listed));
        }
        Ok(mutants)
    }

    /// Tries mutants out, the modules one after the other, and tells how many were caught.
    fn try_out(&mut self, what: &str, mutants: Mutants) -> Result<()> {
        self.ensure_passed(&mutants)?;
        let mut score = Score::default();
        let mut missed = Vec::new();
        for (word, mutants) in mutants {
            let passes = Passes::of(self.output.join(&word));
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
                let command = self.trial(&word, &left, pass, &passes.next()?)?;
                self.stages.run(&name, || {
                    // 2: some were missed, 3: some went on for ever; both are told below.
                    let code = status(command)?.code();
                    Ok(Outcome::of(matches!(code, Some(0 | 2 | 3))))
                });
                // What tests leave that are ended in their midst.
                remove(&self.tmp())?;
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

    /// What fails as it is would seem to notice everything. Asked once for all modules, since a build
    /// between two of them costs as much as a mutant.
    fn ensure_passed(&self, mutants: &Mutants) -> Result<()> {
        for target in ["pure", "suite"] {
            let words = mutants.iter().map(|(word, _)| word);
            let filters: Vec<String> = words
                .filter(|word| target_of(word) == target)
                .map(|word| format!("{word}::"))
                .collect();
            if filters.is_empty() {
                continue;
            }
            let mut command = self.workspace.cargo(["test", "--workspace"]);
            command.args(QUICK.iter().flat_map(|value| ["--config", value]));
            command.args(["--test", target, "--"]).args(filters);
            self.prepare(&mut command, &PASSES[0])?;
            ensure!(
                status(command)?.success(),
                "the tests fail without any mutant"
            );
        }
        Ok(())
    }

    fn trial(&self, word: &str, mutants: &[&str], pass: &Pass, output: &Path) -> Result<Command> {
        let mut command = self.cargo_mutants();
        let is_pure = PURE.contains(&word);
        let seconds_max = if is_pure {
            pass.seconds_max_pure
        } else {
            pass.seconds_max
        };
        command
            .args([
                "--in-place",
                "--no-shuffle",
                "--baseline",
                "skip",
                "--test-workspace",
                "true",
            ])
            .args(["--timeout", &seconds_max.to_string()])
            .arg("--output")
            .arg(output);
        for file in files_of(word) {
            command.arg("--file").arg(file);
        }
        // For all that it asks of cargo: told of the tests alone, it would build every other target too.
        command.arg(format!("--cargo-arg=--test={}", target_of(word)));
        for value in QUICK.iter().chain([&RUNNER]) {
            command.arg(format!("--cargo-arg=--config={value}"));
        }
        let names: Vec<String> = mutants.iter().map(|name| escaped(name)).collect();
        command
            .arg("--re")
            .arg(format!("^({})$", names.join("|")))
            .args(["--", "--"])
            .arg(format!("{word}::"))
            .args(FAIL_FAST);
        self.prepare(&mut command, pass)?;
        Ok(command)
    }

    /// The environment that tests see.
    fn prepare(&self, command: &mut Command, pass: &Pass) -> Result<()> {
        let tmp = self.tmp();
        fs::create_dir_all(&tmp).with_context(|| format!("cannot make `{}`", tmp.display()))?;
        command
            .env("TMPDIR", tmp)
            .env(test::CASES, pass.cases)
            .env_remove("PROPTEST_CASES")
            .env("PROPTEST_RNG_SEED", self.seed.to_string())
            // What a mutant breaks is no regression of ours.
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
            // Nor does anybody look at how it broke.
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .env("RUST_BACKTRACE", "0")
            .env("INSTA_UPDATE", "no");
        Ok(())
    }

    fn tmp(&self) -> PathBuf {
        self.output.join("tmp")
    }

    /// Called by its own name: cargo would hand it options that are meant for cargo itself.
    fn cargo_mutants(&self) -> Command {
        let mut command = Command::new("cargo-mutants");
        command
            .arg("mutants")
            .current_dir(&self.workspace.root)
            .env("CARGO", cargo_path())
            .env("CARGO_TARGET_DIR", &self.workspace.target_dir);
        forget_this_crate(&mut command);
        command
    }
}

/// The test target that holds a module.
fn target_of(word: &str) -> &'static str {
    if PURE.contains(&word) {
        "pure"
    } else {
        "suite"
    }
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot empty `{}`", folder.display()))?;
    }
    Ok(())
}

/// Where a word's code stands.
fn files_of(word: &str) -> [String; 2] {
    match word {
        "migrations" => [
            "migrations/src/*.rs".to_owned(),
            "migrations/src/**/*.rs".to_owned(),
        ],
        word => [
            format!("runtime/src/{word}.rs"),
            format!("runtime/src/{word}/**/*.rs"),
        ],
    }
}

/// The words that both the runtime and the suite know: code without a module of its own in the
/// suite can't be tried by itself.
fn words_of(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join("runtime/src");
    let entries = folder
        .read_dir()
        .with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut words = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let word = name.strip_suffix(".rs").map(ToOwned::to_owned);
        let suite = workspace.root.join("tests/suite").join(&name);
        words.extend(word.filter(|_| suite.is_file()));
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

/// A name for which a regular expression stands as it is.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are() {
        assert_eq!(
            escaped("a.rs:1:2: replace f -> Option<u8> with None"),
            r"a\.rs:1:2: replace f \-> Option<u8> with None"
        );
    }
}
