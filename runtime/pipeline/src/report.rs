//! Reports on the data of `usage`. Each message counts once over all files, however often it was
//! copied.
//!
//! Tokens are stored, prices are not: cost is calculated here, so it follows changes of the price
//! table. `views` deduplicates copies, `prices` reads the price table, and `rollups` maintains the
//! aggregates that make reports fast.

pub mod activity;
mod call;
pub mod export;
mod plans;
mod prices;
pub(crate) mod project;
mod quality;
mod read;
mod rollups;
mod skills;
mod starts;
mod views;
mod waste;
mod zone;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::day::Day;
use session_pipeline_store::money::Usd;

pub use plans::PlanUse;
pub use prices::{
    Decimal, ListedPrice, LongContextPrice, ModelPrice, PriceAge, PriceChange, PriceFetchError,
    PriceList, PriceMatch, PriceOrigin, PriceScope, PriceSource, PriceTable, PriceTableError,
    PriceUpdate, PriceUpdateError, PriceUpdateReport, fetch_prices, list_prices, models_in_use,
};
pub use project::project_name;
pub use quality::{
    LineCounts, QualityReport, SessionDrift, UnpricedModel, UnreadLines, UnrecordedReason,
    VersionQuality, quality,
};
pub use read::{
    Freshness, ModelUsage, NameLimits, SessionCauses, Spending, SpendingSnapshot, sessions, tools,
    usage,
};
pub(crate) use read::{RankedNumber, SessionRanking};
pub use skills::{SKILL_USERS_MAX, SkillKind, SkillUse, SkillsReport, skills};
pub use starts::session_starts;
pub(crate) use views::{is_outdated, register};
pub use waste::{WasteGrouping, WasteReport, WasteRow, waste};

/// The grouping of a report's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportGrouping {
    /// Days.
    Day,
    /// Weeks, by their Mondays.
    Week,
    /// Months.
    Month,
    /// Hours of the week.
    Hour,
    /// Sessions, by id. Copied messages count only in the first one.
    Session,
    /// Users.
    User,
    /// Models, by their names in transcripts.
    Model,
    /// Projects: repositories, or the working directories of agents, by their path.
    Project,
    /// Projects by the last part of their path, so that clones of a repository are together.
    ProjectName,
    /// Git branches.
    Branch,
    /// Pull requests. A message belongs to the one that its session linked next.
    PullRequest,
    /// The main conversation, sub-agents, or auxiliary requests of the agent.
    Source,
    /// Types of sub-agents. Other messages have their source in parentheses.
    AgentType,
    /// Skills that caused the request.
    Skill,
    /// Plugins that caused the request.
    Plugin,
    /// MCP servers that caused the request.
    McpServer,
    /// The effort that the request asked for.
    Effort,
    /// How the agent was started: command line, SDK, desktop and others.
    Entrypoint,
    /// Coding agents: the programs that wrote the sessions.
    Agent,
    /// Providers of models, as the agent recorded them. Most agents record none.
    Provider,
}

impl ReportGrouping {
    /// All groupings.
    pub const ALL: [Self; 20] = [
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Hour,
        Self::Session,
        Self::User,
        Self::Model,
        Self::Project,
        Self::ProjectName,
        Self::Branch,
        Self::PullRequest,
        Self::Source,
        Self::AgentType,
        Self::Skill,
        Self::Plugin,
        Self::McpServer,
        Self::Effort,
        Self::Entrypoint,
        Self::Agent,
        Self::Provider,
    ];

    /// The name of the key field in a row.
    pub fn key(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Hour => "hour",
            Self::Session => "session",
            Self::User => "user",
            Self::Model => "model",
            Self::Project => "project",
            Self::ProjectName => "project_name",
            Self::Branch => "branch",
            Self::PullRequest => "pull_request",
            Self::Source => "source",
            Self::AgentType => "agent_type",
            Self::Skill => "skill",
            Self::Plugin => "plugin",
            Self::McpServer => "mcp_server",
            Self::Effort => "effort",
            Self::Entrypoint => "entrypoint",
            Self::Agent => "agent",
            Self::Provider => "provider",
        }
    }
}

