//! Reviewing knowledge with the keyboard alone.

use serde_json::json;

use super::Site;

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn an_item_is_approved_with_keys_and_the_next_one_gets_the_focus() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin("/knowledge");
    let items = browser.count("[data-item]");
    assert!(items >= 3, "{items} items");
    let focused = "document.activeElement.getAttribute('aria-label')";
    let label = |index: u64| {
        let label =
            format!("document.querySelectorAll('[data-item]')[{index}].getAttribute('aria-label')");
        browser.value(&label)
    };
    let (first, second) = (label(0), label(1));

    browser.press("j");
    assert_eq!(browser.value(focused), first);
    browser.press("j");
    assert_eq!(browser.value(focused), second);
    browser.press("k");
    assert_eq!(browser.value(focused), first);

    browser.press("e");
    browser.wait_until("document.querySelector('[data-item] .evidence blockquote') !== null");

    browser.press("a");
    browser.wait_until("document.querySelector('[data-item] .tag.ok')?.textContent === 'approved'");
    assert_eq!(browser.count(".tag.ok"), 1);
    browser.wait_until(&format!("{focused} === {second}"));
    let approved = site.server.get("/api/knowledge?status=approved").json();
    assert_eq!(approved["items"][0]["title"], first);
    assert_eq!(approved["items"].as_array().unwrap().len(), 1);

    browser.press("r");
    browser
        .wait_until("document.querySelector('[data-item] .tag.error')?.textContent === 'rejected'");
    browser.reload();
    assert_eq!(browser.count("[data-item]"), items - 2);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn several_items_are_selected_with_boxes_or_a_key_and_decided_together() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin("/knowledge");
    let items = browser.count("[data-item]");
    assert!(items >= 3, "{items} items");
    let buttons =
        "[...document.querySelectorAll('.selection button')].map((button) => button.disabled)";
    assert_eq!(browser.value(buttons), json!([true, true]));
    browser.click("[data-item] input[type=checkbox]");
    // Keys work while a box has the focus.
    browser.press("j");
    browser.press("x");
    assert_eq!(browser.text_of("[data-chosen]"), "2 selected");
    let titles = browser.value(
        "[...document.querySelectorAll('[data-item]:has(:checked)')].map((item) => item.getAttribute('aria-label'))",
    );
    browser.click(".selection button[value=reject]");
    browser.wait_until(&format!(
        "document.querySelectorAll('[data-item]').length === {}",
        items - 2
    ));
    let rejected = site.server.get("/api/knowledge?status=rejected").json();
    let rejected = rejected["items"].as_array().unwrap().iter();
    let mut rejected: Vec<_> = rejected.map(|item| item["title"].clone()).collect();
    let mut titles = titles.as_array().unwrap().clone();
    rejected.sort_by_key(ToString::to_string);
    titles.sort_by_key(ToString::to_string);
    assert_eq!(rejected, titles);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn the_buttons_of_an_item_stay_in_place_while_its_evidence_loads() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin("/knowledge");
    let places = "[...document.querySelector('[data-item]').querySelectorAll('.actions button')]
        .map((button) => { const box = button.getBoundingClientRect(); return [box.left, box.top + scrollY]; })";
    let before = browser.value(places);
    browser.click("[data-item] .evidence summary");
    browser.wait_until("document.querySelector('[data-item] .evidence blockquote') !== null");
    assert_eq!(browser.value(places), before);
    assert_eq!(browser.complaints(), [""; 0]);
}
