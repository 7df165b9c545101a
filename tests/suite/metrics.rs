//! Metrics for Prometheus: their names, their labels, who can read them, and that reading them
//! costs nothing.

mod documents;
mod exposition;
mod prometheus;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::json;
use session_pipeline_harness::{DataDir, Transcript};
use session_pipeline_pipeline::config::{BudgetPeriod, BudgetScope, Config, CostBudget};
use session_pipeline_store::money::Usd;
use session_pipeline_store::{Budget, Budgets, LlmCall, LlmOutcome};

use crate::guests::{PANICS, POISON, panics, usage};
use crate::http::TestServer;
use exposition::Exposition;

/// Much longer than any read of figures takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns a budget for each scope, which the sessions of [`populated`] reach.
fn budgets() -> Vec<CostBudget> {
    let budget = |scope| CostBudget {
        scope,
        limit: Usd {
            pico_dollars: 1_000_000_000_000,
        },
        period: BudgetPeriod::Day,
        warn_at_permille: 800,
    };
    BudgetScope::ALL.map(budget).to_vec()
}

fn config(dir: &DataDir) -> Config {
    Config {
        budgets: budgets(),
        ..dir.config()
    }
}

/// A transcript that costs 2.50 dollars at the time of the clock.
fn expensive(dir: &DataDir, id: &str) -> Transcript {
    use session_pipeline_host::clock::Clock as _;
    Transcript::new(id)
        .at(dir.clock().now())
        .cwd("/home/dev/shop")
        .user("go")
        .assistant(|m| m.model("claude-opus-4-5").tokens(500_000, 0))
}

/// A server with data for every metric: sessions that were processed, that failed and that are in
/// quarantine, requests to a model, an upload, and used budgets.
fn populated(dir: &DataDir) -> TestServer {
    dir.write("ada/one.jsonl", expensive(dir, "s1"));
    dir.write("ada/bad.jsonl", POISON);
    let config = config(dir);
    let limits = session_pipeline::http::HttpLimits::default();
    let server = TestServer::start_with(dir, config, limits, &[usage(), panics()]);
    for _ in 0..6 {
        for processor in ["usage", PANICS] {
            let path = format!("/api/admin/run-session-processor?processor={processor}");
            assert_eq!(server.post(&path).status, 200);
        }
        dir.clock().advance(Duration::from_secs(2 * 24 * 3600));
    }
    dir.write("ada/now.jsonl", expensive(dir, "s2"));
    let run = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(run.json()["details"]["processed"], 1, "{run:?}");
    call_model(&server);
    let form = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"up.jsonl\"\r\n\r\n{}\n\r\n--x--\r\n";
    let kind = "multipart/form-data; boundary=x";
    let token = server.token("member", "mia@example.com");
    let upload = server.send(
        "POST",
        "/api/upload/sessions",
        &token,
        kind,
        form.as_bytes(),
    );
    assert_eq!(upload.status, 200, "{upload:?}");
    server
}

/// Records two requests to a model, as the connector does.
fn call_model(server: &TestServer) {
    let store = server.pipeline.store();
    let budget = Budget {
        calls_max: 10,
        tokens_max: 10_000,
    };
    let budgets = Budgets {
        session: budget,
        run: budget,
        day: budget,
    };
    for (outcome, tokens) in [("answered", Some((100, 20))), ("unavailable", None)] {
        let call = LlmCall {
            run_id: "1".to_owned(),
            processor_name: "verification".to_owned(),
            session_file: "ada/one.jsonl".to_owned(),
            model: "small-model".to_owned(),
            input_tokens: 200,
            output_tokens: 50,
        };
        let now = server.pipeline.clock().now();
        let id = store.reserve_llm_call(call, budgets, now).unwrap().unwrap();
        let cost = tokens.map(|_| Usd {
            pico_dollars: 1_500_000_000_000,
        });
        let outcome = LlmOutcome {
            outcome,
            tokens,
            cost,
        };
        store.settle_llm_call(id, outcome).unwrap();
    }
}

fn scrape(server: &TestServer) -> Exposition {
    let response = server.send("GET", "/metrics", &server.analyst, "", &[]);
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(
        response.content_type,
        "text/plain; version=0.0.4; charset=utf-8"
    );
    Exposition::parse(&response.text())
}

