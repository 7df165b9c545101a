//! The targets in `tests/fuzz`, whose inputs cargo-fuzz leads by coverage.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::stages::Outcome;
use crate::workspace::{Workspace, forget_this_crate, status};

const FOLDER: &str = "tests/fuzz";
/// Beyond it there is more of the same.
const BYTES_MAX: u32 = 4096;

/// One target.
pub struct Led<'a> {
    workspace: &'a Workspace,
    target: &'a str,
}

impl<'a> Led<'a> {
    /// The target of that name, if there is one.
    pub fn find(workspace: &'a Workspace, target: &'a str) -> Option<Self> {
        let path = format!("{FOLDER}/targets/{target}.rs");
        let is_there = workspace.root.join(path).is_file();
        is_there.then_some(Self { workspace, target })
    }

    /// Runs it for so long, and gives how many inputs there were; skipped without the tools for it.
    pub fn run(&self, seconds: u32, seed: u32, inputs: &mut u64) -> Result<Outcome> {
        if let Some(reason) = self.lack() {
            eprintln!("skipped: {reason}");
            return Ok(Outcome::skipped());
        }
        // What is found stays, and is where the next run begins.
        let corpus = self.work_dir().join("corpus").join(self.target);
        fs::create_dir_all(&corpus)
            .with_context(|| format!("cannot make `{}`", corpus.display()))?;
        // Compiled first: the compiler's words are none of the target's.
        if !status(self.cargo_fuzz("build"))?.success() {
            return Ok(Outcome::of(false));
        }
        let mut command = self.cargo_fuzz("run");
        command
            .arg(corpus)
            .arg(format!("{FOLDER}/seeds/{}", self.target))
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            // Of 0 it would choose one itself.
            .arg(format!("-seed={}", seed.max(1)))
            .arg(format!("-max_len={BYTES_MAX}"))
            .arg(format!("-artifact_prefix={}/", self.work_dir().display()))
            .arg("-print_final_stats=1")
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start cargo-fuzz")?;
        if let Some(stderr) = child.stderr.take() {
            for line in BufReader::new(stderr).split(b'\n') {
                let line = line.context("cannot read what the target says")?;
                let line = String::from_utf8_lossy(&line);
                *inputs = executions(&line).unwrap_or(*inputs);
                if is_news(&line) {
                    eprintln!("{line}");
                }
            }
        }
        let status = child.wait().context("cannot wait for the target")?;
        Ok(Outcome::of(status.success()))
    }

    /// What is not here.
    fn lack(&self) -> Option<&'static str> {
        let is_here = |mut command: Command| {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            status(command).is_ok_and(|status| status.success())
        };
        let mut cargo_fuzz = Command::new("cargo-fuzz");
        cargo_fuzz.arg("--version");
        let mut nightly = Command::new("rustup");
        nightly.args(["run", "nightly", "rustc", "--version"]);
        if !is_here(cargo_fuzz) {
            Some("cargo-fuzz is not installed; `cargo install cargo-fuzz --locked` does that")
        } else if !is_here(nightly) {
            Some("there is no nightly compiler; `rustup toolchain install nightly` gets it")
        } else {
            None
        }
    }

    /// By its own name: the cargo that runs us is not the nightly one, which it is to find itself.
    fn cargo_fuzz(&self, subcommand: &str) -> Command {
        let mut command = Command::new("cargo-fuzz");
        command
            .args(["fuzz", subcommand, "--fuzz-dir", FOLDER])
            // All of it is safe code, so that no sanitizer has anything to find; an overflow has.
            .args(["--sanitizer", "none", "--debug-assertions", "--target-dir"])
            .arg(self.work_dir().join("target"))
            .arg(self.target)
            .current_dir(&self.workspace.root)
            .env("RUSTUP_TOOLCHAIN", "nightly")
            .env_remove("CARGO");
        forget_this_crate(&mut command);
        command
    }

    fn work_dir(&self) -> PathBuf {
        self.workspace.target_dir.join("xtask/fuzz")
    }
}

/// Reads `stat::number_of_executed_units: 1343822`.
fn executions(line: &str) -> Option<u64> {
    let count = line.strip_prefix("stat::number_of_executed_units:")?;
    count.trim().parse().ok()
}

/// Each new way through the code is a line of its own that begins with `#`, and words that led to one
/// are listed at the end.
fn is_news(line: &str) -> bool {
    !(line.starts_with('#') || line.starts_with('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_counted_by_the_fuzzer() {
        assert_eq!(
            executions("stat::number_of_executed_units: 1343822"),
            Some(1_343_822)
        );
        assert_eq!(executions("stat::new_units_added:          19069"), None);
    }

    #[test]
    fn a_panic_is_news_and_a_new_way_is_not() {
        assert!(!is_news("#8192\tpulse  cov: 1210 ft: 4415 corp: 512/41Kb"));
        assert!(is_news(
            "thread '<unnamed>' panicked at tests/fuzz/targets/transcript.rs:16:9:"
        ));
    }
}
