//! Sign-ins: cookies, redirects, and when a sign-in ends.

use std::time::Duration;

use session_pipeline_harness::DataDir;
use session_pipeline_pipeline::token::SIGN_INS_PER_TOKEN_MAX;

use super::{Browser, audited};
use crate::database::{cell, rows};
use crate::http::{SECRET, TestServer};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_token_is_exchanged_for_a_cookie_that_scripts_and_other_sites_cannot_use() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::new(&server);
    let form = browser.get("/sign-in?next=/sessions");
    assert_eq!(form.status, 200);
    assert!(
        form.body.contains("name=\"next\" value=\"/sessions\""),
        "{form:?}"
    );
    let page = browser.sign_in(&server.analyst, "/sessions?by=a%26b");
    assert_eq!(
        (page.status, page.header("location")),
        (303, "/sessions?by=a&b")
    );
    let cookie = page.header("set-cookie");
    let (pair, attributes) = cookie.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Strict");
    let (name, text) = pair.split_once('=').unwrap();
    assert_eq!((name, text.len()), ("session-pipeline", 64));
    let home = browser.get("/");
    assert!(home.body.contains("ada@example.com (analyst)"), "{home:?}");
    assert!(!home.body.contains(text), "the page contains the cookie");
    drop(browser);
    server.stop();
    assert_eq!(
        cell(
            &dir,
            "SELECT count(*) FROM sign_ins WHERE length(sha256) = 64"
        ),
        "1"
    );
    assert_eq!(
        cell(
            &dir,
            &format!("SELECT count(*) FROM sign_ins WHERE sha256 = '{text}'")
        ),
        "0",
        "the database has the text of the cookie"
    );
    assert_eq!(
        audited(&dir),
        ["dashboard.sign-in | token:2 | a user | 127.0.0.1"]
    );
}

#[test]
fn over_tls_the_cookie_is_secure_and_only_a_trusted_proxy_reports_tls() {
    let dir = DataDir::new();
    let mut config = dir.config();
    config.service.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let server = TestServer::start_with(&dir, config, Default::default(), &[]);
    let mut browser = Browser::new(&server).with("X-Forwarded-Proto", Some("http, https"));
    let page = browser.sign_in(&server.analyst, "/");
    let cookie = page.header("set-cookie");
    assert!(cookie.starts_with("__Host-session-pipeline="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );
    assert!(browser.is_signed_in());
    // The cookie of TLS is not valid without TLS, and the other way round.
    let mut browser = browser.with("X-Forwarded-Proto", Some("https, http"));
    assert!(!browser.is_signed_in());
    let mut plain = Browser::signed_in(&server, &server.analyst);
    assert!(plain.is_signed_in());
    assert!(
        !plain
            .with("X-Forwarded-Proto", Some("https"))
            .is_signed_in()
    );

    let other = DataDir::new();
    let server = TestServer::start(&other, &[]);
    let mut browser = Browser::new(&server).with("X-Forwarded-Proto", Some("https"));
    let page = browser.sign_in(&server.analyst, "/");
    assert!(!page.header("set-cookie").contains("Secure"), "{page:?}");
}

#[test]
fn a_wrong_token_shows_the_form_again_and_is_audited() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::new(&server);
    for token in ["", "sp_unknown", SECRET, "%22%3E%3Cscript%3E"] {
        let page = browser.sign_in(token, "/sessions");
        assert_eq!(page.status, 401, "{token}");
        assert!(page.body.contains("role=\"alert\""), "{page:?}");
        assert!(page.body.contains("value=\"/sessions\""), "{page:?}");
        assert!(!page.body.contains("<script>"), "{page:?}");
        assert_eq!(page.header("set-cookie"), "");
        assert!(page.header("content-type").starts_with("text/html"));
    }
    assert!(!browser.is_signed_in());
    drop(browser);
    server.stop();
    // The first one is a row, and the others are a count.
    assert_eq!(
        audited(&dir)[0],
        "request.denied | POST /sign-in | - | 127.0.0.1"
    );
    assert_eq!(cell(&dir, "SELECT count(*) FROM sign_ins"), "0");
}

