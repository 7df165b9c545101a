//! Runs that requests start: what they answer, what they leave, and that they never wedge.

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

fn run_of(processor: &str) -> String {
    format!("{RUN}?processor={processor}")
}

#[test]
fn an_admin_runs_a_processor_and_gets_its_stats() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\ntwo\n");
    let server = TestServer::start(&dir, &[well_behaved()]);
    let answer = server.post(&run_of(WELL_BEHAVED));
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["ok"], true);
    assert_eq!(names(&body["details"]), STATS);
    assert_eq!(
        (&body["details"]["scanned"], &body["details"]["processed"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        server.post(&run_of(WELL_BEHAVED)).json()["details"]["scanned"],
        0
    );
    server.stop();
    insta::assert_snapshot!(rows(&dir, AUDIT).join("\n"), @r#"
    run_session_processor:faulty-well-behaved | job:session-processor:faulty-well-behaved | ok | web | 1 | {"capped":0,"errors":0,"items_extracted":2,"processed":1,"processor":"faulty-well-behaved","scanned":1,"skipped":0}
    run_session_processor:faulty-well-behaved | job:session-processor:faulty-well-behaved | ok | web | 2 | {"capped":0,"errors":0,"items_extracted":0,"processed":0,"processor":"faulty-well-behaved","scanned":0,"skipped":0}
    "#);
}

#[test]
fn a_run_ends_after_the_time_that_was_asked_for_or_that_every_request_has() {
    let processed = |request_seconds: u64, asked: &str| {
        let dir = DataDir::new();
        for number in 0..3 {
            dir.write(&format!("ada/{number}.jsonl"), "one\n");
        }
        let config = Config {
            workers: 1,
            service: ServiceConfig {
                run_time_max: Duration::from_secs(request_seconds),
                ..dir.config().service
            },
            ..dir.config()
        };
        let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[well_behaved()]);
        dir.clock().advance_on_each_read(Duration::from_secs(200));
        let answer = server
            .post(&format!("{}{asked}", run_of(WELL_BEHAVED)))
            .json();
        dir.clock().advance_on_each_read(Duration::ZERO);
        assert_eq!(answer["ok"], true, "{answer}");
        answer["details"]["processed"].as_u64().unwrap()
    };
    assert_eq!(processed(86_400, ""), 3);
    assert_eq!(processed(86_400, "&time_budget=80000"), 3);
    let some = 1..3;
    assert!(some.contains(&processed(86_400, "&time_budget=100")));
    assert!(some.contains(&processed(86_400, "&time_budget=0")));
    assert!(some.contains(&processed(100, "")));
    assert!(
        some.contains(&processed(100, "&time_budget=80000")),
        "no more than that"
    );
}

#[test]
fn a_processor_without_the_language_model_that_it_needs_is_a_bad_request_with_the_remedy() {
    let dir = DataDir::new();
    let mut config = dir.config();
    let own = ProcessorConfig {
        settings: [("detector".to_owned(), "llm".to_owned())].into(),
        ..ProcessorConfig::default()
    };
    config.processors.insert("verification".to_owned(), own);
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[verification()]);
    let answer = server.post(&run_of("verification"));
    assert_eq!(answer.status, 400, "{answer:?}");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("set ANTHROPIC_API_KEY"), "{detail}");
    let listed = server.get("/api/admin/processors").json();
    let reason = listed["processors"][0]["unavailable"].as_str().unwrap();
    assert!(detail.ends_with(reason), "{detail}");
    server.stop();
    assert_eq!(rows(&dir, "SELECT * FROM runs"), [""; 0], "it is no run");
    assert_eq!(rows(&dir, AUDIT), [""; 0]);
}

#[test]
fn a_failed_session_is_no_failure_of_the_request() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", POISON);
    let server = TestServer::start(&dir, &[panics()]);
    let answer = server.post(&run_of(PANICS));
    assert_eq!((answer.status, &answer.json()["ok"]), (200, &false.into()));
    let error = &answer.json()["details"]["errors_detail"][0];
    assert_eq!(
        (&error["session"], &error["fault"]),
        (&"ada/one.jsonl".into(), &"panic".into())
    );
    server.stop();
    let result = "SELECT result FROM audit_log WHERE action LIKE 'run%'";
    assert_eq!(rows(&dir, result), ["failed"]);
}

#[test]
fn what_did_not_run_leaves_no_audit_row() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[well_behaved()]);
    let refusal = |path: &str| server.post(path).refusal();
    insta::assert_snapshot!(refusal(&run_of("moon")), @"400: Unknown processor `moon`; known processors: faulty-well-behaved");
    let path = run_of(WELL_BEHAVED);
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
fn who_may_not_ask_is_told_nothing_about_parameters() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    assert_eq!(server.send("POST", RUN, "", "", &[]).status, 401);
    assert_eq!(
        server.send("POST", RUN, &server.analyst, "", &[]).status,
        403
    );
}

