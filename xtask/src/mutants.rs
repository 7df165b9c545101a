//! `cargo xtask mutants`: small changes to the code, each of which some test should notice.
//!
//! cargo-mutants makes them, in place: a copy of the tree would have to compile DuckDB again. Of the
//! suite only the module of the same word is run, since every change costs a build already.

mod sample;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::soak::seed_by_chance;
use crate::stages::{Outcome, Stages};
use crate::test;
use crate::workspace::{Workspace, cargo_path, status};

/// Modules that decide and touch nothing: all their mutants are tried.
const PURE: [&str; 7] = [
    "scan",
    "schedule",
    "quarantine",
    "content",
    "health",
    "config",
    "migrations",
];
/// Cases of a property, as in an ordinary run.
const CASES: &str = "32";
/// Far longer than any module of the suite takes.
const TEST_SECONDS_MAX: u32 = 300;

/// Change the code in small ways, and see whether the tests notice.
///
/// Without modules: all mutants of the pure ones (scan, schedule, quarantine, content, health, config,
/// migrations), and a sample of all others. With modules: all of theirs, or a sample.
/// Needs cargo-mutants (`cargo install cargo-mutants --locked`), and a tree without uncommitted changes,
/// since it changes files in place and puts them back. Each mutant is a build: count in minutes.
#[derive(clap::Args)]
pub struct Args {
    /// How many mutants, chosen by chance (default: 40 of what is not pure, all of what is named)
    #[arg(long)]
    sample: Option<usize>,
    /// Chooses the same sample again (default: by chance)
    #[arg(long)]
    seed: Option<u32>,
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
    if tried.output.exists() {
        fs::remove_dir_all(&tried.output)
            .with_context(|| format!("cannot empty `{}`", tried.output.display()))?;
    }
    if args.modules.is_empty() {
        let words: Vec<String> = PURE.iter().map(ToString::to_string).collect();
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

/// Mutants by the word of their module, as cargo-mutants names them.
type Mutants = BTreeMap<String, Vec<String>>;

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
            mutants.insert(word.clone(), listed);
        }
        Ok(mutants)
    }

    /// Tries mutants out, the modules one after the other, and tells how many were caught.
    fn try_out(&mut self, what: &str, mutants: Mutants) -> Result<()> {
        self.ensure_passed(mutants.keys())?;
        let mut score = Score::default();
        let mut missed = Vec::new();
        for (word, mutants) in mutants {
            let output = self.output.join(&word);
            fs::create_dir_all(&output)
                .with_context(|| format!("cannot make `{}`", output.display()))?;
            let command = self.trial(&word, &mutants, &output);
            self.stages.run(&word, || {
                // 2: some were missed, 3: some went on for ever; both are told below.
                let code = status(command)?.code();
                Ok(Outcome::of(matches!(code, Some(0 | 2 | 3))))
            });
            let of_module = Score::read(&output)?;
            missed.extend(lines(&output, "missed.txt")?);
            score.add(&of_module);
        }
        self.told.push(format!("{what}: {score}"));
        self.told
            .extend(missed.iter().map(|mutant| format!("  missed: {mutant}")));
        Ok(())
    }

    /// What fails as it is would seem to notice everything. Asked once for all modules, since a build
    /// between two of them costs as much as a mutant.
    fn ensure_passed<'w>(&self, words: impl Iterator<Item = &'w String>) -> Result<()> {
        let mut command = self
            .workspace
            .cargo(["test", "--workspace", "--test", "suite", "--"]);
        command
            .args(words.map(|word| format!("{word}::")))
            .env("INSTA_UPDATE", "no");
        ensure!(
            status(command)?.success(),
            "the tests fail without any mutant"
        );
        Ok(())
    }

    fn trial(&self, word: &str, mutants: &[String], output: &Path) -> Command {
        let mut command = self.cargo_mutants();
        command
            .args([
                "--in-place",
                "--no-shuffle",
                "--baseline",
                "skip",
                "--test-workspace",
                "true",
            ])
            .args(["--timeout", &TEST_SECONDS_MAX.to_string()])
            .arg("--output")
            .arg(output);
        for file in files_of(word) {
            command.arg("--file").arg(file);
        }
        let names: Vec<String> = mutants.iter().map(|name| escaped(name)).collect();
        command
            .arg("--re")
            .arg(format!("^({})$", names.join("|")))
            .args(["--", "--test", "suite", "--"])
            .arg(format!("{word}::"))
            .env(test::CASES, CASES)
            .env_remove("PROPTEST_CASES")
            .env("PROPTEST_RNG_SEED", self.seed.to_string())
            // What a mutant breaks is no regression of ours.
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
            .env("INSTA_UPDATE", "no");
        command
    }

    /// Called by its own name: cargo would hand it options that are meant for cargo itself.
    fn cargo_mutants(&self) -> Command {
        let mut command = Command::new("cargo-mutants");
        command
            .arg("mutants")
            .current_dir(&self.workspace.root)
            .env("CARGO", cargo_path())
            .env("CARGO_TARGET_DIR", &self.workspace.target_dir);
        for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"] {
            command.env_remove(name);
        }
        command
    }
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

fn lines(output: &Path, file: &str) -> Result<Vec<String>> {
    let path = output.join("mutants.out").join(file);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(text.lines().map(ToOwned::to_owned).collect())
}

/// What became of mutants.
#[derive(Debug, Default, PartialEq)]
struct Score {
    caught: usize,
    missed: usize,
    /// The tests did not come to their end: noticed, in a way.
    timed_out: usize,
    /// It did not compile.
    unviable: usize,
}

impl Score {
    fn read(output: &Path) -> Result<Self> {
        let count = |file| lines(output, file).map(|lines| lines.len());
        Ok(Self {
            caught: count("caught.txt")?,
            missed: count("missed.txt")?,
            timed_out: count("timeout.txt")?,
            unviable: count("unviable.txt")?,
        })
    }

    fn add(&mut self, more: &Self) {
        self.caught += more.caught;
        self.missed += more.missed;
        self.timed_out += more.timed_out;
        self.unviable += more.unviable;
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            caught,
            missed,
            timed_out,
            unviable,
        } = self;
        let noticed = caught + timed_out;
        write!(
            f,
            "{noticed} of {} noticed ({caught} caught, {timed_out} without end), {missed} missed, {unviable} did not compile",
            noticed + missed
        )
    }
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

    #[test]
    fn a_score_says_what_was_noticed_of_what_compiled() {
        let mut score = Score::default();
        let part = Score {
            caught: 3,
            missed: 1,
            timed_out: 1,
            unviable: 2,
        };
        score.add(&part);
        assert_eq!(
            score.to_string(),
            "4 of 5 noticed (3 caught, 1 without end), 1 missed, 2 did not compile"
        );
    }
}
