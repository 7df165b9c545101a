//! Tables of calls and of waste, for a period or for one session.

use maud::{Markup, html};
use session_pipeline_pipeline::report::WasteReport;

use crate::body::usage::{UsageReportBody, UsageRow, UsageToolRow};
use crate::dashboard::filters::Filters;
use crate::dashboard::format::{cost, count, duration, percent, plain, short_count};
use crate::dashboard::sessions::sessions_with;

/// The calls of each tool. With filters, the rows lead to the sessions behind them.
pub(in crate::dashboard) fn tools_table(
    report: &UsageReportBody,
    filters: Option<&Filters>,
) -> Markup {
    let rows = report.rows.iter().filter_map(|row| match row {
        UsageRow::Tool(row) => Some(row),
        UsageRow::Messages(_) => None,
    });
    let milliseconds = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), duration);
    html! {
        div .scroll tabindex="0" role="region" aria-label="Tools" {
            table .stack {
                thead { tr {
                    th scope="col" { "Tool" }
                    @for name in ["Calls", "Failed"] { th scope="col" .number { (name) } }
                    th scope="col" { "Failures by class" }
                    @for name in ["Median", "95 %"] { th scope="col" .number { (name) } }
                    @if filters.is_some() { th scope="col" .number { "Sessions" } }
                } }
                tbody { @for row in rows { tr {
                    th scope="row" .wide {
                        @match (filters, row.tool.as_deref()) {
                            (Some(filters), Some(tool)) => a href=(sessions_with(filters, &[("tool", tool)])) { (plain(tool)) },
                            (_, tool) => (plain(tool.unwrap_or("–"))),
                        }
                    }
                    td .number data-label="Calls" { (count(row.calls)) }
                    td .number data-label="Failed" title=(count(row.errors)) { (percent(row.errors, row.calls)) }
                    td .wide data-label="Failures by class" { (classes(row, filters)) }
                    td .number data-label="Median" { (milliseconds(row.p50_ms)) }
                    td .number data-label="95 %" { (milliseconds(row.p95_ms)) }
                    @if filters.is_some() { td .number data-label="Sessions" { (count(row.sessions)) } }
                } } }
            }
        }
    }
}

/// The failed calls of a tool by class, the most frequent first.
fn classes(row: &UsageToolRow, filters: Option<&Filters>) -> Markup {
    let mut classes: Vec<(&str, i64)> = row
        .errors_by_class
        .iter()
        .map(|(class, calls)| (class.as_str(), *calls))
        .collect();
    classes.sort_by_key(|(class, calls)| (std::cmp::Reverse(*calls), *class));
    let href = |class: &str| {
        let (filters, tool) = (filters?, row.tool.as_deref()?);
        let causes = [("tool", tool), ("failure", class)];
        Some(sessions_with(filters, &causes))
    };
    html! {
        @if classes.is_empty() { "–" }
        @else { span { @for (index, (class, calls)) in classes.iter().enumerate() {
            @if index > 0 { ", " }
            @let name = plain(&class.replace('_', " "));
            @match href(class) { Some(href) => a href=(href) { (name) }, None => (name) }
            " " (count(*calls))
        } } }
    }
}

/// Waste by kind, with advice. With filters, the rows lead to the sessions behind them.
pub(in crate::dashboard) fn waste_table(report: &WasteReport, filters: Option<&Filters>) -> Markup {
    html! {
        p .lead { "Kinds overlap, so their sums do not add up." }
        div .scroll tabindex="0" role="region" aria-label="Waste" {
            table .stack {
                thead { tr {
                    th scope="col" { "Kind" }
                    @for name in ["Cost", "Tokens"] { th scope="col" .number { (name) } }
                    @if filters.is_some() { th scope="col" .number { "Sessions" } }
                    th scope="col" .number { "Times" }
                    th scope="col" { "What to do" }
                } }
                tbody { @for row in &report.rows { tr {
                    th scope="row" {
                        @match filters {
                            Some(filters) => a href=(sessions_with(filters, &[("waste", &row.kind)])) { (waste_name(&row.kind)) },
                            None => (waste_name(&row.kind)),
                        }
                    }
                    td .number data-label="Cost" { (cost(row.cost_usd.map(|cost| cost.dollars()), row.cost_is_lower_bound)) }
                    td .number data-label="Tokens" { (short_count(row.tokens)) }
                    @if filters.is_some() { td .number data-label="Sessions" { (count(row.sessions)) } }
                    td .number data-label="Times" { (count(row.instances)) }
                    td .wide data-label="What to do" { (row.advice) }
                } } }
            }
        }
    }
}

fn waste_name(kind: &str) -> String {
    match kind {
        "failed_retry" => "Failing call repeated".to_owned(),
        "reread" => "Unchanged file read again".to_owned(),
        "long_context" => "Long context".to_owned(),
        "cache_miss" => "Cache miss".to_owned(),
        "compaction" => "Compaction".to_owned(),
        other => plain(other),
    }
}
