//! `report`: prints usage reports as a table, JSON or CSV.

use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use session_pipeline_host::day::Day;
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::csv::{self, CsvCell};
use session_pipeline_pipeline::report::{
    PlanUse, PriceTable, ReportRow, SkillsReport, ToolCalls, ToolGrouping, UnknownKind,
    UsageReport, UsageTotals, WasteReport,
};
use session_pipeline_pipeline::run::Progress;

use super::client::{OpenMode, RouteCall};
use super::table::{count_of, table};
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::body::grouping::{AgentParam, GroupingParam, ToolGroupingParam, WasteGroupingParam};
use crate::http::{self, Listener};

mod columns;
mod lower_bound;
mod skills;
mod waste;

use columns::RowColumns;
pub(super) use columns::{at_least, dollars};

#[derive(Debug, Subcommand)]
pub(super) enum ReportCommand {
    /// Report tokens, cost and messages, with each message counted once across all files
    Usage(UsageArgs),
    /// Report calls of tools, their failures, and how long they took
    Tools(ToolsArgs),
    /// Report skills, slash commands and sub-agents, who uses them, and since when
    Skills(SkillsArgs),
    /// Report tokens that sessions could have saved, with advice
    Waste(WasteArgs),
}

/// The filters and formats of every report.
#[derive(Debug, Args)]
struct FilterArgs {
    /// First day; a message counts on the day it first appeared
    #[arg(long, value_name = "YYYY-MM-DD")]
    since: Option<Day>,
    /// Last day, inclusive
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: Option<Day>,
    /// Time zone of days, weeks, months and hours, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", value_parser = super::non_empty)]
    tz: Option<String>,
    /// Only this user: an email address, or the first folder of session keys
    #[arg(long, value_name = "USER", value_parser = super::non_empty)]
    user: Option<String>,
    /// Only this project: its name, which is the last part of its path; its whole path; or the last parts of its path
    #[arg(long, value_name = "PROJECT", value_parser = super::non_empty)]
    project: Option<String>,
    /// Only this model
    #[arg(long, value_name = "MODEL", value_parser = super::non_empty)]
    model: Option<String>,
    /// Only the sessions of this coding agent
    #[arg(long, value_enum, value_name = "AGENT")]
    agent: Option<AgentParam>,
    /// Only the session with this id, from `--by session`
    #[arg(long, value_name = "ID", value_parser = super::non_empty)]
    session: Option<String>,
    /// Only the N rows with the highest cost, or the most calls
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    top: Option<u32>,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Debug, Args)]
pub(super) struct UsageArgs {
    /// Group rows by
    #[arg(long, value_enum, default_value_t = GroupingParam::Day)]
    by: GroupingParam,
    /// Only the messages of this provider of models, as the agent recorded it; not with --by tool
    #[arg(long, value_name = "PROVIDER", value_parser = super::non_empty)]
    provider: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Args)]
pub(super) struct ToolsArgs {
    /// Group rows by
    #[arg(long, value_enum, default_value_t = ToolGroupingParam::Tool)]
    by: ToolGroupingParam,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Args)]
pub(super) struct SkillsArgs {
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Args)]
pub(super) struct WasteArgs {
    /// Group rows by, in addition to the kind of waste
    #[arg(long, value_enum, default_value_t = WasteGroupingParam::Kind)]
    by: WasteGroupingParam,
    #[command(flatten)]
    filter: FilterArgs,
}

