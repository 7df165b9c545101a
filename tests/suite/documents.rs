//! Helpers to inspect the JSON documents that other programs read.

use serde_json::Value;

/// The keys of the statistics of a run, sorted.
pub const STATS: [&str; 13] = [
    "bytes",
    "capped",
    "duration_ms",
    "errors",
    "errors_detail",
    "fuel",
    "items_extracted",
    "processed",
    "processor",
    "quarantined",
    "scanned",
    "skipped",
    "waiting",
];

/// Returns the keys of a JSON object, sorted.
pub fn names(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names
}