/// Scrapes until the metrics fulfill a condition.
fn scrape_until(server: &TestServer, is_done: impl Fn(&Exposition) -> bool) -> Exposition {
    let started = Instant::now();
    loop {
        let metrics = scrape(server);
        if is_done(&metrics) {
            return metrics;
        }
        assert!(started.elapsed() < TIMEOUT, "{metrics:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn metrics_count_what_was_committed() {
    let dir = DataDir::new();
    let server = populated(&dir);
    let metrics = scrape(&server);
    let value = |name: &str, labels: &str| metrics.value(name, labels);
    assert_eq!(value("runs_total", "processor=usage,result=ok"), 7.0);
    let failed = format!("processor={PANICS},result=failed");
    assert_eq!(value("runs_total", &failed), 5.0);
    let processed = "processor=usage,outcome=processed";
    assert_eq!(value("sessions_total", processed), 3.0);
    let panicked = format!("processor={PANICS},outcome=failed,fault=panic");
    assert_eq!(value("sessions_total", &panicked), 5.0);
    let of_panics = format!("processor={PANICS}");
    assert_eq!(value("quarantined_sessions", &of_panics), 1.0);
    assert!(value("guest_fuel_total", "processor=usage") > 1000.0);
    assert!(value("guest_seconds_total", "processor=usage") > 0.0);
    assert!(value("session_bytes_total", "processor=usage") > 500.0);
    let model = "processor=verification,model=small-model";
    for (outcome, calls) in [("answered", 1.0), ("unavailable", 1.0)] {
        let labels = format!("{model},outcome={outcome}");
        assert_eq!(value("model_calls_total", &labels), calls);
    }
    // Without an answer, the reservation counts.
    assert_eq!(
        value("model_tokens_total", &format!("{model},type=input")),
        300.0
    );
    assert_eq!(
        value("model_tokens_total", &format!("{model},type=output")),
        70.0
    );
    assert_eq!(value("model_cost_dollars_total", model), 1.5);
    assert_eq!(value("uploads_total", "outcome=stored"), 1.0);
    assert_eq!(value("upload_bytes_total", ""), 3.0);
    assert_eq!(value("usage_cost_dollars", "model=claude-opus-4-5"), 5.0);
    assert_eq!(
        value("usage_tokens", "model=claude-opus-4-5,type=input"),
        1e6
    );
    // The upload, and for the other processor also the new session.
    assert_eq!(value("backlog_sessions", "processor=usage"), 1.0);
    assert_eq!(value("session_files", ""), 4.0);
    let total = "scope=total,period=day,limit_dollars=1,warn_at=0.8";
    assert_eq!(value("budget_used_ratio", total), 2.5);
    assert_eq!(value("budget_reached", total), 1.0);
    assert!(value("commit_duration_seconds_count", "") > 10.0);
    assert!(value("writer_wait_seconds_count", "") > 10.0);
    assert!(value("database_bytes", "") > 4096.0);
    assert_eq!(value("writer_queue_jobs", ""), 0.0);
    assert_eq!(value("figures_failed", ""), 0.0);
    let run = "method=POST,route=/api/admin/run-session-processor,status=200";
    assert_eq!(value("http_requests_total", run), 13.0);
    let build = metrics.samples("build_info");
    assert_eq!(build.len(), 1);
    assert_eq!(build[0].labels["version"], env!("CARGO_PKG_VERSION"));
}

/// Sends a request that an HTTP library would not send.
fn send_raw(server: &TestServer, request_line: &str) {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{request_line}\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    assert!(response.starts_with(b"HTTP/1.1 4"), "{request_line}");
}

#[test]
fn a_client_cannot_create_series() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let before = scrape(&server).samples("http_requests_total").len();
    for number in 0..50 {
        let paths = [
            format!("/nowhere/{number}"),
            format!("/api/admin/runs/{number}"),
            format!("/data/api/{number}"),
            format!("/sessions/{number}"),
        ];
        for path in paths {
            server.send("GET", &path, &server.admin, "", &[]);
            send_raw(&server, &format!("X{number} {path} HTTP/1.1"));
        }
    }
    let metrics = scrape(&server);
    let series = metrics.samples("http_requests_total");
    assert!(series.len() <= before + 12, "{series:?}");
    let labels = "method=GET,route=(unknown),status=404";
    assert_eq!(metrics.value("http_requests_total", labels), 50.0);
    let routes: BTreeSet<&str> = series
        .iter()
        .map(|sample| sample.labels["route"].as_str())
        .collect();
    assert!(routes.contains("/api/admin/runs/{id}"), "{routes:?}");
}

#[test]
fn names_in_transcripts_cannot_break_the_format_or_create_many_series() {
    let dir = DataDir::new();
    let hostile = "evil\"} 1\nsession_pipeline_fake 1\n# HELP \\ \u{202e}\u{0}";
    let at = "2099-12-31T10:00:00Z".parse().unwrap();
    let mut session = Transcript::new("s1").at(at).user("go");
    for number in 0..120 {
        let model = format!("model-{number}-{}", "x".repeat(500));
        session = session.assistant(|m| m.model(&model).tokens(10, 10));
    }
    let session = session.assistant(|m| m.model(hostile).tokens(1_000_000, 1_000_000));
    dir.write("ada/one.jsonl", session);
    let mut config = dir.config();
    config.metrics.per_user = true;
    let limits = session_pipeline::http::HttpLimits::default();
    let server = TestServer::start_with(&dir, config, limits, &[usage()]);
    let run = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(run.json()["details"]["processed"], 1, "{run:?}");
    let metrics = scrape(&server);
    assert!(metrics.samples("fake").is_empty());
    let models = metrics.samples("usage_messages");
    assert!((40..=51).contains(&models.len()), "{}", models.len());
    let total: f64 = models.iter().map(|sample| sample.value).sum();
    assert_eq!(total, 121.0);
    for sample in models {
        assert_eq!(sample.labels["user"], "ada@example.com");
        let model = &sample.labels["model"];
        assert!(model.chars().count() <= 130, "{model}");
        assert!(!model.contains(char::is_control), "{model}");
    }
    assert_eq!(
        metrics.value("usage_messages", "model=(other),user=ada@example.com"),
        71.0
    );
}

#[test]
fn metrics_name_no_person_session_or_project_unless_the_operator_asks() {
    let dir = DataDir::new();
    let server = populated(&dir);
    let text = server
        .send("GET", "/metrics", &server.analyst, "", &[])
        .text();
    for name in ["ada", "mia", "example.com", "shop", ".jsonl", "s1"] {
        assert!(!text.contains(name), "{name}: {text}");
    }
    let users = |per_user| {
        let dir = DataDir::new();
        dir.write("ada/one.jsonl", expensive(&dir, "s1"));
        let mut config = dir.config();
        config.metrics.per_user = per_user;
        let limits = session_pipeline::http::HttpLimits::default();
        let server = TestServer::start_with(&dir, config, limits, &[usage()]);
        server.post("/api/admin/run-session-processor?processor=usage");
        let metrics = scrape(&server);
        let cost = metrics.samples("usage_cost_dollars");
        cost.iter()
            .filter_map(|sample| sample.labels.get("user").cloned())
            .collect::<Vec<_>>()
    };
    assert_eq!(users(false), [""; 0]);
    // A user of the server whose address begins with the name of the folder.
    assert_eq!(users(true), ["ada@example.com"]);
}

#[test]
fn analysts_can_read_metrics_and_members_cannot() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let member = server.token("member", "mia@example.com");
    let status = |token: &str| server.send("GET", "/metrics", token, "", &[]).status;
    assert_eq!(status(""), 401);
    assert_eq!(status(&member), 403);
    assert_eq!(status(&server.analyst), 200);
    assert_eq!(status(&server.admin), 200);
}

