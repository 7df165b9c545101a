//! Tokens: creation, use, listing, and revocation.

use std::time::Duration;

use serde_json::json;
use session_pipeline_harness::DataDir;

use super::{SECRET, TestServer};
use crate::database::rows;

const TOKENS: &str = "/api/admin/tokens";

#[test]
fn a_new_token_works_immediately_and_a_revoked_token_is_rejected() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let created = server.post_json(
        TOKENS,
        &json!({ "role": "analyst", "user": "bob@example.com", "label": "laptop" }),
    );
    assert_eq!(created.status, 201, "{created:?}");
    let body = created.json();
    assert_eq!(crate::documents::names(&body), ["id", "role", "token"]);
    let token = body["token"].as_str().unwrap();
    let use_token = || server.send("GET", "/api/usage/summary", token, "", &[]);
    assert_eq!(use_token().status, 200);
    let path = format!("{TOKENS}/{}", body["id"].as_str().unwrap());
    let revoked = server.send("DELETE", &path, &server.admin, "", &[]);
    assert_eq!(revoked.status, 200, "{revoked:?}");
    insta::assert_snapshot!(use_token().error(), @"401: this token was revoked; ask an admin for a new one");
    let again = server.send("DELETE", &path, &server.admin, "", &[]);
    assert_eq!(
        again.json()["revoked_at"],
        revoked.json()["revoked_at"],
        "a second revocation changes nothing"
    );
}

/// After a revocation returns 200, the token is rejected on every connection, regardless of
/// concurrent changes and uses.
#[test]
fn a_revoked_token_stays_revoked_while_others_are_created_and_revoked() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let use_token = |token: &str| {
        server
            .send("GET", "/api/usage/summary", token, "", &[])
            .status
    };
    let create = || {
        let created = server
            .post_json(TOKENS, &json!({ "role": "analyst" }))
            .json();
        let text = |field: &str| created[field].as_str().unwrap().to_owned();
        (text("id"), text("token"))
    };
    let worker = || {
        let mut revoked = Vec::new();
        for _ in 0..15 {
            let (id, token) = create();
            let path = format!("{TOKENS}/{id}");
            let response = server.send("DELETE", &path, &server.admin, "", &[]);
            assert_eq!(response.status, 200, "{response:?}");
            assert_eq!(use_token(&token), 401, "token {id}");
            revoked.push(token);
            create();
        }
        revoked
    };
    let revoked: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..6).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    for token in &revoked {
        assert_eq!(use_token(token), 401);
    }
}

#[test]
fn a_token_is_valid_until_it_expires() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let created = server
        .post_json(
            TOKENS,
            &json!({ "role": "analyst", "expires_at": "2100-01-02" }),
        )
        .json();
    let use_token = || {
        server.send(
            "GET",
            "/api/usage/summary",
            created["token"].as_str().unwrap(),
            "",
            &[],
        )
    };
    assert_eq!(use_token().status, 200);
    dir.clock().advance(Duration::from_secs(24 * 3600));
    insta::assert_snapshot!(use_token().error(), @"401: this token has expired; ask an admin for a new one");
}

#[test]
fn an_invalid_request_creates_no_token() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let error = |body| server.post_json(TOKENS, &body).error();
    insta::assert_snapshot!(error(json!({ "role": "admin", "user": "bob" })), @"422: invalid e-mail address `bob`; write one like ada@example.com");
    insta::assert_snapshot!(error(json!({ "role": "admin", "expires_at": "soon" })), @"422: invalid expiry `soon`; write a date or a time, such as 2026-12-31 or 2026-12-31T00:00:00Z");
    insta::assert_snapshot!(error(json!({ "role": "admin", "expires_at": "2020-01-01" })), @"422: expiry `2020-01-01T00:00:00Z` is in the past; use a later time, or none");
    insta::assert_snapshot!(error(json!({ "role": "admin", "label": "a\u{1b}[31mb" })), @"422: invalid label: it is longer than 200 characters or contains control characters");
    let unknown = server.send("DELETE", "/api/admin/tokens/99", &server.admin, "", &[]);
    insta::assert_snapshot!(unknown.error(), @"404: unknown token `99`; `session-pipeline token list` lists all tokens");
    server.stop();
    assert_eq!(rows(&dir, "SELECT count(*) FROM tokens"), ["2"]);
}

