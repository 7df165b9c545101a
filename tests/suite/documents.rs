//! Looking into the JSON documents that others read.

use serde_json::Value;

/// What a run says of itself, sorted (BEHAVIOUR.md 2.5, A10).
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

/// The names of a JSON object, sorted.
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
