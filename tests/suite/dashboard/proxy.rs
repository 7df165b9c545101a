//! Sign-in by a proxy.

use session_pipeline_harness::DataDir;
use session_pipeline_pipeline::config::{Config, ProxyAuth};
use session_pipeline_store::Role;

use super::{Browser, audited};
use crate::database::execute;
use crate::http::TestServer;

const HEADER: &str = "X-Forwarded-Email";

fn config(dir: &DataDir, from: &str) -> Config {
    let mut config = dir.config();
    config.service.proxy_auth.from = vec![from.parse().unwrap()];
    config
}

fn start(dir: &DataDir, config: Config) -> TestServer {
    TestServer::start_with(dir, config, Default::default(), &[])
}

#[test]
fn a_proxy_signs_users_in_with_the_configured_role() {
    let dir = DataDir::new();
    let server = start(&dir, config(&dir, "127.0.0.0/8"));
    let mut browser = Browser::new(&server).with(HEADER, Some("Ada@Example.com"));
    let home = browser.get("/");
    assert_eq!(home.status, 200);
    assert!(home.body.contains("ada@example.com (member)"), "{home:?}");
    assert_eq!(home.header("set-cookie"), "");
    assert_eq!(browser.get("/data/api/usage/summary").status, 200);
    assert_eq!(browser.get("/data/api/knowledge").status, 403);
    // The API accepts only tokens.
    assert_eq!(browser.get("/api/usage/summary").status, 401);
    // A user without a token, and without sessions.
    let mut stranger = Browser::new(&server).with(HEADER, Some("new@example.com"));
    assert!(stranger.get("/").body.contains("new@example.com (member)"));
    drop((browser, stranger));
    server.stop();
    let entries = audited(&dir);
    let expected = "request.denied | GET /api/knowledge | ada@example.com | 127.0.0.1";
    assert!(entries.iter().any(|entry| entry == expected), "{entries:?}");

    let mut config = config(&dir, "127.0.0.1");
    config.service.proxy_auth = ProxyAuth {
        header: "x-user".to_owned(),
        role: Role::Analyst,
        ..config.service.proxy_auth
    };
    let server = start(&dir, config);
    let mut browser = Browser::new(&server).with("X-User", Some("ada@example.com"));
    assert!(browser.get("/").body.contains("ada@example.com (analyst)"));
    let mut other = Browser::new(&server).with(HEADER, Some("ada@example.com"));
    assert!(!other.is_signed_in());
}

#[test]
fn the_header_is_believed_only_from_the_proxy() {
    let dir = DataDir::new();
    let mut config = config(&dir, "10.0.0.1");
    // Only the connection counts, and not what a client writes into a header.
    config.service.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let server = start(&dir, config);
    let mut browser = Browser::new(&server)
        .with(HEADER, Some("ada@example.com"))
        .with("X-Forwarded-For", Some("10.0.0.1"));
    assert!(!browser.is_signed_in());
    let mut script = browser.with("Accept", Some("*/*"));
    let page = script.get("/data/api/usage/summary");
    assert_eq!(page.status, 401);
    assert!(page.body.contains("service.proxy_auth.from"), "{page:?}");
    // A cookie is still valid.
    let mut signed_in = Browser::signed_in(&server, &server.analyst).with(HEADER, Some("x@y"));
    assert!(
        signed_in
            .get("/")
            .body
            .contains("ada@example.com (analyst)")
    );
    drop((script, signed_in));
    server.stop();
    let entries = audited(&dir);
    assert!(
        entries.contains(&"request.denied | GET / | - | 10.0.0.1".to_owned()),
        "{entries:?}"
    );
}

#[test]
fn without_the_setting_the_header_has_no_meaning() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::new(&server).with(HEADER, Some("ada@example.com"));
    assert!(!browser.is_signed_in());
    drop(browser);
    server.stop();
    assert_eq!(audited(&dir), Vec::<String>::new());
}

#[test]
fn an_invalid_or_repeated_address_is_rejected() {
    let dir = DataDir::new();
    let server = start(&dir, config(&dir, "127.0.0.1"));
    for value in [
        "",
        "ada",
        "ada@example.com, bob@example.com",
        "ada@example.com\t",
        "Ada <ada@example.com>",
        "ada@@example.com",
        "../ada@example.com",
    ] {
        let mut browser = Browser::new(&server).with(HEADER, Some(value));
        // Whitespace around a value is not a part of it.
        assert_eq!(
            browser.is_signed_in(),
            value.trim_end() == "ada@example.com",
            "{value:?}"
        );
    }
    let mut browser = Browser::new(&server);
    for email in ["ada@example.com", "admin@example.com"] {
        browser.headers.push((HEADER, email.to_owned()));
    }
    assert!(!browser.is_signed_in());
}

#[test]
fn a_deactivated_user_cannot_sign_in() {
    let dir = DataDir::new();
    start(&dir, config(&dir, "127.0.0.1")).stop();
    execute(
        &dir,
        "UPDATE users SET active = false WHERE email = 'ada@example.com'",
    );
    let server = start(&dir, config(&dir, "127.0.0.1"));
    let mut browser = Browser::new(&server).with(HEADER, Some("ada@example.com"));
    assert!(!browser.is_signed_in());
}

#[test]
fn changes_of_a_user_of_a_proxy_need_a_token_of_that_user() {
    let dir = DataDir::new();
    let server = start(&dir, config(&dir, "127.0.0.1"));
    let mut ada = Browser::new(&server).with(HEADER, Some("ada@example.com"));
    let mut bob = Browser::new(&server).with(HEADER, Some("bob@example.com"));
    let (own, foreign) = (ada.get("/").csrf(), bob.get("/").csrf());
    assert_ne!(own, foreign);
    assert_eq!(ada.post("/sign-out", "").status, 403);
    assert_eq!(
        ada.post("/sign-out", &format!("csrf={foreign}")).status,
        403
    );
    assert_eq!(ada.post("/sign-out", &format!("csrf={own}")).status, 303);
    let mut elsewhere = ada.with("Origin", Some("http://evil.example"));
    assert_eq!(
        elsewhere.post("/sign-out", &format!("csrf={own}")).status,
        403
    );
}

#[test]
fn an_admin_can_sign_in_with_a_token_behind_a_proxy() {
    let dir = DataDir::new();
    let server = start(&dir, config(&dir, "127.0.0.1"));
    let mut browser = Browser::new(&server).with(HEADER, Some("ada@example.com"));
    assert_eq!(browser.get("/sign-in").status, 200);
    assert_eq!(browser.sign_in(&server.admin, "/").status, 303);
    assert!(browser.get("/").body.contains("(admin)"));
    assert_eq!(browser.sign_out().status, 303);
    assert!(browser.get("/").body.contains("(member)"));
}
