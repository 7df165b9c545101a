//! `processors`: the list, and `inspect`.

use std::fs;

use session_pipeline_bundle::{USAGE, faulty};
use session_pipeline_harness::DataDir;

use super::{run_cli, run_cli_on_examples, table_lines};
use crate::documents::names;
use crate::registry::{VERSIONED, versioned};

/// The field names of a processor, whether or not it can run.
const FIELDS: [&str; 16] = [
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
    let output = run_cli(&dir, &["processors", "list"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    insta::assert_snapshot!(table_lines(&output.stdout).join("\n"), @r"
    processor version origin runs order capabilities available last run result
    usage 6 shipped every 10 min independent resumption, transcript, records yes never -
    verification 5 shipped every 15 min serial llm, transcript, records, log yes never -
    ");
    assert!(
        !dir.path().join("state").exists(),
        "read-only commands create nothing"
    );
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    let document = run_cli(&dir, &["processors", "list", "--json"]).json();
    let processor = &document["processors"][0];
    assert_eq!(names(processor), FIELDS);
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
    let output = run_cli(&dir, &["processors", "list"]);
    assert_eq!(output.code, 0, "{output:?}");
    let rows = table_lines(&output.stdout);
    let row = "usage - shipped every 2h - - no ";
    assert!(rows[1].starts_with(row), "{rows:?}");
    assert!(
        output.stderr.starts_with("`usage` cannot run: component: "),
        "{output:?}"
    );
    assert!(
        output
            .stderr
            .contains("a section for `usgae`, but there is no processor with this name"),
        "{output:?}"
    );
    let document = run_cli(&dir, &["processors", "list", "--json"]).json();
    let processor = &document["processors"][0];
    assert_eq!(names(processor), FIELDS);
    assert_eq!(processor["llm_granted"], false);
    assert!(processor["version"].is_null());
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 3);
}

#[test]
fn a_component_file_is_inspected_without_a_database() {
    let dir = DataDir::new();
    fs::write(dir.path().join("mine.wasm"), USAGE).unwrap();
    for component in ["mine.wasm", "usage"] {
        let output = run_cli(&dir, &["processors", "inspect", component]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
        let lines = table_lines(&output.stdout);
        for line in [
            "name usage",
            "order independent",
            "digest SHA-256 [hash]",
            "inert imports",
            "session-pipeline:processor/guest@1.1.0",
            "table messages (per session)",
            "input_tokens s64",
        ] {
            assert!(
                lines.iter().any(|other| other == line),
                "{line}: {output:?}"
            );
        }
    }
    let document = run_cli(&dir, &["processors", "inspect", "mine.wasm", "--json"]).json();
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
            "rejected: component: the manifest is invalid: invalid processor name",
        ),
        (
            "no.wasm",
            "rejected: component: the file is not WebAssembly",
        ),
    ] {
        let output = run_cli(&dir, &["processors", "inspect", file]);
        assert_eq!(output.code, 1, "{output:?}");
        assert!(output.stderr.starts_with(reason), "{output:?}");
        let output = run_cli(&dir, &["processors", "inspect", file, "--json"]);
        let document: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
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
    let output = run_cli(&dir, &["processors", "list"]);
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (
            0,
            "`notes.wasm` was rejected: the file is not WebAssembly\n"
        ),
        "{output:?}"
    );
    insta::assert_snapshot!(table_lines(&output.stdout).join("\n"), @r"
    processor version origin runs order capabilities available last run result
    faulty-versioned 1 dropped every 10 min independent transcript, records yes never -
    usage 6 shipped every 10 min independent resumption, transcript, records yes never -
    verification 5 shipped every 15 min serial llm, transcript, records, log yes never -
    ");
    let inspected = run_cli(&dir, &["processors", "inspect", VERSIONED, "--json"]).json();
    assert_eq!(inspected["manifest"]["name"], VERSIONED);
    let status = run_cli(&dir, &["status"]);
    assert_eq!(status.code, 1, "{status:?}");
    assert!(
        !dir.path().join("state").exists(),
        "read-only commands create nothing"
    );
    let output = run_cli(&dir, &["run", "notes"]);
    assert_eq!(output.code, 3, "{output:?}");
    assert_eq!(
        output.stderr,
        "error: the processor `notes` is unavailable: `notes.wasm` was rejected: the file is not WebAssembly\n"
    );
    assert_eq!(run_cli(&dir, &["run", "moon"]).code, 2);
    let output = run_cli(&dir, &["run", "--all"]);
    assert!(
        output.stderr.contains("skipped: `notes.wasm` was rejected"),
        "{output:?}"
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
        let output = run_cli(&dir, &["processors", "inspect", given]);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
        let known = "known processors: usage, verification\n";
        assert!(output.stderr.ends_with(known), "{output:?}");
    }
}

#[test]
fn a_processor_that_needs_a_missing_language_model_is_unavailable_and_skipped() {
    let dir = DataDir::new();
    let detector = "[processors.verification.settings]\ndetector = \"llm\"\n";
    fs::write(dir.path().join("config.toml"), detector).unwrap();
    let listed = run_cli(&dir, &["processors", "list"]);
    assert_eq!(listed.code, 0);
    assert_eq!(
        table_lines(&listed.stdout)[2],
        "verification 5 shipped every 15 min serial llm, transcript, records, log no never -"
    );
    let remedy = "no language model is configured; set ANTHROPIC_API_KEY or LLM_API_KEY in the environment, or add `[llm]` to the config file (see docs/llm.md)";
    assert_eq!(
        listed.stderr,
        format!("`verification` cannot run: {remedy}\n")
    );
    let run = run_cli(&dir, &["run", "verification"]);
    assert_eq!(run.code, 3);
    assert!(run.stderr.contains(remedy), "{run:?}");
    let all = run_cli(&dir, &["run", "--all"]);
    assert_eq!(all.code, 0);
    assert!(all.stderr.contains(remedy), "{all:?}");
}
