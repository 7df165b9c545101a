//! The HTTP API over a real server with its own port and data directory.
//!
//! This file has the test server, and the rules that apply to every route. Each submodule tests one
//! topic.

mod administration;
mod audit;
mod heads;
mod health;
mod limits;
mod paging;
mod prices;
mod processors;
mod quarantine;
mod runs;
mod secrets;
mod shutdown;
mod tokens;
mod upload;
mod usage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use session_pipeline::dashboard::Dashboard;
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

/// The shared secret of an external scheduler. It has the minimum length.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A deterministic random source: a counter.
#[derive(Default)]
struct CountingRandomness(AtomicU64);

impl Randomness for CountingRandomness {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        let number = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = number[at % number.len()];
        }
        Ok(())
    }
}

/// A running server, with a token of each role.
pub struct TestServer {
    server: Option<Server>,
    pub pipeline: Arc<Pipeline>,
    pub url: String,
    pub admin: String,
    pub analyst: String,
    agent: ureq::Agent,
}

/// A response, read completely.
#[derive(Debug)]
pub struct HttpResponse {
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl HttpResponse {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The status and the detail of a JSON problem.
    pub fn error(&self) -> String {
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
        Self::start_inner(dir, config, limits, components, None, |_| None)
    }

    /// Starts a server with a language model.
    pub fn start_with_model(
        dir: &DataDir,
        config: Config,
        components: &[(&'static str, &'static [u8])],
        model: Arc<dyn LanguageModel>,
    ) -> Self {
        let limits = HttpLimits::default();
        Self::start_inner(dir, config, limits, components, Some(model), |_| None)
    }

    /// Starts a server with a scheduler, without a startup grace period.
    pub fn start_with_scheduler(
        dir: &DataDir,
        components: &[(&'static str, &'static [u8])],
    ) -> Self {
        let mut config = dir.config();
        config.scheduler.startup_grace = Duration::ZERO;
        // Shorter than the configuration allows, so that tests do not wait.
        config.scheduler.tick = Duration::from_millis(20);
        let limits = HttpLimits::default();
        Self::start_inner(dir, config, limits, components, None, |pipeline| {
            let clock = Arc::clone(pipeline.clock());
            let scheduler = Scheduler::new(pipeline.config(), cadences(pipeline), clock);
            let source = Arc::clone(pipeline);
            Some(
                scheduler
                    .unwrap()
                    .with_processor_source(move || cadences_after_examination(&source)),
            )
        })
    }

    fn start_inner(
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
        let randomness = CountingRandomness::default();
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
        let mut service = service.unwrap().with_frontend(Dashboard);
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

    /// Sends a request. An empty token or content type is omitted.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        content_type: &str,
        body: &[u8],
    ) -> HttpResponse {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if !content_type.is_empty() {
            request = request.header("Content-Type", content_type);
        }
        let agent = &self.agent;
        let result = if body.is_empty() && content_type.is_empty() && method != "POST" {
            agent.run(request.body(()).unwrap())
        } else {
            agent.run(request.body(body.to_vec()).unwrap())
        };
        let mut response = result.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let content_type = response.headers().get("content-type");
        HttpResponse {
            status: response.status().as_u16(),
            content_type: content_type
                .map(|content_type| content_type.to_str().unwrap().to_owned())
                .unwrap_or_default(),
            body: response.body_mut().read_to_vec().unwrap(),
        }
    }

    /// Sends any request, and returns the response without following redirects.
    pub fn run(&self, request: Request<Vec<u8>>) -> ureq::http::Response<ureq::Body> {
        let place = format!("{} {}", request.method(), request.uri());
        let request = self
            .agent
            .configure_request(request)
            .max_redirects(0)
            .build();
        self.agent
            .run(request)
            .unwrap_or_else(|error| panic!("{place}: {error}"))
    }

    /// Serves metrics without authentication, and returns their URL.
    pub fn listen_for_metrics(&self) -> String {
        let server = self.server.as_ref().unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        server.listen_for_metrics(address).unwrap()
    }

    /// Creates a token.
    pub fn token(&self, role: &str, email: &str) -> String {
        let body = serde_json::json!({ "role": role, "user": email });
        let created = self.post_json("/api/admin/tokens", &body);
        created.json()["token"]
            .as_str()
            .unwrap_or_else(|| panic!("{created:?}"))
            .to_owned()
    }

    pub fn get(&self, path: &str) -> HttpResponse {
        self.send("GET", path, &self.admin, "", &[])
    }

    pub fn post(&self, path: &str) -> HttpResponse {
        self.send("POST", path, &self.admin, "", &[])
    }

    pub fn post_json(&self, path: &str, body: &Value) -> HttpResponse {
        let body = body.to_string();
        self.send(
            "POST",
            path,
            &self.admin,
            "application/json",
            body.as_bytes(),
        )
    }

    /// Stops the server, so that a test can open the database.
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

/// The sessions folder of the only user who uploaded something.
pub fn user_folder(dir: &DataDir) -> PathBuf {
    let mut folders = std::fs::read_dir(dir.sessions_root()).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    assert!(folders.next().is_none(), "several users have uploaded");
    folder
}

/// The operations of the served OpenAPI document, by method and path.
pub fn operations(server: &TestServer) -> BTreeMap<String, Value> {
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

/// The role that each route requires. Add a line for every new route. `any` accepts every valid
/// token, and `open` needs none.
const ROLES: &[(&str, &str)] = &[
    ("DELETE /api/admin/tokens/{id}", "admin"),
    ("GET /api/admin/audit", "admin"),
    ("GET /api/admin/processors", "admin"),
    ("GET /api/admin/quarantine", "admin"),
    ("GET /api/admin/runs", "admin"),
    ("GET /api/admin/runs/{id}", "admin"),
    ("GET /api/admin/scheduler", "admin"),
    ("GET /api/admin/sessions", "member"),
    ("GET /api/admin/tokens", "admin"),
    ("GET /api/admin/transcript", "member"),
    ("GET /api/admin/transcript/entry", "member"),
    ("GET /api/admin/transcript/marks", "member"),
    ("GET /api/admin/usage/export", "admin"),
    ("GET /api/admin/usage/summary", "admin"),
    ("GET /api/health", "open"),
    ("GET /api/health/detailed", "analyst"),
    ("GET /api/knowledge", "analyst"),
    ("GET /api/knowledge/export", "analyst"),
    ("GET /api/knowledge/{id}", "analyst"),
    ("GET /api/openapi.json", "open"),
    ("GET /api/usage/prices", "analyst"),
    ("GET /api/usage/quality", "analyst"),
    ("GET /api/usage/skills", "member"),
    ("GET /api/usage/summary", "member"),
    ("GET /api/usage/tools", "member"),
    ("GET /api/usage/waste", "member"),
    ("GET /api/version", "open"),
    ("GET /metrics", "analyst"),
    ("POST /api/admin/health/acknowledge", "admin"),
    ("POST /api/admin/prices/update", "admin"),
    ("POST /api/admin/quarantine/release", "admin"),
    ("POST /api/admin/reprocess", "admin"),
    ("POST /api/admin/run-session-processor", "admin"),
    ("POST /api/admin/tokens", "admin"),
    ("POST /api/admin/usage/prune", "admin"),
    ("POST /api/admin/usage/reprocess", "admin"),
    ("POST /api/knowledge/decisions", "admin"),
    ("POST /api/knowledge/{id}/approve", "admin"),
    ("POST /api/knowledge/{id}/reject", "admin"),
    ("POST /api/upload/manifest", "any"),
    ("POST /api/upload/sessions", "any"),
    ("PUT /api/upload/sessions/{path}", "any"),
];

#[test]
fn every_route_accepts_only_its_documented_roles() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let member = server.token("member", "mia@example.com");
    let operations = operations(&server);
    let served: Vec<&str> = operations.keys().map(String::as_str).collect();
    let expected: Vec<&str> = ROLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(served, expected, "every route needs a line in ROLES");
    for (name, role) in ROLES {
        let operation = &operations[*name];
        let roles = &operation["security"][0]["bearer"];
        let documented = match roles.as_array().map(Vec::as_slice) {
            None => "open",
            Some([]) => "any",
            Some([role]) => role.as_str().unwrap(),
            Some(_) => panic!("{name}: unexpected roles {roles}"),
        };
        assert_eq!(documented, *role, "{name}: wrong role in the document");
        let (method, path) = name.split_once(' ').unwrap();
        let path = path.replace("{id}", "999");
        for (caller, token) in [
            ("no token", ""),
            ("an unknown token", "sp_made-up"),
            ("member", member.as_str()),
            ("analyst", server.analyst.as_str()),
            ("admin", server.admin.as_str()),
            ("scheduler", SECRET),
        ] {
            let response = server.send(method, &path, token, "", &[]);
            let expected = match (*role, caller) {
                ("open", _) => None,
                (_, "no token" | "an unknown token") => Some(401),
                ("admin", "member" | "analyst") | ("analyst", "member") => Some(403),
                // An upload needs a user, and the secret cannot create tokens.
                ("any", "scheduler") if name.ends_with("/api/upload/sessions") => Some(403),
                ("any", "scheduler") if name.starts_with("PUT /api/upload") => Some(403),
                ("admin", "scheduler") if *name == "POST /api/admin/tokens" => {
                    // The missing body is rejected first.
                    Some(415)
                }
                _ => None,
            };
            match expected {
                Some(status) => {
                    assert_eq!(response.status, status, "{name} as {caller}: {response:?}")
                }
                None => assert!(
                    ![401, 403].contains(&response.status) && response.status < 500,
                    "{name} as {caller}: {response:?}"
                ),
            }
            let status = response.status.to_string();
            assert!(
                operation["responses"].get(&status).is_some(),
                "{name} as {caller}: the status {status} is not documented"
            );
            if response.status >= 400 {
                response.error();
            }
        }
    }
}

#[test]
fn every_error_response_is_a_json_problem() {
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
        let response = server.send(method, path, admin, kind, body);
        assert_eq!(response.status, status, "{method} {path}: {response:?}");
        assert_eq!(response.content_type, "application/json", "{method} {path}");
        assert!(!response.error().is_empty());
    }
}

#[test]
fn unusual_values_never_cause_an_internal_error() {
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
        let response = server.get(path);
        assert!(response.status < 500, "{path}: {response:?}");
    }
    for path in [
        "/api/admin/run-session-processor?processor=%00",
        "/api/admin/run-session-processor?processor=usage&max_sessions=18446744073709551615&time_budget=4294967295",
        "/api/admin/reprocess?processor=usage&session=%00",
    ] {
        let response = server.post(path);
        assert!(response.status < 500, "{path}: {response:?}");
    }
    let revoke = server.send("DELETE", "/api/admin/tokens/%00", &server.admin, "", &[]);
    assert_eq!(revoke.status, 404, "{revoke:?}");
    for body in [
        serde_json::json!({ "role": "analyst", "expires_at": "9999-12-30T22:00:00Z" }),
        serde_json::json!({ "role": "analyst", "expires_at": "\u{0}" }),
        serde_json::json!({ "role": "analyst", "user": "a\u{0}@b", "label": "" }),
        serde_json::json!({ "role": "analyst", "user": "🌙@example.com" }),
    ] {
        let response = server.post_json("/api/admin/tokens", &body);
        assert!(response.status < 500, "{body}: {response:?}");
    }
}

