//! From a figure to the transcript behind it.

use super::Site;
use super::site::{FAILED, FAILED_LINE};

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn a_click_on_a_bar_of_a_chart_opens_the_sessions_of_the_day() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin("/");
    browser.wait_until("document.querySelector('figure[data-drawn=yes]') !== null");
    browser.click("figure[data-drawn=yes] canvas");
    browser.wait_until("location.pathname === '/sessions'");
    let days = browser.value(
        "[...new URLSearchParams(location.search)].filter(([name]) => name === 'since' || name === 'until')
            .map(([, day]) => day)",
    );
    assert_eq!(days[0], days[1], "{}", site.path());
    assert!(days[0].is_string(), "{}", site.path());
    assert!(browser.count("main tbody tr") > 0);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn the_most_expensive_session_opens_from_the_overview() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin("/");
    let title = browser.text_of("[aria-labelledby=top-sessions] tbody a");
    browser.click("[aria-labelledby=top-sessions] tbody a");
    browser.wait_until("location.pathname.startsWith('/sessions/')");
    assert_eq!(browser.text_of("h1"), title);
    assert!(browser.count(".transcript .entry") > 0);

    // A call that succeeded is folded.
    let call = ".entry .tool-call.outcome-ok";
    browser.wait_until(&format!("document.querySelector('{call}') !== null"));
    let is_open = format!("document.querySelector('{call}').open");
    assert_eq!(browser.value(&is_open), false);
    browser.click(&format!("{call} > summary"));
    browser.wait_until(&is_open);
    browser.wait_until(&format!(
        "document.querySelector('{call} pre').getBoundingClientRect().height > 0"
    ));
    browser.click(&format!("{call} > summary"));
    browser.wait_until(&format!("!{is_open}"));
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn a_jump_to_an_error_shows_its_line() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin(&Site::session(FAILED));
    assert_eq!(browser.text_of("a.jump-error"), "Errors 1");
    browser.click("a.jump-error");
    browser.wait_until(&format!("location.hash === '#L{FAILED_LINE}'"));
    let is_visible = format!(
        "(() => {{
            const box = document.getElementById('L{FAILED_LINE}').getBoundingClientRect();
            return box.top >= 0 && box.top < innerHeight;
        }})()"
    );
    browser.wait_until(&is_visible);
    assert_eq!(browser.complaints(), [""; 0]);
}
