//! Runs over HTTP: responses, audit entries, locks, and caps.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::Value;
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::{DataDir, ScriptedModel, TestPipeline};
use session_pipeline_host::model::LanguageModel;
use session_pipeline_pipeline::config::{Config, ProcessorConfig, ServiceConfig};
use session_pipeline_pipeline::run::{Progress, RunRequest};

use super::{SECRET, TestServer};
use crate::database::{execute, rows};
use crate::documents::{STATS, names};
use crate::guests::{
    PANICS, POISON, WELL_BEHAVED, misbehaving, panics, verification, well_behaved,
};

const RUN: &str = "/api/admin/run-session-processor";
const AUDIT: &str =
    "SELECT action, resource, result, client_kind, correlation_id, params FROM audit_log
    WHERE action LIKE 'run%' ORDER BY CAST(id AS INTEGER)";

fn run_path(processor: &str) -> String {
    format!("{RUN}?processor={processor}")
}

#[test]
fn an_admin_runs_a_processor_and_gets_its_stats() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\ntwo\n");
    let server = TestServer::start(&dir, &[well_behaved()]);
    let response = server.post(&run_path(WELL_BEHAVED));
    assert_eq!(response.status, 200, "{response:?}");
    let body = response.json();
    assert_eq!(body["ok"], true);
    assert_eq!(names(&body["details"]), STATS);
    assert_eq!(
        (&body["details"]["scanned"], &body["details"]["processed"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        server.post(&run_path(WELL_BEHAVED)).json()["details"]["scanned"],
        0
    );
    server.stop();
    insta::assert_snapshot!(rows(&dir, AUDIT).join("\n"), @r#"
    run_session_processor:faulty-well-behaved | job:session-processor:faulty-well-behaved | ok | web | 1 | {"capped":0,"errors":0,"items_extracted":2,"processed":1,"processor":"faulty-well-behaved","scanned":1,"skipped":0}
    run_session_processor:faulty-well-behaved | job:session-processor:faulty-well-behaved | ok | web | 2 | {"capped":0,"errors":0,"items_extracted":0,"processed":0,"processor":"faulty-well-behaved","scanned":0,"skipped":0}
    "#);
}

#[test]
fn a_run_ends_after_its_requested_or_configured_time_budget() {
    let processed = |run_seconds_max: u64, parameters: &str| {
        let dir = DataDir::new();
        for number in 0..3 {
            dir.write(&format!("ada/{number}.jsonl"), "one\n");
        }
        let config = Config {
            workers: 1,
            service: ServiceConfig {
                run_time_max: Duration::from_secs(run_seconds_max),
                ..dir.config().service
            },
            ..dir.config()
        };
        let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[well_behaved()]);
        dir.clock().advance_on_each_read(Duration::from_secs(200));
        let response = server
            .post(&format!("{}{parameters}", run_path(WELL_BEHAVED)))
            .json();
        dir.clock().advance_on_each_read(Duration::ZERO);
        assert_eq!(response["ok"], true, "{response}");
        response["details"]["processed"].as_u64().unwrap()
    };
    assert_eq!(processed(86_400, ""), 3);
    assert_eq!(processed(86_400, "&time_budget=80000"), 3);
    let partial = 1..3;
    assert!(partial.contains(&processed(86_400, "&time_budget=100")));
    assert!(partial.contains(&processed(86_400, "&time_budget=0")));
    assert!(partial.contains(&processed(100, "")));
    assert!(
        partial.contains(&processed(100, "&time_budget=80000")),
        "a request cannot raise the configured limit"
    );
}

#[test]
fn a_run_without_the_required_language_model_gets_400_with_the_remedy() {
    let dir = DataDir::new();
    let mut config = dir.config();
    let processor = ProcessorConfig {
        settings: [("detector".to_owned(), "llm".to_owned())].into(),
        ..ProcessorConfig::default()
    };
    config
        .processors
        .insert("verification".to_owned(), processor);
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[verification()]);
    let response = server.post(&run_path("verification"));
    assert_eq!(response.status, 400, "{response:?}");
    let detail = response.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("set ANTHROPIC_API_KEY"), "{detail}");
    let listed = server.get("/api/admin/processors").json();
    let reason = listed["processors"][0]["unavailable"].as_str().unwrap();
    assert!(detail.ends_with(reason), "{detail}");
    server.stop();
    assert_eq!(
        rows(&dir, "SELECT * FROM runs"),
        [""; 0],
        "no run is recorded"
    );
    assert_eq!(rows(&dir, AUDIT), [""; 0]);
}