#[test]
fn an_error_names_the_invalid_parameter() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let error = |path: &str| server.get(path).error();
    insta::assert_snapshot!(error("/api/admin/runs?moon=1"), @"422: moon: unknown field `moon`, expected one of `processor`, `limit`, `cursor`");
    insta::assert_snapshot!(error("/api/admin/runs?limit=many"), @"422: limit: invalid digit found in string");
    insta::assert_snapshot!(server.post("/api/admin/run-session-processor").error(), @"422: missing field `processor`");
    insta::assert_snapshot!(error("/api/usage/summary?by=moon"), @"422: by: unknown variant `moon`, expected one of `day`, `week`, `month`, `hour`, `session`, `user`, `model`, `tool`, `project`, `project-name`, `branch`, `pull-request`, `source`, `agent-type`, `skill`, `plugin`, `mcp-server`, `effort`, `entrypoint`, `agent`, `provider`");
}

#[test]
fn health_and_version_need_no_token_and_reveal_no_details() {
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
fn the_openapi_document_describes_every_field_and_parameter() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let document = server.send("GET", "/api/openapi.json", "", "", &[]).json();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(schemas.len() > 20, "the document lacks schemas");
    for (name, schema) in schemas {
        let is_object = schema["type"] == "object";
        let has_fields = schema.get("properties").is_some();
        assert!(
            !is_object || has_fields,
            "{name} does not describe its fields"
        );
    }
    let mut ids = std::collections::BTreeSet::new();
    for (name, operation) in operations(&server) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{name}: the operation id is not unique");
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
