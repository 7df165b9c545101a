//! `status`: whether everything works and keeps up, for people and for machines.

use std::time::Duration;

use session_pipeline_harness::{DataDir, Session};

use super::{Ended, check, check_examples, program, words};
use crate::documents::names;

/// The lines about single checks; how full this machine's disk is, is none of ours.
fn checks(ended: &Ended) -> String {
    let lines = words(&ended.stdout).into_iter();
    let lines: Vec<String> = lines.filter(|line| !line.starts_with("disk ")).collect();
    lines.join("\n")
}

#[test]
fn a_fresh_data_dir_is_healthy_and_looking_makes_nothing() {
    let dir = DataDir::new();
    let ended = check(&dir, &["status"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    insta::assert_snapshot!(checks(&ended), @"
    healthy

    duckdb_state info there is no database yet
    processors ok
    quarantine ok 0 sessions failing
    scheduler info off: nothing runs by itself
    session_pipeline ok there are no session files yet
    session_pipeline:usage ok there are no session files yet
    users ok 0 users

    processor sessions items due failing quarantined missing last run result
    usage 0 0 0 0 0 0 never -
    verification 0 0 0 0 0 0 never -
    ");
    assert_eq!(check(&dir, &["status", "--json"]).code, 0);
    assert!(!dir.path().join("state").exists());
    let mut command = program(&dir);
    command.args(["--data-dir", "not/there", "status"]);
    command.assert().success();
    assert!(!dir.path().join("not").exists());
}

#[test]
fn status_as_json_is_the_body_of_the_detailed_health() {
    let dir = DataDir::new();
    let document = check(&dir, &["status", "--json"]).json();
    assert_eq!(
        names(&document),
        [
            "caller_role",
            "channel",
            "commit_sha",
            "deployed_at",
            "image_tag",
            "overall_analyst",
            "schema_version",
            "services",
            "status",
            "timestamp",
            "version",
        ]
    );
    assert_eq!(document["status"], "healthy");
    assert_eq!(document["caller_role"], "admin");
    assert_eq!(
        names(&document["services"]),
        [
            "disk",
            "duckdb_state",
            "processors",
            "quarantine",
            "scheduler",
            "session_pipeline",
            "session_pipeline:usage",
            "users",
        ]
    );
}

#[test]
fn what_lags_is_told_with_what_to_do_and_ends_with_1() {
    let dir = DataDir::new();
    assert_eq!(check(&dir, &["migrate"]).code, 0);
    dir.write("ada/one.jsonl", Session::new("s1").user("hello"));
    // By the clock of this machine, as the program goes by.
    let file = std::fs::File::open(dir.session_path("ada/one.jsonl")).unwrap();
    let changed_at = std::time::SystemTime::now() - Duration::from_secs(86_400);
    file.set_modified(changed_at).unwrap();
    let ended = check(&dir, &["status"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.starts_with("degraded\n"), "{ended:?}");
    assert!(ended.stdout.contains("extraction backlog"), "{ended:?}");
    assert_eq!(
        ended.stderr,
        "session_pipeline: session-pipeline run verification, which says why where it can't\n"
    );
    let json = check(&dir, &["status", "--json"]);
    assert_eq!(json.code, 1, "for machines too");
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["status"], "degraded");
}

#[test]
fn status_counts_what_is_known_of_each_processor() {
    let dir = DataDir::new();
    let never = words(&check(&dir, &["status"]).stdout);
    for processor in ["usage", "verification"] {
        let row = format!("{processor} 0 0 0 0 0 0 never -");
        assert!(never.contains(&row), "{never:?}");
    }
    assert!(never.contains(
        &"processor sessions items due failing quarantined missing last run result".to_owned()
    ));
    assert_eq!(check_examples(&dir, &["run", "usage"]).code, 0);
    let rows = words(&check_examples(&dir, &["status"]).stdout);
    let row = rows.iter().find(|row| row.starts_with("usage ")).unwrap();
    assert!(
        row.starts_with("usage 5 ") && row.ends_with(" [time] ok"),
        "{row}"
    );
}

#[test]
fn the_threshold_of_stuck_files_comes_from_the_environment() {
    let dir = DataDir::new();
    assert_eq!(check(&dir, &["migrate"]).code, 0);
    let status = |seconds: &str| {
        let mut command = program(&dir);
        command.args(["--data-dir", ".", "status"]);
        command.env("SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS", seconds);
        Ended::of(&dir, command.output().unwrap())
    };
    assert_eq!(status("60").code, 0);
    for bad in ["", "0", "-5", "abc", "1.5", "+5"] {
        let ended = status(bad);
        assert_eq!(ended.code, 2, "{bad:?}: {ended:?}");
        assert_eq!(
            ended.stderr,
            format!(
                "error: `SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS` in the environment can't be `{bad}`; \
                 give a whole number of seconds from 1 to 31622400, or leave it unset\n"
            )
        );
    }
}