#[test]
fn a_failed_session_does_not_fail_the_request() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", POISON);
    let server = TestServer::start(&dir, &[panics()]);
    let response = server.post(&run_path(PANICS));
    assert_eq!(
        (response.status, &response.json()["ok"]),
        (200, &false.into())
    );
    let error = &response.json()["details"]["errors_detail"][0];
    assert_eq!(
        (&error["session"], &error["fault"]),
        (&"ada/one.jsonl".into(), &"panic".into())
    );
    server.stop();
    let result = "SELECT result FROM audit_log WHERE action LIKE 'run%'";
    assert_eq!(rows(&dir, result), ["failed"]);
}

#[test]
fn a_rejected_run_leaves_no_audit_row() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[well_behaved()]);
    let error = |path: &str| server.post(path).error();
    insta::assert_snapshot!(error(&run_path("moon")), @"400: unknown processor `moon`; known processors: faulty-well-behaved");
    let path = run_path(WELL_BEHAVED);
    assert_eq!(server.send("POST", &path, "", "", &[]).status, 401);
    assert_eq!(
        server.send("POST", &path, &server.analyst, "", &[]).status,
        403
    );
    assert_eq!(server.post(RUN).status, 422);
    server.stop();
    assert_eq!(rows(&dir, AUDIT), [""; 0]);
    assert_eq!(rows(&dir, "SELECT * FROM runs"), [""; 0]);
}

#[test]
fn an_unauthorized_caller_gets_no_error_about_parameters() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    assert_eq!(server.send("POST", RUN, "", "", &[]).status, 401);
    assert_eq!(
        server.send("POST", RUN, &server.analyst, "", &[]).status,
        403
    );
}

/// Blocks a run at its start until the sender of `release` is dropped.
struct BlockedRun {
    started: mpsc::Sender<()>,
    release: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Progress for BlockedRun {
    fn planned(&self, _: u64, _: u64) {
        self.started.send(()).unwrap();
        // Returns an error when the sender is dropped, and the run continues.
        let _ = self.release.lock().unwrap().recv();
    }
    fn advanced(&self, _: u64) {}
}

/// Calls `work` while a run of the processor is in progress that no request started.
fn while_running<T>(server: &TestServer, processor: &str, work: impl FnOnce() -> T) -> T {
    let (started, has_started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let progress = BlockedRun {
            started,
            release: std::sync::Mutex::new(released),
        };
        let pipeline = &server.pipeline;
        scope.spawn(move || {
            pipeline
                .run(processor, &RunRequest::cli(), &progress)
                .unwrap()
        });
        has_started.recv_timeout(Duration::from_secs(60)).unwrap();
        let result = work();
        drop(release);
        result
    })
}

#[test]
fn a_running_processor_gets_409_while_other_processors_run() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    let server = TestServer::start(&dir, &[well_behaved(), panics()]);
    let (conflict, other) = while_running(&server, WELL_BEHAVED, || {
        (
            server.post(&run_path(WELL_BEHAVED)),
            server.post(&run_path(PANICS)),
        )
    });
    insta::assert_snapshot!(conflict.error(), @"409: the processor `faulty-well-behaved` is already running; wait for it to end");
    assert_eq!(other.status, 200, "{other:?}");
    assert_eq!(
        server.post(&run_path(WELL_BEHAVED)).status,
        200,
        "the lock is released"
    );
    server.stop();
    assert_eq!(
        rows(&dir, AUDIT).len(),
        3,
        "the conflict leaves no audit entry"
    );
}

