//! `report waste`.

use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::csv::{self, CsvCell};
use session_pipeline_pipeline::report::{WasteReport, WasteRow};

use super::ReportOutput;
use super::columns::{at_least, dollars};
use crate::cli::table::{number, table};
use crate::cli::{CommandFailure, Exit, hint};

/// Prints the report. `key` is the name of the grouping, if there is one besides the kind.
pub(super) fn print(
    output: &ReportOutput<'_>,
    text: &str,
    key: Option<&str>,
) -> Result<Exit, CommandFailure> {
    let csv = |report: &WasteReport| comma_separated(report, key);
    let Some(report) = output.print_document(text, csv)? else {
        return Ok(Exit::Done);
    };
    let columns = ["sessions", "instances", "tokens", "cost"];
    let header: Vec<&str> = ["waste"].into_iter().chain(key).chain(columns).collect();
    let mut table = table(&header).with_shortened(key.as_slice());
    for row in &report.rows {
        table.add_row(cells(row, key));
    }
    crate::cli::print(&table.render())?;
    let mut advised: Vec<&str> = Vec::new();
    for row in &report.rows {
        if !advised.contains(&row.kind.as_str()) {
            advised.push(&row.kind);
            hint(&format!("{}: {}", printable(&row.kind), &row.advice));
        }
    }
    hint(&format!(
        "as of {}; kinds overlap, so their costs do not add up (docs/reports.md defines each kind)",
        report.as_of
    ));
    super::omitted(report.omitted_rows);
    Ok(Exit::Done)
}

fn cells(row: &WasteRow, key: Option<&str>) -> Vec<String> {
    let name = key.map(|_| {
        row.key
            .as_deref()
            .map_or_else(|| "unknown".to_owned(), printable)
    });
    let cost = row.cost_usd.map_or_else(
        || "?".to_owned(),
        |cost| at_least(dollars(cost), row.cost_is_lower_bound),
    );
    let counts = [row.sessions, row.instances, row.tokens].map(number);
    let kind = printable(&row.kind);
    [kind]
        .into_iter()
        .chain(name)
        .chain(counts)
        .chain([cost])
        .collect()
}

fn comma_separated(report: &WasteReport, key: Option<&str>) -> String {
    let mut out = String::new();
    let columns = [
        "sessions",
        "instances",
        "tokens",
        "cost_usd",
        "cost_is_lower_bound",
        "advice",
    ];
    let header = ["kind"].into_iter().chain(key).chain(columns);
    csv::line(&mut out, header.map(CsvCell::Text));
    for row in &report.rows {
        let counts = [row.sessions, row.instances, row.tokens].map(|count| count.to_string());
        let cost = row
            .cost_usd
            .map(|cost| cost.to_string())
            .unwrap_or_default();
        let is_lower_bound = row.cost_is_lower_bound.to_string();
        let name = key.map(|_| CsvCell::Text(row.key.as_deref().unwrap_or_default()));
        let cells = [CsvCell::Text(&row.kind)].into_iter().chain(name);
        let cells = cells.chain(counts.iter().map(|count| CsvCell::Number(count)));
        let last = [
            CsvCell::Number(&cost),
            CsvCell::Text(&is_lower_bound),
            CsvCell::Text(&row.advice),
        ];
        csv::line(&mut out, cells.chain(last));
    }
    out
}
