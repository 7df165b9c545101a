//! Stopping a service: work in progress ends in order, or is aborted and recorded as interrupted.

use std::time::Duration;

use session_pipeline::http::{HttpLimits, Shutdown};
use session_pipeline_harness::DataDir;
use session_pipeline_pipeline::run::{Progress, RunError, RunRequest};

use super::TestServer;
use super::runs::wait_until;
use crate::database::rows;
use crate::guests::{WELL_BEHAVED, well_behaved};

/// Stops the pipeline after the first session.
struct StopAfterFirst<'a>(&'a session_pipeline_pipeline::run::Pipeline);

impl Progress for StopAfterFirst<'_> {
    fn planned(&self, _: u64, _: u64) {}
    fn advanced(&self, _: u64) {
        self.0.stop();
    }
}

#[test]
fn a_stopped_run_ends_after_the_sessions_in_progress_and_the_next_run_processes_the_rest() {
    let dir = DataDir::new();
    for number in 0..300 {
        dir.write(&format!("ada/{number}.jsonl"), "one\n");
    }
    let server = TestServer::start(&dir, &[well_behaved()]);
    let pipeline = &server.pipeline;
    let error = pipeline
        .run(WELL_BEHAVED, &RunRequest::cli(), &StopAfterFirst(pipeline))
        .unwrap_err();
    assert!(matches!(error, RunError::Interrupted), "{error}");
    let rejected = server.post(&format!(
        "/api/admin/run-session-processor?processor={WELL_BEHAVED}"
    ));
    assert_eq!(rejected.status, 503);
    insta::assert_snapshot!(rejected.error(), @"503: the pipeline is stopping and starts no runs; try again after its restart");
    assert_eq!(server.stop(), Shutdown { is_complete: true });
    let audit =
        "SELECT result, params LIKE '%unhandled_error%' FROM audit_log WHERE action LIKE 'run%'";
    assert_eq!(rows(&dir, audit), ["interrupted | true"]);
    assert_eq!(rows(&dir, "SELECT result FROM runs"), ["interrupted"]);
    let first: u64 = rows(&dir, "SELECT count(*) FROM session_processor_state")[0]
        .parse()
        .unwrap();
    assert!((1..300).contains(&first), "{first}");
    let server = TestServer::start(&dir, &[well_behaved()]);
    let rest = server
        .post(&format!(
            "/api/admin/run-session-processor?processor={WELL_BEHAVED}"
        ))
        .json();
    assert_eq!(rest["details"]["processed"], 300 - first);
}

/// Blocks a run until the sender is dropped.
struct BlockUntilDropped(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl Progress for BlockUntilDropped {
    fn planned(&self, _: u64, _: u64) {
        let _ = self.0.lock().unwrap().recv();
    }
    fn advanced(&self, _: u64) {}
}

#[test]
fn a_run_that_exceeds_the_stop_time_is_recorded_as_interrupted() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    let limits = HttpLimits {
        stop_time_max: Duration::from_millis(1500),
        ..HttpLimits::default()
    };
    let server = TestServer::start_with(&dir, dir.config(), limits, &[well_behaved()]);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let pipeline = std::sync::Arc::clone(&server.pipeline);
    let run = std::thread::spawn(move || {
        let progress = BlockUntilDropped(std::sync::Mutex::new(released));
        pipeline
            .run(WELL_BEHAVED, &RunRequest::cli(), &progress)
            .is_err()
    });
    wait_until("the run has started", || {
        !server.pipeline.running().is_empty()
    });
    assert_eq!(server.stop(), Shutdown { is_complete: false });
    // A real process would have exited by now. In the test, the run continues and ends.
    drop(release);
    assert!(run.join().unwrap());
    assert_eq!(
        rows(&dir, "SELECT result, error FROM runs"),
        ["interrupted | the process exited during the run"]
    );
    let audit = "SELECT result FROM audit_log WHERE action LIKE 'run%'";
    assert_eq!(
        rows(&dir, audit),
        ["interrupted"],
        "expected exactly one entry"
    );
}

#[test]
fn a_request_in_progress_gets_its_response() {
    let dir = DataDir::new();
    for number in 0..50 {
        dir.write(&format!("ada/{number}.jsonl"), "one\n");
    }
    let server = TestServer::start(&dir, &[well_behaved()]);
    let (url, admin) = (server.url.clone(), server.admin.clone());
    let request = std::thread::spawn(move || {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .new_agent();
        let path = format!("{url}/api/admin/run-session-processor?processor={WELL_BEHAVED}");
        let response = agent
            .post(path)
            .header("Authorization", format!("Bearer {admin}"))
            .send_empty();
        response.unwrap().status().as_u16()
    });
    wait_until("the run has started", || {
        !server.get("/api/admin/runs").json()["runs"]
            .as_array()
            .unwrap()
            .is_empty()
    });
    assert_eq!(server.stop(), Shutdown { is_complete: true });
    let status = request.join().unwrap();
    assert!(
        [200, 503].contains(&status),
        "expected a finished or a stopped run: {status}"
    );
    assert_eq!(
        rows(&dir, "SELECT count(*) FROM runs WHERE finished_at IS NULL"),
        ["0"]
    );
}
