//! Every error has the same exit code and message with and without a server.

use std::fs;

use session_pipeline_harness::DataDir;

use super::serve::ServerProcess;
use super::{CliOutput, program, run_cli};
use crate::guests::misbehaving;

/// A command and its exit code.
type ErrorCase<'a> = (&'a [&'a str], i32);

/// Runs each command on the data directory itself, and then through a server.
fn assert_same_errors(dir: &DataDir, cases: &[ErrorCase<'_>]) {
    let local_outputs: Vec<_> = cases.iter().map(|(case, _)| run_cli(dir, case)).collect();
    let server = ServerProcess::start(dir, &[]);
    let token = fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
    let elsewhere = DataDir::new();
    let through_server = |arguments: &[&str]| {
        let mut command = program(&elsewhere);
        command
            .env("SESSION_PIPELINE_TOKEN", token.trim())
            .args(["--data-dir", elsewhere.path().to_str().unwrap()])
            .args(["--api", server.url()])
            .args(arguments);
        CliOutput::of(dir, command.output().unwrap())
    };
    let mut differences = Vec::new();
    for ((case, exit), local) in cases.iter().zip(&local_outputs) {
        let remote = through_server(case);
        let line = format!("{} {} {}", case.join(" "), local.code, error(local));
        if (local.code, error(local)) != (remote.code, error(&remote)) {
            differences.push(format!("local: {line}\nthrough a server: {remote:?}\n"));
        } else if local.code != *exit {
            differences.push(format!("expected exit code {exit}: {line}\n"));
        }
    }
    assert_eq!(server.stop(), 0);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The last line on standard error.
fn error(output: &CliOutput) -> &str {
    output.stderr.lines().last().unwrap_or_default()
}

#[test]
fn every_error_has_the_same_exit_code_and_message_with_and_without_a_server() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    dir.drop_processor("broken.wasm", b"no component");
    let config = "[processors.faulty-asks-model]\nllm = true\n\
        [processors.faulty-asks-model.settings]\nuses-llm = \"true\"\n";
    fs::write(dir.path().join("config.toml"), config).unwrap();
    dir.drop_processor("faulty-asks-model.wasm", misbehaving("asks_model").1);
    fs::write(dir.path().join("prices.toml"), "prices = ").unwrap();
    let long = "x".repeat(201);
    let create = ["token", "create", "--role", "analyst"];
    let email = [&create[..], &["--user", "ada"]].concat();
    let label = [&create[..], &["--label", &long]].concat();
    let invalid_time = [&create[..], &["--expires", "soon"]].concat();
    let past_time = [&create[..], &["--expires", "2001-01-01"]].concat();
    let cases: &[ErrorCase<'_>] = &[
        (&["run", "nope"], 2),
        (&["run", "broken"], 3),
        (&["run", "faulty-asks-model"], 3),
        (&["report", "usage"], 2),
        (&["reprocess", "nope"], 2),
        (&["reprocess", "broken"], 3),
        (&["reprocess", "usage", "--session", "ada/none.jsonl"], 2),
        (&["sessions", "show", "ada/none.jsonl"], 2),
        (&["quarantine", "list", "--session", "ada/none.jsonl"], 2),
        (&["quarantine", "release", "--session", "ada/one.jsonl"], 2),
        (&["knowledge", "show", "none"], 2),
        (&["knowledge", "approve", "none"], 2),
        (&["knowledge", "reject", "none"], 2),
        (&["token", "revoke", "none"], 2),
        (&email, 2),
        (&label, 2),
        (&invalid_time, 2),
        (&past_time, 2),
    ];
    assert_same_errors(&dir, cases);
}

#[test]
fn an_unreadable_sessions_root_is_the_same_error_with_and_without_a_server() {
    let dir = DataDir::without_sessions_root();
    fs::write(dir.sessions_root(), "no folder").unwrap();
    let cases: &[ErrorCase<'_>] = &[
        (&["run", "usage"], 3),
        (&["sessions", "list"], 3),
        (&["sessions", "show", "ada/one.jsonl"], 3),
    ];
    assert_same_errors(&dir, cases);
}

#[test]
fn an_unavailable_processor_is_the_same_error_with_and_without_a_server() {
    let dir = DataDir::new();
    let config = "[processors.verification]\nllm = false\n";
    fs::write(dir.path().join("config.toml"), config).unwrap();
    assert_same_errors(&dir, &[(&["run", "verification"], 3)]);
}
