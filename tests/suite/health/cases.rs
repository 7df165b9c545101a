//! The eight cases that the system before was tested with (BEHAVIOUR.md 5.5), one test each, over
//! the data that they name.

use std::time::Duration;

use serde_json::Value;
use session_pipeline_harness::DataDir;
use session_pipeline_runtime::token::Role;

use super::{Look, body, migrated, row};

/// Writes a session that was last changed so many seconds ago.
fn make(dir: &DataDir, name: &str, age_seconds: u64) {
    let key = format!("x/{name}");
    dir.write(&key, "{}\n");
    dir.set_age(&key, Duration::from_secs(age_seconds));
}

const ELSEWHERE: &str = "/data/user_sessions/x/y.jsonl";

fn check(look: Look<'_>, dir: &DataDir) -> (Value, String) {
    let body = body(&look.report(dir), Role::Admin);
    let headline = body["status"].as_str().unwrap().to_owned();
    (body["services"]["session_pipeline"].clone(), headline)
}

#[test]
fn no_session_files_is_ok() {
    let (entry, _) = check(Look::default(), &migrated());
    assert_eq!(entry["status"], "ok");
}

#[test]
fn session_files_processed_a_moment_ago_are_ok() {
    let dir = migrated();
    make(&dir, "ok.jsonl", 60);
    row(&dir, 0, ELSEWHERE);
    let (entry, _) = check(Look::default(), &dir);
    assert_eq!(entry["status"], "ok");
}

#[test]
fn old_session_files_that_are_not_processed_are_a_warning() {
    let dir = migrated();
    make(&dir, "old.jsonl", 7200);
    row(&dir, 3 * 3600, ELSEWHERE);
    let (entry, headline) = check(Look::default(), &dir);
    assert_eq!(entry["status"], "warning");
    let detail = entry["detail"].as_str().unwrap();
    assert!(detail.contains("verification-detector"), "{detail}");
    assert_eq!(headline, "degraded");
}

#[test]
fn session_files_of_which_none_was_ever_processed_are_a_warning() {
    let dir = migrated();
    make(&dir, "neverprocessed.jsonl", 7200);
    let (entry, _) = check(Look::default(), &dir);
    assert_eq!(entry["status"], "warning");
}

#[test]
fn an_old_file_that_was_passed_over_for_a_newer_one_is_told() {
    let dir = migrated();
    make(&dir, "stuck_old.jsonl", 18_000);
    make(&dir, "fresh.jsonl", 60);
    row(&dir, 0, "x/fresh.jsonl");
    let (entry, headline) = check(Look::default(), &dir);
    assert_eq!(entry["status"], "info");
    assert!(entry["detail"].as_str().unwrap().contains("skipped"));
    assert!(entry["stuck_file_age_seconds"].as_u64().unwrap() > 14_400);
    let stuck = entry["stuck_file"].as_str().unwrap();
    assert!(stuck.ends_with("stuck_old.jsonl"), "{stuck}");
    assert_ne!(headline, "degraded");
}

#[test]
fn an_old_file_below_the_threshold_is_ok() {
    let dir = migrated();
    make(&dir, "recent_unprocessed.jsonl", 3600);
    make(&dir, "fresh.jsonl", 60);
    row(&dir, 0, "x/fresh.jsonl");
    let (entry, _) = check(Look::default(), &dir);
    assert_eq!(entry["status"], "ok");
}

#[test]
fn nothing_unprocessed_is_ok() {
    let dir = migrated();
    make(&dir, "processed.jsonl", 60);
    row(&dir, 0, "x/processed.jsonl");
    let (entry, _) = check(Look::default(), &dir);
    assert_eq!(entry["status"], "ok");
}

#[test]
fn the_threshold_of_stuck_files_can_be_set() {
    let dir = migrated();
    make(&dir, "five_min_old.jsonl", 300);
    make(&dir, "fresh.jsonl", 10);
    row(&dir, 0, "x/fresh.jsonl");
    let look = Look {
        config: &|config| config.stuck_file_grace = Some(Duration::from_secs(60)),
        ..Look::default()
    };
    let (entry, headline) = check(look, &dir);
    assert_eq!(entry["status"], "info");
    let stuck = entry["stuck_file"].as_str().unwrap();
    assert!(stuck.ends_with("five_min_old.jsonl"), "{stuck}");
    assert_ne!(headline, "degraded");
}
