//! `compare`: two components on the same sessions.

use std::fs;

use session_pipeline_bundle::{USAGE, faulty};
use session_pipeline_harness::DataDir;

use super::run_cli;
use crate::documents::names;

/// A data directory with an old and a new component, and three sessions.
fn data_dir_with(old: &[u8], new: &[u8]) -> DataDir {
    let dir = DataDir::new();
    fs::write(dir.path().join("old.wasm"), old).unwrap();
    fs::write(dir.path().join("new.wasm"), new).unwrap();
    for (key, text) in [
        ("ada/one.jsonl", "one\n"),
        ("ada/two.jsonl", "one\ntwo\n"),
        ("bob/three.jsonl", ""),
    ] {
        dir.write(key, text);
    }
    dir
}

const COMPARE: [&str; 3] = ["compare", "old.wasm", "new.wasm"];

#[test]
fn equal_rows_exit_with_0_and_leave_no_files() {
    let dir = data_dir_with(USAGE, USAGE);
    let output = run_cli(&dir, &COMPARE);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    assert!(
        output.stdout.ends_with("0 of 3 sessions differ\n"),
        "{output:?}"
    );
    assert!(!dir.path().join("state").exists());
    let document = run_cli(&dir, &[&COMPARE[..], &["--json"]].concat()).json();
    assert_eq!(
        names(&document),
        ["different", "manifest", "new", "old", "sessions"]
    );
    assert!(document["manifest"].is_null());
    assert_eq!(document["old"]["fuel"], document["new"]["fuel"]);
    assert!(document["old"]["fuel"].as_u64().unwrap() > 0);
}

#[test]
fn different_rows_are_printed_and_exit_with_1() {
    let dir = data_dir_with(faulty("well_behaved").unwrap(), faulty("panics").unwrap());
    dir.write("ada/two.jsonl", crate::guests::POISON);
    let output = run_cli(&dir, &COMPARE);
    assert_eq!(output.code, 1, "{output:?}");
    let difference =
        "ada/two.jsonl\n@@ -1,2 +1 @@\n-items: 1\n-lines: line=1, text=misbehave\n+failed: panic: ";
    assert!(output.stdout.contains(difference), "{output:?}");
    assert!(
        output.stdout.ends_with("1 of 3 sessions differ\n"),
        "{output:?}"
    );
}

#[test]
fn manifests_are_compared_too() {
    let dir = data_dir_with(
        faulty("well_behaved").unwrap(),
        faulty("counts_again").unwrap(),
    );
    let output = run_cli(&dir, &COMPARE);
    assert_eq!(output.code, 1, "{output:?}");
    let order = "+order: serial\n";
    let table =
        "+table known, shared, key name\n+column known.name: text\n+column known.number: s64\n";
    assert!(
        output.stdout.contains(order) && output.stdout.contains(table),
        "{output:?}"
    );
    let dir = data_dir_with(faulty("well_behaved").unwrap(), faulty("panics").unwrap());
    let output = run_cli(&dir, &COMPARE);
    assert_eq!(output.code, 1, "{output:?}");
    let difference = "manifest\n@@ -1,2 +1,2 @@\n-name: faulty-well-behaved\n\
                  +name: faulty-panics\n version: 1\n";
    assert!(output.stdout.starts_with(difference), "{output:?}");
    assert!(
        output.stdout.ends_with("0 of 3 sessions differ\n"),
        "{output:?}"
    );
}

#[test]
fn compare_rejects_invalid_components_and_missing_sessions() {
    let dir = data_dir_with(USAGE, b"no component");
    let output = run_cli(&dir, &COMPARE);
    assert_eq!(output.code, 3, "{output:?}");
    assert!(
        output.stderr.contains("cannot use `new.wasm`"),
        "{output:?}"
    );
    let output = run_cli(&dir, &["compare", "old.wasm", "newer.wasm"]);
    assert_eq!(output.code, 2, "{output:?}");
    let empty = DataDir::new();
    let output = run_cli(&empty, &["compare", "usage", "usage"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("no sessions in `"), "{output:?}");
}