#[test]
fn sign_ins_with_wrong_tokens_are_limited_but_a_valid_token_is_always_accepted() {
    let dir = DataDir::new();
    let mut config = dir.config();
    config.service.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let server = TestServer::start_with(&dir, config, Default::default(), &[]);
    let from = |address: &str| Browser::new(&server).with("X-Forwarded-For", Some(address));
    let fail = |address: &str| from(address).sign_in("sp_wrong", "/sessions");
    for _ in 0..10 {
        assert_eq!(fail("192.0.2.1").status, 401);
    }
    // A client cannot choose its address: the trusted proxy appends it.
    for forwarded in ["192.0.2.1", "192.0.2.9, 192.0.2.1"] {
        let page = fail(forwarded);
        assert_eq!((page.status, page.header("retry-after")), (429, "6"));
        assert!(page.body.contains("try again in 6 s"), "{page:?}");
        assert!(page.body.contains("value=\"/sessions\""), "{page:?}");
        assert_eq!(page.header("set-cookie"), "");
    }
    assert_eq!(fail("192.0.2.2").status, 401, "another address");
    let page = from("192.0.2.1").sign_in(&server.analyst, "/");
    assert_eq!(page.status, 303, "{page:?}");
    dir.clock().advance(Duration::from_secs(6));
    assert_eq!(
        [fail("192.0.2.1").status, fail("192.0.2.1").status],
        [401, 429]
    );
    // All addresses together can fail a hundred times at once. One of these was used just now.
    let failed = (0..200).filter(|number| fail(&format!("198.51.100.{number}")).status == 401);
    assert_eq!(failed.count(), 99);
    let page = fail("203.0.113.1");
    assert_eq!((page.status, page.header("retry-after")), (429, "1"));
    assert_eq!(
        from("203.0.113.1").sign_in(&server.analyst, "/").status,
        303
    );
}

#[test]
fn a_page_leads_to_the_sign_in_and_back_but_never_to_another_site() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::new(&server);
    let page = browser.get("/data/api/usage/summary?by=day&top=5");
    let location = "/sign-in?next=%2Fdata%2Fapi%2Fusage%2Fsummary%3Fby%3Dday%26top%3D5";
    assert_eq!((page.status, page.header("location")), (303, location));
    let form = browser.get(location);
    assert!(
        form.body
            .contains("value=\"/data/api/usage/summary?by=day&amp;top=5\""),
        "{form:?}"
    );

    for next in [
        "//evil.example",
        "%2F%2Fevil.example",
        "/%5Cevil.example",
        "%5C%5Cevil.example",
        "/%09/evil.example",
        "/%0A/evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/sign-out",
        "/&next=//evil.example",
        "",
    ] {
        let mut browser = Browser::new(&server);
        let page = browser.sign_in(&server.analyst, next);
        assert_eq!((page.status, page.header("location")), (303, "/"), "{next}");
        let page = browser.get(&format!("/sign-in?next={next}"));
        assert_eq!((page.status, page.header("location")), (303, "/"), "{next}");
    }
}

#[test]
fn requests_of_programs_without_a_sign_in_get_401() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut script = Browser::new(&server).with("Accept", Some("*/*"));
    for (method, path) in [("GET", "/data/api/usage/summary"), ("POST", "/sign-out")] {
        let page = script.send(method, path, "");
        assert_eq!(page.status, 401, "{method} {path}");
        assert_eq!(page.header("content-type"), "application/json");
        assert_eq!(page.header("www-authenticate"), "");
    }
    // A part of a page sends the whole page to the sign-in.
    let mut part = script.with("HX-Request", Some("true")).with(
        "HX-Current-URL",
        Some("http://evil.example/sessions?user=ada"),
    );
    let page = part.get("/");
    assert_eq!(page.status, 401);
    assert_eq!(
        page.header("hx-redirect"),
        "/sign-in?next=%2Fsessions%3Fuser%3Dada"
    );
}

