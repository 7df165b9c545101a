//! `processors`: the list, and any component looked at.

use std::fs;

use session_pipeline_bundle::{USAGE, faulty};
use session_pipeline_harness::DataDir;

use super::{check, check_examples, words};
use crate::documents::names;
use crate::registry::{VERSIONED, versioned};

/// The names in the document of one processor, whether or not it can run.
const NAMES: [&str; 16] = [
    "cadence_seconds",
    "capabilities",
    "description",
    "digest",
    "file",
    "last_run",
    "last_run_at",
    "llm_granted",
    "name",
    "order",
    "origin",
    "running_since",
    "schedule",
    "unavailable",
    "uses_llm",
    "version",
];

#[test]
fn the_processor_list_works_without_a_database_and_creates_none() {
    let dir = DataDir::new();
    let ended = check(&dir, &["processors", "list"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    insta::assert_snapshot!(words(&ended.stdout).join("\n"), @r"
    processor version origin runs order may use available last run result
    usage 3 shipped every 10 min independent transcript, records yes never -
    verification 2 shipped every 15 min serial llm, transcript, records, log yes never -
    ");
    assert!(!dir.path().join("state").exists(), "asking makes nothing");
    assert_eq!(check_examples(&dir, &["run", "usage"]).code, 0);
    let document = check(&dir, &["processors", "list", "--json"]).json();
    let processor = &document["processors"][0];
    assert_eq!(names(processor), NAMES);
    assert_eq!(processor["last_run"], "ok");
    assert_eq!(processor["order"], "independent");
}

#[test]
fn an_unavailable_processor_is_listed_with_the_reason() {
    let dir = DataDir::new();
    fs::write(
        dir.path().join("config.toml"),
        "[processors.usage]\nschedule = \"every 2h\"\nllm = false\n[processors.usage.limits]\nfuel_base = 1\n[processors.usgae]\n",
    )
    .unwrap();
    let ended = check(&dir, &["processors", "list"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let rows = words(&ended.stdout);
    let row = "usage - shipped every 2h - - no ";
    assert!(rows[1].starts_with(row), "{rows:?}");
    assert!(
        ended.stderr.starts_with("`usage` can't run: component: "),
        "{ended:?}"
    );
    assert!(
        ended
            .stderr
            .contains("a section for `usgae`, and there is no such processor"),
        "{ended:?}"
    );
    let document = check(&dir, &["processors", "list", "--json"]).json();
    let processor = &document["processors"][0];
    assert_eq!(names(processor), NAMES);
    assert_eq!(processor["llm_granted"], false);
    assert!(processor["version"].is_null());
    assert_eq!(check(&dir, &["run", "usage"]).code, 3);
}

#[test]
fn a_component_file_is_inspected_without_a_database() {
    let dir = DataDir::new();
    fs::write(dir.path().join("mine.wasm"), USAGE).unwrap();
    for component in ["mine.wasm", "usage"] {
        let ended = check(&dir, &["processors", "inspect", component]);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        let lines = words(&ended.stdout);
        for line in [
            "name usage",
            "order independent",
            "digest SHA-256 [hash]",
            "imports with nothing behind them",
            "session-pipeline:processor/guest@1.0.0",
            "table messages (of the session)",
            "input_tokens s64",
        ] {
            assert!(lines.iter().any(|other| other == line), "{line}: {ended:?}");
        }
    }
    let document = check(&dir, &["processors", "inspect", "mine.wasm", "--json"]).json();
    assert_eq!(
        names(&document),
        [
            "bytes",
            "describe_fuel",
            "digest",
            "exports",
            "imports",
            "manifest",
            "refused"
        ]
    );
    assert_eq!(document["bytes"], USAGE.len());
    assert_eq!(document["manifest"]["tables"][0]["name"], "events");
    assert!(!dir.path().join("state").exists());
}

#[test]
fn inspecting_an_invalid_component_exits_with_1_and_the_reason() {
    let dir = DataDir::new();
    fs::write(
        dir.path().join("bad.wasm"),
        faulty("describe_bad_name").unwrap(),
    )
    .unwrap();
    fs::write(dir.path().join("no.wasm"), "no component").unwrap();
    for (file, reason) in [
        (
            "bad.wasm",
            "refused: component: the manifest is invalid: invalid processor name",
        ),
        ("no.wasm", "refused: component: the file is not WebAssembly"),
    ] {
        let ended = check(&dir, &["processors", "inspect", file]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.starts_with(reason), "{ended:?}");
        let ended = check(&dir, &["processors", "inspect", file, "--json"]);
        let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert!(
            reason.contains(&document["refused"].as_str().unwrap()[..30]),
            "{document}"
        );
    }
}

#[test]
fn dropped_components_are_listed_and_inspected_without_creating_a_database() {
    let dir = DataDir::new();
    dir.drop_processor("theirs.wasm", versioned(1));
    dir.drop_processor("notes.wasm", "no component");
    let ended = check(&dir, &["processors", "list"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (
            0,
            "`notes.wasm` was rejected: the file is not WebAssembly\n"
        ),
        "{ended:?}"
    );
    insta::assert_snapshot!(words(&ended.stdout).join("\n"), @r"
    processor version origin runs order may use available last run result
    faulty-versioned 1 dropped every 10 min independent transcript, records yes never -
    usage 3 shipped every 10 min independent transcript, records yes never -
    verification 2 shipped every 15 min serial llm, transcript, records, log yes never -
    ");
    let inspected = check(&dir, &["processors", "inspect", VERSIONED, "--json"]).json();
    assert_eq!(inspected["manifest"]["name"], VERSIONED);
    let status = check(&dir, &["status"]);
    assert_eq!(status.code, 1, "{status:?}");
    assert!(!dir.path().join("state").exists(), "asking makes nothing");
    let ended = check(&dir, &["run", "notes"]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(
        ended.stderr,
        "error: the processor `notes` is unavailable: `notes.wasm` was rejected: the file is not WebAssembly\n"
    );
    assert_eq!(check(&dir, &["run", "moon"]).code, 2);
    let ended = check(&dir, &["run", "--all"]);
    assert!(
        ended
            .stderr
            .contains("passed over: `notes.wasm` was rejected"),
        "{ended:?}"
    );
}

#[test]
fn an_argument_that_is_neither_a_processor_nor_a_file_is_a_usage_error() {
    let dir = DataDir::new();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        dir.path().join("fifo.wasm"),
        rustix::fs::Mode::RUSR,
    )
    .unwrap();
    for given in ["usgae", "missing.wasm", ".", "fifo.wasm"] {
        let ended = check(&dir, &["processors", "inspect", given]);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        let known = "known are: usage, verification\n";
        assert!(ended.stderr.ends_with(known), "{ended:?}");
    }
}

#[test]
fn a_processor_that_needs_a_missing_language_model_is_unavailable_and_skipped() {
    let dir = DataDir::new();
    let detector = "[processors.verification.settings]\ndetector = \"llm\"\n";
    fs::write(dir.path().join("config.toml"), detector).unwrap();
    let listed = check(&dir, &["processors", "list"]);
    assert_eq!(listed.code, 0);
    assert_eq!(
        words(&listed.stdout)[2],
        "verification 2 shipped every 15 min serial llm, transcript, records, log no never -"
    );
    let remedy = "no language model is configured; set ANTHROPIC_API_KEY or LLM_API_KEY in the environment, or add `[llm]` to the config file (see docs/llm.md)";
    assert_eq!(
        listed.stderr,
        format!("`verification` can't run: {remedy}\n")
    );
    let run = check(&dir, &["run", "verification"]);
    assert_eq!(run.code, 3);
    assert!(run.stderr.contains(remedy), "{run:?}");
    let all = check(&dir, &["run", "--all"]);
    assert_eq!(all.code, 0);
    assert!(all.stderr.contains(remedy), "{all:?}");
}
