//! One module's mutants against its tests: how both are compiled and run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::PURE;
use crate::test;
use crate::workspace::{Workspace, cargo_path, forget_this_crate, status};

/// How hard the tests look at a mutant. Most are caught by a few cases of a property; what they miss
/// is looked at again.
pub struct Pass {
    pub cases: &'static str,
    /// What takes so many times as long as the tests took without a mutant, has no end.
    patience: u32,
}

pub const PASSES: [Pass; 2] = [
    Pass {
        cases: "8",
        patience: 10,
    },
    Pass {
        cases: "32",
        patience: 40,
    },
];

/// Where the suite is about a word: in the module of that word, where nothing else is said.
pub fn modules_of(word: &str) -> Vec<String> {
    let modules: &[&str] = match word {
        "body" => &["http::"],
        "clock" => &["scheduler::", "run::"],
        "csv" => &["hostile::csv"],
        "fault" | "rows" => &["sandbox::", "records::"],
        "kill_point" => &["crash::"],
        "knowledge" => &["verification::"],
        "llm" => &["llm::", "llm_providers::", "config::"],
        "manifest" | "processor" => &["registry::", "sandbox::"],
        "regular" => &["hostile::files"],
        "run" => &["run::", "config::values"],
        "shared" => &["records::"],
        "status" => &["cli::status", "health::"],
        "store" => &[
            "store::",
            "run::",
            "records::",
            "quarantine::",
            "retention::",
            "corruption::",
        ],
        "upload" => &["http::upload"],
        word => return vec![format!("{word}::")],
    };
    modules.iter().map(|&module| module.to_owned()).collect()
}

/// How our own crates are compiled: only they are compiled again for a mutant.
const QUICK: [&str; 5] = [
    "profile.dev.debug=false",
    "profile.dev.package.session-pipeline-host.opt-level=0",
    "profile.dev.package.session-pipeline-store.opt-level=0",
    "profile.dev.package.session-pipeline-pipeline.opt-level=0",
    "profile.dev.package.session-pipeline-harness.opt-level=0",
];
/// Tests that take no time at all may still have to wait for the machine.
const TEST_TIME_MIN: Duration = Duration::from_secs(2);
/// What the program takes at most to be made of changed code.
const PROGRAM_TIME_MAX: Duration = Duration::from_secs(180);
const FAIL_FAST: [&str; 3] = ["-Z", "unstable-options", "--fail-fast"];

/// Where and by which chance mutants are tried.
pub struct Trial<'a> {
    pub workspace: &'a Workspace,
    pub seed: u32,
    /// Where tests keep their folders.
    pub tmp: PathBuf,
}

impl Trial<'_> {
    /// What fails as it is would seem to notice everything. Gives how long the tests of a word take.
    pub fn time_without_mutant(&self, word: &str) -> Result<Duration> {
        let tests = || -> Result<Command> {
            let mut command = self.workspace.cargo(["test", "--workspace"]);
            command.args(QUICK.iter().flat_map(|value| ["--config", value]));
            // The program that lies there is that of the mutant before.
            command.args(["--config", &runner_of(word)]);
            command.args(["--test", target_of(word)]);
            self.prepare(&mut command, &PASSES[0])?;
            Ok(command)
        };
        let mut build = tests()?;
        build.arg("--no-run");
        ensure!(
            status(build)?.success(),
            "it does not compile without any mutant"
        );
        let mut tests = tests()?;
        tests.arg("--").args(modules_of(word));
        let started = Instant::now();
        ensure!(
            status(tests)?.success(),
            "the tests fail without any mutant"
        );
        Ok(started.elapsed())
    }

    /// Tries these mutants, and tells in a folder what became of each.
    pub fn command(
        &self,
        word: &str,
        mutants: &[&str],
        (pass, time): (&Pass, Duration),
        output: &Path,
    ) -> Result<Command> {
        let mut command = self.cargo_mutants();
        let mut time_max = time.max(TEST_TIME_MIN) * pass.patience;
        if !PURE.contains(&word) {
            time_max += PROGRAM_TIME_MAX;
        }
        command
            .args([
                "--in-place",
                "--no-shuffle",
                "--baseline",
                "skip",
                "--test-workspace",
                "true",
            ])
            .args(["--timeout", &time_max.as_secs().to_string()])
            .arg("--output")
            .arg(output);
        // Not all files of the word: mutants that delete a field are not told apart by their names (27.1).
        let files: BTreeSet<&str> = mutants
            .iter()
            .filter_map(|name| name.split(':').next())
            .collect();
        for file in files {
            command.arg("--file").arg(file);
        }
        // For all that it asks of cargo: told of the tests alone, it would build every other target too.
        command.arg(format!("--cargo-arg=--test={}", target_of(word)));
        for value in QUICK
            .map(ToOwned::to_owned)
            .into_iter()
            .chain([runner_of(word)])
        {
            command.arg(format!("--cargo-arg=--config={value}"));
        }
        let names: Vec<String> = mutants.iter().map(|name| escaped(name)).collect();
        command
            .arg("--re")
            .arg(format!("^({})$", names.join("|")))
            .args(["--", "--"])
            .args(modules_of(word))
            .args(FAIL_FAST);
        self.prepare(&mut command, pass)?;
        Ok(command)
    }

    /// The environment that tests see.
    fn prepare(&self, command: &mut Command, pass: &Pass) -> Result<()> {
        fs::create_dir_all(&self.tmp)
            .with_context(|| format!("cannot make `{}`", self.tmp.display()))?;
        command
            .env("TMPDIR", &self.tmp)
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

    /// Called by its own name: cargo would hand it options that are meant for cargo itself.
    pub fn cargo_mutants(&self) -> Command {
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

/// How cargo starts the tests: so that they take [`FAIL_FAST`], which is not stable yet; not set for the
/// compiler, or everything would be compiled again. Where tests start the program, it is made of the
/// changed code first.
fn runner_of(word: &str) -> String {
    let mut script = String::new();
    if !PURE.contains(&word) {
        script.push_str(FORGET_THIS_CRATE);
        script.push_str("cargo build --quiet --workspace --bin session-pipeline --bin session-pipeline-under-test");
        for value in QUICK {
            script.push_str(" --config ");
            script.push_str(value);
        }
        script.push_str(" && ");
    }
    script.push_str(r#"RUSTC_BOOTSTRAP=1 exec "$@""#);
    format!("target.'cfg(unix)'.runner=['sh', '-c', '''{script}''', 'sh']")
}

/// What [`forget_this_crate`] does, in a shell.
const FORGET_THIS_CRATE: &str =
    "for name in $(env | grep -oE '^CARGO_(PKG|MANIFEST)_[A-Z_]+'); do unset $name; done; ";

/// Where a word's code stands.
pub fn files_of(word: &str) -> Vec<String> {
    let stems = match word {
        "migrations" => vec!["migrations/src/*".to_owned()],
        word => [
            "runtime/host/src",
            "runtime/store/src",
            "runtime/pipeline/src",
            "api/src",
        ]
        .map(|folder| format!("{folder}/{word}"))
        .to_vec(),
    };
    stems
        .into_iter()
        .flat_map(|stem| [format!("{stem}.rs"), format!("{stem}/**/*.rs")])
        .collect()
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