#[test]
fn the_shared_secret_acts_as_admin_but_cannot_create_tokens() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    assert_eq!(server.send("GET", TOKENS, SECRET, "", &[]).status, 200);
    let body = br#"{"role":"admin"}"#;
    let rejected = server.send("POST", TOKENS, SECRET, "application/json", body);
    insta::assert_snapshot!(rejected.error(), @"403: the scheduler secret cannot create tokens; use an admin token");
    for similar in [&SECRET[1..], &format!("{SECRET}0"), &SECRET.to_uppercase()] {
        assert_eq!(
            server.send("GET", TOKENS, similar, "", &[]).status,
            401,
            "{similar}"
        );
    }
}

#[test]
fn the_text_of_a_token_is_neither_stored_nor_listed() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let (admin, analyst) = (server.admin.clone(), server.analyst.clone());
    let listed = server.get(TOKENS);
    assert_eq!(listed.json()["tokens"].as_array().unwrap().len(), 2);
    assert!(!listed.text().contains("sha256"));
    server.stop();
    let stored = rows(&dir, "SELECT * FROM tokens").join("\n")
        + &rows(&dir, "SELECT * FROM audit_log").join("\n");
    for token in [admin, analyst] {
        assert!(!listed.text().contains(&token) && !stored.contains(&token));
    }
    let digests = "SELECT count(*) FROM tokens WHERE regexp_full_match(sha256, '[0-9a-f]{64}')";
    assert_eq!(rows(&dir, digests), ["2"]);
}

#[test]
fn tokens_with_one_email_address_in_different_case_have_one_user() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    for email in ["bob@example.com", "Bob@Example.com"] {
        assert_eq!(
            server
                .post_json(TOKENS, &json!({ "role": "analyst", "user": email }))
                .status,
            201
        );
    }
    server.stop();
    assert_eq!(
        rows(&dir, "SELECT email FROM users ORDER BY 1"),
        ["ada@example.com", "admin@example.com", "bob@example.com"]
    );
}

#[test]
fn the_last_use_of_a_token_is_recorded_with_minute_precision() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let last_used_at = || server.get(TOKENS).json()["tokens"][0]["last_used_at"].clone();
    super::runs::wait_until("the first use is recorded", || {
        last_used_at() == "2100-01-01T00:00:00Z"
    });
    dir.clock().advance(Duration::from_secs(59));
    assert_eq!(last_used_at(), "2100-01-01T00:00:00Z");
    dir.clock().advance(Duration::from_secs(1));
    super::runs::wait_until("the second use is recorded", || {
        last_used_at() == "2100-01-01T00:01:00Z"
    });
}

#[test]
fn creating_and_revoking_a_token_is_audited() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    server.post_json(TOKENS, &json!({ "role": "analyst", "label": "laptop" }));
    server.send("DELETE", "/api/admin/tokens/3", &server.admin, "", &[]);
    server.stop();
    let audit = "SELECT action, resource, params, result, client_kind, client_ip FROM audit_log ORDER BY CAST(id AS INTEGER)";
    insta::assert_snapshot!(rows(&dir, audit).join("\n"), @r#"
    token.create | token:1 | {"email":"admin@example.com","label":null,"role":"admin"} | ok | cli | -
    token.create | token:2 | {"email":"ada@example.com","label":null,"role":"analyst"} | ok | cli | -
    token.create | token:3 | {"email":null,"label":"laptop","role":"analyst"} | ok | web | 127.0.0.1
    token.revoke | token:3 | {"email":null,"label":"laptop","role":"analyst"} | ok | web | 127.0.0.1
    "#);
}
