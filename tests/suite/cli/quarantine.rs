//! `quarantine`: who is listed, who is let out, and what the next run makes of it.

use std::fs;

use session_pipeline_harness::{DataDir, Transcript};

use super::{check, words};
use crate::documents::names;

const KEY: &str = "ada/one.jsonl";

/// A session on which `usage` gives up: it may keep a single row, and has more to keep.
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
        assert_eq!(check(&dir, &["run", "usage"]).code, 1, "attempt {attempt}");
    }
    dir
}

#[test]
fn quarantined_sessions_are_listed_with_the_reason() {
    let dir = quarantined();
    let ended = check(&dir, &["quarantine", "list"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines = words(&ended.stdout);
    assert_eq!(lines[0], "session processor since attempts fault detail");
    assert!(lines[1].starts_with("ada/one.jsonl usage "), "{lines:?}");
    assert!(lines[1].contains(" 5 output-limit "), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "1 session in quarantine");
    assert_eq!(
        ended.stderr,
        "they are tried again when their content or the processor changes, or after `session-pipeline quarantine release`\n"
    );
    let listed = check(&dir, &["quarantine", "list", "--json"]).json();
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
    let of = |arguments: &[&str]| {
        let arguments = [&["quarantine", "list", "--json"], arguments].concat();
        check(&dir, &arguments).json()["count"].clone()
    };
    assert_eq!(of(&["--processor", "verification"]), 0);
    assert_eq!(of(&["--session", "ada/two.jsonl"]), 0);
    assert_eq!(of(&["--processor", "usage", "--session", KEY]), 1);
}

#[test]
fn a_released_session_is_retried_by_the_next_run() {
    let dir = quarantined();
    let run = || check(&dir, &["run", "usage", "--json"]);
    assert_eq!(run().json()["details"]["quarantined"], 1);
    let ended = check(&dir, &["quarantine", "release", "--session", KEY]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, "released 1 session\n"),
        "{ended:?}"
    );
    assert_eq!(ended.stderr, "the next run tries them again\n");
    assert_eq!(run().code, 1, "it fails again, since nothing was mended");
    fs::remove_file(dir.path().join("config.toml")).unwrap();
    assert_eq!(run().json()["details"]["processed"], 1);
    let ended = check(&dir, &["quarantine", "release", "--all", "--json"]).json();
    assert_eq!(ended, serde_json::json!({ "released": 0 }));
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
        let ended = check(&dir, arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty());
    }
    let ended = check(
        &dir,
        &["quarantine", "release", "--session", "ada/two.jsonl"],
    );
    assert_eq!(
        ended.stderr,
        "error: session `ada/two.jsonl` is not in quarantine; `session-pipeline quarantine list` lists those that are\n"
    );
    let count = &check(&dir, &["quarantine", "list", "--json"]).json()["count"];
    assert_eq!(*count, 1, "nobody was let out by mistake");
}

#[test]
fn quarantine_commands_work_without_a_database_and_create_none() {
    let dir = DataDir::new();
    let ended = check(&dir, &["quarantine", "list"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, "0 sessions in quarantine\n")
    );
    assert_eq!(check(&dir, &["quarantine", "release", "--all"]).code, 0);
    assert!(!dir.path().join("state").exists());
}
