//! `quarantine`: lists and releases sessions, and the next run retries them.

use std::fs;

use session_pipeline_harness::{DataDir, Transcript};

use super::{run_cli, table_lines};
use crate::documents::names;

const KEY: &str = "ada/one.jsonl";

/// A data directory with a session that `usage` quarantined: the limit is one row, and the session has
/// more.
fn quarantined() -> DataDir {
    let dir = DataDir::new();
    let session = || {
        Transcript::new("s1")
            .user("hello")
            .assistant(|m| m.tokens(10, 5).tool("Bash"))
    };
    dir.write(KEY, session());
    dir.write("ada/two.jsonl", "");
    fs::write(dir.path().join("config.toml"), "[limits]\nrows_max = 1\n").unwrap();
    for attempt in 1..=5 {
        assert_eq!(
            run_cli(&dir, &["run", "usage"]).code,
            1,
            "attempt {attempt}"
        );
    }
    dir
}

#[test]
fn quarantined_sessions_are_listed_with_the_reason() {
    let dir = quarantined();
    let output = run_cli(&dir, &["quarantine", "list"]);
    assert_eq!(output.code, 0, "{output:?}");
    let lines = table_lines(&output.stdout);
    assert_eq!(lines[0], "session processor since attempts fault detail");
    assert!(lines[1].starts_with("ada/one.jsonl usage "), "{lines:?}");
    assert!(lines[1].contains(" 5 output-limit "), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "1 quarantined session");
    assert_eq!(
        output.stderr,
        "a session is retried when its content or the processor changes, or after `session-pipeline quarantine release`\n"
    );
    let listed = run_cli(&dir, &["quarantine", "list", "--json"]).json();
    assert_eq!(names(&listed), ["count", "sessions"]);
    let session = &listed["sessions"][0];
    assert_eq!(
        names(session),
        [
            "attempts",
            "component",
            "detail",
            "fault",
            "last_attempt_at",
            "missing_since",
            "own_attempts",
            "processor",
            "quarantined_at",
            "session",
        ]
    );
    assert_eq!(
        (&session["attempts"], &session["own_attempts"]),
        (&5.into(), &5.into())
    );
    let count = |arguments: &[&str]| {
        let arguments = [&["quarantine", "list", "--json"], arguments].concat();
        run_cli(&dir, &arguments).json()["count"].clone()
    };
    assert_eq!(count(&["--processor", "verification"]), 0);
    assert_eq!(count(&["--session", "ada/two.jsonl"]), 0);
    assert_eq!(count(&["--processor", "usage", "--session", KEY]), 1);
}

#[test]
fn a_released_session_is_retried_by_the_next_run() {
    let dir = quarantined();
    let run = || run_cli(&dir, &["run", "usage", "--json"]);
    assert_eq!(run().json()["details"]["quarantined"], 1);
    let output = run_cli(&dir, &["quarantine", "release", "--session", KEY]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "released 1 session\n"),
        "{output:?}"
    );
    assert_eq!(output.stderr, "the next run retries them\n");
    assert_eq!(
        run().code,
        1,
        "it fails again, because the limit is unchanged"
    );
    fs::remove_file(dir.path().join("config.toml")).unwrap();
    assert_eq!(run().json()["details"]["processed"], 1);
    let output = run_cli(&dir, &["quarantine", "release", "--all", "--json"]).json();
    assert_eq!(output, serde_json::json!({ "released": 0 }));
}

#[test]
fn release_requires_a_selection_of_quarantined_sessions() {
    let dir = quarantined();
    for arguments in [
        &["quarantine", "release"][..],
        &["quarantine", "release", "--all", "--processor", "usage"],
        &["quarantine", "release", "--session", "ada/two.jsonl"],
        &["quarantine", "release", "--session", "ada/onw.jsonl"],
        &["quarantine", "release", "--processor", "usgae"],
        &["quarantine", "list", "--session", "ada/onw.jsonl"],
    ] {
        let output = run_cli(&dir, arguments);
        assert_eq!(output.code, 2, "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let output = run_cli(
        &dir,
        &["quarantine", "release", "--session", "ada/two.jsonl"],
    );
    assert_eq!(
        output.stderr,
        "error: session `ada/two.jsonl` is not in quarantine; `session-pipeline quarantine list` lists those that are\n"
    );
    let count = &run_cli(&dir, &["quarantine", "list", "--json"]).json()["count"];
    assert_eq!(*count, 1, "no session was released by mistake");
}

#[test]
fn quarantine_commands_work_without_a_database_and_create_none() {
    let dir = DataDir::new();
    let output = run_cli(&dir, &["quarantine", "list"]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "0 quarantined sessions\n")
    );
    assert_eq!(run_cli(&dir, &["quarantine", "release", "--all"]).code, 0);
    assert!(!dir.path().join("state").exists());
}