/// What the rows of a report on usage stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageGrouping {
    /// The grouping.
    pub by: ReportGrouping,
    /// Splits each row by a second grouping.
    pub split: Option<ReportGrouping>,
}

impl From<ReportGrouping> for UsageGrouping {
    fn from(by: ReportGrouping) -> Self {
        Self { by, split: None }
    }
}

/// The grouping of a report on calls of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolGrouping {
    /// Tools, by name.
    Tool,
    /// MCP servers. Other tools are excluded.
    McpServer,
}

impl ToolGrouping {
    /// The name of the key field in a row.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::McpServer => "mcp_server",
        }
    }
}

/// The days of a report, inclusive. A message belongs to the day of its first appearance.
///
/// With either bound, messages without a timestamp are excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayRange {
    /// The first day.
    pub since: Option<Day>,
    /// The last day.
    pub until: Option<Day>,
}

/// What a report includes, and how many rows it has.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportFilter {
    /// The days.
    pub days: DayRange,
    /// The time zone of days, weeks, months and hours.
    pub zone: TimeZone,
    /// Only this user.
    pub user: Option<String>,
    /// Only this project: its name, its whole path, or the last parts of its path.
    pub project: Option<String>,
    /// Only this model.
    pub model: Option<String>,
    /// Only the sessions of this coding agent, by its name in `usage`.
    pub agent: Option<String>,
    /// Only the messages of this provider of models. Calls, waste and skills have no provider, so
    /// only [`usage`] accepts it.
    pub provider: Option<String>,
    /// Only the session with this id.
    pub session: Option<String>,
    /// Maximum number of rows. The most expensive come first.
    pub top: Option<u32>,
    /// Whose sessions the report includes, and whose names it can contain.
    pub scope: ReportScope,
}

/// Whose sessions a report includes, and whose names it can contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReportScope {
    /// All sessions.
    #[default]
    Everyone,
    /// Only the sessions in these directories below the sessions root.
    Own(Vec<String>),
    /// The sums over all sessions. Names that only transcripts in other directories contain are left
    /// out: models without a price, and unknown types of lines.
    Team(Vec<String>),
}

impl ReportScope {
    /// The directories whose names the report can contain. `None`: all.
    fn named(&self) -> Option<&[String]> {
        match self {
            Self::Everyone => None,
            Self::Own(directories) | Self::Team(directories) => Some(directories),
        }
    }
}

impl ReportFilter {
    /// The filter in a time zone of the IANA database. `None`: there is no such zone.
    #[must_use]
    pub fn in_zone(self, name: &str) -> Option<Self> {
        let zone = TimeZone::get(name).ok()?;
        Some(Self { zone, ..self })
    }
}

impl From<DayRange> for ReportFilter {
    fn from(days: DayRange) -> Self {
        Self {
            days,
            zone: TimeZone::UTC,
            user: None,
            project: None,
            model: None,
            agent: None,
            provider: None,
            session: None,
            top: None,
            scope: ReportScope::Everyone,
        }
    }
}

impl Default for ReportFilter {
    fn default() -> Self {
        DayRange::default().into()
    }
}

/// Maximum number of models without a price that a report lists. Transcripts can contain any
/// number.
pub const UNKNOWN_MODELS_MAX: usize = 100;