/// Holds a run at its beginning until it is let go.
struct Held {
    begun: mpsc::Sender<()>,
    go: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Progress for Held {
    fn planned(&self, _: u64, _: u64) {
        self.begun.send(()).unwrap();
        // Whoever holds it may be gone; then it goes on.
        let _ = self.go.lock().unwrap().recv();
    }
    fn advanced(&self, _: u64) {}
}

/// Does something while a run of a processor is at work, started by another hand than a request.
fn while_running<T>(server: &TestServer, processor: &str, work: impl FnOnce() -> T) -> T {
    let (begun, has_begun) = mpsc::channel();
    let (go, held) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let progress = Held {
            begun,
            go: std::sync::Mutex::new(held),
        };
        let pipeline = &server.pipeline;
        scope.spawn(move || {
            pipeline
                .run(processor, &RunRequest::cli(), &progress)
                .unwrap()
        });
        has_begun.recv_timeout(Duration::from_secs(60)).unwrap();
        let result = work();
        drop(go);
        result
    })
}

#[test]
fn a_processor_at_work_is_a_conflict_whoever_started_it_and_others_go_on() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    let server = TestServer::start(&dir, &[well_behaved(), panics()]);
    let (conflict, other) = while_running(&server, WELL_BEHAVED, || {
        (
            server.post(&run_of(WELL_BEHAVED)),
            server.post(&run_of(PANICS)),
        )
    });
    insta::assert_snapshot!(conflict.refusal(), @"409: the processor `faulty-well-behaved` is already running; wait for it to end");
    assert_eq!(other.status, 200, "{other:?}");
    assert_eq!(
        server.post(&run_of(WELL_BEHAVED)).status,
        200,
        "the lock is given back"
    );
    server.stop();
    assert_eq!(rows(&dir, AUDIT).len(), 3, "the conflict leaves none");
}

#[test]
fn a_run_that_breaks_off_says_why_is_audited_and_gives_the_lock_back() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    drop(TestPipeline::open(&dir, &[well_behaved()]).run(WELL_BEHAVED));
    // As if a newer version had run here before.
    let newer = format!(
        "INSERT INTO components VALUES ('later', '{WELL_BEHAVED}', 9, NULL, TIMESTAMP '2026-01-01')"
    );
    execute(&dir, &newer);
    let server = TestServer::start(&dir, &[well_behaved()]);
    for _ in 0..2 {
        let answer = server.post(&run_of(WELL_BEHAVED));
        assert_eq!(answer.status, 500, "not 409: the lock is given back");
        assert!(
            answer.refusal().contains("lower than version 9"),
            "{answer:?}"
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
fn a_panic_in_the_runner_is_a_failed_run_with_its_audit_row_and_gives_the_lock_back() {
    struct Panics;
    impl Progress for Panics {
        fn planned(&self, _: u64, _: u64) {
            panic!("out of the blue");
        }
        fn advanced(&self, _: u64) {}
    }
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[well_behaved()]);
    let error = server
        .pipeline
        .run(WELL_BEHAVED, &RunRequest::cli(), &Panics)
        .unwrap_err();
    insta::assert_snapshot!(error, @"the run failed with an internal error: out of the blue; please report it");
    assert_eq!(server.post(&run_of(WELL_BEHAVED)).status, 200);
    server.stop();
    let audit = "SELECT result, params LIKE '%unhandled_error%out of the blue%' FROM audit_log
        WHERE action LIKE 'run%' ORDER BY CAST(id AS INTEGER)";
    assert_eq!(rows(&dir, audit), ["failed | true", "ok | false"]);
}

/// A data dir with sessions of a processor that asks a language model, and its configuration.
fn sessions_that_ask(count: usize) -> (DataDir, Config) {
    let dir = DataDir::new();
    for number in 0..count {
        dir.write(
            &format!("ada/{number}.jsonl"),
            format!("{{\"ask\":\"{number}\"}}\n"),
        );
    }
    let mut config = dir.config();
    let own = ProcessorConfig {
        llm: Some(true),
        settings: [("uses-llm".to_owned(), "true".to_owned())].into(),
        ..ProcessorConfig::default()
    };
    config.processors.insert(ASKS.to_owned(), own);
    (dir, config)
}

const ASKS: &str = "faulty-asks-model";

#[test]
fn a_client_that_goes_away_does_not_stop_its_run() {
    use std::io::Write;
    let (dir, config) = sessions_that_ask(3);
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
    let path = run_of(ASKS);
    write!(client, "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n", server.admin)
        .unwrap();
    // The run can't go on before the model answers.
    model.wait_for_requests(1);
    let latest = || server.get("/api/admin/runs").json()["runs"][0].clone();
    assert_eq!(latest()["finished_at"], Value::Null);
    client.shutdown(std::net::Shutdown::Both).unwrap();
    drop(client);
    // Long enough for the server to notice that it is gone.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(latest()["finished_at"], Value::Null, "still in progress");
    assert_eq!(server.post(&path).status, 409, "and the lock is held");
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
fn while_a_run_is_open_it_is_shown_beside_the_last_one_that_ended() {
    let (dir, config) = sessions_that_ask(1);
    let model = ScriptedModel::new();
    let server = TestServer::start_with_model(
        &dir,
        config,
        &[misbehaving("asks_model")],
        Arc::clone(&model) as Arc<dyn LanguageModel>,
    );
    let stands = || {
        let listed = server.get("/api/admin/processors").json();
        let mut ours = listed["processors"].as_array().unwrap().iter();
        let ours = ours.find(|processor| processor["name"] == ASKS).unwrap();
        let health = server.get("/api/health/detailed").json();
        let entry = &health["services"][&format!("session_pipeline:{ASKS}")];
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        [
            word(&ours["running_since"]),
            word(&ours["last_run"]),
            word(&ours["last_run_at"]),
            word(&entry["running_since"]),
        ]
        .join(" | ")
    };
    let mut story = vec![stands()];
    // The guest keeps that there was no answer.
    server.post(&run_of(ASKS));
    story.push(stands());
    dir.clock().advance(Duration::from_secs(3600));
    dir.append("ada/0.jsonl", "{\"ask\":\"again\"}\n");
    model.answer("1").answer("2").hold_answers();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| server.post(&run_of(ASKS)));
        model.wait_for_requests(2);
        story.push(stands());
        model.release_answers();
        assert_eq!(run.join().unwrap().status, 200);
    });
    story.push(stands());
    insta::assert_snapshot!(story.join("\n"), @r"
    - | - | - | -
    - | ok | 2100-01-01T00:00:00Z | -
    2100-01-01T01:00:00Z | ok | 2100-01-01T00:00:00Z | 2100-01-01T01:00:00Z
    - | ok | 2100-01-01T01:00:00Z | -
    ");
}