#[test]
fn the_listener_without_authentication_serves_only_metrics_to_its_own_names() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let url = server.listen_for_metrics();
    let origin = url.strip_suffix("/metrics").unwrap();
    let get = |path: &str, host: Option<&str>| {
        let mut request = ureq::http::Request::builder()
            .uri(format!("{origin}{path}"))
            .header("Authorization", format!("Bearer {}", server.admin));
        if let Some(host) = host {
            request = request.header("Host", host);
        }
        let mut response = server.run(request.body(Vec::new()).unwrap());
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), text)
    };
    let (status, text) = get("/metrics", None);
    assert_eq!(status, 200);
    assert!(Exposition::parse(&text).value("start_time_seconds", "") > 0.0);
    for path in [
        "/",
        "/api/health",
        "/api/admin/tokens",
        "/sessions",
        "/metrics/x",
    ] {
        assert_eq!(get(path, None).0, 404, "{path}");
    }
    assert_eq!(get("/metrics", Some("attacker.example")).0, 421);
}

#[test]
fn open_metrics_is_served_to_clients_that_accept_it() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let request = ureq::http::Request::builder()
        .uri(format!("{}/metrics", server.url))
        .header("Authorization", format!("Bearer {}", server.analyst))
        .header(
            "Accept",
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
        );
    let mut response = server.run(request.body(Vec::new()).unwrap());
    let content_type = response.headers()["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("application/openmetrics-text"));
    let text = response.body_mut().read_to_string().unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    // The histogram has the buckets that OpenMetrics requires.
    assert!(text.contains("session_pipeline_commit_duration_seconds_bucket{le=\"+Inf\"}"));
}

