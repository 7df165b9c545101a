//! What is absent from the pages of each role.

use super::Site;
use super::site::{FAILED, MEMBER, QUARANTINED};

/// Links to pages, in the order of the navigation.
const LINKS: &str =
    "[...document.querySelectorAll('.top nav a')].map((link) => link.textContent).join(' ')";
/// Everything on a page that changes something, except for the sign-out.
const CHANGES: &str = "main form[method=post], main [hx-post]";

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn a_member_sees_the_own_sessions_and_no_names_and_no_changes() {
    let site = Site::start();
    let browser = &site.browser;
    let member = site.server.token("member", MEMBER);
    site.open_as(&member, "/");
    assert_eq!(browser.value(LINKS), "Overview Sessions Causes");
    assert_eq!(browser.count("[aria-labelledby=users]"), 0);
    assert_eq!(browser.count(CHANGES), 0);

    site.open("/sessions");
    let owners = browser.value(
        "[...new Set([...document.querySelectorAll('main tbody a[href^=\"/sessions/\"]')]
            .map((link) => new URL(link.href).pathname.split('/')[2]))]",
    );
    assert_eq!(owners, serde_json::json!(["ada"]));
    site.open(&Site::session(FAILED));
    assert!(browser.count("[aria-labelledby=figures]") > 0);
    assert_eq!(browser.count(CHANGES), 0);
    assert_eq!(browser.complaints(), [""; 0]);

    for (path, status) in [
        (Site::session(QUARANTINED).as_str(), "404"),
        ("/knowledge", "403"),
        ("/quality", "403"),
        ("/operations", "403"),
    ] {
        site.open(path);
        assert!(
            browser.text_of("h1").starts_with(status),
            "{path}: {}",
            browser.text()
        );
    }
}

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn an_analyst_sees_figures_and_knowledge_and_no_transcripts_and_no_changes() {
    let site = Site::start();
    let browser = &site.browser;
    // An analyst without a user has no own sessions.
    let body = serde_json::json!({ "role": "analyst" });
    let created = site.server.post_json("/api/admin/tokens", &body).json();
    site.open_as(created["token"].as_str().unwrap(), "/");
    assert_eq!(
        browser.value(LINKS),
        "Overview Sessions Causes Knowledge Quality"
    );
    assert_eq!(browser.count("[aria-labelledby=users]"), 1);
    assert_eq!(browser.count("[aria-labelledby=sessions]"), 1);
    assert_eq!(browser.count(CHANGES), 0);

    site.open("/knowledge");
    assert_eq!(browser.count(CHANGES), 0);
    browser.press("j");
    // This key does nothing without the button of an admin.
    browser.press("a");
    browser.press("e");
    browser.wait_until("document.querySelector('.evidence blockquote') !== null");
    assert_eq!(browser.count(".evidence a[href^='/sessions/']"), 0);
    let approved = site.server.get("/api/knowledge?status=approved").json();
    assert_eq!(approved["items"], serde_json::json!([]));
    assert_eq!(browser.complaints(), [""; 0]);

    // The figures of a session, without its title and its transcript.
    site.open(&Site::session(FAILED));
    assert_eq!(browser.text_of("h1"), "failed.jsonl");
    assert!(
        browser
            .text_of("[aria-labelledby=figures]")
            .contains("Cost")
    );
    assert_eq!(browser.count(".transcript"), 0);
    assert_eq!(browser.count(CHANGES), 0);

    site.open("/operations");
    assert!(
        browser.text_of("h1").starts_with("403"),
        "{}",
        browser.text()
    );
}