#[test]
fn an_aborted_run_reports_the_reason_is_audited_and_releases_its_lock() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    drop(TestPipeline::open(&dir, &[well_behaved()]).run(WELL_BEHAVED));
    // Simulates an earlier run of a newer version.
    let newer = format!(
        "INSERT INTO components VALUES ('later', '{WELL_BEHAVED}', 9, NULL, TIMESTAMP '2026-01-01')"
    );
    execute(&dir, &newer);
    let server = TestServer::start(&dir, &[well_behaved()]);
    for _ in 0..2 {
        let response = server.post(&run_path(WELL_BEHAVED));
        assert_eq!(response.status, 500, "not 409: the lock is released");
        assert!(
            response.error().contains("lower than version 9"),
            "{response:?}"
        );
    }
    server.stop();
    let audit =
        "SELECT action, result, params LIKE '%\"unhandled_error\":\"the processor%' FROM audit_log
        WHERE client_kind = 'web' AND action LIKE 'run%' ORDER BY CAST(id AS INTEGER)";
    let expected = format!("run_session_processor:{WELL_BEHAVED} | failed | true");
    assert_eq!(rows(&dir, audit), [expected.as_str(), expected.as_str()]);
    let open = "SELECT count(*) FROM runs WHERE finished_at IS NULL";
    assert_eq!(rows(&dir, open), ["0"]);
}

#[test]
fn a_panic_in_the_runner_fails_the_run_is_audited_and_releases_its_lock() {
    struct PanickingProgress;
    impl Progress for PanickingProgress {
        fn planned(&self, _: u64, _: u64) {
            panic!("out of the blue");
        }
        fn advanced(&self, _: u64) {}
    }
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[well_behaved()]);
    let error = server
        .pipeline
        .run(WELL_BEHAVED, &RunRequest::cli(), &PanickingProgress)
        .unwrap_err();
    insta::assert_snapshot!(error, @"the run failed with an internal error: out of the blue; please report it");
    assert_eq!(server.post(&run_path(WELL_BEHAVED)).status, 200);
    server.stop();
    let audit = "SELECT result, params LIKE '%unhandled_error%out of the blue%' FROM audit_log
        WHERE action LIKE 'run%' ORDER BY CAST(id AS INTEGER)";
    assert_eq!(rows(&dir, audit), ["failed | true", "ok | false"]);
}

/// A data directory with sessions that a model processor reads, and the configuration for it.
fn sessions_for_model(count: usize) -> (DataDir, Config) {
    let dir = DataDir::new();
    for number in 0..count {
        dir.write(
            &format!("ada/{number}.jsonl"),
            format!("{{\"ask\":\"{number}\"}}\n"),
        );
    }
    let mut config = dir.config();
    let processor = ProcessorConfig {
        llm: Some(true),
        settings: [("uses-llm".to_owned(), "true".to_owned())].into(),
        ..ProcessorConfig::default()
    };
    config.processors.insert(ASKS_MODEL.to_owned(), processor);
    (dir, config)
}

/// A processor that sends one request to the model for each line.
const ASKS_MODEL: &str = "faulty-asks-model";

#[test]
fn a_client_that_disconnects_does_not_stop_its_run() {
    use std::io::Write;
    let (dir, config) = sessions_for_model(3);
    let model = ScriptedModel::new();
    model.answer("1").answer("2").answer("3").hold_answers();
    let server = TestServer::start_with_model(
        &dir,
        config,
        &[misbehaving("asks_model")],
        Arc::clone(&model) as Arc<dyn LanguageModel>,
    );
    let address = server.url.strip_prefix("http://").unwrap();
    let mut client = std::net::TcpStream::connect(address).unwrap();
    let path = run_path(ASKS_MODEL);
    write!(client, "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n", server.admin)
        .unwrap();
    // The run cannot continue before the model answers.
    model.wait_for_requests(1);
    let latest = || server.get("/api/admin/runs").json()["runs"][0].clone();
    assert_eq!(latest()["finished_at"], Value::Null);
    client.shutdown(std::net::Shutdown::Both).unwrap();
    drop(client);
    // Long enough for the server to notice the disconnect.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        latest()["finished_at"],
        Value::Null,
        "the run is still in progress"
    );
    assert_eq!(server.post(&path).status, 409, "the run holds its lock");
    model.release_answers();
    wait_until("the run ends", || latest()["finished_at"] != Value::Null);
    let run = latest();
    assert_eq!(
        (&run["result"], &run["stats"]["processed"]),
        (&"ok".into(), &3.into())
    );
    assert_eq!(model.requests().len(), 3);
}

