//! Filters, and the time zone of the reader.

use super::Site;

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn filters_are_in_the_address_and_survive_links_reload_and_back() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin("/");
    let project = browser.text_of("[aria-labelledby=top-projects] tbody a");
    let all = browser.text_of("dl.cards");

    browser.type_into("input[name=project]", &project);
    browser.click("select[name=range] option[value='90d']");
    browser.click("form[data-filters] button.primary");
    browser.wait_until("location.search.includes('range=90d')");
    let filtered = site.path();
    // Fields without a value are not in the address.
    assert!(!filtered.contains("user="), "{filtered}");
    let figures = browser.text_of("dl.cards");
    assert_ne!(figures, all);

    browser.reload();
    assert_eq!(site.path(), filtered);
    assert_eq!(browser.text_of("dl.cards"), figures);

    // Links to other pages keep the filters.
    browser.click(".top nav a[href^='/causes']");
    browser.wait_until("location.pathname === '/causes'");
    assert_eq!(
        browser.value("document.querySelector('input[name=project]').value"),
        project
    );
    browser.back();
    browser.wait_until("location.pathname === '/'");
    assert_eq!(site.path(), filtered);
    assert_eq!(browser.text_of("dl.cards"), figures);
    assert_eq!(
        browser.value("document.querySelector('input[name=project]').value"),
        project
    );
    assert_eq!(
        browser.value("document.querySelector('select[name=range]').value"),
        "90d"
    );

    browser.click(".active-filters a");
    browser.wait_until("!location.search.includes('project=')");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn days_and_times_are_in_the_time_zone_of_the_reader() {
    let site = Site::start();
    let browser = &site.browser;
    browser.set_time_zone("Asia/Tokyo");
    site.open_as_admin("/sessions");
    browser.wait_until("location.search.includes('tz=Asia%2FTokyo')");
    browser.wait_until("document.querySelector('time[title]') !== null");
    let difference = browser.value(
        "(() => {
            const time = document.querySelector('time[title]');
            const utc = new Date(time.title.replace(' UTC', 'Z').replace(' ', 'T'));
            const shown = new Date(time.textContent);
            return Math.floor(shown / 60000) - Math.floor(utc / 60000);
        })()",
    );
    // The script reads the shown time in its own zone, so it is the same moment.
    assert_eq!(difference, 0);

    // A link with another zone shows that zone, for example to a colleague.
    site.open("/sessions?tz=Europe/Berlin");
    assert!(browser.text_of("footer").contains("Europe/Berlin"));
    assert!(
        site.path().ends_with("?tz=Europe/Berlin"),
        "{}",
        site.path()
    );
    assert_eq!(browser.complaints(), [""; 0]);
}
