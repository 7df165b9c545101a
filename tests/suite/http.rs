//! The service as clients meet it: a real server on a port of its own, over a data dir of the test.
//!
//! A room for each subject below; here is the server that all of them start, and what holds for
//! every route.

mod administration;
mod audit;
mod heads;
mod health;
mod limits;
mod paging;
mod processors;
mod quarantine;
mod runs;
mod secrets;
mod shutdown;
mod tokens;
mod upload;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use session_pipeline::http::{HttpLimits, Server, ServiceState};
use session_pipeline_harness::DataDir;
use session_pipeline_host::model::LanguageModel;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::Pipeline;
use session_pipeline_pipeline::scheduler::{Scheduler, cadences, cadences_after_examination};
use session_pipeline_pipeline::token::{self, Randomness, SchedulerSecret};
use session_pipeline_store::{Actor, NewToken, Role};
use ureq::http::Request;

use crate::guests::shipped;

/// The shared secret of a scheduler, just long enough.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Numbers that are never the same twice, and the same in every test.
#[derive(Default)]
struct Counting(AtomicU64);

impl Randomness for Counting {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        let number = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = number[at % number.len()];
        }
        Ok(())
    }
}

/// A service that is answering.
pub struct TestServer {
    server: Option<Server>,
    pub pipeline: Arc<Pipeline>,
    pub url: String,
    pub admin: String,
    pub analyst: String,
    agent: ureq::Agent,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).unwrap()
    }

    /// The status with the reason.
    pub fn refusal(&self) -> String {
        let body = self.json();
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
        assert!(body["class"].is_string(), "{body}");
        format!("{}: {}", self.status, body["detail"].as_str().unwrap())
    }
}

impl TestServer {
    pub fn start(dir: &DataDir, components: &[(&'static str, &'static [u8])]) -> Self {
        Self::start_with(dir, dir.config(), HttpLimits::default(), components)
    }

    pub fn start_with(
        dir: &DataDir,
        config: Config,
        limits: HttpLimits,
        components: &[(&'static str, &'static [u8])],
    ) -> Self {
        Self::start_as(dir, config, limits, components, None, |_| None)
    }

    /// A service with a language model.
    pub fn start_with_model(
        dir: &DataDir,
        config: Config,
        components: &[(&'static str, &'static [u8])],
        model: Arc<dyn LanguageModel>,
    ) -> Self {
        let limits = HttpLimits::default();
        Self::start_as(dir, config, limits, components, Some(model), |_| None)
    }

    /// A service that starts runs by itself, without a start-up grace.
    pub fn start_with_scheduler(
        dir: &DataDir,
        components: &[(&'static str, &'static [u8])],
    ) -> Self {
        let mut config = dir.config();
        config.scheduler.startup_grace = Duration::ZERO;
        // More often than anybody may ask for, so that no test waits for it.
        config.scheduler.tick = Duration::from_millis(20);
        let limits = HttpLimits::default();
        Self::start_as(dir, config, limits, components, None, |pipeline| {
            let clock = Arc::clone(pipeline.clock());
            let scheduler = Scheduler::new(pipeline.config(), cadences(pipeline), clock);
            let asked = Arc::clone(pipeline);
            Some(
                scheduler
                    .unwrap()
                    .with_processor_source(move || cadences_after_examination(&asked)),
            )
        })
    }

