//! The columns of reports on messages and on calls.

use session_pipeline_pipeline::report::{ToolCalls, UsageReport, UsageTotals};
use session_pipeline_store::money::Usd;

use crate::cli::hint;
use crate::cli::table::number;
use crate::duration::duration;

/// The columns of a row after its key.
pub(super) trait RowColumns: serde::Serialize + serde::de::DeserializeOwned {
    /// The CSV columns.
    const FIELDS: &'static [&'static str];
    /// The CSV columns that are not numbers.
    const TEXTS: &'static [&'static str];
    /// The table columns.
    fn columns(report: &UsageReport<Self>) -> Vec<&'static str>;
    fn cells(&self, report: &UsageReport<Self>) -> Vec<String>;
    fn fields(&self) -> Vec<String>;
    /// The cells of the total row. `None`: the rows do not add up to a total.
    fn total(report: &UsageReport<Self>) -> Option<Vec<String>>;
    /// Prints hints on the columns.
    fn explain(_: &UsageReport<Self>) {}
}

impl RowColumns for UsageTotals {
    const FIELDS: &'static [&'static str] = &[
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_creation_tokens",
        "cost_usd",
        "cost_is_lower_bound",
        "output_is_lower_bound",
        "unknown_models",
        "messages",
        "sessions",
        "web_searches",
        "open_messages",
        "unpriced_messages",
        "unrecorded_runs",
        "unrecorded_tokens",
        "agent_cost_usd",
        "agent_output_tokens",
        "unrecorded_requests",
        "paths",
    ];
    const TEXTS: &'static [&'static str] = &[
        "cost_is_lower_bound",
        "output_is_lower_bound",
        "unknown_models",
    ];

    fn columns(report: &UsageReport<Self>) -> Vec<&'static str> {
        let mut columns = vec![
            "input",
            "output",
            "cache read",
            "cache write",
            "cost",
            "messages",
            "sessions",
        ];
        if has_agent_totals(report) {
            columns.extend(["agent's cost", "drift"]);
        }
        if has_paths(report) {
            columns.push("paths");
        }
        columns
    }

    fn cells(&self, report: &UsageReport<Self>) -> Vec<String> {
        let mut cells = vec![
            number(self.input_tokens),
            at_least(number(self.output_tokens), self.output_is_lower_bound),
            number(self.cache_read_tokens),
            number(self.cache_creation_tokens),
            self.cost_usd.map_or_else(
                || "?".to_owned(),
                |cost| at_least(dollars(cost), self.cost_is_lower_bound),
            ),
            number(self.messages),
            number(self.sessions),
        ];
        if has_agent_totals(report) {
            let agent = self.agent_cost_usd.map(dollars).unwrap_or_default();
            // The total of our costs includes sessions without a figure of the agent.
            let is_total = std::ptr::eq(self, &report.totals);
            let drift = match (self.agent_cost_usd, self.cost_usd) {
                (Some(agent), Some(ours)) if !is_total => difference(agent, ours),
                _ => String::new(),
            };
            cells.extend([agent, drift]);
        }
        if has_paths(report) {
            cells.push(self.paths.map(number).unwrap_or_default());
        }
        cells
    }

    fn fields(&self) -> Vec<String> {
        let cost = |cost: Option<Usd>| cost.map(|cost| cost.to_string()).unwrap_or_default();
        let agent_output = self.agent_output_tokens.map(|tokens| tokens.to_string());
        vec![
            self.input_tokens.to_string(),
            self.output_tokens.to_string(),
            self.cache_read_tokens.to_string(),
            self.cache_creation_tokens.to_string(),
            cost(self.cost_usd),
            self.cost_is_lower_bound.to_string(),
            self.output_is_lower_bound.to_string(),
            self.unknown_models.join(" "),
            self.messages.to_string(),
            self.sessions.to_string(),
            self.web_searches.to_string(),
            self.open_messages.to_string(),
            self.unpriced_messages.to_string(),
            self.unrecorded_runs.to_string(),
            self.unrecorded_tokens.to_string(),
            cost(self.agent_cost_usd),
            agent_output.unwrap_or_default(),
            self.unrecorded_requests.to_string(),
            self.paths
                .map(|paths| paths.to_string())
                .unwrap_or_default(),
        ]
    }

    fn total(report: &UsageReport<Self>) -> Option<Vec<String>> {
        Some(report.totals.cells(report))
    }

    fn explain(report: &UsageReport<Self>) {
        if has_paths(report) {
            hint(
                "projects whose paths have the same last part are one row, such as clones; `--by project` lists them separately",
            );
        }
    }
}

