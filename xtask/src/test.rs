//! `cargo xtask test`: runs the checks, then all tests, and prints the number of tests.
//!
//! The output of test runners goes directly to the terminal. The counts are from the JUnit file of
//! nextest, or from the result lines of Rust's test runner.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::check::{Check, check};
use crate::stages::{StageResult, Stages, TestCounts};
use crate::workspace::{Workspace, status};
use crate::{duckdb, examples, fuzz_api, package, prerequisites, templates, tidy};

/// Cases per property if `PROPTEST_CASES` is not set: enough to generate each shape of input, and
/// fast enough for every run.
const PROPERTY_CASES: &str = "32";
const PROPERTY_CASES_QUICK: &str = "4";
/// The module of the tests that need a browser, and the stage that runs them.
const BROWSER: &str = "browser";
/// The tests that need Prometheus, and the stage that runs them.
const PROMETHEUS: &str = "metrics::prometheus";
/// The environment variable from which the harness reads the number of cases.
pub const CASES: &str = "SESSION_PIPELINE_CASES";

/// Run all checks, then all tests
///
/// Never writes snapshots. A snapshot that no test uses is a failure.
/// Uses cargo-nextest if it is installed.
#[derive(clap::Args)]
pub struct Args {
    /// Skip the checks and the doc tests, and try few cases per property
    #[arg(long)]
    quick: bool,
    /// Run only the tests of this module, in every crate (scan, store, sandbox, ...)
    module: Option<String>,
    /// Arguments for the test runner
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let mut stages = Stages::default();
    if args.quick {
        prerequisites::ensure(workspace)?;
    } else {
        check(workspace, Check::value_variants(), &mut stages)?;
    }
    // The suite starts the program. For a test, cargo does not build programs of other packages.
    if stages.run("build", || workspace.build().map(StageResult::of)) {
        test(workspace, args, &mut stages)?;
    }
    let tests = stages.tests();
    print!("\n{}", stages.summary());
    println!("{tests}");
    Ok(stages.exit_code())
}

fn test(workspace: &Workspace, args: &Args, stages: &mut Stages) -> Result<()> {
    let runner = Runner::new(workspace, args)?;
    let are_passed = stages.run("tests", || runner.workspace_tests());
    stages.run("guest tests", || runner.guest_tests());
    let is_everything = args.module.is_none() && args.args.is_empty();
    let is_browser = args.module.as_deref() == Some(BROWSER);
    if is_browser || (is_everything && !args.quick) {
        stages.run(BROWSER, || runner.browser_tests());
    }
    if args.module.as_deref() == Some("metrics") || (is_everything && !args.quick) {
        stages.run("prometheus", || runner.prometheus_tests());
    }
    if !is_everything && !is_browser && stages.tests() == TestCounts::default() {
        stages.run("selection", || {
            anyhow::bail!("no test matches; pass the name of a module, such as `scan`")
        });
    }
    if is_everything && !args.quick {
        stages.run("doc tests", || {
            counted(runner.prepare(workspace.workspace_cargo(["test", "--doc"])?))
        });
    }
    if is_everything && !args.quick {
        stages.run("api fuzz", || fuzz_api::quick(workspace));
        templates::all(workspace, stages)?;
        stages.run("examples", || examples::check(workspace));
        stages.run("package", || {
            package::create(workspace).map(|_| StageResult::of(true))
        });
        stages.run("duckdb", || duckdb::compare_if_both_exist(workspace));
    }
    // A failed test can stop before it reads its snapshots, so the check would report false
    // findings.
    if is_everything && are_passed {
        stages.run("snapshots", || runner.unreferenced_snapshots());
    }
    Ok(())
}

/// Runs tests with the options of this command.
struct Runner<'a> {
    workspace: &'a Workspace,
    args: &'a Args,
    property_cases: String,
    /// The file to which insta appends the path of each snapshot that a test uses.
    snapshot_references: PathBuf,
}