/// The value of a query parameter: the name of the argument.
fn parameter(argument: impl ValueEnum) -> String {
    let value = argument.to_possible_value();
    value
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

pub(super) fn report(global: &GlobalArgs, command: &ReportCommand) -> Result<Exit, CommandFailure> {
    let (path, by, filter) = match command {
        ReportCommand::Usage(arguments) => (
            "/api/usage/summary",
            Some(parameter(arguments.by)),
            &arguments.filter,
        ),
        ReportCommand::Tools(arguments) => (
            "/api/usage/tools",
            Some(parameter(arguments.by)),
            &arguments.filter,
        ),
        ReportCommand::Skills(arguments) => ("/api/usage/skills", None, &arguments.filter),
        ReportCommand::Waste(arguments) => (
            "/api/usage/waste",
            Some(parameter(arguments.by)),
            &arguments.filter,
        ),
    };
    if let (Some(since), Some(until)) = (filter.since, filter.until)
        && until < since
    {
        return Err(CommandFailure::usage_error(format!(
            "`--until {until}` is before `--since {since}`; swap them"
        )));
    }
    let bounds = [filter.since, filter.until].map(|day| day.map(|day| day.to_string()));
    let [since, until] = bounds.each_ref().map(Option::as_deref);
    let top = filter.top.map(|top| top.to_string());
    let provider = match command {
        ReportCommand::Usage(arguments) => arguments.provider.as_deref(),
        _ => None,
    };
    let call = RouteCall::get(path)
        .optional("by", by.as_deref())
        .optional("since", since)
        .optional("until", until)
        .optional("tz", filter.tz.as_deref())
        .optional("user", filter.user.as_deref())
        .optional("project", filter.project.as_deref())
        .optional("model", filter.model.as_deref())
        .optional("agent", filter.agent.map(AgentParam::name))
        .optional("provider", provider)
        .optional("session", filter.session.as_deref())
        .optional("top", top.as_deref())
        .with_listener(Arc::new(EmptyReportHint));
    let text = global.connect(OpenMode::Existing)?.text(&call)?;
    let output = ReportOutput {
        global,
        is_csv: filter.csv,
    };
    match command {
        ReportCommand::Usage(arguments) => match arguments.by.of_messages() {
            Some(by) => output.print_text::<UsageTotals>(&text, by.key()),
            None => output.print_text::<ToolCalls>(&text, ToolGrouping::Tool.key()),
        },
        ReportCommand::Tools(arguments) => {
            output.print_text::<ToolCalls>(&text, ToolGrouping::from(arguments.by).key())
        }
        ReportCommand::Skills(_) => skills::print(&output, &text),
        ReportCommand::Waste(arguments) => {
            let key = match arguments.by {
                WasteGroupingParam::Kind => None,
                by => Some(parameter(by)),
            };
            waste::print(&output, &text, key.as_deref())
        }
    }
}

/// Prints a hint if the report is empty because nothing was processed.
struct EmptyReportHint;

impl Listener for EmptyReportHint {
    fn receive(&self, report: http::LocalReport<'_>) -> bool {
        if let http::LocalReport::NothingProcessed = report {
            hint("nothing was processed yet; run `session-pipeline run usage` first");
        }
        true
    }
}

impl Progress for EmptyReportHint {
    fn planned(&self, _: u64, _: u64) {}
    fn advanced(&self, _: u64) {}
}

/// A report that is not a [`UsageReport`].
trait Document: serde::Serialize + serde::de::DeserializeOwned {
    /// Why it is empty.
    fn notices(&self) -> &[String];
}

impl Document for SkillsReport {
    fn notices(&self) -> &[String] {
        &self.notices
    }
}

impl Document for WasteReport {
    fn notices(&self) -> &[String] {
        &self.notices
    }
}

/// Prints reports in the selected format.
struct ReportOutput<'a> {
    global: &'a GlobalArgs,
    is_csv: bool,
}

impl ReportOutput<'_> {
    /// Prints a document as JSON or CSV, or returns it if it is to be printed as a table.
    fn print_document<D: Document>(
        &self,
        text: &str,
        csv: impl FnOnce(&D) -> String,
    ) -> Result<Option<D>, CommandFailure> {
        let document: D = serde_json::from_str(text).map_err(|error| {
            CommandFailure::could_not_run(format!("cannot parse the report: {error}"))
        })?;
        if self.global.json {
            print_json(&document)?;
        } else if self.is_csv {
            super::print_exact(&csv(&document))?;
            notices(document.notices());
        } else {
            notices(document.notices());
            return Ok(Some(document));
        }
        Ok(None)
    }

    /// Prints a report from the JSON that the router returned.
    fn print_text<F: RowColumns>(
        &self,
        text: &str,
        key: &'static str,
    ) -> Result<Exit, CommandFailure> {
        let report = UsageReport::<F>::read(key, text).map_err(|error| {
            CommandFailure::could_not_run(format!("cannot parse the report: {error}"))
        })?;
        if self.global.json {
            print_json(&report)?;
        } else if self.is_csv {
            super::print_exact(&comma_separated(&report))?;
            notices(&report.notices);
        } else {
            print(&render(&report))?;
            notices(&report.notices);
            hint(&format!(
                "as of {}: every session committed before that time is included",
                report.as_of
            ));
            omitted(report.omitted_rows);
            lower_bound::explain(&report.totals, &PriceTable::file_of(&self.global.config()?));
            lower_bound::explain_drift(&report.totals);
            F::explain(&report);
            plans(&report.plans);
            unknown_kinds(&report.unknown_kinds);
            if report.outdated_sessions > 0 {
                hint(&format!(
                    "{} gone, so an earlier version's figures stay as they were, without causes",
                    count_of(
                        report.outdated_sessions,
                        "session file is",
                        "session files are"
                    )
                ));
            }
        }
        Ok(Exit::Done)
    }
}

