//! What an admin does on the page of operations.

use session_pipeline_harness::Transcript;
use session_pipeline_host::clock::Clock as _;

use super::Site;
use super::site::QUARANTINED;

/// The latest run in the table.
const LATEST: &str = "[aria-labelledby=runs] tbody tr:first-child";

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn a_run_from_the_page_changes_the_figures() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin("/operations");
    let runs = browser.count("[aria-labelledby=runs] tbody tr");
    let figure = "[...document.querySelectorAll('.card')].find((card) => card.textContent.startsWith('Sessions'))
        .querySelector('[title]').title";
    site.open("/");
    let before = browser.value(figure);

    let session = Transcript::new("new").at(site.dir.clock().now());
    let session = session.user("go").assistant(|m| m.tokens(1_000, 500));
    site.dir.write("ada/new.jsonl", session);
    site.open("/operations");
    browser.click("input[name=processor][value=usage] ~ button");
    browser.wait_until("document.querySelector('main > .notice.ok') !== null");
    // A run that takes longer updates the table by itself.
    browser.wait_until(&format!(
        "document.querySelector('{LATEST} [data-label=Processed]')?.textContent.startsWith('1 of ')"
    ));
    assert_eq!(browser.count("[aria-labelledby=runs] tbody tr"), runs + 1);

    site.open("/");
    let number = |value: serde_json::Value| {
        value
            .as_str()
            .unwrap()
            .replace(',', "")
            .parse::<u64>()
            .unwrap()
    };
    assert_eq!(number(browser.value(figure)), number(before) + 1);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn a_session_is_released_from_quarantine() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin(&Site::session(QUARANTINED));
    assert!(
        browser
            .text_of("[aria-label=usage]")
            .contains("quarantined")
    );
    // What happened, since when, what the page shows, and what to do.
    let notice = browser.text_of("[aria-label='Failure of usage']");
    for text in [
        "usage failed, and no longer tries this session",
        "output-limit",
        "In quarantine since",
        "which has never read this session",
        "raises the limit",
        "Log of the last attempt",
    ] {
        assert!(notice.contains(text), "{text}: {notice}");
    }
    assert_eq!(browser.count("[aria-label='Failure of verification']"), 0);

    site.open("/operations");
    let article = "[aria-labelledby=quarantine] article";
    assert_eq!(browser.text_of(&format!("{article} h3")), QUARANTINED);
    browser.click(&format!("{article} summary"));
    browser.wait_until(&format!(
        "document.querySelector('{article} pre').textContent.includes('rows')"
    ));
    browser.click(&format!("{article} form button"));
    browser.wait_until("document.querySelector('.notice.ok') !== null");
    assert!(browser.text_of(".notice.ok").contains("released"));
    assert_eq!(browser.count(article), 0);

    site.open(&Site::session(QUARANTINED));
    assert!(
        !browser
            .text_of("[aria-label=usage]")
            .contains("quarantined")
    );
    assert_eq!(browser.complaints(), [""; 0]);
}
