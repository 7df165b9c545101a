//! Signing in and out.

use super::Site;

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn a_wrong_token_shows_an_error_and_a_valid_one_signs_in_until_the_sign_out() {
    let site = Site::start();
    let browser = &site.browser;
    site.open("/causes?range=7d");
    browser.wait_until("location.pathname === '/sign-in'");
    assert_eq!(browser.complaints(), [""; 0]);

    site.sign_in("sp_wrong");
    browser.wait_until("document.querySelector('[role=alert]') !== null");
    let error = browser.text_of("[role=alert]");
    assert!(error.contains("token"), "{error}");
    assert!(site.path().starts_with("/sign-in"), "{}", site.path());

    // The visitor gets the page that the link named.
    site.sign_in(&site.server.admin);
    browser.wait_until("location.pathname === '/causes'");
    assert!(
        site.path().starts_with("/causes?range=7d"),
        "{}",
        site.path()
    );
    assert_eq!(browser.text_of(".who span"), "admin@example.com (admin)");

    browser.click(".who button");
    browser.wait_until("location.pathname === '/sign-in'");
    // Neither the cache of the browser nor the cookie shows the page again.
    browser.back();
    browser.wait_until("location.pathname === '/sign-in'");
    site.open("/causes");
    browser.wait_until("document.querySelector('#token') !== null");
}
