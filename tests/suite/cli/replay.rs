//! `replay`: one session, shown and not committed.

use std::fs;

use serde_json::json;
use session_pipeline_bundle::faulty;
use session_pipeline_harness::DataDir;

use super::{check, check_examples, words};
use crate::documents::names;
use crate::guests::POISON;

fn give(dir: &DataDir, way: &str) -> String {
    let file = format!("{way}.wasm");
    fs::write(dir.path().join(&file), faulty(way).unwrap()).unwrap();
    file
}

#[test]
fn replay_prints_rows_and_costs_and_leaves_no_files() {
    let dir = DataDir::new();
    let file = give(&dir, "well_behaved");
    dir.write("ada/one.jsonl", "one\ntwo\n");
    let ended = check(&dir, &["replay", &file, "ada/one.jsonl"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    insta::assert_snapshot!(words(&ended.stdout).join("\n").split("\nfuel").next().unwrap(), @r"
    `faulty-well-behaved` found 2 items in ada/one.jsonl

    table lines (2 rows)
    line text
    1 one
    2 two

    cost
    ");
    assert!(!dir.path().join("state").exists(), "nothing is made");
}

#[test]
fn replay_accepts_a_processor_name_and_a_session_key_and_prints_json() {
    let dir = DataDir::new();
    let listed = check_examples(&dir, &["sessions", "list", "--json"]).json();
    let key = listed["sessions"][0]["key"].as_str().unwrap();
    let document = check_examples(&dir, &["replay", "usage", key, "--json"]).json();
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
    let file = give(&dir, "panics");
    // As `processors verify` keeps one: a file that lies in no sessions root.
    fs::write(dir.path().join("kept.jsonl"), POISON).unwrap();
    let ended = check(&dir, &["replay", &file, "kept.jsonl"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let (fault, place) = ended.stdout.split_once("\n\n").unwrap();
    assert!(
        fault.contains("failed at") && fault.contains("panic: "),
        "{fault}"
    );
    assert!(
        place.starts_with("where it was, the innermost first\n"),
        "{place}"
    );
    assert!(
        place.contains("process"),
        "functions have their names: {place}"
    );
    let json = check(&dir, &["replay", &file, "kept.jsonl", "--json"]);
    assert_eq!(json.code, 1);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["execution"]["fault"]["kind"], "panic");
    assert!(document["tables"].is_null());
}

#[test]
fn shared_tables_are_empty_or_loaded_from_the_output_of_a_replay() {
    let dir = DataDir::new();
    let file = give(&dir, "remembers");
    let line = |value: serde_json::Value| format!("{value}\n");
    dir.write(
        "ada/put.jsonl",
        line(json!({"do": "put", "word": "hello", "number": 7})),
    );
    dir.write("ada/find.jsonl", line(json!({"do": "find", "by": "word"})));
    let found = |arguments: &[&str]| {
        let ended = check(
            &dir,
            &[&["replay", &file, "ada/find.jsonl", "--json"], arguments].concat(),
        );
        ended.json()["tables"]["found"][0]["words"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(!found(&[]).contains("hello"));
    let put = check(&dir, &["replay", &file, "ada/put.jsonl", "--json"]);
    fs::write(dir.path().join("before.json"), &put.stdout).unwrap();
    assert!(found(&["--shared-from", "before.json"]).contains("hello"));
    fs::write(dir.path().join("wrong.json"), r#"{"moons": []}"#).unwrap();
    let ended = check(
        &dir,
        &[
            "replay",
            &file,
            "ada/find.jsonl",
            "--shared-from",
            "wrong.json",
        ],
    );
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("moons"), "{ended:?}");
}

#[test]
fn replay_of_an_unknown_session_or_processor_is_a_usage_error() {
    let dir = DataDir::new();
    let ended = check(&dir, &["replay", "usage", "ada/none.jsonl"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended.stderr.contains("`sessions list` shows the keys"),
        "{ended:?}"
    );
    dir.write("ada/one.jsonl", "");
    let ended = check(&dir, &["replay", "usgae", "ada/one.jsonl"]);
    assert_eq!(ended.code, 2, "{ended:?}");
}
