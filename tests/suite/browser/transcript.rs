//! From a figure to the transcript behind it.

use serde_json::json;

use super::Site;
use super::site::{FAILED, FAILED_LINE};

/// The middle of the highest bar of the chart, and its day.
const HIGHEST_BAR: &str = "(() => {
    const canvas = document.querySelector('figure[data-drawn=yes] canvas');
    canvas.scrollIntoView({ block: 'center' });
    const chart = Chart.getChart(canvas);
    const bars = chart.getSortedVisibleDatasetMetas().flatMap((dataset) => dataset.data
        .map((bar, index) => ({ bar, index, height: bar.base - bar.y })));
    const { bar, index } = bars.reduce((one, two) => two.height > one.height ? two : one);
    const place = canvas.getBoundingClientRect();
    return {
        x: Math.round(place.left + bar.x),
        y: Math.round(place.top + (bar.y + bar.base) / 2),
        day: chart.data.labels[index],
    };
})()";

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn a_click_on_a_bar_of_a_chart_opens_the_sessions_of_the_day() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin("/");
    browser.wait_until("document.querySelector('figure[data-drawn=yes]') !== null");
    let bar = browser.value(HIGHEST_BAR);
    browser.click_at(bar["x"].as_i64().unwrap(), bar["y"].as_i64().unwrap());
    browser.wait_until("location.pathname === '/sessions'");
    let days = browser
        .value("['since', 'until'].map((name) => new URLSearchParams(location.search).get(name))");
    assert_eq!(days, json!([bar["day"], bar["day"]]), "{}", site.path());
    assert!(browser.count("main tbody tr") > 0);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn the_most_expensive_session_opens_from_the_overview() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin("/");
    browser.wait_until("document.querySelector('[aria-labelledby=sessions] tbody a') !== null");
    let title = browser.text_of("[aria-labelledby=sessions] tbody a");
    browser.click("[aria-labelledby=sessions] tbody a");
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
fn keys_jump_to_the_next_and_the_previous_prompt_across_the_pages_of_a_transcript() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin(&Site::session(FAILED));
    let at = |line: u64| {
        browser.wait_until(&format!(
            "location.hash === '#L{line}' && document.getElementById('L{line}') !== null"
        ));
    };
    // Prompts are in odd lines, up to the error.
    for line in [1, 3, 5] {
        browser.press("p");
        at(line);
    }
    browser.press("P");
    at(3);
    browser.press("P");
    at(1);
    // Before the first one is the last one.
    browser.press("P");
    at(FAILED_LINE + 4);
    browser.press("e");
    at(FAILED_LINE);

    // A page that begins in the middle loads the one before it.
    site.open(&format!("{}?after=40#L41", Site::session(FAILED)));
    assert_eq!(browser.count("#L39"), 0);
    browser.press("P");
    at(39);
    browser.press("p");
    at(41);
    browser.press("p");
    at(43);
    // The buttons do the same.
    browser.click("a.jump-prompt");
    at(45);
    browser.click(".jumps:has(a.jump-prompt) a.jump-back");
    at(43);
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
