//! The eight cases that the system before was tested with (BEHAVIOUR.md 5.5), one test each, over
//! the data that they name.

use std::time::Duration;

use serde_json::Value;
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::DataDir;
use session_pipeline_pipeline::config::Config;
use session_pipeline_store::Role;

use super::{Look, body, migrated, row};
use crate::guests::verification;
use crate::http::TestServer;

/// Writes a session that was last changed so many seconds ago.
fn make(dir: &DataDir, name: &str, age_seconds: u64) {
    let key = format!("x/{name}");
    dir.write(&key, "{}\n");
    dir.set_age(&key, Duration::from_secs(age_seconds));
}

const ELSEWHERE: &str = "/data/user_sessions/x/y.jsonl";

/// Holds the entry and the headline against what is wanted: as they are judged here, and as an admin
/// gets them from a service in which `verification` is installed.
fn check(dir: &DataDir, set: &dyn Fn(&mut Config), is_as_wanted: impl Fn(&Value, &str)) {
    let look = Look {
        config: set,
        ..Look::default()
    };
    let judged = body(&look.report(dir), Role::Admin);
    let mut config = dir.config();
    set(&mut config);
    let server = TestServer::start_with(dir, config, HttpLimits::default(), &[verification()]);
    let answer = server.get("/api/health/detailed");
    assert_eq!(answer.status, 200);
    server.stop();
    for body in [judged, answer.json()] {
        let entry = &body["services"]["session_pipeline"];
        is_as_wanted(entry, body["status"].as_str().unwrap());
    }
}

fn has_status(dir: &DataDir, status: &str) {
    check(dir, &|_| {}, |entry, _| {
        assert_eq!(entry["status"], status, "{entry}")
    });
}

#[test]
fn no_session_files_is_ok() {
    has_status(&migrated(), "ok");
}

#[test]
fn session_files_processed_a_moment_ago_are_ok() {
    let dir = migrated();
    make(&dir, "ok.jsonl", 60);
    row(&dir, 0, ELSEWHERE);
    has_status(&dir, "ok");
}

#[test]
fn old_session_files_that_are_not_processed_are_a_warning() {
    let dir = migrated();
    make(&dir, "old.jsonl", 7200);
    row(&dir, 3 * 3600, ELSEWHERE);
    check(&dir, &|_| {}, |entry, headline| {
        assert_eq!(entry["status"], "warning");
        let detail = entry["detail"].as_str().unwrap();
        assert!(detail.contains("verification-detector"), "{detail}");
        assert_eq!(headline, "degraded");
    });
}

#[test]
fn session_files_of_which_none_was_ever_processed_are_a_warning() {
    let dir = migrated();
    make(&dir, "neverprocessed.jsonl", 7200);
    has_status(&dir, "warning");
}

#[test]
fn an_old_file_that_was_passed_over_for_a_newer_one_is_told() {
    let dir = migrated();
    make(&dir, "stuck_old.jsonl", 18_000);
    make(&dir, "fresh.jsonl", 60);
    row(&dir, 0, "x/fresh.jsonl");
    check(&dir, &|_| {}, |entry, headline| {
        assert_eq!(entry["status"], "info");
        assert!(
            entry["detail"]
                .as_str()
                .unwrap()
                .contains("was never processed by")
        );
        assert!(entry["stuck_file_age_seconds"].as_u64().unwrap() > 14_400);
        let stuck = entry["stuck_file"].as_str().unwrap();
        assert!(stuck.ends_with("stuck_old.jsonl"), "{stuck}");
        assert_ne!(headline, "degraded");
    });
}

#[test]
fn an_old_file_below_the_threshold_is_ok() {
    let dir = migrated();
    make(&dir, "recent_unprocessed.jsonl", 3600);
    make(&dir, "fresh.jsonl", 60);
    row(&dir, 0, "x/fresh.jsonl");
    has_status(&dir, "ok");
}

#[test]
fn nothing_unprocessed_is_ok() {
    let dir = migrated();
    make(&dir, "processed.jsonl", 60);
    row(&dir, 0, "x/processed.jsonl");
    has_status(&dir, "ok");
}

#[test]
fn the_threshold_of_stuck_files_can_be_set() {
    let dir = migrated();
    make(&dir, "five_min_old.jsonl", 300);
    make(&dir, "fresh.jsonl", 10);
    row(&dir, 0, "x/fresh.jsonl");
    let set = |config: &mut Config| config.stuck_file_grace = Some(Duration::from_secs(60));
    check(&dir, &set, |entry, headline| {
        assert_eq!(entry["status"], "info");
        let stuck = entry["stuck_file"].as_str().unwrap();
        assert!(stuck.ends_with("five_min_old.jsonl"), "{stuck}");
        assert_ne!(headline, "degraded");
    });
}
