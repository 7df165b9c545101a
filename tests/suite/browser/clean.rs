//! Every page in both color schemes, at the widths of a desk and of a phone: no error, no request to
//! another host, no horizontal scrolling, and nothing serious that axe-core finds.

use serde_json::Value;

use super::site::{FAILED, QUARANTINED};
use super::{Chromium, Site};

/// The checks of axe-core.
const AXE: &str = include_str!("../../fixtures/axe.min.js");

/// Returns the serious and critical findings, one text per element.
const FINDINGS: &str =
    "axe.run(document, { resultTypes: ['violations'] }).then((results) => results.violations
    .filter((rule) => rule.impact === 'serious' || rule.impact === 'critical')
    .flatMap((rule) => rule.nodes.map((node) =>
        `${rule.id}: ${node.target.join(' ')}: ${node.failureSummary.replace(/\\s+/g, ' ')}`)))";

/// Opens all folded parts, which loads what is in them.
const UNFOLD: &str = "for (const box of document.querySelectorAll('details')) box.open = true";

fn pages() -> Vec<String> {
    let sessions = [FAILED, QUARANTINED].map(Site::session);
    let others = [
        "/",
        "/sessions",
        "/causes",
        "/causes/branch",
        "/causes/tools",
        "/sessions?branch=no-branch&model=no-model&range=all",
        "/knowledge",
        "/quality",
        "/operations",
    ];
    others
        .map(str::to_owned)
        .into_iter()
        .chain(sessions)
        .collect()
}

/// What is wrong with the page that the browser shows.
fn findings(browser: &Chromium) -> Vec<String> {
    let mut findings = browser.complaints();
    browser.run_script(AXE);
    for scheme in ["light", "dark"] {
        browser.set_color_scheme(scheme);
        let widths = browser.value("[document.documentElement.scrollWidth, innerWidth]");
        if widths[0].as_u64() > widths[1].as_u64() {
            findings.push(format!("{scheme}: the page scrolls horizontally: {widths}"));
        }
        let found = browser.value(FINDINGS);
        let found = found.as_array().unwrap().iter().filter_map(Value::as_str);
        findings.extend(found.map(|finding| format!("{scheme}: {finding}")));
    }
    findings.extend(browser.complaints());
    findings
}

fn assert_all_pages_are_clean(width: u32) {
    let site = Site::start();
    let browser = &site.browser;
    browser.set_width(width);
    let mut found = Vec::new();
    let mut check = |path: &str| {
        let findings = findings(browser);
        found.extend(findings.iter().map(|finding| format!("{path}: {finding}")));
    };
    site.open("/sign-in");
    check("/sign-in");
    site.open_as_admin("/nothing");
    // The browser logs the status of an error page.
    browser.complaints();
    check("/nothing");
    for path in pages() {
        site.open(&path);
        browser.run_script(UNFOLD);
        browser.wait_until("document.querySelector('.htmx-request') === null");
        check(&path);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn pages_are_clean_at_a_width_of_1280_pixels() {
    assert_all_pages_are_clean(1280);
}

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn pages_are_clean_at_a_width_of_380_pixels() {
    assert_all_pages_are_clean(380);
}
