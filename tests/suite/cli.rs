//! The command line: output on both streams, and exit codes.
//!
//! Each command has its own module. This file has the shared helpers and the tests for all commands.

mod client;
mod compare;
mod completions;
mod config;
mod demo;
mod errors;
mod migrate;
mod new;
mod prices;
mod processors;
mod quarantine;
mod replay;
mod report;
mod reprocess;
mod run;
pub(crate) mod serve;
mod sessions;
mod status;
mod verify;

use std::fs;
use std::process::{Output, Stdio};

use assert_cmd::Command;
use serde_json::Value;
use session_pipeline_harness::redact::redact;
use session_pipeline_harness::{DataDir, compiled, program as real};
use session_pipeline_store::Store;

use crate::usage::examples;

/// The program, run in the data directory with an empty environment and a shared compilation cache.
fn program(dir: &DataDir) -> Command {
    let mut command = program_without_cache(dir);
    command.envs(compiled::environment());
    command
}

/// Like [`program`], but without the compilation cache that tests share.
fn program_without_cache(dir: &DataDir) -> Command {
    real::command(dir).into()
}

/// The exit code and redacted output of the program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CliOutput {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl CliOutput {
    pub(super) fn of(dir: &DataDir, output: Output) -> Self {
        let text = |bytes| redact(&String::from_utf8(bytes).unwrap(), dir.path());
        Self {
            code: output.status.code().unwrap(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// The JSON document on standard output. Asserts exit code 0.
    pub(super) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the program with `--data-dir`.
pub(super) fn run_cli(dir: &DataDir, arguments: &[&str]) -> CliOutput {
    let data_dir = dir.path().to_str().unwrap();
    let mut command = program(dir);
    command.args(["--data-dir", data_dir]).args(arguments);
    CliOutput::of(dir, command.output().unwrap())
}

/// Like [`run_cli`], but without the compilation cache that tests share.
fn run_cli_without_cache(dir: &DataDir, arguments: &[&str]) -> CliOutput {
    let data_dir = dir.path().to_str().unwrap();
    let mut command = program_without_cache(dir);
    command.args(["--data-dir", data_dir]).args(arguments);
    CliOutput::of(dir, command.output().unwrap())
}

/// Like [`run_cli`], with the example sessions as the sessions root.
pub(super) fn run_cli_on_examples(dir: &DataDir, arguments: &[&str]) -> CliOutput {
    let examples = examples();
    let sessions = ["--sessions", examples.to_str().unwrap()];
    run_cli(dir, &[&sessions, arguments].concat())
}

/// The lines of a text with all white space collapsed, so that column widths do not matter.
pub(super) fn table_lines(text: &str) -> Vec<String> {
    let collapse = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(collapse).collect()
}

// Usage errors.

#[test]
fn an_empty_path_is_rejected() {
    let dir = DataDir::new();
    for flag in ["--data-dir", "--sessions"] {
        let output = program(&dir).args([flag, "", "status"]).output().unwrap();
        let output = CliOutput::of(&dir, output);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""));
        assert!(output.stderr.contains(flag), "{output:?}");
        assert!(
            output
                .stderr
                .contains("the path is empty; pass the path of a folder"),
            "{output:?}"
        );
    }
    for (variable, flag) in [
        ("DATA_DIR", "--data-dir"),
        ("SESSION_DATA_DIR", "--sessions"),
    ] {
        let output = program(&dir)
            .env(variable, "")
            .arg("status")
            .output()
            .unwrap();
        let output = CliOutput::of(&dir, output);
        assert_eq!(output.code, 2, "{variable}: {output:?}");
        assert!(output.stderr.contains(flag), "{variable}: {output:?}");
    }
    assert!(!dir.path().join("state").exists());
}

#[test]
fn the_data_dir_is_taken_from_the_flag_then_the_environment_then_the_default() {
    let dir = DataDir::new();
    let migrate = |flag: Option<&str>, variable: Option<&str>| {
        let mut command = program(&dir);
        command.args(flag.map(|folder| format!("--data-dir={folder}")));
        command.envs(variable.map(|folder| ("DATA_DIR", folder)));
        command.arg("migrate").assert().success();
    };
    migrate(Some("from-flag"), Some("from-environment"));
    assert!(!dir.path().join("from-environment").exists());
    migrate(None, Some("from-environment"));
    assert!(!dir.path().join("data").exists());
    migrate(None, None);
    for folder in ["from-flag", "from-environment", "data"] {
        assert!(
            dir.path()
                .join(folder)
                .join("state/system.duckdb")
                .is_file(),
            "{folder}"
        );
    }
}

#[test]
fn an_unknown_processor_is_a_usage_error_that_lists_the_known_ones() {
    let dir = DataDir::new();
    let output = run_cli(&dir, &["run", "usgae"]);
    assert_eq!((output.code, output.stdout.as_str()), (2, ""));
    assert_eq!(
        output.stderr,
        "error: unknown processor `usgae`; known processors: usage, verification\n"
    );
    let output = run_cli(&dir, &["run", "usgae", "--json"]);
    assert_eq!(output.code, 2);
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        document["detail"],
        "unknown processor `usgae`; known processors: usage, verification"
    );
}