#[test]
fn a_link_on_another_site_opens_the_page_without_a_second_sign_in() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    // The browser does not send the cookie with this request.
    let mut browser = Browser::new(&server)
        .with("Sec-Fetch-Site", Some("cross-site"))
        .with("Sec-Fetch-Mode", Some("navigate"));
    let page = browser.get("/");
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("http-equiv=\"refresh\" content=\"0\""),
        "{page:?}"
    );
    let mut again = browser.with("Sec-Fetch-Site", Some("same-origin"));
    assert_eq!(again.get("/").status, 303);
}

#[test]
fn a_sign_out_ends_the_sign_in() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::signed_in(&server, &server.analyst);
    let mut other = Browser::signed_in(&server, &server.analyst);
    let cookie = browser.cookie.clone();
    let page = browser.sign_out();
    assert_eq!((page.status, page.header("location")), (303, "/sign-in"));
    assert!(
        page.header("set-cookie").ends_with("; Max-Age=0"),
        "{page:?}"
    );
    browser.cookie = cookie;
    assert!(!browser.is_signed_in(), "the cookie is still valid");
    assert!(other.is_signed_in());
}

#[test]
fn a_sign_in_ends_with_its_token_or_after_twelve_hours_without_a_request() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::signed_in(&server, &server.analyst);
    let mut admin = Browser::signed_in(&server, &server.admin);
    for _ in 0..3 {
        dir.clock().advance(HOUR * 11);
        assert!(
            browser.is_signed_in(),
            "the sign-in was used within twelve hours"
        );
        // The use is recorded after the response.
        wait_until(|| browser_use_is_recorded(&server));
    }
    assert!(
        !admin.is_signed_in(),
        "the sign-in was not used for more than twelve hours"
    );
    wait_until(|| server.pipeline.store().sign_ins().unwrap().len() == 1);

    let revoked = server.send("DELETE", "/api/admin/tokens/2", &server.admin, "", &[]);
    assert_eq!(revoked.status, 200);
    assert!(!browser.is_signed_in());
    assert_eq!(server.pipeline.store().sign_ins().unwrap(), []);

    let body = serde_json::json!({ "role": "analyst", "expires_at": "2100-01-05T00:00:00Z" });
    let created = server.post_json("/api/admin/tokens", &body).json();
    let mut browser = Browser::signed_in(&server, created["token"].as_str().unwrap());
    assert!(browser.is_signed_in());
    dir.clock().advance(HOUR * 11);
    assert!(browser.is_signed_in());
    for _ in 0..8 {
        dir.clock().advance(HOUR * 11);
        browser.get("/");
    }
    assert!(!browser.is_signed_in(), "the token has expired");
}

/// Whether the use of a sign-in at the current time is recorded.
fn browser_use_is_recorded(server: &TestServer) -> bool {
    let now = server.pipeline.clock().now();
    let sign_ins = server.pipeline.store().sign_ins().unwrap();
    sign_ins.iter().any(|known| known.last_used_at == now)
}

fn wait_until(mut is_done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it took more than ten seconds");
}

#[test]
fn sign_ins_survive_a_restart_and_their_use_is_rarely_written() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::signed_in(&server, &server.admin);
    let sign_ins = server.pipeline.store().sign_ins().unwrap();
    for _ in 0..20 {
        dir.clock().advance(Duration::from_secs(10));
        assert!(browser.is_signed_in());
    }
    assert_eq!(server.pipeline.store().sign_ins().unwrap(), sign_ins);
    let cookie = browser.cookie.clone();
    server.stop();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::new(&server);
    browser.cookie = cookie;
    assert!(browser.is_signed_in());
}

#[test]
fn the_number_of_sign_ins_of_a_token_is_limited_and_the_oldest_ends() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut other = Browser::signed_in(&server, &server.admin);
    let mut cookies = Vec::new();
    for _ in 0..SIGN_INS_PER_TOKEN_MAX + 2 {
        dir.clock().advance(Duration::from_secs(1));
        let browser = Browser::signed_in(&server, &server.analyst);
        cookies.push(browser.cookie);
    }
    let mut browser = Browser::new(&server);
    let mut is_valid = |cookie: &Option<String>| {
        browser.cookie.clone_from(cookie);
        browser.is_signed_in()
    };
    assert!(!is_valid(&cookies[0]) && !is_valid(&cookies[1]));
    assert!(is_valid(&cookies[2]) && is_valid(cookies.last().unwrap()));
    assert!(other.is_signed_in(), "the limit is for each token");
    assert_eq!(
        server.pipeline.store().sign_ins().unwrap().len(),
        SIGN_INS_PER_TOKEN_MAX + 1
    );
}

