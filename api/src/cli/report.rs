//! `report`: what was extracted, for people and for machines.

use std::path::Path;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use session_pipeline_host::day::Day;
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::csv::{self, CsvCell};
use session_pipeline_pipeline::report::{
    self, DayRange, PriceTable, ReportRow, ToolCalls, UsageReport, UsageTotals,
};
use session_pipeline_pipeline::run::Progress;
use session_pipeline_store::money::Usd;

use super::client::{OpenMode, RouteCall};
use super::table::{number, table};
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::http::{self, Listener};

#[derive(Debug, Subcommand)]
pub(super) enum ReportCommand {
    /// Tokens, cost and messages, each message counted once over all files
    Usage(UsageArgs),
}

#[derive(Debug, Args)]
pub(super) struct UsageArgs {
    /// What a row stands for
    #[arg(long, value_enum, default_value_t = GroupingArg::Day)]
    by: GroupingArg,
    /// The first day, in UTC; a message belongs to the day on which it first appeared
    #[arg(long, value_name = "YYYY-MM-DD")]
    since: Option<Day>,
    /// The last day, in UTC, which is included
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: Option<Day>,
    /// Print comma-separated values for a spreadsheet
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GroupingArg {
    /// Days, in UTC
    Day,
    /// Months, in UTC
    Month,
    /// Sessions: what is new in each, whatever it copied from another
    Session,
    /// Users
    User,
    /// Models
    Model,
    /// Tools: calls and failures, each call counted once
    Tool,
    /// Repositories, with their work trees, or folders
    Project,
}

impl GroupingArg {
    /// The word for it.
    fn key(self) -> &'static str {
        match self {
            Self::Day => report::ReportGrouping::Day.key(),
            Self::Month => report::ReportGrouping::Month.key(),
            Self::Session => report::ReportGrouping::Session.key(),
            Self::User => report::ReportGrouping::User.key(),
            Self::Model => report::ReportGrouping::Model.key(),
            Self::Project => report::ReportGrouping::Project.key(),
            // Tools' calls cost no tokens of their own.
            Self::Tool => "tool",
        }
    }
}

pub(super) fn report(global: &GlobalArgs, command: &ReportCommand) -> Result<Exit, CommandFailure> {
    let ReportCommand::Usage(arguments) = command;
    let days = DayRange {
        since: arguments.since,
        until: arguments.until,
    };
    if let (Some(since), Some(until)) = (days.since, days.until)
        && until < since
    {
        return Err(CommandFailure::wrong_use(format!(
            "`--until {until}` lies before `--since {since}`; swap them"
        )));
    }
    let by = arguments.by.key();
    let bounds = [days.since, days.until].map(|day| day.map(|day| day.to_string()));
    let [since, until] = bounds.each_ref().map(Option::as_deref);
    let call = RouteCall::get("/api/usage/summary")
        .query([("by", by)])
        .given("since", since)
        .given("until", until)
        .heard_by(Arc::new(EmptyReport));
    let text = global.connect(OpenMode::Existing)?.text(&call)?;
    let ask = Display {
        global,
        is_csv: arguments.csv,
    };
    match arguments.by {
        GroupingArg::Tool => ask.print_text::<ToolCalls>(&text, by),
        _ => ask.print_text::<UsageTotals>(&text, by),
    }
}

/// Says why a report is empty.
struct EmptyReport;

impl Listener for EmptyReport {
    fn hear(&self, report: http::LocalReport<'_>) -> bool {
        if let http::LocalReport::NothingProcessed = report {
            hint("nothing was processed yet; `session-pipeline run usage` does");
        }
        true
    }
}

impl Progress for EmptyReport {
    fn planned(&self, _: u64, _: u64) {}
    fn advanced(&self, _: u64) {}
}

/// How a report is to be shown.
struct Display<'a> {
    global: &'a GlobalArgs,
    is_csv: bool,
}

impl Display<'_> {
    /// Shows a report as the router wrote it.
    fn print_text<F: RowColumns>(
        &self,
        text: &str,
        key: &'static str,
    ) -> Result<Exit, CommandFailure> {
        let report = UsageReport::<F>::read(key, text).map_err(|error| {
            CommandFailure::could_not_run(format!("the server's report can't be read: {error}"))
        })?;
        if self.global.json {
            print_json(&report)?;
        } else if self.is_csv {
            super::print_exact(&comma_separated(&report))?;
        } else {
            print(&people(&report))?;
            hint(&format!(
                "as of {}: every session committed before that time is included",
                report.as_of
            ));
            remarks(&report.totals, &PriceTable::file_of(&self.global.config()?));
        }
        Ok(Exit::Done)
    }
}

/// What a row shows beside its key.
trait RowColumns: serde::Serialize + serde::de::DeserializeOwned {
    const COLUMNS: &'static [&'static str];
    const FIELDS: &'static [&'static str];
    /// The fields that are no numbers.
    const TEXTS: &'static [&'static str];
    fn cells(&self) -> Vec<String>;
    fn fields(&self) -> Vec<String>;
    /// The last row.
    fn total(report: &UsageReport<Self>) -> Vec<String>
    where
        Self: Sized;
}

