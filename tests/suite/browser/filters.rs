//! Filters, and the time zone of the reader.

use super::Site;

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn filters_are_in_the_address_and_survive_links_reload_and_back() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin("/");
    browser.wait_until("document.querySelector('[aria-labelledby=projects] tbody a') !== null");
    let project = browser.text_of("[aria-labelledby=projects] tbody a");
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

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn a_cause_leads_to_its_sessions_and_is_a_filter_to_remove() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin("/causes?range=all&agent=claude");
    let link = "#tools tbody th a";
    browser.wait_until(&format!("document.querySelector('{link}') !== null"));
    let tool = browser.text_of(link);
    let sessions = browser.text_of("#tools tbody [data-label=Sessions]");
    browser.click(link);
    browser.wait_until("location.pathname === '/sessions'");
    assert_eq!(browser.count("main tbody tr").to_string(), sessions);
    let filters = browser.text_of(".active-filters");
    assert!(filters.contains(&format!("Tool: {tool}")), "{filters}");
    assert!(filters.contains("Agent: Claude Code"), "{filters}");

    // The form keeps the cause.
    browser.click("form[data-filters] button.primary");
    browser.wait_until("!location.search.includes('cursor')");
    assert_eq!(browser.count("main tbody tr").to_string(), sessions);
    browser.click(".active-filters li:last-child a");
    browser.wait_until("!location.search.includes('tool=')");
    assert!(site.path().contains("agent=claude"), "{}", site.path());
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn a_model_has_the_same_color_in_every_period() {
    let site = Site::start();
    let browser = &site.browser;
    site.open_as_admin("/?range=all");
    let colors = |path: &str| {
        site.open(path);
        browser.wait_until("document.querySelector('figure[data-drawn=yes]') !== null");
        browser.value(
            "Object.fromEntries(Chart.getChart(document.querySelector('figure canvas')).data.datasets
                .map((series) => [series.label, series.backgroundColor]))",
        )
    };
    let all = colors("/?range=all");
    let mut compared = 0;
    for path in [
        "/?range=7d",
        "/?range=7d&user=grace",
        "/?range=90d&user=ada",
    ] {
        let some = colors(path);
        for (model, color) in some.as_object().unwrap() {
            if all.get(model).is_some() {
                assert_eq!(color, &all[model], "{path} {model}");
                compared += 1;
            }
        }
    }
    assert!(compared > 2, "{compared}");
    let all = all.as_object().unwrap();
    let distinct: std::collections::BTreeSet<String> =
        all.values().map(ToString::to_string).collect();
    assert_eq!(distinct.len(), all.len());
}