fn comma_separated<F: RowColumns>(report: &UsageReport<F>) -> String {
    let mut out = String::new();
    let header = std::iter::once(report.key).chain(F::FIELDS.iter().copied());
    csv::line(&mut out, header.map(CsvCell::Text));
    for ReportRow { key, totals, .. } in &report.rows {
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

fn render<F: RowColumns>(report: &UsageReport<F>) -> String {
    let header: Vec<&str> = std::iter::once(report.key)
        .chain(F::columns(report))
        .collect();
    let mut table = table(&header).with_shortened(&["errors by class"]);
    let row = |name: String, cells: Vec<String>| std::iter::once(name).chain(cells);
    for ReportRow { key, totals, .. } in &report.rows {
        let name = key
            .as_deref()
            .map_or_else(|| missing_key(report.key).to_owned(), printable);
        table.add_row(row(name, totals.cells(report)));
    }
    if let Some(total) = F::total(report) {
        table.add_row(row("total".to_owned(), total));
    }
    table.render()
}

/// The name of the row of messages without a key: a message can have no cause, but every message
/// has a time and a session.
fn missing_key(key: &str) -> &'static str {
    match key {
        "pull_request" | "skill" | "plugin" | "mcp_server" => "none",
        _ => "unknown",
    }
}

/// Prints how many rows are not shown.
fn omitted(rows: u64) {
    if rows > 0 {
        let rows = count_of(rows, "more row is", "more rows are");
        hint(&format!("{rows} not shown"));
    }
}

/// Prints why a report is empty.
fn notices(notices: &[String]) {
    notices.iter().for_each(|notice| hint(notice));
}

/// Maximum number of subscription plans in the hint.
const PLANS_SHOWN: usize = 5;

/// A hint on subscription plans, whose requests are not billed by the token.
fn plans(plans: &[PlanUse]) {
    if plans.is_empty() {
        return;
    }
    let shown = plans.iter().take(PLANS_SHOWN).map(|plan| {
        format!(
            "{} with the {} plan `{}`",
            count_of(plan.sessions.unsigned_abs(), "session", "sessions"),
            printable(&plan.agent),
            printable(&plan.plan)
        )
    });
    let mut shown: Vec<String> = shown.collect();
    if shown.len() < plans.len() {
        shown.push("others".to_owned());
    }
    hint(&format!(
        "the cost is at list prices; a subscription is not billed by the token: {}",
        shown.join(", ")
    ));
}

/// Maximum number of unknown line types in the hint.
const UNKNOWN_KINDS_SHOWN: usize = 5;

/// A hint on line types that this version does not know.
fn unknown_kinds(kinds: &[UnknownKind]) {
    if kinds.is_empty() {
        return;
    }
    let shown = kinds.iter().take(UNKNOWN_KINDS_SHOWN).map(|kind| {
        let version = kind
            .agent_version
            .as_deref()
            .map_or_else(String::new, |version| {
                format!(", up to version {}", printable(version))
            });
        format!(
            "`{}` ({} in {}{version})",
            printable(&kind.kind),
            count_of(kind.lines.unsigned_abs(), "line", "lines"),
            count_of(kind.sessions.unsigned_abs(), "session", "sessions")
        )
    });
    let mut shown: Vec<String> = shown.collect();
    if shown.len() < kinds.len() {
        shown.push("and others".to_owned());
    }
    hint(&format!(
        "this version does not know some types of lines, so what they contain is in no count: {}",
        shown.join(", ")
    ));
}