/// Whether a name of projects has several paths.
fn has_paths(report: &UsageReport) -> bool {
    let mut paths = report.rows.iter().filter_map(|row| row.totals.paths);
    paths.any(|paths| paths > 1)
}

fn has_agent_totals(report: &UsageReport) -> bool {
    report.totals.agent_output_tokens.is_some()
}

fn difference(agent: Usd, ours: Usd) -> String {
    let pico_dollars = agent.pico_dollars.saturating_sub(ours.pico_dollars);
    let sign = if pico_dollars < 0 { "−" } else { "+" };
    let amount = Usd {
        pico_dollars: pico_dollars.saturating_abs(),
    };
    format!("{sign}{}", dollars(amount))
}

impl RowColumns for ToolCalls {
    const FIELDS: &'static [&'static str] = &[
        "calls",
        "errors",
        "tool_errors",
        "exit_codes",
        "rejected",
        "siblings_failed",
        "errors_by_class",
        "p50_ms",
        "p95_ms",
        "sessions",
    ];
    const TEXTS: &'static [&'static str] = &["errors_by_class"];

    fn columns(_: &UsageReport<Self>) -> Vec<&'static str> {
        vec![
            "calls",
            "errors",
            "rejected",
            "p50",
            "p95",
            "sessions",
            "errors by class",
        ]
    }

    fn cells(&self, _: &UsageReport<Self>) -> Vec<String> {
        let duration = |ms: Option<f64>| ms.map(duration).unwrap_or_default();
        vec![
            number(self.calls),
            number(self.errors),
            number(self.rejected),
            duration(self.p50_ms),
            duration(self.p95_ms),
            number(self.sessions),
            self.classes(", "),
        ]
    }

    fn fields(&self) -> Vec<String> {
        let ms = |ms: Option<f64>| ms.map(|ms| format!("{ms:.0}")).unwrap_or_default();
        vec![
            self.calls.to_string(),
            self.errors.to_string(),
            self.tool_errors.to_string(),
            self.exit_codes.to_string(),
            self.rejected.to_string(),
            self.siblings_failed.to_string(),
            self.classes(" "),
            ms(self.p50_ms),
            ms(self.p95_ms),
            self.sessions.to_string(),
        ]
    }

    fn total(report: &UsageReport<Self>) -> Option<Vec<String>> {
        let rejected = report.rows.iter().map(|row| row.totals.rejected);
        let mut cells = vec![
            number(report.tool_calls.unwrap_or(0)),
            number(report.failed_tool_calls.unwrap_or(0)),
            match report.omitted_rows {
                0 => number(rejected.fold(0, i64::saturating_add)),
                _ => String::new(),
            },
        ];
        // Percentiles cannot be added up, and neither can sessions, because one session can call
        // several tools.
        cells.resize(Self::columns(report).len(), String::new());
        Some(cells)
    }
}

trait Classes {
    fn classes(&self, separator: &str) -> String;
}

impl Classes for ToolCalls {
    /// The classes of failures with their counts, the most frequent first.
    fn classes(&self, separator: &str) -> String {
        let mut classes: Vec<(&String, &i64)> = self.errors_by_class.iter().collect();
        classes.sort_by_key(|(_, calls)| std::cmp::Reverse(**calls));
        let classes = classes
            .iter()
            .map(|(class, calls)| format!("{class}={calls}"));
        classes.collect::<Vec<_>>().join(separator)
    }
}

pub(in crate::cli) fn at_least(text: String, is_lower_bound: bool) -> String {
    if is_lower_bound {
        format!("≥ {text}")
    } else {
        text
    }
}

/// Dollars and cents: `$1 234.50`.
pub(in crate::cli) fn dollars(cost: Usd) -> String {
    let (dollars, cents) = cost.cents();
    let dollars = i64::try_from(dollars).unwrap_or(i64::MAX);
    format!("${}.{cents:02}", number(dollars))
}
