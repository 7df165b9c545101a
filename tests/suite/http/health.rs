//! Detailed health and the scheduler, as clients see them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session_pipeline_harness::{DataDir, Transcript};

use super::{Answer, TestServer};
use crate::database::rows;
use crate::documents::names;
use crate::guests::usage;

/// Far longer than a run of one session takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn as_analyst(server: &TestServer, path: &str) -> Answer {
    server.send("GET", path, &server.analyst, "", &[])
}

#[test]
fn detailed_health_tells_operators_what_it_keeps_from_others() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage()]);
    let admin = server.get("/api/health/detailed").json();
    assert_eq!(admin["caller_role"], "admin");
    assert_eq!(admin["services"]["users"]["count"], 2);
    let analyst = as_analyst(&server, "/api/health/detailed").json();
    assert_eq!(
        analyst["services"]["users"],
        json!({ "status": "ok", "audience": "operator" })
    );
    let hidden: Vec<&str> = names(&admin)
        .into_iter()
        .filter(|name| !names(&analyst).contains(name))
        .collect();
    assert_eq!(hidden, ["commit_sha", "image_tag"]);
}

#[test]
fn the_schema_is_told_where_it_is_asked_for_and_other_words_are_passed_over() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let schema = |query: &str| {
        let path = format!("/api/health/detailed{query}");
        server.get(&path).json()["services"]["db_schema"].clone()
    };
    assert_eq!(schema(""), Value::Null);
    assert_eq!(schema("?include=moon"), Value::Null);
    let told = schema("?include=moon,%20schema%20");
    assert_eq!(told["db_schema"], "ok");
    assert_eq!(told["current"], told["expected"]);
    assert_eq!(told["status"], Value::Null, "its own word says it");
}

#[test]
fn the_body_is_that_of_the_command_line() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage()]);
    let served = server.get("/api/health/detailed").json();
    server.stop();
    let printed = crate::cli::run_cli(&dir, &["status", "--json"]).json();
    assert_eq!(names(&served), names(&printed));
    assert_eq!(names(&served["services"]), names(&printed["services"]));
}

#[test]
fn a_service_without_a_scheduler_says_so() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage()]);
    let scheduler = server.get("/api/admin/scheduler").json();
    assert_eq!(
        scheduler,
        json!({ "enabled": false, "tick_seconds": null, "last_tick_at": null, "jobs": [] })
    );
}

#[test]
fn the_scheduler_runs_what_is_due_and_leaves_an_audit_row() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    let server = TestServer::start_with_scheduler(&dir, &[usage()]);
    let began = Instant::now();
    let job = loop {
        let scheduler = server.get("/api/admin/scheduler").json();
        assert_eq!(scheduler["enabled"], true);
        let jobs = scheduler["jobs"].as_array().unwrap().iter();
        let mut ours = jobs.filter(|job| job["processor"] == "usage");
        let job = ours.next().unwrap().clone();
        if !job["last_run_at"].is_null() {
            break job;
        }
        assert!(began.elapsed() < PATIENCE, "no run: {scheduler}");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(job["name"], "session-processor:usage");
    assert_eq!(job["last_status"], "ok");
    let runs = server.get("/api/admin/runs?processor=usage").json();
    assert_eq!(runs["runs"][0]["trigger"], "scheduler");
    server.stop();
    assert_eq!(
        rows(
            &dir,
            "SELECT client_kind, result FROM audit_log WHERE action = 'run_session_processor:usage'"
        ),
        ["scheduler | ok"]
    );
    assert_eq!(
        rows(&dir, "SELECT last_status FROM scheduler_jobs ORDER BY name"),
        ["ok"]
    );
}

#[test]
fn detailed_health_walks_over_the_sessions_a_tenth_of_the_time_at_most() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    let server = TestServer::start(&dir, &[usage()]);
    let files = || {
        let entry = as_analyst(&server, "/api/health/detailed").json();
        assert_eq!(
            entry["services"]["sessions"],
            json!({ "status": "ok", "audience": "operator" })
        );
        let body = server.get("/api/health/detailed").json();
        body["services"]["sessions"]["session_files"]
            .as_u64()
            .unwrap()
    };
    // A walk that takes no time is done for everyone who asks.
    assert_eq!(files(), 1);
    dir.write("ada/two.jsonl", "{}\n");
    assert_eq!(files(), 2);
    // One that takes a second, by the clock, holds for ten.
    dir.clock().advance_on_each_read(Duration::from_secs(1));
    assert_eq!(files(), 2);
    dir.clock().advance_on_each_read(Duration::ZERO);
    dir.write("ada/three.jsonl", "{}\n");
    assert_eq!(files(), 2, "what was found is shown to all");
    dir.clock().advance(Duration::from_secs(11));
    assert_eq!(files(), 3);
}
