//! The log is missing or truncated. DuckDB does not report this. The stored number of the last
//! commit reveals it.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use session_pipeline_harness::clock;
use session_pipeline_store::Store;

use super::{DataDir, crash_image, log_path, run_cli, run_to_completion, session_data};
use crate::cli::serve::ServerProcess;
use crate::database::cell;

fn commits_path(dir: &DataDir) -> PathBuf {
    dir.path().join("state/commits")
}

/// Returns the value of a counter.
fn counter(dir: &DataDir, name: &str) -> i64 {
    let value = format!("SELECT coalesce(max(value), 0) FROM counters WHERE name = '{name}'");
    cell(dir, &value).parse().unwrap()
}

/// Opens the database and returns the number of lost commits.
fn lost_commits(dir: &DataDir) -> u64 {
    let store = Store::open(&dir.config().store_options(), clock::START).unwrap();
    let lost = store.open_report().lost_commits;
    drop(store);
    let again = Store::open(&dir.config().store_options(), clock::START).unwrap();
    assert_eq!(
        again.open_report().lost_commits,
        0,
        "lost commits must be reported only once"
    );
    lost
}

const COUNTERS: [&str; 3] = ["session_seq", "run", "audit"];

/// Asserts that no number is used twice and that all sessions are processed again.
fn assert_recovers(dir: &DataDir) {
    let intact = crash_image().to_dir();
    let before = COUNTERS.map(|name| counter(&intact, name));
    let committed = counter(&intact, "commit");
    let missing = lost_commits(dir);
    assert!(missing > 0);
    for (name, before) in COUNTERS.iter().zip(before) {
        let after = counter(dir, name);
        assert!(
            after >= before,
            "`{name}` went from {before} back to {after}"
        );
    }
    assert!(counter(dir, "commit") > committed);
    assert_eq!(counter(dir, "lost_commit").unsigned_abs(), missing);
    let trusted = "SELECT count(*) FROM session_processor_state WHERE file_size IS NOT NULL";
    assert_eq!(
        cell(dir, trusted),
        "0",
        "every session must be checked again"
    );
    assert_eq!(&run_to_completion(dir), crash_image().final_data());
}

#[test]
fn a_lost_log_is_detected_and_all_sessions_are_processed_again() {
    let dir = crash_image().to_dir();
    fs::remove_file(log_path(&dir)).unwrap();
    assert_recovers(&dir);
    let dir = crash_image().to_dir();
    fs::write(log_path(&dir), "").unwrap();
    assert_recovers(&dir);
}

#[test]
fn a_truncated_log_is_detected_and_all_sessions_are_processed_again() {
    for keep in [1, 2, 3] {
        let dir = crash_image().to_dir();
        let log = crash_image().log();
        fs::write(log_path(&dir), &log[..log.len() * keep / 4]).unwrap();
        assert_recovers(&dir);
    }
}

#[test]
fn a_lost_database_is_created_again_and_no_number_is_reused() {
    let dir = crash_image().to_dir();
    fs::remove_file(log_path(&dir)).unwrap();
    fs::remove_file(dir.database_path()).unwrap();
    assert_recovers(&dir);
}

#[test]
fn a_lagging_or_missing_commit_number_raises_no_alarm() {
    let dir = crash_image().to_dir();
    let current = fs::read_to_string(commits_path(&dir)).unwrap();
    let number: i64 = current.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(number, counter(&crash_image().to_dir(), "commit"));
    let lagging = number - 3;
    fs::write(
        commits_path(&dir),
        format!("{lagging:020} {:020}\n", i64::MAX - lagging),
    )
    .unwrap();
    assert_eq!(lost_commits(&dir), 0);
    assert_eq!(
        fs::read_to_string(commits_path(&dir)).unwrap(),
        current,
        "unchanged"
    );
    // An older version or a copy of only the database has no such file.
    fs::remove_file(commits_path(&dir)).unwrap();
    assert_eq!(lost_commits(&dir), 0);
    assert_eq!(
        fs::read_to_string(commits_path(&dir)).unwrap(),
        current,
        "the file is created again"
    );
    assert_eq!(&session_data(&dir), crash_image().final_data());
    assert_eq!(run_cli(&dir, &["status"]).code, 0);
}

#[test]
fn a_damaged_commit_number_is_reported_and_rewritten() {
    for nonsense in ["\n", "7", "-1 2\n", &"9".repeat(4096), "\u{fffd}\0"] {
        let dir = crash_image().to_dir();
        fs::write(commits_path(&dir), nonsense).unwrap();
        let ended = run_cli(&dir, &["run", "usage"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(
            ended.stderr.contains("state/commits` is damaged"),
            "{ended:?}"
        );
        let ended = run_cli(&dir, &["run", "usage"]);
        assert!(!ended.stderr.contains("damaged"), "{ended:?}");
        assert_eq!(&session_data(&dir), crash_image().final_data());
    }
}

/// Returns the exit code of `status` and its health entry of the database.
fn state(dir: &DataDir) -> (i32, Value) {
    let ended = run_cli(dir, &["status", "--json"]);
    let body: Value = serde_json::from_str(&ended.stdout).unwrap();
    (ended.code, body["services"]["duckdb_state"].clone())
}

#[test]
fn health_warns_about_lost_commits_until_they_are_acknowledged() {
    let dir = crash_image().to_dir();
    fs::remove_file(log_path(&dir)).unwrap();
    let ended = run_cli(&dir, &["run", "usage"]);
    assert!(
        ended.code == 0
            && ended
                .stderr
                .contains("commits are missing: the database log was lost"),
        "{ended:?}"
    );
    for _ in 0..2 {
        let (code, state) = state(&dir);
        assert_eq!((code, &state["status"]), (1, &"warning".into()), "{state}");
        let action = state["next_action"].as_str().unwrap();
        assert!(
            action.contains("session-pipeline status --acknowledge"),
            "{state}"
        );
    }
    let serving = ServerProcess::start(&dir, &[]);
    assert_eq!(state(&dir).0, 1);
    let acknowledged = run_cli(&dir, &["status", "--acknowledge"]);
    assert_eq!(acknowledged.code, 0, "{acknowledged:?}");
    assert_eq!(state(&dir).0, 0);
    assert_eq!(serving.stop(), 0);
    assert_eq!(run_cli(&dir, &["status", "--acknowledge"]).code, 0);
    let audit_entries = "SELECT count(*) FROM audit_log WHERE action = 'health.acknowledge'";
    assert_eq!(
        cell(&dir, audit_entries),
        "1",
        "a second acknowledgement has no effect"
    );
}

#[test]
fn lost_commits_can_be_acknowledged_without_a_server() {
    let dir = crash_image().to_dir();
    fs::remove_file(log_path(&dir)).unwrap();
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    assert_eq!(run_cli(&dir, &["status"]).code, 1);
    assert_eq!(run_cli(&dir, &["status", "--acknowledge"]).code, 0);
    assert_eq!(run_cli(&dir, &["status"]).code, 0);
}
