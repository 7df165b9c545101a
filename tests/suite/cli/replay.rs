//! `replay`: processes one session without a commit.

use std::fs;

use serde_json::json;
use session_pipeline_bundle::faulty;
use session_pipeline_harness::DataDir;

use super::{run_cli, run_cli_on_examples, table_lines};
use crate::documents::names;
use crate::guests::POISON;

/// Writes a faulty component to the data directory and returns its file name.
fn write_component(dir: &DataDir, fault: &str) -> String {
    let file = format!("{fault}.wasm");
    fs::write(dir.path().join(&file), faulty(fault).unwrap()).unwrap();
    file
}

#[test]
fn replay_prints_rows_and_costs_and_leaves_no_files() {
    let dir = DataDir::new();
    let file = write_component(&dir, "well_behaved");
    dir.write("ada/one.jsonl", "one\ntwo\n");
    let output = run_cli(&dir, &["replay", &file, "ada/one.jsonl"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    insta::assert_snapshot!(table_lines(&output.stdout).join("\n").split("\nfuel").next().unwrap(), @r"
    `faulty-well-behaved` extracted 2 items from ada/one.jsonl

    table lines (2 rows)
    line text
    1 one
    2 two

    cost
    ");
    assert!(
        !dir.path().join("state").exists(),
        "replay creates no data directory"
    );
}

#[test]
fn replay_accepts_a_processor_name_and_a_session_key_and_prints_json() {
    let dir = DataDir::new();
    let listed = run_cli_on_examples(&dir, &["sessions", "list", "--json"]).json();
    let key = listed["sessions"][0]["key"].as_str().unwrap();
    let document = run_cli_on_examples(&dir, &["replay", "usage", key, "--json"]).json();
    assert_eq!(
        names(&document),
        [
            "execution",
            "items",
            "processor",
            "session",
            "shared",
            "tables",
            "version"
        ]
    );
    assert_eq!(document["session"], key);
    assert_eq!(document["tables"]["sessions"].as_array().unwrap().len(), 1);
    assert!(document["execution"]["fuel"].as_u64().unwrap() > 0);
}

#[test]
fn a_failed_replay_exits_with_1_and_prints_a_backtrace() {
    let dir = DataDir::new();
    let file = write_component(&dir, "panics");
    // A file outside the sessions root, such as one that `processors verify` saved.
    fs::write(dir.path().join("kept.jsonl"), POISON).unwrap();
    let output = run_cli(&dir, &["replay", &file, "kept.jsonl"]);
    assert_eq!(output.code, 1, "{output:?}");
    let (fault, backtrace) = output.stdout.split_once("\n\n").unwrap();
    assert!(
        fault.contains("failed on") && fault.contains("panic: "),
        "{fault}"
    );
    assert!(
        backtrace.starts_with("backtrace, innermost frame first\n"),
        "{backtrace}"
    );
    assert!(
        backtrace.contains("process"),
        "the backtrace has function names: {backtrace}"
    );
    let json = run_cli(&dir, &["replay", &file, "kept.jsonl", "--json"]);
    assert_eq!(json.code, 1);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["execution"]["fault"]["kind"], "panic");
    assert!(document["tables"].is_null());
}

#[test]
fn shared_tables_are_empty_or_loaded_from_the_output_of_a_replay() {
    let dir = DataDir::new();
    let file = write_component(&dir, "remembers");
    let line = |value: serde_json::Value| format!("{value}\n");
    dir.write(
        "ada/put.jsonl",
        line(json!({"do": "put", "word": "hello", "number": 7})),
    );
    dir.write("ada/find.jsonl", line(json!({"do": "find", "by": "word"})));
    let found = |arguments: &[&str]| {
        let output = run_cli(
            &dir,
            &[&["replay", &file, "ada/find.jsonl", "--json"], arguments].concat(),
        );
        output.json()["tables"]["found"][0]["words"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(!found(&[]).contains("hello"));
    let put = run_cli(&dir, &["replay", &file, "ada/put.jsonl", "--json"]);
    fs::write(dir.path().join("before.json"), &put.stdout).unwrap();
    assert!(found(&["--shared-from", "before.json"]).contains("hello"));
    fs::write(dir.path().join("wrong.json"), r#"{"moons": []}"#).unwrap();
    let output = run_cli(
        &dir,
        &[
            "replay",
            &file,
            "ada/find.jsonl",
            "--shared-from",
            "wrong.json",
        ],
    );
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("moons"), "{output:?}");
}

#[test]
fn replay_of_an_unknown_session_or_processor_is_a_usage_error() {
    let dir = DataDir::new();
    let output = run_cli(&dir, &["replay", "usage", "ada/none.jsonl"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(
        output
            .stderr
            .contains("run `session-pipeline sessions list` for the keys"),
        "{output:?}"
    );
    dir.write("ada/one.jsonl", "");
    let output = run_cli(&dir, &["replay", "usgae", "ada/one.jsonl"]);
    assert_eq!(output.code, 2, "{output:?}");
}
