//! `reprocess`: what is marked, and what the next run makes of it.

use session_pipeline_harness::DataDir;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::Store;

use super::{check, check_examples};

const KEY: &str = "chidi/e47a10c9-25bd-4d83-8f16-3b90c5d7a268.jsonl";

#[test]
fn marked_sessions_are_processed_by_the_next_run_and_the_report_is_unchanged() {
    let dir = DataDir::new();
    assert_eq!(check_examples(&dir, &["run", "usage"]).code, 0);
    let report = check(&dir, &["report", "usage", "--json"]).json();
    let ended = check_examples(&dir, &["reprocess", "usage"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, "marked 5 sessions of `usage`\n")
    );
    assert_eq!(
        ended.stderr,
        "`session-pipeline run usage` processes them again; until then their rows stay\n"
    );
    assert_eq!(check(&dir, &["report", "usage", "--json"]).json(), report);
    let run = check_examples(&dir, &["run", "usage", "--json"]).json();
    assert_eq!(run["details"]["processed"], 5);
    assert_eq!(check(&dir, &["report", "usage", "--json"]).json(), report);

    let one = check_examples(&dir, &["reprocess", "usage", "--session", KEY, "--json"]).json();
    assert_eq!(
        one,
        serde_json::json!({ "processor": "usage", "marked": 1, "quarantined": 0 })
    );
    let run = check_examples(&dir, &["run", "usage", "--json"]).json();
    assert_eq!(run["details"]["processed"], 1);
}

#[test]
fn reprocess_without_a_database_marks_nothing_and_creates_none() {
    let dir = DataDir::new();
    let ended = check_examples(&dir, &["reprocess", "usage"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, "marked 0 sessions of `usage`\n")
    );
    assert_eq!(
        ended.stderr,
        "nothing was processed yet, and all sessions are due anyway\n"
    );
    assert!(!dir.path().join("state").exists());
}

#[test]
fn unknown_processors_and_sessions_are_usage_errors() {
    let dir = DataDir::new();
    assert_eq!(check_examples(&dir, &["run", "usage"]).code, 0);
    let ended = check(&dir, &["reprocess", "usgae"]);
    assert_eq!(ended.code, 2);
    assert_eq!(
        ended.stderr,
        "error: Unknown processor `usgae`; known processors: usage, verification\n"
    );
    let ended = check_examples(&dir, &["reprocess", "usage", "--session", "e47a10c9"]);
    assert_eq!(ended.code, 2);
    assert_eq!(
        ended.stderr,
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
        let ended = check(&dir, arguments);
        assert_eq!(ended.code, 3, "{ended:?}");
        assert!(
            ended.stderr.contains("is in use by process [pid]"),
            "{ended:?}"
        );
    }
    let ended = check(&dir, &["processors", "inspect", "usage"]);
    assert_eq!(ended.code, 0, "it needs no lock");
    drop(store);
}