    fn start_as(
        dir: &DataDir,
        config: Config,
        limits: HttpLimits,
        components: &[(&'static str, &'static [u8])],
        model: Option<Arc<dyn LanguageModel>>,
        scheduler: impl FnOnce(&Arc<Pipeline>) -> Option<Scheduler>,
    ) -> Self {
        let shipped = components
            .iter()
            .map(|&(name, component)| shipped(name, component));
        let clock = Arc::clone(dir.clock());
        let mut pipeline = Pipeline::open(config, clock, Registry::new(shipped)).unwrap();
        if let Some(model) = model {
            pipeline = pipeline.with_language_model(model);
        }
        let pipeline = Arc::new(pipeline);
        let scheduler = scheduler(&pipeline);
        let randomness = Counting::default();
        let token = |role, email: &str| {
            let new = NewToken {
                role,
                email: Some(email.to_owned()),
                label: None,
                expires_at: None,
            };
            let (store, now) = (pipeline.store(), pipeline.clock().now());
            token::create(store, &new, &randomness, Actor::cli(), now)
                .unwrap()
                .text
        };
        let admin = token(Role::Admin, "admin@example.com");
        let analyst = token(Role::Analyst, "ada@example.com");
        let secret = SchedulerSecret::parse(Some(SECRET)).unwrap();
        let service =
            ServiceState::new(Arc::clone(&pipeline), secret, Box::new(randomness), limits);
        let mut service = service.unwrap();
        if let Some(scheduler) = &scheduler {
            service = service.with_scheduler(scheduler.watch());
        }
        let address = "127.0.0.1:0".parse().unwrap();
        let server = Server::start(Arc::new(service), address).unwrap();
        if let Some(scheduler) = scheduler {
            server.schedule(scheduler);
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build();
        Self {
            url: server.url().to_owned(),
            server: Some(server),
            pipeline,
            admin,
            analyst,
            agent: agent.new_agent(),
        }
    }

    /// Sends a request as somebody; the token is left out where it is empty.
    pub fn send(&self, method: &str, path: &str, token: &str, kind: &str, body: &[u8]) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if !kind.is_empty() {
            request = request.header("Content-Type", kind);
        }
        let agent = &self.agent;
        let sent = if body.is_empty() && kind.is_empty() && method != "POST" {
            agent.run(request.body(()).unwrap())
        } else {
            agent.run(request.body(body.to_vec()).unwrap())
        };
        let mut answer = sent.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let kind = answer.headers().get("content-type");
        Answer {
            status: answer.status().as_u16(),
            kind: kind
                .map(|kind| kind.to_str().unwrap().to_owned())
                .unwrap_or_default(),
            bytes: answer.body_mut().read_to_vec().unwrap(),
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &self.admin, "", &[])
    }

    pub fn post(&self, path: &str) -> Answer {
        self.send("POST", path, &self.admin, "", &[])
    }

    pub fn post_json(&self, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        self.send(
            "POST",
            path,
            &self.admin,
            "application/json",
            body.as_bytes(),
        )
    }

    /// Stops the service, so that the database can be looked into.
    pub fn stop(mut self) -> session_pipeline::http::Shutdown {
        self.server.take().unwrap().stop()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

/// The operations of the served description: method and path, with what is said of each.
fn operations(server: &TestServer) -> BTreeMap<String, Value> {
    let document = server.send("GET", "/api/openapi.json", "", "", &[]).json();
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{} {path}", method.to_uppercase());
            operations.insert(name, operation.clone());
        }
    }
    operations
}

/// Who may do what. If you are here because you added a route: add its line, with the role that
/// ARCHITECTURE.md §8 gives it.
const ROLES: &[(&str, &str)] = &[
    ("DELETE /api/admin/tokens/{id}", "admin"),
    ("GET /api/admin/audit", "admin"),
    ("GET /api/admin/processors", "admin"),
    ("GET /api/admin/quarantine", "admin"),
    ("GET /api/admin/runs", "admin"),
    ("GET /api/admin/runs/{id}", "admin"),
    ("GET /api/admin/scheduler", "admin"),
    ("GET /api/admin/sessions", "admin"),
    ("GET /api/admin/tokens", "admin"),
    ("GET /api/admin/usage/export", "admin"),
    ("GET /api/admin/usage/summary", "admin"),
    ("GET /api/health", "open"),
    ("GET /api/health/detailed", "any"),
    ("GET /api/knowledge", "analyst"),
    ("GET /api/knowledge/{id}", "analyst"),
    ("GET /api/openapi.json", "open"),
    ("GET /api/usage/summary", "analyst"),
    ("GET /api/version", "open"),
    ("POST /api/admin/health/acknowledge", "admin"),
    ("POST /api/admin/quarantine/release", "admin"),
    ("POST /api/admin/reprocess", "admin"),
    ("POST /api/admin/run-session-processor", "admin"),
    ("POST /api/admin/tokens", "admin"),
    ("POST /api/admin/usage/prune", "admin"),
    ("POST /api/admin/usage/reprocess", "admin"),
    ("POST /api/knowledge/{id}/approve", "admin"),
    ("POST /api/knowledge/{id}/reject", "admin"),
    ("POST /api/upload/sessions", "any"),
];

