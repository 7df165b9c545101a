//! Stopping a service: what is at work ends in order, and what can't is cut off and recorded.

use std::time::Duration;

use session_pipeline::http::{HttpLimits, Shutdown};
use session_pipeline_harness::DataDir;
use session_pipeline_pipeline::run::{Progress, RunError, RunRequest};

use super::TestServer;
use super::runs::wait_until;
use crate::database::rows;
use crate::guests::{WELL_BEHAVED, well_behaved};

/// Stops the pipeline when the first session is done.
struct Stops<'a>(&'a session_pipeline_pipeline::run::Pipeline);

impl Progress for Stops<'_> {
    fn planned(&self, _: u64, _: u64) {}
    fn advanced(&self, _: u64) {
        self.0.stop();
    }
}

#[test]
fn a_run_that_is_stopped_ends_after_the_sessions_in_hand_and_the_next_does_the_rest() {
    let dir = DataDir::new();
    for number in 0..300 {
        dir.write(&format!("ada/{number}.jsonl"), "one\n");
    }
    let server = TestServer::start(&dir, &[well_behaved()]);
    let pipeline = &server.pipeline;
    let error = pipeline
        .run(WELL_BEHAVED, &RunRequest::cli(), &Stops(pipeline))
        .unwrap_err();
    assert!(matches!(error, RunError::Interrupted), "{error}");
    let refused = server.post(&format!(
        "/api/admin/run-session-processor?processor={WELL_BEHAVED}"
    ));
    assert_eq!(refused.status, 503);
    insta::assert_snapshot!(refused.refusal(), @"503: the pipeline is stopping and starts no runs; try again after its restart");
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

/// Never lets a run go on.
struct Stuck(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl Progress for Stuck {
    fn planned(&self, _: u64, _: u64) {
        let _ = self.0.lock().unwrap().recv();
    }
    fn advanced(&self, _: u64) {}
}

#[test]
fn a_run_that_does_not_end_in_time_is_cut_off_and_recorded_so() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    let limits = HttpLimits {
        stop_time_max: Duration::from_millis(1500),
        ..HttpLimits::default()
    };
    let server = TestServer::start_with(&dir, dir.config(), limits, &[well_behaved()]);
    let (go, held) = std::sync::mpsc::channel::<()>();
    let pipeline = std::sync::Arc::clone(&server.pipeline);
    let run = std::thread::spawn(move || {
        let stuck = Stuck(std::sync::Mutex::new(held));
        pipeline
            .run(WELL_BEHAVED, &RunRequest::cli(), &stuck)
            .is_err()
    });
    wait_until("the run begins", || !server.pipeline.running().is_empty());
    assert_eq!(server.stop(), Shutdown { is_complete: false });
    // A process would have ended by now; here the run comes to its end after all.
    drop(go);
    assert!(run.join().unwrap());
    assert_eq!(
        rows(&dir, "SELECT result, error FROM runs"),
        ["interrupted | the process exited during the run"]
    );
    let audit = "SELECT result FROM audit_log WHERE action LIKE 'run%'";
    assert_eq!(rows(&dir, audit), ["interrupted"], "one row, not two");
}

#[test]
fn a_request_at_work_gets_its_answer() {
    let dir = DataDir::new();
    for number in 0..50 {
        dir.write(&format!("ada/{number}.jsonl"), "one\n");
    }
    let server = TestServer::start(&dir, &[well_behaved()]);
    let (url, admin) = (server.url.clone(), server.admin.clone());
    let asked = std::thread::spawn(move || {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .new_agent();
        let path = format!("{url}/api/admin/run-session-processor?processor={WELL_BEHAVED}");
        let answer = agent
            .post(path)
            .header("Authorization", format!("Bearer {admin}"))
            .send_empty();
        answer.unwrap().status().as_u16()
    });
    wait_until("the run begins", || {
        !server.get("/api/admin/runs").json()["runs"]
            .as_array()
            .unwrap()
            .is_empty()
    });
    assert_eq!(server.stop(), Shutdown { is_complete: true });
    let status = asked.join().unwrap();
    assert!(
        [200, 503].contains(&status),
        "done, or told that it was stopped: {status}"
    );
    assert_eq!(
        rows(&dir, "SELECT count(*) FROM runs WHERE finished_at IS NULL"),
        ["0"]
    );
}
