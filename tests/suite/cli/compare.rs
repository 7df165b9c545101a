//! `compare`: two components over the same sessions.

use std::fs;

use session_pipeline_bundle::{USAGE, faulty};
use session_pipeline_harness::DataDir;

use super::check;
use crate::documents::names;

/// Two components that a pull request is about, and three sessions.
fn stage(old: &[u8], new: &[u8]) -> DataDir {
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
    let dir = stage(USAGE, USAGE);
    let ended = check(&dir, &COMPARE);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert!(
        ended.stdout.ends_with("0 of 3 sessions differ\n"),
        "{ended:?}"
    );
    assert!(!dir.path().join("state").exists());
    let document = check(&dir, &[&COMPARE[..], &["--json"]].concat()).json();
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
    let dir = stage(faulty("well_behaved").unwrap(), faulty("panics").unwrap());
    dir.write("ada/two.jsonl", crate::guests::POISON);
    let ended = check(&dir, &COMPARE);
    assert_eq!(ended.code, 1, "{ended:?}");
    let differs =
        "ada/two.jsonl\n@@ -1,2 +1 @@\n-items: 1\n-lines: line=1, text=misbehave\n+failed: panic: ";
    assert!(ended.stdout.contains(differs), "{ended:?}");
    assert!(
        ended.stdout.ends_with("1 of 3 sessions differ\n"),
        "{ended:?}"
    );
}

#[test]
fn manifests_are_compared_too() {
    let dir = stage(
        faulty("well_behaved").unwrap(),
        faulty("counts_again").unwrap(),
    );
    let ended = check(&dir, &COMPARE);
    assert_eq!(ended.code, 1, "{ended:?}");
    let more = "+order: one after the other\n";
    let table =
        "+table known, shared by name\n+column known.name: text\n+column known.number: s64\n";
    assert!(
        ended.stdout.contains(more) && ended.stdout.contains(table),
        "{ended:?}"
    );
    let dir = stage(faulty("well_behaved").unwrap(), faulty("panics").unwrap());
    let ended = check(&dir, &COMPARE);
    assert_eq!(ended.code, 1, "{ended:?}");
    let differ = "what they say of themselves\n@@ -1,2 +1,2 @@\n-name: faulty-well-behaved\n\
                  +name: faulty-panics\n version: 1\n";
    assert!(ended.stdout.starts_with(differ), "{ended:?}");
    assert!(
        ended.stdout.ends_with("0 of 3 sessions differ\n"),
        "{ended:?}"
    );
}

#[test]
fn compare_rejects_invalid_components_and_missing_sessions() {
    let dir = stage(USAGE, b"no component");
    let ended = check(&dir, &COMPARE);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(
        ended.stderr.contains("`new.wasm` can't be used"),
        "{ended:?}"
    );
    let ended = check(&dir, &["compare", "old.wasm", "newer.wasm"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    let empty = DataDir::new();
    let ended = check(&empty, &["compare", "usage", "usage"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended.stderr.contains("there are no sessions below"),
        "{ended:?}"
    );
}
