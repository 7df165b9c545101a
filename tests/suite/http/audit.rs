//! Audit entries of denied and failed requests, and of client kinds and addresses.

use serde_json::{Value, json};
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::DataDir;
use ureq::http::Request;

use super::{SECRET, TestServer};
use crate::database::rows;

const AUDIT: &str = "/api/admin/audit";

/// The audit entries of denied and failed requests, oldest first.
fn request_entries(server: &TestServer) -> Vec<Value> {
    let audit = server.get(AUDIT).json();
    let entries = audit["entries"].as_array().unwrap().iter().rev();
    let is_request = |entry: &&Value| {
        let action = entry["action"].as_str().unwrap();
        action.starts_with("request.")
    };
    entries.filter(is_request).cloned().collect()
}

#[test]
fn denied_and_failed_requests_are_audited() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let unknown = "sp_00000000000000000000000000000000";
    for (method, path, token) in [
        ("GET", "/api/admin/tokens", ""),
        ("GET", "/api/admin/tokens", unknown),
        ("GET", "/api/admin/audit", server.analyst.as_str()),
        ("DELETE", "/api/admin/tokens/999", &server.admin),
        (
            "POST",
            "/api/admin/run-session-processor?processor=none",
            SECRET,
        ),
        ("GET", "/api/nothing", ""),
        ("GET", "/api/health", ""),
    ] {
        server.send(method, path, token, "", &[]);
    }
    let rows: Vec<String> = request_entries(&server)
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
            let user = match text("user_id").as_str() {
                user if user.len() == 36 => "a user".to_owned(),
                user => user.to_owned(),
            };
            let params: Value = match &row["params"] {
                Value::String(text) => serde_json::from_str(text).unwrap(),
                params => params.clone(),
            };
            format!(
                "{} {} {} {} {} {} {}",
                text("action"),
                text("resource"),
                params["status"],
                text("result"),
                text("client_kind"),
                user,
                text("client_ip")
            )
        })
        .collect();
    insta::assert_snapshot!(rows.join("\n"), @"
    request.denied GET /api/admin/tokens 401 failed web - 127.0.0.1
    request.denied GET /api/admin/audit 403 failed web a user 127.0.0.1
    request.failed DELETE /api/admin/tokens/{id} 404 failed web a user 127.0.0.1
    request.failed POST /api/admin/run-session-processor 400 failed scheduler scheduler 127.0.0.1
    ");
}

#[test]
fn a_flood_of_denied_requests_is_recorded_in_few_rows() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    for number in 0..300 {
        let path = format!("/api/admin/tokens/{number}?{number}");
        assert_eq!(server.send("DELETE", &path, "", "", &[]).status, 401);
    }
    assert_eq!(request_entries(&server).len(), 1);
}

#[test]
fn the_user_agent_does_not_change_the_client_kind() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    for agent in [
        "session-pipeline/0.1.0",
        "session-pipeline/9 scheduler",
        "curl",
    ] {
        let request = Request::post(format!("{}/api/admin/tokens", server.url))
            .header("User-Agent", agent)
            .header("Authorization", format!("Bearer {}", server.admin))
            .header("Content-Type", "application/json")
            .body(json!({ "role": "analyst" }).to_string());
        let response = ureq::Agent::new_with_defaults().run(request.unwrap());
        assert_eq!(response.unwrap().status(), 201);
    }
    server.stop();
    let kinds = "SELECT DISTINCT client_kind FROM audit_log WHERE client_ip IS NOT NULL";
    assert_eq!(rows(&dir, kinds), ["web"]);
}

/// The client address in the audit entry of a request with these headers.
fn audited_address(trusted: &str, forwarded: &[&str]) -> String {
    let dir = DataDir::new();
    let mut config = dir.config();
    let networks = trusted.split(',').filter(|network| !network.is_empty());
    config.service.trusted_proxies = networks.map(|text| text.parse().unwrap()).collect();
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[]);
    let mut request = Request::post(format!("{}/api/admin/tokens", server.url))
        .header("Authorization", format!("Bearer {}", server.admin))
        .header("Content-Type", "application/json");
    for value in forwarded {
        request = request.header("X-Forwarded-For", *value);
    }
    let request = request.body(json!({ "role": "analyst" }).to_string());
    let response = ureq::Agent::new_with_defaults().run(request.unwrap());
    assert_eq!(response.unwrap().status(), 201);
    server.stop();
    let ip = "SELECT client_ip FROM audit_log WHERE client_ip IS NOT NULL";
    rows(&dir, ip).remove(0)
}

#[test]
fn only_a_trusted_proxy_can_set_the_client_address() {
    for (trusted, forwarded, expected) in [
        ("", &["203.0.113.9"][..], "127.0.0.1"),
        ("10.0.0.0/8", &["203.0.113.9"], "127.0.0.1"),
        ("127.0.0.0/8", &[], "127.0.0.1"),
        ("127.0.0.0/8", &["203.0.113.9"], "203.0.113.9"),
        // The client controls all entries before the one that its proxy appended.
        ("127.0.0.0/8", &["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        (
            "127.0.0.0/8",
            &["198.51.100.1", "203.0.113.9"],
            "203.0.113.9",
        ),
        (
            "127.0.0.1,10.0.0.0/8",
            &["198.51.100.1, 203.0.113.9, 10.1.2.3"],
            "203.0.113.9",
        ),
        ("127.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
        ("127.0.0.1", &["[2001:db8::1]:80"], "2001:db8::1"),
        ("127.0.0.1", &["198.51.100.1, unknown"], "127.0.0.1"),
        ("127.0.0.1", &["'; DROP TABLE audit_log; --"], "127.0.0.1"),
    ] {
        assert_eq!(
            audited_address(trusted, forwarded),
            expected,
            "{trusted} {forwarded:?}"
        );
    }
}