/// Sums over messages. Each message counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageTotals {
    /// Input tokens, without those read from or written to the cache.
    pub input_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// Input tokens read from the cache.
    pub cache_read_tokens: i64,
    /// Input tokens written to the cache, for five minutes or one hour.
    pub cache_creation_tokens: i64,
    /// Cost in US dollars of all tokens with a price. `None` if none has one.
    pub cost_usd: Option<Usd>,
    /// Whether the cost is incomplete: a model has no price, or an output count is not final.
    pub cost_is_lower_bound: bool,
    /// Whether the final output count of some message was never written.
    pub output_is_lower_bound: bool,
    /// Models without a price at that time and speed, at most [`UNKNOWN_MODELS_MAX`].
    pub unknown_models: Vec<String>,
    /// Number of messages.
    pub messages: i64,
    /// Number of distinct session ids.
    pub sessions: i64,
    /// Web searches by the API, which are billed in addition to tokens.
    #[serde(default)]
    pub web_searches: i64,
    /// Messages whose final output count was never written.
    #[serde(default)]
    pub open_messages: i64,
    /// Messages without a price.
    #[serde(default)]
    pub unpriced_messages: i64,
    /// Runs of sub-agents without a transcript. Their tokens are in no other count.
    #[serde(default)]
    pub unrecorded_runs: i64,
    /// The tokens of these runs as their results report them.
    #[serde(default)]
    pub unrecorded_tokens: i64,
    /// Times that tokens were spent which the agent did not record, such as the request in progress
    /// when a turn was aborted.
    #[serde(default)]
    pub unrecorded_requests: i64,
    /// In a report by session: the cost as the agent itself reports it. It includes requests that
    /// are in no transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_cost_usd: Option<Usd>,
    /// In a report by session: the output as the agent itself reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_output_tokens: Option<i64>,
    /// In a report by project: the number of paths with this name, such as the clones of a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<i64>,
}

/// A type of lines that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UnknownKind {
    /// The type.
    pub kind: String,
    /// Number of distinct session ids.
    pub sessions: i64,
    /// Number of lines.
    pub lines: i64,
    /// Time of the first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<String>,
    /// Time of the latest line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// The latest version of the agent that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
}

/// Calls of a tool and their failures. Each call counts once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCalls {
    /// Number of calls.
    pub calls: i64,
    /// Number of failed calls.
    pub errors: i64,
    /// The tool reported an error.
    pub tool_errors: i64,
    /// A command exited with a nonzero code.
    pub exit_codes: i64,
    /// The user rejected the call.
    pub rejected: i64,
    /// The call was canceled because another call of the same message failed.
    pub siblings_failed: i64,
    /// Failed calls by class, including the four classes above.
    #[serde(default)]
    pub errors_by_class: BTreeMap<String, i64>,
    /// Half of the calls took at most this many milliseconds from call to result, within 5 %.
    /// `None` if no result has a time.
    #[serde(default)]
    pub p50_ms: Option<f64>,
    /// 95 % of the calls took at most this many milliseconds, within 5 %.
    #[serde(default)]
    pub p95_ms: Option<f64>,
    /// Number of distinct session ids.
    pub sessions: i64,
}

/// One row of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow<Figures = UsageTotals> {
    /// The value of the grouping. `None` if the transcript does not contain it.
    pub key: Option<String>,
    /// The value of the second grouping. `None` if there is none as well.
    pub split: Option<String>,
    /// The sums.
    pub totals: Figures,
}

/// A report. Its JSON is the output of `report usage --json`. Each row has its key under the name
/// in `key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageReport<Figures = UsageTotals> {
    /// The name of the key field.
    pub key: &'static str,
    /// The name of the second key field, if there is one.
    pub split_key: Option<&'static str>,
    /// Every session that was committed before this time is included.
    pub as_of: UtcMicros,
    /// Sums over all messages of these days, independent of the grouping.
    pub totals: UsageTotals,
    /// The rows, sorted by key, or by cost if their number is limited.
    pub rows: Vec<ReportRow<Figures>>,
    /// Number of rows beyond the limit.
    pub omitted_rows: u64,
    /// Number of prompts that people typed. `None` in reports on one model and on tools.
    pub prompts: Option<i64>,
    /// Number of calls in all rows, including those beyond the limit. Only in reports on tools.
    pub tool_calls: Option<i64>,
    /// Number of these calls that failed.
    pub failed_tool_calls: Option<i64>,
    /// Subscription plans of the sessions, whose cost is at list prices.
    pub plans: Vec<PlanUse>,
    /// Types of lines that are in no figure because this version does not know them.
    pub unknown_kinds: Vec<UnknownKind>,
    /// Number of sessions whose files are gone, and which an earlier version of `usage` processed.
    /// Their figures stay as they were, without what later versions extract.
    pub outdated_sessions: u64,
    /// Why the report is empty: a filter has a value that no message has. With suggestions.
    pub notices: Vec<String>,
}

