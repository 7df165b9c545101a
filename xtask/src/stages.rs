//! The stages of a command, their results, and the summary at the end.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct TestCounts {
    pub passed: u64,
    pub failed: u64,
}

#[derive(Default)]
pub struct StageResult {
    pub is_ok: bool,
    /// A prerequisite is missing.
    pub is_skipped: bool,
    /// `None` for stages that run no tests.
    pub tests: Option<TestCounts>,
}

impl StageResult {
    pub fn of(is_ok: bool) -> Self {
        Self {
            is_ok,
            ..Self::default()
        }
    }

    /// A skipped stage is not a failure.
    pub fn skipped() -> Self {
        Self {
            is_ok: true,
            is_skipped: true,
            tests: None,
        }
    }
}

struct Stage {
    name: String,
    duration: Duration,
    outcome: StageResult,
}

#[derive(Default)]
pub struct Stages {
    finished: Vec<Stage>,
}

impl Stages {
    /// Runs a stage and records its result. Returns whether it succeeded. An error counts as a
    /// failed stage, and later stages still run.
    pub fn run(&mut self, name: &str, work: impl FnOnce() -> Result<StageResult>) -> bool {
        eprintln!("\n==> {name}");
        let started = Instant::now();
        let outcome = work().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            StageResult::of(false)
        });
        let is_ok = outcome.is_ok;
        self.finished.push(Stage {
            name: name.to_owned(),
            duration: started.elapsed(),
            outcome,
        });
        is_ok
    }

    pub fn tests(&self) -> TestCounts {
        let counts = self.finished.iter().filter_map(|stage| stage.outcome.tests);
        counts.fold(TestCounts::default(), |sum, tests| TestCounts {
            passed: sum.passed + tests.passed,
            failed: sum.failed + tests.failed,
        })
    }

    pub fn exit_code(&self) -> ExitCode {
        let is_ok = self.finished.iter().all(|stage| stage.outcome.is_ok);
        ExitCode::from(u8::from(!is_ok))
    }

    /// One line per stage, then the names of the failed stages.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        let mut failed = Vec::new();
        for Stage {
            name,
            duration,
            outcome,
        } in &self.finished
        {
            let word = match outcome {
                StageResult { is_ok: false, .. } => "FAILED",
                StageResult {
                    is_skipped: true, ..
                } => "skipped",
                _ => "ok",
            };
            let counts = outcome
                .tests
                .map(|tests| tests.to_string())
                .unwrap_or_default();
            let line = format!(
                "{name:<12} {:>8.1} s  {word:<7}  {counts}",
                duration.as_secs_f64()
            );
            writeln!(text, "{}", line.trim_end()).expect("writing to a string cannot fail");
            if !outcome.is_ok {
                failed.push(name.as_str());
            }
        }
        if !failed.is_empty() {
            writeln!(text, "Failed: {}", failed.join(", "))
                .expect("writing to a string cannot fail");
        }
        text
    }
}

impl std::fmt::Display for TestCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_failed_stages_and_sums_the_counts() {
        let mut stages = Stages::default();
        let tests = Some(TestCounts {
            passed: 3,
            failed: 1,
        });
        stages.run("fmt", || Ok(StageResult::of(true)));
        stages.run("tests", || {
            Ok(StageResult {
                tests,
                ..StageResult::of(false)
            })
        });
        stages.run("doc tests", || anyhow::bail!("cannot start the runner"));

        assert!(
            stages.summary().ends_with("Failed: tests, doc tests\n"),
            "{}",
            stages.summary()
        );
        assert_eq!(
            stages.tests(),
            TestCounts {
                passed: 3,
                failed: 1
            }
        );
        assert_eq!(stages.exit_code(), ExitCode::from(1));
    }

    #[test]
    fn a_skipped_stage_is_listed_and_is_not_a_failure() {
        let mut stages = Stages::default();
        stages.run("api fuzz", || Ok(StageResult::skipped()));
        assert!(stages.summary().trim_end().ends_with("skipped"));
        assert_eq!(stages.exit_code(), ExitCode::SUCCESS);
    }
}