#[test]
fn usage_errors_create_no_files() {
    let dir = DataDir::new();
    for arguments in [
        &[][..],
        &["run"],
        &["run", "usage", "--all"],
        &["run", "usage", "--max-sessions", "0"],
        &["report", "usage", "--by", "moon"],
        &["migrate", "--to", "soon"],
        &["run", "usgae"],
        &["replay"],
        &["compare"],
        &["reprocess"],
        &["reprocess", "usgae"],
        &["sessions"],
        &["sessions", "show", ""],
        &["quarantine"],
        &["quarantine", "release"],
        &["quarantine", "release", "--session", ""],
        &["processors", "inspect", "nowhere.wasm"],
        &["serve", "--listen", "nowhere"],
        &["token", "create"],
        &["token", "create", "--role", "king"],
        &["token", "revoke", ""],
        &["prices"],
        &["prices", "list", "--day", "soon"],
        &[
            "prices",
            "update",
            "--from",
            "ftp://example.com/prices.json",
        ],
        &["prices", "update", "--from", "nowhere.json"],
        &["dance"],
    ] {
        let output = run_cli(&dir, arguments);
        assert_eq!(output.code, 2, "{arguments:?}: {output:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
    assert!(!dir.path().join("state").exists());
}

#[test]
fn every_command_has_a_help_page() {
    let dir = DataDir::new();
    for command in [
        &[][..],
        &["run"],
        &["report"],
        &["report", "usage"],
        &["status"],
        &["sessions"],
        &["sessions", "list"],
        &["sessions", "show"],
        &["prices"],
        &["prices", "list"],
        &["prices", "update"],
        &["processors"],
        &["processors", "list"],
        &["processors", "inspect"],
        &["processors", "verify"],
        &["quarantine"],
        &["quarantine", "list"],
        &["quarantine", "release"],
        &["reprocess"],
        &["serve"],
        &["token"],
        &["token", "create"],
        &["token", "list"],
        &["token", "revoke"],
        &["migrate"],
        &["completions"],
    ] {
        let arguments = [command, &["--help"]].concat();
        let output = CliOutput::of(&dir, program(&dir).args(&arguments).output().unwrap());
        assert_eq!(
            (output.code, output.stderr.as_str()),
            (0, ""),
            "{arguments:?}"
        );
        let usage = ["Usage: session-pipeline", &command.join(" ")].join(" ");
        assert!(
            output.stdout.contains(usage.trim_end()),
            "{arguments:?}: {}",
            output.stdout
        );
        assert!(
            !output.stdout.contains("compile-"),
            "the hidden commands must not be listed"
        );
    }
    let version = CliOutput::of(&dir, program(&dir).arg("--version").output().unwrap());
    assert_eq!(version.code, 0);
    assert!(
        version.stdout.starts_with("session-pipeline "),
        "{version:?}"
    );
}

// Errors of the environment.

#[test]
fn a_data_dir_in_use_is_an_error_that_names_the_process() {
    let dir = DataDir::new();
    let now = session_pipeline_host::clock::UtcMicros(0);
    let store = Store::open(&dir.config().store_options(), now).unwrap();
    let expected = "error: the data directory `[data-dir]` is in use by process [pid]; wait for it to finish or stop it\n";
    for arguments in [
        &["run", "usage"][..],
        &["report", "usage"],
        &["status"],
        &["migrate"],
    ] {
        let output = run_cli(&dir, arguments);
        assert_eq!(
            (output.code, output.stderr.as_str()),
            (3, expected),
            "{arguments:?}"
        );
    }
    // The helper redacts process ids, so check the real one in the raw output.
    let data_dir = dir.path().to_str().unwrap();
    let output = program(&dir)
        .args(["--data-dir", data_dir, "status"])
        .output()
        .unwrap();
    let process = format!("process {}", std::process::id());
    assert!(String::from_utf8(output.stderr).unwrap().contains(&process));

    drop(store);
    assert_eq!(run_cli(&dir, &["status"]).code, 0);
}

#[test]
fn a_data_dir_that_cannot_be_created_is_named_in_the_error() {
    let dir = DataDir::new();
    fs::write(dir.path().join("occupied"), "a file").unwrap();
    let output = program(&dir)
        .args(["--data-dir", "occupied/data", "migrate"])
        .output()
        .unwrap();
    let output = CliOutput::of(&dir, output);
    assert_eq!(output.code, 3);
    assert!(
        output
            .stderr
            .starts_with("error: cannot access `occupied/data"),
        "{output:?}"
    );
}

#[test]
fn a_file_that_is_not_a_database_is_rejected_and_unchanged() {
    let dir = DataDir::new();
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::write(dir.database_path(), "no database").unwrap();
    let output = run_cli(&dir, &["run", "usage"]);
    assert_eq!(output.code, 3, "{output:?}");
    // A warning about the mode of the folder comes first.
    let last = output.stderr.lines().last().unwrap();
    assert!(last.starts_with("error: "), "{output:?}");
    assert_eq!(fs::read(dir.database_path()).unwrap(), b"no database");
}

#[test]
fn a_closed_output_pipe_is_not_an_error() {
    let dir = DataDir::new();
    let data_dir = dir.path().to_str().unwrap();
    for arguments in [&["status"][..], &["report", "usage"], &["--help"]] {
        let mut child = real::command(&dir)
            .args(["--data-dir", data_dir])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = CliOutput::of(&dir, child.wait_with_output().unwrap());
        assert_eq!(output.code, 0, "{arguments:?}: {output:?}");
        assert!(
            !output.stderr.contains("panicked"),
            "{arguments:?}: {output:?}"
        );
    }
}
