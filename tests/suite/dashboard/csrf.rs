//! Changes that other sites request are rejected.

use session_pipeline_harness::DataDir;

use super::Browser;
use crate::http::TestServer;

#[test]
fn a_change_needs_the_token_of_the_same_sign_in() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::signed_in(&server, &server.analyst);
    let mut other = Browser::signed_in(&server, &server.analyst);
    let (own, foreign) = (browser.get("/").csrf(), other.get("/").csrf());
    assert_ne!(own, foreign);
    let upper = own.to_uppercase();
    for form in [
        String::new(),
        "csrf=".to_owned(),
        "csrf=0".to_owned(),
        format!("csrf={foreign}"),
        format!("csrf={upper}"),
        format!("csrf={own}&csrf={own}"),
        format!("CSRF={own}"),
    ] {
        let page = browser.post("/sign-out", &form);
        assert_eq!(page.status, 403, "{form}: {page:?}");
        assert!(page.header("content-type").starts_with("text/html"));
    }
    // Not in the address, which is in logs and histories.
    assert_eq!(
        browser.post(&format!("/sign-out?csrf={own}"), "").status,
        403
    );
    assert!(browser.is_signed_in());
    assert_eq!(
        browser.post("/sign-out", &format!("a=b&csrf={own}")).status,
        303
    );
    assert!(!browser.is_signed_in());
}

#[test]
fn scripts_send_the_token_in_a_header() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::signed_in(&server, &server.analyst);
    let csrf = browser.get("/").csrf();
    let mut browser = browser.with("X-CSRF-Token", Some("0"));
    let both = format!("csrf={csrf}");
    assert_eq!(
        browser.post("/sign-out", &both).status,
        403,
        "the header takes precedence"
    );
    let mut browser = browser.with("X-CSRF-Token", Some(&csrf));
    assert_eq!(browser.post("/sign-out", "").status, 303);
}

#[test]
fn a_change_must_come_from_a_page_of_this_server() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::signed_in(&server, &server.analyst);
    let form = format!("csrf={}", browser.get("/").csrf());
    for (origin, site) in [
        (None, None),
        (Some("null"), None),
        (Some("http://evil.example"), None),
        (Some("http://127.0.0.1:1"), None),
        (Some("null"), Some("cross-site")),
        (Some(server.url.as_str()), Some("cross-site")),
        (Some(server.url.as_str()), Some("same-site")),
        (None, Some("none")),
    ] {
        let mut other = Browser::new(&server)
            .with("Origin", origin)
            .with("Sec-Fetch-Site", site);
        other.cookie.clone_from(&browser.cookie);
        let page = other.post("/sign-out", &form);
        assert_eq!(page.status, 403, "{origin:?} {site:?}");
        // Otherwise, another site could sign the visitor in as its own user.
        other.cookie = None;
        let page = other.sign_in(&server.analyst, "/");
        assert_eq!(
            (page.status, page.header("set-cookie")),
            (403, ""),
            "{origin:?} {site:?}"
        );
    }
    assert!(browser.is_signed_in());
    // The form of a page without a referrer.
    let mut browser = browser
        .with("Origin", Some("null"))
        .with("Sec-Fetch-Site", Some("same-origin"));
    assert_eq!(browser.post("/sign-out", &form).status, 303);
}