/// Looks again and again, for a minute at most.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited for a minute, and still not: {what}");
}

// Caps.

fn capped(dir: &DataDir, service: ServiceConfig) -> Config {
    Config {
        service,
        workers: 1,
        ..dir.config()
    }
}

#[test]
fn the_cap_of_attempts_is_that_of_the_configuration() {
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
    assert_eq!(caps(&capped(&dir, service)), (None, Some(7)));
}

#[test]
fn a_processor_without_a_model_has_no_cap_of_attempts() {
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
        capped(&dir, service),
        Default::default(),
        &[well_behaved()],
    );
    let details = &server.post(&run_of(WELL_BEHAVED)).json()["details"];
    assert_eq!(
        (&details["processed"], &details["capped"]),
        (&5.into(), &0.into())
    );
}

#[test]
fn a_run_ends_when_its_time_is_up_and_says_what_is_left() {
    let dir = DataDir::new();
    for number in 0..5 {
        dir.write(&format!("ada/{number}.jsonl"), "one\n");
    }
    let server = TestServer::start_with(
        &dir,
        capped(&dir, ServiceConfig::default()),
        Default::default(),
        &[well_behaved()],
    );
    dir.clock().advance_on_each_read(Duration::from_secs(60));
    let details = &server.post(&run_of(WELL_BEHAVED)).json()["details"];
    dir.clock().advance_on_each_read(Duration::ZERO);
    assert_eq!(details["scanned"], 5);
    assert_ne!(details["capped"], 0, "{details}");
    assert_ne!(
        details["processed"], 0,
        "every run makes progress: {details}"
    );
    let rest = &server.post(&run_of(WELL_BEHAVED)).json()["details"];
    assert_eq!(
        (&rest["processed"], &rest["capped"]),
        (&details["capped"], &0.into())
    );
}

#[test]
fn a_person_may_ask_for_less_than_the_caps() {
    let dir = DataDir::new();
    for number in 0..3 {
        dir.write(&format!("ada/{number}.jsonl"), "one\n");
    }
    let server = TestServer::start(&dir, &[well_behaved()]);
    let details = &server
        .post(&format!("{}&max_sessions=1", run_of(WELL_BEHAVED)))
        .json()["details"];
    assert_eq!(
        (&details["processed"], &details["capped"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn a_personal_token_ignores_the_wait_after_failures_and_the_shared_secret_does_not() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", POISON);
    let server = TestServer::start(&dir, &[panics()]);
    let path = run_of(PANICS);
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
fn runs_are_listed_the_newest_first_and_shown_one_by_one() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", POISON);
    let server = TestServer::start(&dir, &[well_behaved(), panics(), misbehaving("loops")]);
    server.post(&run_of(WELL_BEHAVED));
    server.post(&run_of(PANICS));
    let runs = server.get("/api/admin/runs").json();
    let ids: Vec<&Value> = runs["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["id"])
        .collect();
    assert_eq!(ids, ["2", "1"]);
    let of_one = server
        .get(&format!("/api/admin/runs?processor={WELL_BEHAVED}&limit=5"))
        .json();
    assert_eq!(of_one["runs"].as_array().unwrap().len(), 1);
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
