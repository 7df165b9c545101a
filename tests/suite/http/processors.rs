//! Dropped components while a server is running: they are added, replaced and removed without a
//! restart.

use serde_json::Value;
use session_pipeline_harness::DataDir;

use super::TestServer;
use super::runs::wait_until;
use crate::database::rows;
use crate::guests::{WELL_BEHAVED, well_behaved};
use crate::registry::{VERSIONED, versioned};

const FILE: &str = "theirs.wasm";

/// The scheduler job of the processor, if there is one.
fn job(server: &TestServer) -> Option<Value> {
    let scheduler = server.get("/api/admin/scheduler").json();
    let mut jobs = scheduler["jobs"].as_array().unwrap().iter();
    jobs.find(|job| job["processor"] == VERSIONED).cloned()
}

fn health_checks(server: &TestServer) -> Value {
    let detailed = server.get("/api/health/detailed").json();
    detailed["services"].clone()
}

#[test]
fn a_running_server_loads_schedules_and_unloads_a_dropped_component() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    let server = TestServer::start_with_scheduler(&dir, &[well_behaved()]);
    assert_eq!(job(&server), None);

    dir.drop_processor(FILE, versioned(1));
    let has_run = || job(&server).is_some_and(|job| job["last_status"] == "ok");
    wait_until("the new processor has run by schedule", has_run);
    let services = health_checks(&server);
    assert_eq!(services["processors"]["status"], "ok");
    assert_eq!(
        services["session_pipeline:faulty-versioned"]["session_files"],
        1
    );

    dir.drop_processor(FILE, "no component");
    let is_reported = || health_checks(&server)["processors"]["status"] == "warning";
    wait_until("the broken file is reported", is_reported);
    assert!(
        job(&server).is_some(),
        "the previous version remains scheduled"
    );

    dir.remove_processor(FILE);
    wait_until("the job is removed", || job(&server).is_none());
    let services = health_checks(&server);
    assert_eq!(services["processors"]["status"], "ok");
    assert!(services.get("session_pipeline:faulty-versioned").is_none());
    let run = format!("/api/admin/run-session-processor?processor={VERSIONED}");
    insta::assert_snapshot!(
        server.post(&run).error(),
        @"400: unknown processor `faulty-versioned`; known processors: faulty-well-behaved"
    );
    server.stop();
    assert_eq!(
        rows(
            &dir,
            "SELECT processor_name, count(*) FROM session_processor_state GROUP BY ALL ORDER BY ALL"
        ),
        ["faulty-versioned | 1", "faulty-well-behaved | 1"],
        "the results of the removed processor are kept"
    );
}

#[test]
fn processors_are_listed_with_their_origin_and_rejected_files() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[well_behaved()]);
    dir.drop_processor(FILE, versioned(3));
    let list = || server.get("/api/admin/processors").json();
    let listed = list();
    assert_eq!(listed["processors"][0]["name"], VERSIONED);
    assert_eq!(listed["processors"][0]["origin"], "dropped");
    assert_eq!(listed["processors"][0]["file"], FILE);
    assert_eq!(listed["processors"][1]["name"], WELL_BEHAVED);
    assert_eq!(listed["processors"][1]["file"], Value::Null);
    assert_eq!(listed["refused_files"], serde_json::json!([]));

    dir.drop_processor(FILE, "no component");
    let listed = list();
    assert_eq!(listed["processors"][0]["version"], 3);
    let rejected = &listed["refused_files"][0];
    assert_eq!(
        (
            &rejected["file"],
            &rejected["reason"],
            &rejected["processor"],
            &rejected["version"]
        ),
        (
            &FILE.into(),
            &"the file is not WebAssembly".into(),
            &VERSIONED.into(),
            &3.into()
        )
    );
    assert_eq!(rejected["digest"], listed["processors"][0]["digest"]);
}

#[test]
fn a_request_uses_a_component_that_was_dropped_before_it() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    let server = TestServer::start(&dir, &[well_behaved()]);
    dir.drop_processor(FILE, versioned(1));
    let run = format!("/api/admin/run-session-processor?processor={VERSIONED}");
    assert_eq!(server.post(&run).json()["details"]["processed"], 1);
    let reprocess = format!("/api/admin/reprocess?processor={VERSIONED}");
    assert_eq!(server.post(&reprocess).json()["marked"], 1);
    dir.drop_processor(FILE, versioned(2));
    assert_eq!(server.post(&run).json()["details"]["processed"], 1);
}
