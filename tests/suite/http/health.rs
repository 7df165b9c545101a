//! Detailed health and the scheduler over HTTP.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session_pipeline_harness::{DataDir, Transcript};

use super::{HttpResponse, TestServer};
use crate::database::rows;
use crate::documents::names;
use crate::guests::{usage, verification};

/// Much longer than a run of one session takes.
const TIMEOUT: Duration = Duration::from_secs(60);

fn as_analyst(server: &TestServer, path: &str) -> HttpResponse {
    server.send("GET", path, &server.analyst, "", &[])
}

#[test]
fn detailed_health_shows_operator_details_to_admins_only() {
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
fn the_schema_check_is_included_on_request_and_unknown_names_are_ignored() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let schema = |query: &str| {
        let path = format!("/api/health/detailed{query}");
        server.get(&path).json()["services"]["db_schema"].clone()
    };
    assert_eq!(schema(""), Value::Null);
    assert_eq!(schema("?include=moon"), Value::Null);
    let included = schema("?include=moon,%20schema%20");
    assert_eq!(included["db_schema"], "ok");
    assert_eq!(included["current"], included["expected"]);
    assert_eq!(
        included["status"],
        Value::Null,
        "the schema check has `db_schema` instead of `status`"
    );
}

#[test]
fn detailed_health_has_the_same_fields_as_status_json() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage(), verification()]);
    let served = server.get("/api/health/detailed").json();
    server.stop();
    let printed = crate::cli::run_cli(&dir, &["status", "--json"]).json();
    assert_eq!(names(&served), names(&printed));
    assert_eq!(names(&served["services"]), names(&printed["services"]));
}

#[test]
fn a_service_without_a_scheduler_reports_it_as_disabled() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage()]);
    let scheduler = server.get("/api/admin/scheduler").json();
    assert_eq!(
        scheduler,
        json!({ "enabled": false, "tick_seconds": null, "last_tick_at": null, "jobs": [] })
    );
}

#[test]
fn the_scheduler_runs_due_jobs_and_audits_them() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    let server = TestServer::start_with_scheduler(&dir, &[usage()]);
    let started = Instant::now();
    let job = loop {
        let scheduler = server.get("/api/admin/scheduler").json();
        assert_eq!(scheduler["enabled"], true);
        let jobs = scheduler["jobs"].as_array().unwrap().iter();
        let mut usage_jobs = jobs.filter(|job| job["processor"] == "usage");
        let job = usage_jobs.next().unwrap().clone();
        if !job["last_run_at"].is_null() {
            break job;
        }
        assert!(started.elapsed() < TIMEOUT, "no run started: {scheduler}");
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
fn detailed_health_walks_the_sessions_at_most_a_tenth_of_the_time() {
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
    // A walk that takes no time is repeated for every request.
    assert_eq!(files(), 1);
    dir.write("ada/two.jsonl", "{}\n");
    assert_eq!(files(), 2);
    // The result of a walk that takes one second is cached for ten seconds.
    dir.clock().advance_on_each_read(Duration::from_secs(1));
    assert_eq!(files(), 2);
    dir.clock().advance_on_each_read(Duration::ZERO);
    dir.write("ada/three.jsonl", "{}\n");
    assert_eq!(files(), 2, "expected the cached result for all callers");
    dir.clock().advance(Duration::from_secs(11));
    assert_eq!(files(), 3);
}
