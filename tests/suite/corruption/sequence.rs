//! The log is gone, or ends too early: DuckDB says nothing, the number of the last commit does.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use session_pipeline_harness::clock;
use session_pipeline_store::Store;

use super::{DataDir, killed, left, log_path, run_cli, run_through};
use crate::cli::serve::ServerProcess;
use crate::database::cell;

fn beside(dir: &DataDir) -> PathBuf {
    dir.path().join("state/commits")
}

/// What a counter says.
fn counter(dir: &DataDir, name: &str) -> i64 {
    let value = format!("SELECT coalesce(max(value), 0) FROM counters WHERE name = '{name}'");
    cell(dir, &value).parse().unwrap()
}

/// How many commits are missed when it is opened.
fn lost(dir: &DataDir) -> u64 {
    let store = Store::open(&dir.config().store_options(), clock::START).unwrap();
    let lost = store.open_report().lost_commits;
    drop(store);
    let again = Store::open(&dir.config().store_options(), clock::START).unwrap();
    assert_eq!(again.open_report().lost_commits, 0, "it is missed once");
    lost
}

const NUMBERS: [&str; 3] = ["session_seq", "run", "audit"];

/// The whole of it: nothing is used twice, everything comes again.
fn is_made_good(dir: &DataDir) {
    let whole = killed().lay();
    let had = NUMBERS.map(|name| counter(&whole, name));
    let committed = counter(&whole, "commit");
    let missing = lost(dir);
    assert!(missing > 0);
    for (name, had) in NUMBERS.iter().zip(had) {
        let has = counter(dir, name);
        assert!(has >= had, "`{name}` goes on from {has}, and was at {had}");
    }
    assert!(counter(dir, "commit") > committed);
    assert_eq!(counter(dir, "lost_commit").unsigned_abs(), missing);
    let trusted = "SELECT count(*) FROM session_processor_state WHERE file_size IS NOT NULL";
    assert_eq!(cell(dir, trusted), "0", "every session is looked at again");
    assert_eq!(&run_through(dir), killed().end());
}

#[test]
fn a_log_that_is_lost_is_noticed_and_all_sessions_come_again() {
    let dir = killed().lay();
    fs::remove_file(log_path(&dir)).unwrap();
    is_made_good(&dir);
    let dir = killed().lay();
    fs::write(log_path(&dir), "").unwrap();
    is_made_good(&dir);
}

#[test]
fn a_log_that_lacks_its_end_is_noticed_and_all_sessions_come_again() {
    for keep in [1, 2, 3] {
        let dir = killed().lay();
        let log = killed().log();
        fs::write(log_path(&dir), &log[..log.len() * keep / 4]).unwrap();
        is_made_good(&dir);
    }
}

#[test]
fn a_database_that_is_lost_too_is_begun_anew_and_no_number_is_used_twice() {
    let dir = killed().lay();
    fs::remove_file(log_path(&dir)).unwrap();
    fs::remove_file(dir.database_path()).unwrap();
    is_made_good(&dir);
}

#[test]
fn a_file_that_lags_or_is_not_there_is_no_alarm() {
    let dir = killed().lay();
    let ahead = fs::read_to_string(beside(&dir)).unwrap();
    let number: i64 = ahead.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(number, counter(&killed().lay(), "commit"));
    let lagging = number - 3;
    fs::write(
        beside(&dir),
        format!("{lagging:020} {:020}\n", i64::MAX - lagging),
    )
    .unwrap();
    assert_eq!(lost(&dir), 0);
    assert_eq!(fs::read_to_string(beside(&dir)).unwrap(), ahead, "no more");
    // As an older version leaves it, or whoever copies only the database.
    fs::remove_file(beside(&dir)).unwrap();
    assert_eq!(lost(&dir), 0);
    assert_eq!(
        fs::read_to_string(beside(&dir)).unwrap(),
        ahead,
        "made anew"
    );
    assert_eq!(&left(&dir), killed().end());
    assert_eq!(run_cli(&dir, &["status"]).code, 0);
}

#[test]
fn a_damaged_file_is_told_and_written_anew() {
    for nonsense in ["\n", "7", "-1 2\n", &"9".repeat(4096), "\u{fffd}\0"] {
        let dir = killed().lay();
        fs::write(beside(&dir), nonsense).unwrap();
        let ended = run_cli(&dir, &["run", "usage"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(
            ended.stderr.contains("state/commits` is damaged"),
            "{ended:?}"
        );
        let ended = run_cli(&dir, &["run", "usage"]);
        assert!(!ended.stderr.contains("damaged"), "{ended:?}");
        assert_eq!(&left(&dir), killed().end());
    }
}

/// What health says of the database.
fn state(dir: &DataDir) -> (i32, Value) {
    let ended = run_cli(dir, &["status", "--json"]);
    let body: Value = serde_json::from_str(&ended.stdout).unwrap();
    (ended.code, body["services"]["duckdb_state"].clone())
}

#[test]
fn health_warns_of_lost_commits_until_an_operator_takes_note() {
    let dir = killed().lay();
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
    let audited = "SELECT count(*) FROM audit_log WHERE action = 'health.acknowledge'";
    assert_eq!(cell(&dir, audited), "1", "nothing to note is nothing done");
}

#[test]
fn it_is_acknowledged_without_a_server_too() {
    let dir = killed().lay();
    fs::remove_file(log_path(&dir)).unwrap();
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    assert_eq!(run_cli(&dir, &["status"]).code, 1);
    assert_eq!(run_cli(&dir, &["status", "--acknowledge"]).code, 0);
    assert_eq!(run_cli(&dir, &["status"]).code, 0);
}