#[test]
fn every_route_lets_in_whom_it_should_and_nobody_else() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let operations = operations(&server);
    let served: Vec<&str> = operations.keys().map(String::as_str).collect();
    let known: Vec<&str> = ROLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(served, known, "each route has a line in ROLES");
    for (name, role) in ROLES {
        let operation = &operations[*name];
        let asked = &operation["security"][0]["bearer"];
        let described = match asked.as_array().map(Vec::as_slice) {
            None => "open",
            Some([]) => "any",
            Some([role]) => role.as_str().unwrap(),
            Some(_) => panic!("{name}: {asked}"),
        };
        assert_eq!(described, *role, "{name}: what its description says");
        let (method, path) = name.split_once(' ').unwrap();
        let path = path.replace("{id}", "999");
        for (who, token) in [
            ("nobody", ""),
            ("a stranger", "sp_made-up"),
            ("analyst", server.analyst.as_str()),
            ("admin", server.admin.as_str()),
            ("scheduler", SECRET),
        ] {
            let answer = server.send(method, &path, token, "", &[]);
            let expected = match (*role, who) {
                ("open", _) => None,
                (_, "nobody" | "a stranger") => Some(401),
                ("admin", "analyst") => Some(403),
                // What is kept needs somebody whose it is, and a secret makes no other secrets.
                ("any", "scheduler") if *name == "POST /api/upload/sessions" => Some(403),
                ("admin", "scheduler") if *name == "POST /api/admin/tokens" => {
                    // Told only once it is known what is asked for.
                    Some(415)
                }
                _ => None,
            };
            match expected {
                Some(status) => assert_eq!(answer.status, status, "{name} as {who}: {answer:?}"),
                None => assert!(
                    ![401, 403].contains(&answer.status) && answer.status < 500,
                    "{name} as {who}: {answer:?}"
                ),
            }
            let status = answer.status.to_string();
            assert!(
                operation["responses"].get(&status).is_some(),
                "{name} as {who} answers {status}, which is not described"
            );
            if answer.status >= 400 {
                answer.refusal();
            }
        }
    }
}

#[test]
fn every_kind_of_failure_is_one_json_document() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let tokens = "/api/admin/tokens";
    let json = "application/json";
    let admin = server.admin.as_str();
    let large = vec![b' '; 70_000];
    for (method, path, kind, body, status) in [
        ("GET", "/nowhere", "", &b""[..], 404),
        ("GET", "/api/admin/runs/999", "", b"", 404),
        ("DELETE", "/api/health", "", b"", 405),
        ("POST", tokens, json, b"{\"role\":", 400),
        ("POST", tokens, json, b"{\"role\":\"king\"}", 422),
        (
            "POST",
            tokens,
            json,
            b"{\"role\":\"admin\",\"more\":1}",
            422,
        ),
        ("POST", tokens, json, b"[]", 422),
        ("POST", tokens, "text/plain", b"{}", 415),
        ("POST", tokens, json, &large, 413),
        ("GET", "/api/admin/runs?limit=0", "", b"", 422),
        ("GET", "/api/admin/runs?limit=many", "", b"", 422),
        ("GET", "/api/admin/runs?limit=5&limit=6", "", b"", 422),
        ("GET", "/api/admin/runs?moon=1", "", b"", 422),
        ("GET", "/api/admin/audit?limit=1001", "", b"", 422),
        ("POST", "/api/admin/run-session-processor", "", b"", 422),
        ("GET", "/api/usage/summary?since=yesterday", "", b"", 422),
        (
            "GET",
            "/api/usage/summary?since=2026-02-01&until=2026-01-01",
            "",
            b"",
            422,
        ),
        ("GET", "/api/admin/usage/export?format=xml", "", b"", 422),
        (
            "GET",
            "/api/admin/usage/export?since=yesterday",
            "",
            b"",
            400,
        ),
        ("GET", "/api/admin/usage/summary?window=1d", "", b"", 422),
    ] {
        let answer = server.send(method, path, admin, kind, body);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.kind, "application/json", "{method} {path}");
        assert!(!answer.refusal().is_empty());
    }
}