impl<Figures> UsageReport<Figures> {
    /// A report without rows.
    pub fn empty(key: &'static str, as_of: UtcMicros) -> Self {
        let cost_usd = Some(Usd::default());
        let totals = UsageTotals {
            cost_usd,
            ..UsageTotals::default()
        };
        Self {
            key,
            split_key: None,
            as_of,
            totals,
            rows: Vec::new(),
            omitted_rows: 0,
            prompts: None,
            tool_calls: None,
            failed_tool_calls: None,
            plans: Vec::new(),
            unknown_kinds: Vec::new(),
            outdated_sessions: 0,
            notices: Vec::new(),
        }
    }
}

impl<Figures: DeserializeOwned> UsageReport<Figures> {
    /// Parses a report from JSON without losing precision.
    ///
    /// # Errors
    /// If the text is not a report with this key.
    pub fn read(key: &'static str, text: &str) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Raw {
            as_of: String,
            totals: Box<RawValue>,
            rows: Vec<Box<RawValue>>,
            #[serde(default)]
            omitted_rows: u64,
            prompts: Option<i64>,
            tool_calls: Option<i64>,
            failed_tool_calls: Option<i64>,
            #[serde(default)]
            plans: Vec<PlanUse>,
            #[serde(default)]
            unknown_kinds: Vec<UnknownKind>,
            #[serde(default)]
            outdated_sessions: u64,
            #[serde(default)]
            notices: Vec<String>,
        }
        let raw: Raw = serde_json::from_str(text)?;
        let row = |raw: Box<RawValue>| -> serde_json::Result<ReportRow<Figures>> {
            let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(raw.get())?;
            let name = fields.get(key).map(|raw| serde_json::from_str(raw.get()));
            Ok(ReportRow {
                key: name.transpose()?.flatten(),
                split: None,
                totals: serde_json::from_str(raw.get())?,
            })
        };
        Ok(Self {
            key,
            split_key: None,
            as_of: raw.as_of.parse().map_err(serde::de::Error::custom)?,
            totals: serde_json::from_str(raw.totals.get())?,
            rows: raw.rows.into_iter().map(row).collect::<Result<_, _>>()?,
            omitted_rows: raw.omitted_rows,
            prompts: raw.prompts,
            tool_calls: raw.tool_calls,
            failed_tool_calls: raw.failed_tool_calls,
            plans: raw.plans,
            unknown_kinds: raw.unknown_kinds,
            outdated_sessions: raw.outdated_sessions,
            notices: raw.notices,
        })
    }
}

impl<Figures: Serialize> Serialize for UsageReport<Figures> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Keyed<'a, Figures> {
            #[serde(flatten)]
            key: BTreeMap<&'static str, Option<&'a str>>,
            #[serde(flatten)]
            figures: &'a Figures,
        }
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| Keyed {
                key: std::iter::once((self.key, row.key.as_deref()))
                    .chain(self.split_key.map(|split| (split, row.split.as_deref())))
                    .collect(),
                figures: &row.totals,
            })
            .collect();
        let mut report = serializer.serialize_struct("UsageReport", 11)?;
        report.serialize_field("as_of", &self.as_of.to_string())?;
        report.serialize_field("totals", &self.totals)?;
        report.serialize_field("rows", &rows)?;
        report.serialize_field("omitted_rows", &self.omitted_rows)?;
        report.serialize_field("prompts", &self.prompts)?;
        if let Some(calls) = self.tool_calls {
            report.serialize_field("tool_calls", &calls)?;
        }
        if let Some(calls) = self.failed_tool_calls {
            report.serialize_field("failed_tool_calls", &calls)?;
        }
        report.serialize_field("plans", &self.plans)?;
        report.serialize_field("unknown_kinds", &self.unknown_kinds)?;
        report.serialize_field("outdated_sessions", &self.outdated_sessions)?;
        if !self.notices.is_empty() {
            report.serialize_field("notices", &self.notices)?;
        }
        report.end()
    }
}
