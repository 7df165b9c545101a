//! Tokens: made, used, listed and taken back.

use std::time::Duration;

use serde_json::json;
use session_pipeline_harness::DataDir;

use super::{SECRET, TestServer};
use crate::database::rows;

const TOKENS: &str = "/api/admin/tokens";

#[test]
fn a_new_token_works_at_once_and_a_revoked_one_no_more() {
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
    let asks = || server.send("GET", "/api/usage/summary", token, "", &[]);
    assert_eq!(asks().status, 200);
    let path = format!("{TOKENS}/{}", body["id"].as_str().unwrap());
    let revoked = server.send("DELETE", &path, &server.admin, "", &[]);
    assert_eq!(revoked.status, 200, "{revoked:?}");
    insta::assert_snapshot!(asks().refusal(), @"401: this token was revoked; ask an admin for a new one");
    let again = server.send("DELETE", &path, &server.admin, "", &[]);
    assert_eq!(
        again.json()["revoked_at"],
        revoked.json()["revoked_at"],
        "it stays as it is"
    );
}

/// Once a revocation is answered with 200, the token is rejected on every connection, whatever other
/// changes and uses are in progress.
#[test]
fn a_revoked_token_stays_revoked_while_others_are_created_and_revoked() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let use_it = |token: &str| {
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
            let answer = server.send("DELETE", &path, &server.admin, "", &[]);
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(use_it(&token), 401, "token {id}");
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
        assert_eq!(use_it(token), 401);
    }
}

#[test]
fn a_token_is_good_until_it_expires() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let created = server
        .post_json(
            TOKENS,
            &json!({ "role": "analyst", "expires_at": "2100-01-02" }),
        )
        .json();
    let asks = || {
        server.send(
            "GET",
            "/api/usage/summary",
            created["token"].as_str().unwrap(),
            "",
            &[],
        )
    };
    assert_eq!(asks().status, 200);
    dir.clock().advance(Duration::from_secs(24 * 3600));
    insta::assert_snapshot!(asks().refusal(), @"401: this token has expired; ask an admin for a new one");
}

#[test]
fn what_makes_no_sense_makes_no_token() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let refusal = |body| server.post_json(TOKENS, &body).refusal();
    insta::assert_snapshot!(refusal(json!({ "role": "admin", "user": "bob" })), @"422: invalid e-mail address `bob`; write one like ada@example.com");
    insta::assert_snapshot!(refusal(json!({ "role": "admin", "expires_at": "soon" })), @"422: `soon` is no time; write one like 2026-12-31 or 2026-12-31T00:00:00Z");
    insta::assert_snapshot!(refusal(json!({ "role": "admin", "expires_at": "2020-01-01" })), @"422: expiry `2020-01-01T00:00:00Z` is in the past; use a later time, or none");
    insta::assert_snapshot!(refusal(json!({ "role": "admin", "label": "a\u{1b}[31mb" })), @"422: invalid label: it is longer than 200 characters or contains control characters");
    let unknown = server.send("DELETE", "/api/admin/tokens/99", &server.admin, "", &[]);
    insta::assert_snapshot!(unknown.refusal(), @"404: unknown token `99`; `session-pipeline token list` lists all tokens");
    server.stop();
    assert_eq!(rows(&dir, "SELECT count(*) FROM tokens"), ["2"]);
}

#[test]
fn the_shared_secret_acts_as_admin_but_makes_no_tokens() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    assert_eq!(server.send("GET", TOKENS, SECRET, "", &[]).status, 200);
    let body = br#"{"role":"admin"}"#;
    let refused = server.send("POST", TOKENS, SECRET, "application/json", body);
    insta::assert_snapshot!(refused.refusal(), @"403: the scheduler's secret makes no tokens; use a token of your own");
    for close in [&SECRET[1..], &format!("{SECRET}0"), &SECRET.to_uppercase()] {
        assert_eq!(
            server.send("GET", TOKENS, close, "", &[]).status,
            401,
            "{close}"
        );
    }
}

#[test]
fn neither_the_database_nor_a_list_holds_the_text_of_a_token() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let (admin, analyst) = (server.admin.clone(), server.analyst.clone());
    let listed = server.get(TOKENS);
    assert_eq!(listed.json()["tokens"].as_array().unwrap().len(), 2);
    assert!(!listed.text().contains("sha256"));
    server.stop();
    let kept = rows(&dir, "SELECT * FROM tokens").join("\n")
        + &rows(&dir, "SELECT * FROM audit_log").join("\n");
    for token in [admin, analyst] {
        assert!(!listed.text().contains(&token) && !kept.contains(&token));
    }
    let digests = "SELECT count(*) FROM tokens WHERE regexp_full_match(sha256, '[0-9a-f]{64}')";
    assert_eq!(rows(&dir, digests), ["2"]);
}

#[test]
fn two_tokens_of_one_e_mail_belong_to_one_user_however_it_is_spelt() {
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
fn the_last_use_of_a_token_is_known_to_the_minute() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let used = || server.get(TOKENS).json()["tokens"][0]["last_used_at"].clone();
    super::runs::wait_until("its first use is written", || {
        used() == "2100-01-01T00:00:00Z"
    });
    dir.clock().advance(Duration::from_secs(59));
    assert_eq!(used(), "2100-01-01T00:00:00Z");
    dir.clock().advance(Duration::from_secs(1));
    super::runs::wait_until("its next use is written", || {
        used() == "2100-01-01T00:01:00Z"
    });
}

#[test]
fn what_happens_to_tokens_is_audited() {
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