impl<'a> Runner<'a> {
    fn new(workspace: &'a Workspace, args: &'a Args) -> Result<Self> {
        let default = if args.quick {
            PROPERTY_CASES_QUICK
        } else {
            PROPERTY_CASES
        };
        let dir = workspace.target_dir.join("xtask");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
        let snapshot_references = dir.join("snapshot-references");
        fs::write(&snapshot_references, "")
            .with_context(|| format!("cannot write `{}`", snapshot_references.display()))?;
        Ok(Self {
            workspace,
            args,
            property_cases: env::var("PROPTEST_CASES").unwrap_or_else(|_| default.to_owned()),
            snapshot_references,
        })
    }

    /// Sets the environment of all tests.
    fn prepare(&self, mut command: Command) -> Command {
        command
            .env(CASES, &self.property_cases)
            // It would override the number of cases that each property derives from `CASES`.
            .env_remove("PROPTEST_CASES")
            .env("INSTA_UPDATE", "no")
            .env("INSTA_SNAPSHOT_REFERENCES_FILE", &self.snapshot_references)
            // With either of them, a test with a wrong snapshot would pass.
            .env_remove("INSTA_FORCE_PASS")
            .env_remove("INSTA_FORCE_UPDATE");
        command
    }

    fn workspace_tests(&self) -> Result<StageResult> {
        let module = self.args.module.as_deref();
        if has_nextest() {
            let mut selection = Vec::new();
            if let Some(module) = module {
                selection.push("-E".into());
                selection.push(format!("test(/(^|::){module}::/)").into());
            }
            selection.extend_from_slice(&self.args.args);
            self.nextest(&selection)
        } else {
            let mut selection: Vec<OsString> = Vec::new();
            selection.extend(module.map(|module| format!("{module}::").into()));
            selection.extend_from_slice(&self.args.args);
            self.cargo_test(&selection)
        }
    }

    /// Runs the tests of the dashboard in Chromium, which are ignored by default. Skipped if Chromium
    /// or its driver is not installed.
    fn browser_tests(&self) -> Result<StageResult> {
        if let Some(missing) = prerequisites::missing_browser() {
            eprintln!(
                "skipped: {missing} is not installed; on Debian, run `apt-get install chromium chromium-driver`"
            );
            return Ok(StageResult::skipped());
        }
        self.ignored_tests(BROWSER)
    }

    /// Runs the tests of metrics in Prometheus, which are ignored by default. Skipped if it is not
    /// installed.
    fn prometheus_tests(&self) -> Result<StageResult> {
        let programs = ["prometheus", "promtool"];
        if let Some(missing) = programs
            .into_iter()
            .find(|program| !prerequisites::can_start(program))
        {
            eprintln!(
                "skipped: {missing} is not installed; on Debian, run `apt-get install prometheus`"
            );
            return Ok(StageResult::skipped());
        }
        self.ignored_tests(PROMETHEUS)
    }

    /// Runs the ignored tests of a module.
    fn ignored_tests(&self, module: &str) -> Result<StageResult> {
        if has_nextest() {
            let filter = format!("test(/^{module}::/)");
            let selection = ["--run-ignored", "only", "-E", &filter].map(Into::into);
            self.nextest(&[&selection, self.args.args.as_slice()].concat())
        } else {
            // Each test starts another large program.
            let module = format!("{module}::");
            let selection = ["--ignored", "--test-threads=2", &module].map(Into::into);
            self.cargo_test(&[&selection, self.args.args.as_slice()].concat())
        }
    }

    /// Runs nextest with these arguments.
    fn nextest(&self, selection: &[OsString]) -> Result<StageResult> {
        // nextest writes its store to the clone, even if the target directory is elsewhere.
        let profile = env::var("NEXTEST_PROFILE").unwrap_or_else(|_| "default".to_owned());
        let junit = self
            .workspace
            .root
            .join("target/nextest")
            .join(profile)
            .join("junit.xml");
        // Remove the file of an earlier run, so that its counts are not read.
        let _ = fs::remove_file(&junit);

        let mut command = self
            .workspace
            .workspace_cargo(["nextest", "run", "--tests"])?;
        command.args(["--no-fail-fast", "--no-tests", "pass"]);
        command.args(selection);
        let is_ok = status(self.prepare(command))?.success();
        let tests = fs::read_to_string(&junit)
            .ok()
            .and_then(|text| junit_counts(&text));
        Ok(StageResult {
            tests,
            ..StageResult::of(is_ok)
        })
    }