impl RowColumns for UsageTotals {
    const COLUMNS: &'static [&'static str] = &[
        "input",
        "output",
        "cache read",
        "cache write",
        "cost",
        "messages",
        "sessions",
    ];
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
    ];
    const TEXTS: &'static [&'static str] = &[
        "cost_is_lower_bound",
        "output_is_lower_bound",
        "unknown_models",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
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
        ]
    }

    fn fields(&self) -> Vec<String> {
        vec![
            self.input_tokens.to_string(),
            self.output_tokens.to_string(),
            self.cache_read_tokens.to_string(),
            self.cache_creation_tokens.to_string(),
            self.cost_usd
                .map(|cost| cost.to_string())
                .unwrap_or_default(),
            self.cost_is_lower_bound.to_string(),
            self.output_is_lower_bound.to_string(),
            self.unknown_models.join(" "),
            self.messages.to_string(),
            self.sessions.to_string(),
        ]
    }

    fn total(report: &UsageReport<Self>) -> Vec<String> {
        report.totals.cells()
    }
}

impl RowColumns for ToolCalls {
    const COLUMNS: &'static [&'static str] = &[
        "calls",
        "errors",
        "tool error",
        "exit code",
        "rejected",
        "sibling failed",
        "sessions",
    ];
    const FIELDS: &'static [&'static str] = &[
        "calls",
        "errors",
        "tool_errors",
        "exit_codes",
        "rejected",
        "siblings_failed",
        "sessions",
    ];
    const TEXTS: &'static [&'static str] = &[];

    fn cells(&self) -> Vec<String> {
        self.counts().map(number).to_vec()
    }

    fn fields(&self) -> Vec<String> {
        self.counts().map(|count| count.to_string()).to_vec()
    }

    fn total(report: &UsageReport<Self>) -> Vec<String> {
        let rows = report.rows.iter().map(|row| row.totals.counts());
        let [calls, errors, tool, exit, rejected, sibling, _] =
            rows.fold([0; 7], |sums, counts| {
                let mut sums = sums
                    .into_iter()
                    .zip(counts)
                    .map(|(sum, count): (i64, i64)| sum.saturating_add(count));
                std::array::from_fn(|_| sums.next().unwrap_or_default())
            });
        // A session that calls two tools is one session.
        let sessions = String::new();
        let sums = [calls, errors, tool, exit, rejected, sibling];
        sums.map(number).into_iter().chain([sessions]).collect()
    }
}

trait Counts {
    fn counts(&self) -> [i64; 7];
}

impl Counts for ToolCalls {
    fn counts(&self) -> [i64; 7] {
        [
            self.calls,
            self.errors,
            self.tool_errors,
            self.exit_codes,
            self.rejected,
            self.siblings_failed,
            self.sessions,
        ]
    }
}

fn comma_separated<F: RowColumns>(report: &UsageReport<F>) -> String {
    let mut out = String::new();
    let header = std::iter::once(report.key).chain(F::FIELDS.iter().copied());
    csv::line(&mut out, header.map(CsvCell::Text));
    for ReportRow { key, totals } in &report.rows {
        let fields = totals.fields();
        let fields = F::FIELDS.iter().zip(&fields);
        let fields = fields.map(|(name, field)| match F::TEXTS.contains(name) {
            true => CsvCell::Text(field),
            false => CsvCell::Number(field),
        });
        let key = CsvCell::Text(key.as_deref().unwrap_or_default());
        csv::line(&mut out, std::iter::once(key).chain(fields));
    }
    out
}

fn people<F: RowColumns>(report: &UsageReport<F>) -> String {
    let header: Vec<&str> = std::iter::once(report.key)
        .chain(F::COLUMNS.iter().copied())
        .collect();
    let mut table = table(&header);
    let row = |name: String, cells: Vec<String>| std::iter::once(name).chain(cells);
    for ReportRow { key, totals } in &report.rows {
        let name = key
            .as_deref()
            .map_or_else(|| "unknown".to_owned(), printable);
        table.add_row(row(name, totals.cells()));
    }
    table.add_row(row("total".to_owned(), F::total(report)));
    table.trim_fmt()
}

pub(super) fn at_least(text: String, is_lower_bound: bool) -> String {
    if is_lower_bound {
        format!("≥ {text}")
    } else {
        text
    }
}

/// Dollars and cents: `$1 234.50`.
pub(super) fn dollars(cost: Usd) -> String {
    let (dollars, cents) = cost.cents();
    let dollars = i64::try_from(dollars).unwrap_or(i64::MAX);
    format!("${}.{cents:02}", number(dollars))
}

/// How many models without a price the remark names.
const UNKNOWN_MODELS_TOLD: usize = 10;

/// What the numbers leave out, and what to do about it.
fn remarks(totals: &UsageTotals, prices: &Path) {
    if totals.output_is_lower_bound {
        hint(
            "≥ output: the transcripts never got the final output count of some messages, so output, and what it costs, is at least this",
        );
    }
    if totals.unknown_models.is_empty() {
        if totals.cost_is_lower_bound && !totals.output_is_lower_bound {
            hint("≥ cost: some messages name no model, so they have no price");
        }
        return;
    }
    let mut models: Vec<String> = totals
        .unknown_models
        .iter()
        .take(UNKNOWN_MODELS_TOLD)
        .map(|model| printable(model))
        .collect();
    if models.len() < totals.unknown_models.len() {
        models.push("and others".to_owned());
    }
    hint(&format!(
        "≥ cost: no price is known for {}; add one to `{}` (docs/prices.md shows how)",
        models.join(", "),
        prices.display()
    ));
}
