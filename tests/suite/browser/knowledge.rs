//! Reviewing knowledge with the keyboard alone.

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