#[test]
fn a_run_in_progress_is_shown_next_to_the_last_finished_run() {
    let (dir, config) = sessions_for_model(1);
    let model = ScriptedModel::new();
    let server = TestServer::start_with_model(
        &dir,
        config,
        &[misbehaving("asks_model")],
        Arc::clone(&model) as Arc<dyn LanguageModel>,
    );
    let times = || {
        let listed = server.get("/api/admin/processors").json();
        let mut processors = listed["processors"].as_array().unwrap().iter();
        let processor = processors
            .find(|processor| processor["name"] == ASKS_MODEL)
            .unwrap();
        let health = server.get("/api/health/detailed").json();
        let entry = &health["services"][&format!("session_pipeline:{ASKS_MODEL}")];
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        [
            text(&processor["running_since"]),
            text(&processor["last_run"]),
            text(&processor["last_run_at"]),
            text(&entry["running_since"]),
        ]
        .join(" | ")
    };
    let mut lines = vec![times()];
    // Without a scripted answer, the guest records the error, and the run succeeds.
    server.post(&run_path(ASKS_MODEL));
    lines.push(times());
    dir.clock().advance(Duration::from_secs(3600));
    dir.append("ada/0.jsonl", "{\"ask\":\"again\"}\n");
    model.answer("1").answer("2").hold_answers();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| server.post(&run_path(ASKS_MODEL)));
        model.wait_for_requests(2);
        lines.push(times());
        model.release_answers();
        assert_eq!(run.join().unwrap().status, 200);
    });
    lines.push(times());
    insta::assert_snapshot!(lines.join("\n"), @r"
    - | - | - | -
    - | ok | 2100-01-01T00:00:00Z | -
    2100-01-01T01:00:00Z | ok | 2100-01-01T00:00:00Z | 2100-01-01T01:00:00Z
    - | ok | 2100-01-01T01:00:00Z | -
    ");
}

/// Polls a condition for up to a minute.
pub fn wait_until(description: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("timeout after a minute: {description}");
}

// Caps.

fn single_worker_config(dir: &DataDir, service: ServiceConfig) -> Config {
    Config {
        service,
        workers: 1,
        ..dir.config()
    }
}

#[test]
fn the_attempt_cap_comes_from_the_configuration() {
    use session_pipeline_store::{Actor, Trigger};
    let dir = DataDir::new();
    let caps = |config: &Config| {
        let request = RunRequest::service(config, Trigger::Http, Actor::cli());
        (request.max_sessions, request.max_llm_sessions)
    };
    assert_eq!(caps(&dir.config()), (None, Some(50)));
    let service = ServiceConfig {
        llm_sessions_max: Some(7),
        ..ServiceConfig::default()
    };
    assert_eq!(caps(&single_worker_config(&dir, service)), (None, Some(7)));
}

#[test]
fn a_processor_without_a_model_has_no_attempt_cap() {
    let dir = DataDir::new();
    for number in 0..5 {
        dir.write(&format!("ada/{number}.jsonl"), "one\n");
    }
    let service = ServiceConfig {
        llm_sessions_max: Some(2),
        ..ServiceConfig::default()
    };
    let server = TestServer::start_with(
        &dir,
        single_worker_config(&dir, service),
        Default::default(),
        &[well_behaved()],
    );
    let details = &server.post(&run_path(WELL_BEHAVED)).json()["details"];
    assert_eq!(
        (&details["processed"], &details["capped"]),
        (&5.into(), &0.into())
    );
}