#[test]
fn figures_are_read_again_only_after_their_maximum_age() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    let server = TestServer::start(&dir, &[usage()]);
    let files = |metrics: &Exposition| metrics.value("session_files", "");
    assert_eq!(files(&scrape(&server)), 1.0);
    dir.write("ada/two.jsonl", "{}\n");
    for _ in 0..20 {
        assert_eq!(files(&scrape(&server)), 1.0);
    }
    dir.clock().advance(Duration::from_secs(59));
    let metrics = scrape(&server);
    assert_eq!(files(&metrics), 1.0);
    assert_eq!(metrics.value("figures_age_seconds", ""), 59.0);
    dir.clock().advance(Duration::from_secs(2));
    // This scrape only starts the read.
    scrape(&server);
    let metrics = scrape_until(&server, |metrics| files(metrics) == 2.0);
    assert_eq!(metrics.value("figures_age_seconds", ""), 0.0);
}

#[test]
fn a_scrape_never_waits_for_the_writer() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", expensive(&dir, "s1"));
    let server = TestServer::start_with(
        &dir,
        config(&dir),
        session_pipeline::http::HttpLimits::default(),
        &[usage()],
    );
    let before = scrape(&server);
    assert!(before.samples("usage_messages").is_empty());
    let run = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(run.json()["details"]["processed"], 1, "{run:?}");
    let store = server.pipeline.shared_store();
    let (release, released) = channel::<()>();
    let (begun, has_begun) = channel::<()>();
    let writing = std::thread::spawn(move || {
        store.write(move |_| {
            begun.send(()).unwrap();
            // Ends when the sender is dropped.
            let _ = released.recv();
            Ok(())
        })
    });
    has_begun.recv().unwrap();
    // The figures are too old, and their update needs the writer.
    dir.clock().advance(Duration::from_secs(61));
    let started = Instant::now();
    let during = scrape_until(&server, |metrics| {
        metrics.value("writer_queue_jobs", "") > 0.0
    });
    assert!(during.samples("usage_messages").is_empty());
    assert!(started.elapsed() < Duration::from_secs(20));
    drop(release);
    writing.join().unwrap().unwrap();
    let after = scrape_until(&server, |metrics| {
        !metrics.samples("usage_messages").is_empty()
    });
    assert_eq!(
        after.value("usage_cost_dollars", "model=claude-opus-4-5"),
        2.5
    );
}

#[test]
fn figures_that_cannot_be_read_are_absent_and_counted() {
    let dir = DataDir::new();
    std::fs::write(dir.path().join("prices.toml"), "not a price table").unwrap();
    let server = TestServer::start(&dir, &[usage()]);
    let metrics = scrape(&server);
    assert_eq!(metrics.value("figures_failed", ""), 1.0);
    assert!(metrics.samples("usage_messages").is_empty());
    assert_eq!(metrics.value("session_files", ""), 0.0);
    // Nothing else is affected.
    let created = server.post_json("/api/admin/tokens", &json!({ "role": "analyst" }));
    assert_eq!(created.status, 201, "{created:?}");
}
