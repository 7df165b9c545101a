//! `report`: what was extracted, for people and for machines.

use clap::{Args, Subcommand, ValueEnum};
use session_pipeline_runtime::report::{self, Report, Totals};
use session_pipeline_runtime::store::Store;

use super::table::{number, table};
use super::{Exit, Failure, Global, hint, print, print_json};

#[derive(Debug, Subcommand)]
pub(super) enum ReportCommand {
    /// Tokens and messages, each message counted once over all files
    Usage(UsageArgs),
}

#[derive(Debug, Args)]
pub(super) struct UsageArgs {
    /// What a row stands for
    #[arg(long, value_enum, default_value_t = By::Day)]
    by: By,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// Days, in UTC
    Day,
    /// Models
    Model,
}

pub(super) fn report(global: &Global, command: &ReportCommand) -> Result<Exit, Failure> {
    let ReportCommand::Usage(UsageArgs { by }) = command;
    let (by, key) = match by {
        By::Day => (report::By::Day, "day"),
        By::Model => (report::By::Model, "model"),
    };
    let config = global.config()?;
    let store = Store::open(&config, super::now())?;
    let report = report::usage(&store, by)?;
    if report.is_none() {
        hint("nothing was processed yet; `session-pipeline run usage` does");
    }
    let report = report.unwrap_or_default();
    if global.json {
        print_json(&document(&report, key))?;
    } else {
        print(&people(&report, key))?;
        remarks(&report.totals);
    }
    Ok(Exit::Done)
}

/// The document of `--json`: each row bears its key under the key's own name.
fn document(report: &Report, key: &str) -> serde_json::Value {
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|row| {
            let mut value = serde_json::json!(row.totals);
            if let Some(fields) = value.as_object_mut() {
                fields.insert(key.to_owned(), serde_json::json!(row.key));
            }
            value
        })
        .collect();
    serde_json::json!({ "totals": report.totals, "rows": rows })
}

fn people(report: &Report, key: &str) -> String {
    let mut table = table(&[
        key,
        "input",
        "output",
        "cache read",
        "cache write",
        "messages",
        "sessions",
    ]);
    let cells = |name: &str, totals: &Totals| {
        let output = number(totals.output_tokens);
        [
            name.to_owned(),
            number(totals.input_tokens),
            if totals.output_is_lower_bound {
                format!("≥ {output}")
            } else {
                output
            },
            number(totals.cache_read_tokens),
            number(totals.cache_creation_tokens),
            number(totals.messages),
            number(totals.sessions),
        ]
    };
    for row in &report.rows {
        let name = row.key.as_deref().map_or_else(
            || "unknown".to_owned(),
            session_pipeline_runtime::fault::printable,
        );
        table.add_row(cells(&name, &row.totals));
    }
    table.add_row(cells("total", &report.totals));
    table.trim_fmt()
}

fn remarks(totals: &Totals) {
    if totals.output_is_lower_bound {
        hint(
            "≥: the transcripts never got the final output count of some messages, so output is at least this",
        );
    }
}
