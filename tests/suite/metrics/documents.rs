//! The dashboard, the alert rules and the documentation use exactly the names that are served.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use session_pipeline::http::METRICS_PREFIX;
use session_pipeline_harness::DataDir;

use super::{populated, scrape};

/// Reads a file of `docs`.
pub fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The queries of the panels of the Grafana dashboard, with values for its variables.
pub fn dashboard_queries() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_str(&document("grafana/session-pipeline.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries = targets.map(|target| {
        let query = target["expr"].as_str().unwrap();
        let query = query
            .replace("$instance", ".*")
            .replace("$__rate_interval", "30s");
        assert!(!query.contains('$'), "unknown variable: {query}");
        query
    });
    queries.collect()
}

/// The words of a text that begin with the prefix of metrics.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let prefix = format!("{METRICS_PREFIX}_");
    words
        .filter(|word| word.starts_with(&prefix))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_dashboard_the_alerts_and_the_documentation_use_the_served_names() {
    let dir = DataDir::new();
    let server = populated(&dir);
    let metrics = scrape(&server);
    let mut served: BTreeSet<String> = metrics.types.keys().cloned().collect();
    // The documentation has one line for each metric, under its name in Prometheus.
    let documented: BTreeSet<String> = document("monitoring.md")
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| `")?
                .split('`')
                .next()
                .map(str::to_owned)
        })
        .filter(|name| name.starts_with(METRICS_PREFIX))
        .collect();
    assert_eq!(documented, served);
    for (name, kind) in &metrics.types {
        if kind == "histogram" {
            served.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")));
        }
    }
    let dashboard = names(&document("grafana/session-pipeline.json"));
    let alerts = names(&document("prometheus/alerts.yml"));
    assert!(
        dashboard.len() > 25 && alerts.len() > 10,
        "{dashboard:?} {alerts:?}"
    );
    for used in dashboard.union(&alerts) {
        assert!(served.contains(used), "{used} is not served");
    }
    // Every metric is used, or is one that only a person looks up.
    let shown = names(&(dashboard_queries().join(" ") + &document("prometheus/alerts.yml")));
    let families: BTreeSet<&str> = shown
        .iter()
        .map(|name| name.strip_suffix("_bucket").unwrap_or(name))
        .collect();
    let unused: Vec<&String> = metrics
        .types
        .keys()
        .filter(|name| !families.contains(name.as_str()))
        .collect();
    assert_eq!(
        unused,
        [
            "session_pipeline_scheduler_up",
            "session_pipeline_start_time_seconds"
        ]
    );
}

#[test]
fn every_panel_has_a_unique_id_and_a_place() {
    let dashboard: Value =
        serde_json::from_str(&document("grafana/session-pipeline.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(!panel["title"].as_str().unwrap().is_empty());
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "two panels at {x}, {y}: {panel}");
            }
        }
    }
}
