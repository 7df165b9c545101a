//! Every error on both paths: a command ends with the same exit code and message when it runs alone
//! and when a server does its work.

use std::fs;

use session_pipeline_harness::DataDir;

use super::serve::Serving;
use super::{Ended, check, program};
use crate::guests::misbehaving;

/// A command, and how it ends.
type Case<'a> = (&'a [&'a str], i32);

/// Runs each command alone, and then from another data directory through a server.
fn on_both_paths(dir: &DataDir, cases: &[Case<'_>]) {
    let alone: Vec<_> = cases.iter().map(|(case, _)| check(dir, case)).collect();
    let serving = Serving::start(dir, &[]);
    let token = fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
    let elsewhere = DataDir::new();
    let through_server = |arguments: &[&str]| {
        let mut command = program(&elsewhere);
        command
            .env("SESSION_PIPELINE_TOKEN", token.trim())
            .args(["--data-dir", elsewhere.path().to_str().unwrap()])
            .args(["--api", serving.url()])
            .args(arguments);
        Ended::of(dir, command.output().unwrap())
    };
    let mut differences = Vec::new();
    for ((case, exit), alone) in cases.iter().zip(&alone) {
        let served = through_server(case);
        let line = format!("{} {} {}", case.join(" "), alone.code, error(alone));
        if (alone.code, error(alone)) != (served.code, error(&served)) {
            differences.push(format!("alone: {line}\nthrough a server: {served:?}\n"));
        } else if alone.code != *exit {
            differences.push(format!("expected exit code {exit}: {line}\n"));
        }
    }
    assert_eq!(serving.stop(), 0);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The last line on standard error.
fn error(ended: &Ended) -> &str {
    ended.stderr.lines().last().unwrap_or_default()
}

#[test]
fn every_error_has_the_same_exit_code_and_message_with_and_without_a_server() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    assert_eq!(check(&dir, &["run", "usage"]).code, 0);
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
    let no_time = [&create[..], &["--expires", "soon"]].concat();
    let past = [&create[..], &["--expires", "2001-01-01"]].concat();
    let cases: &[Case<'_>] = &[
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
        (&no_time, 2),
        (&past, 2),
    ];
    on_both_paths(&dir, cases);
}

#[test]
fn an_unreadable_sessions_root_is_the_same_error_with_and_without_a_server() {
    let dir = DataDir::without_sessions_root();
    fs::write(dir.sessions_root(), "no folder").unwrap();
    let cases: &[Case<'_>] = &[
        (&["run", "usage"], 3),
        (&["sessions", "list"], 3),
        (&["sessions", "show", "ada/one.jsonl"], 3),
    ];
    on_both_paths(&dir, cases);
}

#[test]
fn an_unavailable_processor_is_the_same_error_with_and_without_a_server() {
    let dir = DataDir::new();
    let config = "[processors.verification]\nllm = false\n";
    fs::write(dir.path().join("config.toml"), config).unwrap();
    on_both_paths(&dir, &[(&["run", "verification"], 3)]);
}
