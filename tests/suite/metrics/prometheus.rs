//! A real Prometheus scrapes a server, and evaluates the queries of the dashboard and the alert
//! rules. `promtool` checks the rules and the metrics.
//!
//! These tests need Prometheus, so they are ignored by default. `cargo xtask test` runs them if it
//! is installed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use session_pipeline_harness::DataDir;

use super::documents::dashboard_queries;
use super::{TIMEOUT, populated};
use crate::http::TestServer;

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/prometheus/alerts.yml")
}

/// A running Prometheus. It is killed when it is dropped.
struct Prometheus {
    process: Child,
    url: String,
    agent: ureq::Agent,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It could have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// Starts Prometheus, which scrapes the server with its token every second.
    fn start(server: &TestServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = server.url.strip_prefix("http://").unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n\
             - job_name: session-pipeline\n  \
               authorization: {{ credentials: '{}' }}\n  \
               static_configs: [{{ targets: ['{address}'] }}]\n",
            rules().canonicalize().unwrap().display(),
            server.analyst
        );
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start prometheus: {error}"));
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = log
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, address) = line.split_once("msg=\"Listening on\" address=")?;
                Some(address.to_owned())
            })
            .expect("Prometheus prints its address");
        // The pipe must not become full.
        std::thread::spawn(move || log.for_each(drop));
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build();
        Self {
            process,
            url: format!("http://{address}"),
            agent: agent.new_agent(),
            _folder: folder,
        }
    }

    fn get(&self, path: &str) -> Value {
        let response = self.agent.get(format!("{}{path}", self.url)).call();
        let text = response.and_then(|mut response| response.body_mut().read_to_string());
        text.ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    /// The result of an instant query.
    fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = form_urlencoded(query);
        let answer = self.get(&format!("/api/v1/query?query={encoded}"));
        assert_ne!(answer["status"], "error", "{query}: {answer}");
        answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// Repeats a request until it has a result.
    fn wait_for<T>(&self, what: &str, request: impl Fn(&Self) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = request(self) {
                return found;
            }
            assert!(started.elapsed() < TIMEOUT, "no result: {what}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

fn form_urlencoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
#[ignore = "needs Prometheus: apt-get install prometheus"]
fn prometheus_evaluates_every_query_of_the_dashboard_and_every_alert() {
    let dir = DataDir::new();
    let server = populated(&dir);
    let prometheus = Prometheus::start(&server);
    let up = "up{job=\"session-pipeline\"} == 1";
    prometheus.wait_for(up, |prometheus| prometheus.query(up).pop());
    // Rates need several scrapes.
    let scrapes = "count_over_time(session_pipeline_start_time_seconds[1m]) >= 4";
    prometheus.wait_for(scrapes, |prometheus| prometheus.query(scrapes).pop());
    let queries = dashboard_queries();
    assert!(queries.len() > 30);
    // No run is in progress.
    for query in queries {
        let result = prometheus.wait_for(&query, |prometheus| {
            let result = prometheus.query(&query);
            (!result.is_empty()).then_some(result)
        });
        assert!(result.len() < 100, "{query}");
    }
    let is_evaluated =
        |rules: &[Value]| !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown");
    let rules = prometheus.wait_for("rules", |prometheus| {
        let answer = prometheus.get("/api/v1/rules");
        let rules = answer["data"]["groups"][0]["rules"].as_array()?.clone();
        is_evaluated(&rules).then_some(rules)
    });
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    let state = |prometheus: &Prometheus, name: &str| {
        let answer = prometheus.get("/api/v1/alerts");
        let alerts = answer["data"]["alerts"].as_array()?;
        let mut of_name = alerts
            .iter()
            .filter(|alert| alert["labels"]["alertname"] == name);
        of_name
            .next()
            .map(|alert| alert["state"].as_str().unwrap().to_owned())
    };
    let reached = "SessionPipelineBudgetReached";
    let firing = prometheus.wait_for(reached, |prometheus| state(prometheus, reached));
    assert_eq!(firing, "firing");
    let quarantine = "SessionPipelineQuarantine";
    let pending = prometheus.wait_for(quarantine, |prometheus| state(prometheus, quarantine));
    assert_eq!(pending, "pending");
    assert_eq!(state(&prometheus, "SessionPipelineDown"), None);
}

#[test]
#[ignore = "needs Prometheus: apt-get install prometheus"]
fn promtool_accepts_the_rules_and_the_metrics() {
    let checked = Command::new("promtool")
        .args(["check", "rules"])
        .arg(rules())
        .output();
    let checked = checked.unwrap_or_else(|error| panic!("cannot start promtool: {error}"));
    assert!(checked.status.success(), "{checked:?}");
    let dir = DataDir::new();
    let server = populated(&dir);
    let metrics = server
        .send("GET", "/metrics", &server.analyst, "", &[])
        .body;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(&metrics).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let findings = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(
        checked.status.success() && findings.is_empty(),
        "{findings}"
    );
}