    /// Runs Rust's test runner with these arguments.
    fn cargo_test(&self, selection: &[OsString]) -> Result<StageResult> {
        let mut command = self
            .workspace
            .workspace_cargo(["test", "--tests", "--no-fail-fast"])?;
        command.arg("--").args(selection);
        counted(self.prepare(command))
    }

    /// Runs the tests of the guests, compiled for this machine.
    fn guest_tests(&self) -> Result<StageResult> {
        let mut command = self.workspace.guest_cargo("test");
        command.args(["--workspace", "--tests", "--no-fail-fast"]);
        // If the module is the folder of a guest, run all its tests.
        if let Some(module) = &self.args.module
            && !self
                .workspace
                .root
                .join("processors-wasm")
                .join(module)
                .is_dir()
        {
            command.args(["--", &format!("{module}::")]);
        }
        counted(self.prepare(command))
    }

    fn unreferenced_snapshots(&self) -> Result<StageResult> {
        let references = fs::read_to_string(&self.snapshot_references)
            .with_context(|| format!("cannot read `{}`", self.snapshot_references.display()))?;
        let referenced: Vec<_> = references
            .lines()
            .filter_map(|line| Path::new(line).canonicalize().ok())
            .collect();
        let mut is_ok = true;
        for path in tidy::files(&self.workspace.root)? {
            let is_snapshot = path
                .extension()
                .is_some_and(|extension| extension == "snap");
            if is_snapshot && !referenced.contains(&self.workspace.root.join(&path).canonicalize()?)
            {
                println!(
                    "{}: no test uses this snapshot\n    help: delete it",
                    path.display()
                );
                is_ok = false;
            }
        }
        Ok(StageResult::of(is_ok))
    }
}

fn has_nextest() -> bool {
    Command::new("cargo-nextest")
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs Rust's test runner, prints its output and adds up its results.
pub fn counted(mut command: Command) -> Result<StageResult> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut tests = TestCounts::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read the output of the tests")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(counts) = result_counts(&line) {
            tests.passed += counts.passed;
            tests.failed += counts.failed;
        }
    }
    let is_ok = child.wait().context("cannot wait for the tests")?.success();
    Ok(StageResult {
        tests: Some(tests),
        ..StageResult::of(is_ok)
    })
}

/// Parses a line such as `test result: ok. 12 passed; 0 failed; …`.
fn result_counts(line: &str) -> Option<TestCounts> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = counts.split("; ");
    let passed = counts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = counts.next()?.strip_suffix(" failed")?.parse().ok()?;
    Some(TestCounts { passed, failed })
}

/// Parses the totals of a JUnit file from its root element.
fn junit_counts(text: &str) -> Option<TestCounts> {
    let (_, rest) = text.split_once("<testsuites ")?;
    let (attributes, _) = rest.split_once('>')?;
    let attribute = |name: &str| -> Option<u64> {
        let (_, rest) = attributes.split_once(&format!("{name}=\""))?;
        rest.split_once('"')?.0.parse().ok()
    };
    let failed = attribute("failures")? + attribute("errors")?;
    Some(TestCounts {
        passed: attribute("tests")?.saturating_sub(failed),
        failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_parsed_from_the_result_line_of_the_test_runner() {
        let line = "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.01s";
        assert_eq!(
            result_counts(line),
            Some(TestCounts {
                passed: 12,
                failed: 2
            })
        );
        assert_eq!(result_counts("test scan::a_new_file_is_found ... ok"), None);
    }

    #[test]
    fn counts_are_parsed_from_the_junit_file() {
        let text = r#"<?xml version="1.0"?>
<testsuites name="nextest-run" tests="10" failures="2" errors="1" uuid="x" time="0.1">
    <testsuite name="suite" tests="4" failures="0" errors="0"/>"#;
        assert_eq!(
            junit_counts(text),
            Some(TestCounts {
                passed: 7,
                failed: 3
            })
        );
        assert_eq!(junit_counts(""), None);
    }
}