#[test]
fn odd_values_are_never_a_failure_of_ours() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[crate::guests::usage()]);
    for path in [
        "/api/admin/runs/%00",
        "/api/admin/runs/%FF",
        "/api/admin/runs/%F0%9F%8C%99",
        "/api/admin/runs?processor=%00&limit=1000",
        "/api/admin/sessions?key=%00",
        "/api/admin/sessions?key=../../secret",
        "/api/admin/sessions?key=",
        "/api/admin/sessions?search=%00&user=%FF&project=%27&sort=title",
        "/api/admin/sessions?since=0000-01-01&until=9999-12-31&sort=recent",
        "/api/admin/sessions?since=-009999-01-01",
        "/api/admin/sessions?state=&sort=cost&cursor=%5B%22-%22%2C%22%22%5D",
        "/api/usage/summary?since=0000-01-01&until=9999-12-31",
        "/api/usage/summary?by=tool&since=0000-01-01",
        "/api/usage/summary?since=",
        "/api/admin/usage/export?since=-009999-01-02T00:00:00Z",
        "/api/admin/usage/export?until=9999-12-30T22:00:00Z&format=json",
        "/api/admin/usage/export?user_id=%00%27&format=json",
        "/api/admin/usage/export?source=%27%3B%20DROP%20TABLE%20users%3B&format=json",
        "/api/admin/usage/summary?window=all",
    ] {
        let answer = server.get(path);
        assert!(answer.status < 500, "{path}: {answer:?}");
    }
    for path in [
        "/api/admin/run-session-processor?processor=%00",
        "/api/admin/run-session-processor?processor=usage&max_sessions=18446744073709551615&time_budget=4294967295",
        "/api/admin/reprocess?processor=usage&session=%00",
    ] {
        let answer = server.post(path);
        assert!(answer.status < 500, "{path}: {answer:?}");
    }
    let revoke = server.send("DELETE", "/api/admin/tokens/%00", &server.admin, "", &[]);
    assert_eq!(revoke.status, 404, "{revoke:?}");
    for body in [
        serde_json::json!({ "role": "analyst", "expires_at": "9999-12-30T22:00:00Z" }),
        serde_json::json!({ "role": "analyst", "expires_at": "\u{0}" }),
        serde_json::json!({ "role": "analyst", "user": "a\u{0}@b", "label": "" }),
        serde_json::json!({ "role": "analyst", "user": "🌙@example.com" }),
    ] {
        let answer = server.post_json("/api/admin/tokens", &body);
        assert!(answer.status < 500, "{body}: {answer:?}");
    }
}

#[test]
fn a_wrong_parameter_is_named() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let refusal = |path: &str| server.get(path).refusal();
    insta::assert_snapshot!(refusal("/api/admin/runs?moon=1"), @"422: moon: unknown field `moon`, expected one of `processor`, `limit`, `cursor`");
    insta::assert_snapshot!(refusal("/api/admin/runs?limit=many"), @"422: limit: invalid digit found in string");
    insta::assert_snapshot!(server.post("/api/admin/run-session-processor").refusal(), @"422: missing field `processor`");
    insta::assert_snapshot!(refusal("/api/usage/summary?by=moon"), @"422: by: unknown variant `moon`, expected one of `day`, `month`, `session`, `user`, `model`, `tool`, `project`");
}

#[test]
fn health_and_version_are_open_and_say_no_more_than_they_should() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let health = server.send("GET", "/api/health", "", "", &[]);
    assert_eq!(health.status, 200);
    insta::assert_json_snapshot!(health.json(), { ".current" => "[version]", ".expected" => "[version]" }, @r#"
    {
      "current": "[version]",
      "db_schema": "ok",
      "expected": "[version]",
      "status": "ok"
    }
    "#);
    let body = health.json();
    assert_eq!(body["current"], body["expected"]);
    let version = server.send("GET", "/api/version", "", "", &[]).json();
    insta::assert_json_snapshot!(version, { ".version" => "[version]", ".schema_version" => "[version]" }, @r#"
    {
      "channel": "dev",
      "deployed_at": "2100-01-01T00:00:00Z",
      "image_tag": "unknown",
      "schema_version": "[version]",
      "version": "[version]"
    }
    "#);
}

#[test]
fn the_description_leaves_no_object_open() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let document = server.send("GET", "/api/openapi.json", "", "", &[]).json();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(schemas.len() > 20, "the types are there");
    for (name, schema) in schemas {
        let is_object = schema["type"] == "object";
        let has_fields = schema.get("properties").is_some();
        assert!(
            !is_object || has_fields,
            "{name} says nothing of its fields"
        );
    }
    let mut ids = std::collections::BTreeSet::new();
    for (name, operation) in operations(&server) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{name} has the id of another operation");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("500"), "{name}");
        for (status, response) in responses {
            assert_ne!(response["content"], Value::Null, "{name} {status}");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter.get("schema").is_some(), "{name}: {parameter}");
            assert!(
                !parameter["description"]
                    .as_str()
                    .unwrap_or_default()
                    .is_empty(),
                "{name}: {parameter}"
            );
        }
    }
}
