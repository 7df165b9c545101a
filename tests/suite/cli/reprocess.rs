//! `reprocess`: marks sessions, and the next run processes them again.

use session_pipeline_harness::DataDir;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::Store;

use super::{run_cli, run_cli_on_examples};

const KEY: &str = "chidi/e47a10c9-25bd-4d83-8f16-3b90c5d7a268.jsonl";

#[test]
fn marked_sessions_are_processed_by_the_next_run_and_the_report_is_unchanged() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    let report = run_cli(&dir, &["report", "usage", "--json"]).json();
    let output = run_cli_on_examples(&dir, &["reprocess", "usage"]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "marked 5 sessions of `usage`\n")
    );
    assert_eq!(
        output.stderr,
        "`session-pipeline run usage` processes them again; their current rows stay until then\n"
    );
    assert_eq!(run_cli(&dir, &["report", "usage", "--json"]).json(), report);
    let run = run_cli_on_examples(&dir, &["run", "usage", "--json"]).json();
    assert_eq!(run["details"]["processed"], 5);
    assert_eq!(run_cli(&dir, &["report", "usage", "--json"]).json(), report);

    let one = run_cli_on_examples(&dir, &["reprocess", "usage", "--session", KEY, "--json"]).json();
    assert_eq!(
        one,
        serde_json::json!({ "processor": "usage", "marked": 1, "quarantined": 0 })
    );
    let run = run_cli_on_examples(&dir, &["run", "usage", "--json"]).json();
    assert_eq!(run["details"]["processed"], 1);
}

#[test]
fn reprocess_without_a_database_marks_nothing_and_creates_none() {
    let dir = DataDir::new();
    let output = run_cli_on_examples(&dir, &["reprocess", "usage"]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "marked 0 sessions of `usage`\n")
    );
    assert_eq!(
        output.stderr,
        "nothing was processed yet, so the next run processes all sessions anyway\n"
    );
    assert!(!dir.path().join("state").exists());
}

#[test]
fn unknown_processors_and_sessions_are_usage_errors() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    let output = run_cli(&dir, &["reprocess", "usgae"]);
    assert_eq!(output.code, 2);
    assert_eq!(
        output.stderr,
        "error: unknown processor `usgae`; known processors: usage, verification\n"
    );
    let output = run_cli_on_examples(&dir, &["reprocess", "usage", "--session", "e47a10c9"]);
    assert_eq!(output.code, 2);
    assert_eq!(
        output.stderr,
        format!("error: unknown session `e47a10c9`; did you mean `{KEY}`?\n")
    );
}

#[test]
fn nothing_is_marked_while_another_process_has_the_data_dir_open() {
    let dir = DataDir::new();
    let store = Store::open(&dir.config().store_options(), UtcMicros(0)).unwrap();
    for arguments in [
        &["reprocess", "usage"][..],
        &["sessions", "list"],
        &["processors", "list"],
    ] {
        let output = run_cli(&dir, arguments);
        assert_eq!(output.code, 3, "{output:?}");
        assert!(
            output.stderr.contains("is in use by process [pid]"),
            "{output:?}"
        );
    }
    let output = run_cli(&dir, &["processors", "inspect", "usage"]);
    assert_eq!(output.code, 0, "inspect needs no lock");
    drop(store);
}
