//! `report`: the JSON documents and text tables.

use serde_json::Value;
use session_pipeline_harness::DataDir;

use super::{run_cli, run_cli_on_examples, table_lines};
use crate::documents::names;
use crate::report::{DOCUMENT, TOTALS};

#[test]
fn the_report_has_stable_json_field_names() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    for (by, key) in [
        ("day", "2026-01-12"),
        ("model", "claude-haiku-4-5-20251001"),
    ] {
        let document = run_cli(&dir, &["report", "usage", "--by", by, "--json"]).json();
        assert_eq!(names(&document), DOCUMENT);
        assert_eq!(names(&document["totals"]), TOTALS);
        let row = &document["rows"][0];
        assert_eq!(row[by], key);
        let mut expected = [TOTALS.as_slice(), &[by]].concat();
        expected.sort_unstable();
        assert_eq!(names(row), expected);
    }
    let by_default = run_cli(&dir, &["report", "usage", "--json"]).json();
    assert_eq!(by_default["rows"][0]["day"], "2026-01-12");
    assert_eq!(by_default["totals"]["output_tokens"], 4_722);
}

#[test]
fn the_report_is_a_table_with_a_total_row() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    let output = run_cli(&dir, &["report", "usage"]);
    assert_eq!(output.code, 0);
    insta::assert_snapshot!(table_lines(&output.stdout).join("\n"), @"
    day input output cache read cache write cost messages sessions
    2026-01-12 71 2 615 231 870 31 620 $0.40 14 1
    2026-01-13 51 ≥ 1 452 58 200 60 040 ≥ $0.19 8 2
    2026-01-14 15 655 12 400 14 700 $0.11 2 1
    total 137 ≥ 4 722 302 470 106 360 ≥ $0.70 24 4
    ");
    assert!(
        output
            .stderr
            .contains("\n≥ output: the transcripts have no final output count for 1 message"),
        "{output:?}"
    );
}

#[test]
fn an_empty_report_has_zeros_and_a_hint() {
    let dir = DataDir::new();
    let output = run_cli(&dir, &["report", "usage", "--json"]);
    assert_eq!(
        output.stderr,
        "nothing was processed yet; run `session-pipeline run usage` first\n"
    );
    let document = output.json();
    assert_eq!(document["rows"], Value::Array(Vec::new()));
    assert_eq!(document["totals"]["messages"], 0);
}

#[test]
fn a_report_without_a_database_creates_none() {
    let dir = DataDir::new();
    for by in ["day", "tool"] {
        assert_eq!(run_cli(&dir, &["report", "usage", "--by", by]).code, 0);
    }
    assert!(!dir.path().join("state").exists());
}