#[test]
fn a_run_that_exceeds_its_time_budget_reports_the_remaining_sessions() {
    let dir = DataDir::new();
    for number in 0..5 {
        dir.write(&format!("ada/{number}.jsonl"), "one\n");
    }
    let server = TestServer::start_with(
        &dir,
        single_worker_config(&dir, ServiceConfig::default()),
        Default::default(),
        &[well_behaved()],
    );
    dir.clock().advance_on_each_read(Duration::from_secs(60));
    let details = &server.post(&run_path(WELL_BEHAVED)).json()["details"];
    dir.clock().advance_on_each_read(Duration::ZERO);
    assert_eq!(details["scanned"], 5);
    assert_ne!(details["capped"], 0, "{details}");
    assert_ne!(
        details["processed"], 0,
        "every run must make progress: {details}"
    );
    let rest = &server.post(&run_path(WELL_BEHAVED)).json()["details"];
    assert_eq!(
        (&rest["processed"], &rest["capped"]),
        (&details["capped"], &0.into())
    );
}

#[test]
fn a_request_can_lower_the_caps() {
    let dir = DataDir::new();
    for number in 0..3 {
        dir.write(&format!("ada/{number}.jsonl"), "one\n");
    }
    let server = TestServer::start(&dir, &[well_behaved()]);
    let details = &server
        .post(&format!("{}&max_sessions=1", run_path(WELL_BEHAVED)))
        .json()["details"];
    assert_eq!(
        (&details["processed"], &details["capped"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn a_personal_token_ignores_the_back_off_and_the_shared_secret_respects_it() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", POISON);
    let server = TestServer::start(&dir, &[panics()]);
    let path = run_path(PANICS);
    server.post(&path);
    server.post(&path);
    let scheduled = server.send("POST", &path, SECRET, "", &[]).json();
    assert_eq!(
        (
            &scheduled["details"]["scanned"],
            &scheduled["details"]["waiting"]
        ),
        (&0.into(), &1.into())
    );
    assert_eq!(server.post(&path).json()["details"]["errors"], 1);
    server.stop();
    let callers = "SELECT client_kind, user_id LIKE '________-____-4%' AS is_person, user_id = 'scheduler' FROM audit_log
        WHERE action LIKE 'run%' ORDER BY CAST(id AS INTEGER)";
    insta::assert_snapshot!(rows(&dir, callers).join("\n"), @r"
    web | true | false
    web | true | false
    scheduler | false | true
    web | true | false
    ");
}

#[test]
fn runs_are_listed_newest_first_and_returned_by_id() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", POISON);
    let server = TestServer::start(&dir, &[well_behaved(), panics(), misbehaving("loops")]);
    server.post(&run_path(WELL_BEHAVED));
    server.post(&run_path(PANICS));
    let runs = server.get("/api/admin/runs").json();
    let ids: Vec<&Value> = runs["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["id"])
        .collect();
    assert_eq!(ids, ["2", "1"]);
    let filtered = server
        .get(&format!("/api/admin/runs?processor={WELL_BEHAVED}&limit=5"))
        .json();
    assert_eq!(filtered["runs"].as_array().unwrap().len(), 1);
    let run = server.get("/api/admin/runs/2").json();
    assert_eq!(run, runs["runs"][0]);
    insta::assert_json_snapshot!(run, { ".stats.fuel" => "[fuel]", ".stats.errors_detail[0].error" => "[error]" }, @r#"
    {
      "error": null,
      "finished_at": "2100-01-01T00:00:00Z",
      "id": "2",
      "llm": null,
      "processor": "faulty-panics",
      "result": "failed",
      "started_at": "2100-01-01T00:00:00Z",
      "stats": {
        "bytes": 9,
        "capped": 0,
        "duration_ms": 0,
        "errors": 1,
        "errors_detail": [
          {
            "error": "[error]",
            "fault": "panic",
            "session": "ada/one.jsonl"
          }
        ],
        "fuel": "[fuel]",
        "items_extracted": 0,
        "processed": 0,
        "processor": "faulty-panics",
        "quarantined": 0,
        "scanned": 1,
        "skipped": 0,
        "waiting": 0
      },
      "trigger": "http"
    }
    "#);
}