#[test]
fn a_second_sign_in_replaces_the_first() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::signed_in(&server, &server.analyst);
    let first = browser.cookie.clone();
    let page = browser.sign_in(&server.admin, "/");
    assert_eq!(page.status, 303);
    assert!(browser.get("/").body.contains("(admin)"));
    browser.cookie = first;
    assert!(!browser.is_signed_in());
}

#[test]
fn the_api_accepts_no_cookie_and_the_mirror_only_reads() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::signed_in(&server, &server.admin);
    assert_eq!(browser.get("/api/admin/tokens").status, 401);
    let mirrored = browser.get("/data/api/admin/tokens?limit=1");
    assert_eq!(mirrored.status, 200);
    assert_eq!(mirrored.header("content-type"), "application/json");
    assert_eq!(mirrored.header("cache-control"), "no-store");
    let tokens: serde_json::Value = serde_json::from_str(&mirrored.body).unwrap();
    assert_eq!(tokens["tokens"].as_array().unwrap().len(), 1);
    for (method, path, status) in [
        ("POST", "/data/api/admin/tokens", 405),
        ("DELETE", "/data/api/admin/tokens/1", 405),
        ("GET", "/data/sign-out", 404),
        ("GET", "/data/api/../sign-out", 404),
        ("GET", "/data/api/nothing", 404),
        ("GET", "/data//api/admin/tokens", 404),
        ("GET", "/data/api/admin/tokens?limit=0", 422),
    ] {
        let page = browser.send(method, path, "");
        assert_eq!(page.status, status, "{method} {path}: {page:?}");
    }
}

#[test]
fn errors_are_pages_for_browsers_and_problems_for_programs() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::signed_in(&server, &server.analyst);
    for (path, status) in [
        ("/nowhere/%3Cscript%3E", 404),
        ("/data/api/admin/audit", 403),
        ("/data/api/usage/summary?by=%3Cscript%3E", 422),
    ] {
        let page = browser.get(path);
        assert_eq!(page.status, status, "{page:?}");
        assert!(
            page.header("content-type").starts_with("text/html"),
            "{page:?}"
        );
        assert!(page.body.starts_with("<!DOCTYPE html>"), "{page:?}");
        assert!(!page.body.contains("<script>"), "{page:?}");
        let mut program = Browser::new(&server).with("Accept", Some("application/json"));
        program.cookie.clone_from(&browser.cookie);
        let page = program.get(path);
        assert_eq!(
            (page.status, page.header("content-type")),
            (status, "application/json")
        );
    }
    // A denied request of a page has one row, that of the API.
    drop(browser);
    server.stop();
    let denied = rows(
        &dir,
        "SELECT resource FROM audit_log WHERE action = 'request.denied'",
    );
    assert_eq!(denied[0], "GET /api/admin/audit");
    assert!(
        denied
            .iter()
            .all(|resource| resource == "GET /api/admin/audit"),
        "{denied:?}"
    );
}

#[test]
fn every_page_has_the_headers_that_protect_it() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::signed_in(&server, &server.analyst);
    let mut stranger = Browser::new(&server);
    let pages = [
        browser.get("/"),
        browser.get("/nowhere"),
        browser.get("/data/api/usage/summary"),
        stranger.get("/"),
        stranger.get("/sign-in"),
        stranger.sign_in("wrong", "/"),
        stranger.post("/sign-out", ""),
    ];
    for page in pages {
        insta::allow_duplicates! {
            insta::assert_snapshot!(
                [
                    "content-security-policy",
                    "x-content-type-options",
                    "referrer-policy",
                    "cross-origin-opener-policy",
                    "cache-control",
                ]
                .map(|name| format!("{name}: {}", page.header(name)))
                .join("\n"),
                @"
            content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
            x-content-type-options: nosniff
            referrer-policy: no-referrer
            cross-origin-opener-policy: same-origin
            cache-control: no-store
            "
            );
        }
    }
}
