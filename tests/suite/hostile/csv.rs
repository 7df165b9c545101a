//! Tests that no cell of a CSV export is a formula in a spreadsheet, for any content of
//! transcripts.

use std::fs;

use duckdb::Connection;
use session_pipeline_harness::{DataDir, Transcript};

use crate::cli::{run_cli, run_cli_on_examples};
use crate::database::{execute, rows};
use crate::guests::usage;
use crate::http::TestServer;

/// Starts of formulas, and characters that can hide one.
const FORMULAS: [&str; 26] = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "＝1+1",
    "＋1",
    "－1",
    "＠A1",
    "﹦1",
    "−1",
    "\t=1",
    "\tx",
    "\r=1",
    "\n=1",
    "\r\n\r\n@A1",
    " =1",
    "\u{a0}\u{3000}-1",
    "\u{200b}=1",
    "\u{feff}\u{2060}\u{ad}＝1",
    "\u{0}=1",
    "\u{1b}[2J=1",
    "a;=1+1",
    "a; \u{200b}-1;\"@A1\"",
    "a\t=1",
    "a\n=1\r+1",
    "say \"=1\", then =2",
];

/// Whether a text is a formula after a spreadsheet has trimmed it.
fn is_formula(text: &str) -> bool {
    let is_trimmed = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || c == '"'
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
    };
    let rest = text.trim_start_matches(is_trimmed);
    text.starts_with(['\t', '\r', '\n'])
        || rest.starts_with([
            '=', '+', '-', '@', '＝', '＋', '－', '＠', '﹦', '﹢', '﹣', '﹫', '−',
        ])
}

/// Parses the cells with DuckDB, as an independent RFC 4180 reader.
fn cells(dir: &DataDir, text: &str) -> Vec<Vec<String>> {
    let path = dir.path().join("read.csv");
    fs::write(&path, text).unwrap();
    let connection = Connection::open_in_memory().unwrap();
    let sql = format!(
        "SELECT * FROM read_csv('{}', all_varchar = true, header = false, delim = ',', quote = '\"', escape = '\"',
            auto_detect = false, new_line = '\\r\\n', columns = {{{}}})",
        path.display(),
        (0..text.lines().next().unwrap().split(',').count())
            .map(|column| format!("'c{column}': 'VARCHAR'"))
            .collect::<Vec<_>>()
            .join(", "),
    );
    let mut statement = connection.prepare(&sql).unwrap();
    let mut found = statement.query([]).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = found.next().unwrap() {
        let count = row.as_ref().column_count();
        let cell = |index| row.get::<_, Option<String>>(index).unwrap();
        rows.push(
            (0..count)
                .map(|index| cell(index).unwrap_or_default())
                .collect(),
        );
    }
    rows
}

/// Asserts that no cell is a formula, even for a reader with another separator, and that the text
/// has no escape codes. Returns the cells.
fn assert_harmless(dir: &DataDir, text: &str) -> Vec<Vec<String>> {
    let rows = cells(dir, text);
    for cell in rows.iter().flatten() {
        let is_number = cell.parse::<f64>().is_ok();
        assert!(is_number || !is_formula(cell), "{cell:?}");
        for part in cell.split([';', '\t', '\r', '\n']).skip(1) {
            let is_formula = !part.is_empty() && is_formula(part);
            assert!(!is_formula, "{part:?} in {cell:?}");
        }
    }
    let is_plain = |c: char| !c.is_control() || matches!(c, '\t' | '\r' | '\n');
    assert!(text.chars().all(is_plain), "{text:?}");
    rows
}

#[test]
fn no_cell_of_any_column_of_the_export_is_a_formula() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    let columns = rows(
        &dir,
        "SELECT column_name, data_type FROM information_schema.columns
         WHERE table_schema = 'usage' AND table_name = 'events'",
    );
    let texts: Vec<&str> = columns
        .iter()
        .filter_map(|column| column.strip_suffix(" | VARCHAR"))
        .collect();
    assert!(texts.len() >= 19, "{columns:?}");
    let mut sql = String::from(
        "CREATE TEMP TABLE one AS FROM usage.events LIMIT 1; DELETE FROM usage.events; ",
    );
    for formula in FORMULAS.iter().filter(|formula| !formula.contains('\0')) {
        let formula = formula.replace('\'', "''");
        let replacements: Vec<String> = texts
            .iter()
            .map(|column| format!("'{formula}' AS {column}"))
            .collect();
        sql.push_str(&format!(
            "INSERT INTO usage.events SELECT * REPLACE ({}, -7 AS line) FROM one; ",
            replacements.join(", ")
        ));
    }
    execute(&dir, &sql);
    let server = TestServer::start(&dir, &[usage()]);
    let text = server.get("/api/admin/usage/export?format=csv").text();
    let rows = assert_harmless(&dir, &text);
    let header = &rows[0];
    assert_eq!(rows.len(), FORMULAS.len());
    // The key of an event is not exported.
    for column in texts.iter().filter(|column| **column != "event_key") {
        assert!(
            header.iter().any(|name| name == column),
            "{column}: {header:?}"
        );
    }
    let line = header.iter().position(|name| name == "line").unwrap();
    assert!(
        rows[1..].iter().all(|row| row[line] == "-7"),
        "numbers are changed"
    );
    assert!(text.contains(",-7,"), "numbers are quoted");
    let model = header.iter().position(|name| name == "model").unwrap();
    let agent = header
        .iter()
        .position(|name| name == "agent_version")
        .unwrap();
    assert!(rows[1..].iter().all(|row| row[model] == row[agent]));
    assert!(rows.iter().any(|row| row[agent] == "'=cmd|' /C calc'!A0"));
}

#[test]
fn no_cell_of_any_report_is_a_formula_or_an_escape_code() {
    let dir = DataDir::new();
    let formulas: Vec<&str> = FORMULAS
        .into_iter()
        .filter(|formula| !formula.contains('\0'))
        .collect();
    for number in 0..formulas.len() {
        let id = format!("s{number}");
        let session = Transcript::new(&id).assistant(|m| m.id(&id).tokens(1, 2).tool("Read"));
        dir.write(&format!("ada/{id}.jsonl"), session);
    }
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    // Update all sessions before the first report, because reports cache groups and read only new
    // sessions.
    let mut sql = String::new();
    for (number, formula) in formulas.iter().enumerate() {
        let formula = formula.replace('\'', "''");
        sql.push_str(&format!(
            "UPDATE usage.events SET tool_name = '{formula}' WHERE session_file = 'ada/s{number}.jsonl';
             UPDATE usage.messages SET model = '{formula}', username = '{formula}', session_file = '{formula}', session_id = '{formula}', cwd = '{formula}', project = '{formula}'
             WHERE session_file = 'ada/s{number}.jsonl';"
        ));
    }
    execute(&dir, &sql);
    for by in ["user", "model", "tool", "session", "project"] {
        let report = |format| {
            let output = run_cli(&dir, &["report", "usage", "--by", by, format]);
            assert_eq!(output.code, 0, "{by}: {output:?}");
            output.stdout
        };
        let json: serde_json::Value = serde_json::from_str(&report("--json")).unwrap();
        let keys = json["rows"].as_array().unwrap();
        for formula in &formulas {
            // The name of a user is the first part of the session file.
            let key = match by {
                "user" => formula.split('/').next().unwrap(),
                _ => formula,
            };
            assert!(
                keys.iter().any(|row| row[by] == key),
                "{formula:?} is missing in the report by {by}: {json}"
            );
        }
        let rows = assert_harmless(&dir, &report("--csv"));
        assert_eq!(rows.len(), keys.len() + 1, "{by}");
    }
}
