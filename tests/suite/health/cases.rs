//! The eight test cases of the legacy system for its backlog check, one test each, with the same
//! data.

use std::time::Duration;

use serde_json::Value;
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::DataDir;
use session_pipeline_pipeline::config::Config;
use session_pipeline_store::Role;

use super::{HealthInputs, body, insert_row, migrated};
use crate::guests::verification;
use crate::http::TestServer;

/// Writes a session that was modified this many seconds ago.
fn write_session(dir: &DataDir, name: &str, age_seconds: u64) {
    let key = format!("x/{name}");
    dir.write(&key, "{}\n");
    dir.set_age(&key, Duration::from_secs(age_seconds));
}

const ELSEWHERE: &str = "/data/user_sessions/x/y.jsonl";

/// Passes the entry and the overall status to `assert_entry`, once computed here, and once in the
/// response of a service in which `verification` is installed.
fn check(dir: &DataDir, set: &dyn Fn(&mut Config), assert_entry: impl Fn(&Value, &str)) {
    let inputs = HealthInputs {
        config: set,
        ..HealthInputs::default()
    };
    let computed = body(&inputs.report(dir), Role::Admin);
    let mut config = dir.config();
    set(&mut config);
    let server = TestServer::start_with(dir, config, HttpLimits::default(), &[verification()]);
    let response = server.get("/api/health/detailed");
    assert_eq!(response.status, 200);
    server.stop();
    for body in [computed, response.json()] {
        let entry = &body["services"]["session_pipeline"];
        assert_entry(entry, body["status"].as_str().unwrap());
    }
}

fn assert_status(dir: &DataDir, status: &str) {
    check(dir, &|_| {}, |entry, _| {
        assert_eq!(entry["status"], status, "{entry}")
    });
}

#[test]
fn no_session_files_is_ok() {
    assert_status(&migrated(), "ok");
}

#[test]
fn session_files_processed_a_moment_ago_are_ok() {
    let dir = migrated();
    write_session(&dir, "ok.jsonl", 60);
    insert_row(&dir, 0, ELSEWHERE);
    assert_status(&dir, "ok");
}

#[test]
fn old_unprocessed_session_files_are_a_warning() {
    let dir = migrated();
    write_session(&dir, "old.jsonl", 7200);
    insert_row(&dir, 3 * 3600, ELSEWHERE);
    check(&dir, &|_| {}, |entry, headline| {
        assert_eq!(entry["status"], "warning");
        let detail = entry["detail"].as_str().unwrap();
        assert!(detail.contains("verification-detector"), "{detail}");
        assert_eq!(headline, "degraded");
    });
}

#[test]
fn session_files_that_were_never_processed_are_a_warning() {
    let dir = migrated();
    write_session(&dir, "neverprocessed.jsonl", 7200);
    assert_status(&dir, "warning");
}

#[test]
fn an_old_file_that_was_skipped_for_a_newer_one_is_reported() {
    let dir = migrated();
    write_session(&dir, "stuck_old.jsonl", 18_000);
    write_session(&dir, "fresh.jsonl", 60);
    insert_row(&dir, 0, "x/fresh.jsonl");
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
    write_session(&dir, "recent_unprocessed.jsonl", 3600);
    write_session(&dir, "fresh.jsonl", 60);
    insert_row(&dir, 0, "x/fresh.jsonl");
    assert_status(&dir, "ok");
}

#[test]
fn no_unprocessed_session_files_is_ok() {
    let dir = migrated();
    write_session(&dir, "processed.jsonl", 60);
    insert_row(&dir, 0, "x/processed.jsonl");
    assert_status(&dir, "ok");
}

#[test]
fn the_threshold_for_stuck_files_is_configurable() {
    let dir = migrated();
    write_session(&dir, "five_min_old.jsonl", 300);
    write_session(&dir, "fresh.jsonl", 10);
    insert_row(&dir, 0, "x/fresh.jsonl");
    let set = |config: &mut Config| config.stuck_file_grace = Some(Duration::from_secs(60));
    check(&dir, &set, |entry, headline| {
        assert_eq!(entry["status"], "info");
        let stuck = entry["stuck_file"].as_str().unwrap();
        assert!(stuck.ends_with("five_min_old.jsonl"), "{stuck}");
        assert_ne!(headline, "degraded");
    });
}
