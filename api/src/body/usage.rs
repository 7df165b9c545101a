//! Usage: the report of tokens and cost, and its administration.
//!
//! The report itself is written by [`session_pipeline_pipeline::report`], whose cost is an exact
//! decimal number; these types describe it, and read it back.

use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::report::activity;
use utoipa::ToSchema;

/// A report by days, months, sessions, users, models, projects, or tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageReport {
    /// Every session that was committed before this time is included.
    #[schema(format = DateTime)]
    pub as_of: String,
    /// The sums over all messages of these days, whatever the rows are about.
    pub totals: UsageTotals,
    /// In order of their keys.
    pub rows: Vec<UsageRow>,
}

/// A row: what it is about, and its sums. Rows about tools have those of [`ToolRow`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum UsageRow {
    /// Calls of one tool.
    Tool(ToolRow),
    /// Messages of one day, month, session, user, model or project.
    Messages(MessageRow),
}

/// Sums over messages, each counted once over all files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageTotals {
    /// Input that was neither read from nor written to the cache.
    pub input_tokens: i64,
    /// Output.
    pub output_tokens: i64,
    /// Input read from the cache.
    pub cache_read_tokens: i64,
    /// Input written to the cache.
    pub cache_creation_tokens: i64,
    /// Cost in US dollars of what has a price; null where nothing has.
    #[schema(required = true)]
    pub cost_usd: Option<f64>,
    /// Whether the cost leaves something out.
    pub cost_is_lower_bound: bool,
    /// Whether some message's final output count was never written.
    pub output_is_lower_bound: bool,
    /// Models without a price, at that time and speed; at most 100 of them.
    pub unknown_models: Vec<String>,
    /// Messages.
    pub messages: i64,
    /// Distinct session ids.
    pub sessions: i64,
}

/// The sums of one row. Of the first six fields one is there: the one that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MessageRow {
    /// The day, in UTC; null where the transcript does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// The month, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
    /// The session's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The repository or folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// As in the totals.
    pub input_tokens: i64,
    /// As in the totals.
    pub output_tokens: i64,
    /// As in the totals.
    pub cache_read_tokens: i64,
    /// As in the totals.
    pub cache_creation_tokens: i64,
    /// As in the totals.
    #[schema(required = true)]
    pub cost_usd: Option<f64>,
    /// As in the totals.
    pub cost_is_lower_bound: bool,
    /// As in the totals.
    pub output_is_lower_bound: bool,
    /// As in the totals.
    pub unknown_models: Vec<String>,
    /// As in the totals.
    pub messages: i64,
    /// As in the totals.
    pub sessions: i64,
}

/// How often a tool was called, and how calls failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ToolRow {
    /// The tool.
    #[schema(required = true)]
    pub tool: Option<String>,
    /// Calls, each counted once.
    pub calls: i64,
    /// Calls that failed.
    pub errors: i64,
    /// Of these: the tool refused.
    pub tool_errors: i64,
    /// A command ended with a code other than zero.
    pub exit_codes: i64,
    /// A person said no.
    pub rejected: i64,
    /// Another call of the same message failed.
    pub siblings_failed: i64,
    /// Distinct session ids.
    pub sessions: i64,
}

/// What pruning did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    /// `ok`, or `skipped` where no retention is set.
    pub status: PruneStatus,
    /// Why nothing was pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Days that events are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// Events removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// Events that are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
}

/// Whether anything was pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PruneStatus {
    /// What was old is gone.
    Ok,
    /// No retention is set.
    Skipped,
}

/// An uploaded session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Uploaded {
    /// `ok`.
    pub status: String,
    /// The name under which it lies.
    pub filename: String,
    /// Its size in bytes, decompressed.
    pub size: u64,
}

/// Who did how much within a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Activity {
    /// The ten tools called most.
    pub top_tools: Vec<TopTool>,
    /// The ten users with the most calls.
    pub top_users: Vec<TopUser>,
    /// The ten tools whose calls failed most often, of their calls.
    pub error_rate: Vec<ErrorRate>,
    /// Users a day, for the last thirty days, the oldest first.
    #[schema(min_items = 30, max_items = 30)]
    pub dau_series: Vec<ActiveUsers>,
    /// Their mean, to one place.
    pub dau_avg: f64,
    /// The ten audited actions that took longest, of those done five times or more.
    pub slow_actions: Vec<SlowAction>,
}

/// How often a tool was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopTool {
    /// The tool.
    pub tool_name: String,
    /// `builtin`, `mcp` or `plugin`.
    pub source: String,
    /// Calls.
    pub invocations: i64,
}

/// How much a user had done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopUser {
    /// The user.
    pub username: String,
    /// Calls of tools.
    pub tool_calls: i64,
}

/// How often calls of a tool fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorRate {
    /// The tool.
    pub tool_name: String,
    /// Calls.
    pub invocations: i64,
    /// Calls that failed.
    pub errors: i64,
    /// The one by the other, to four places.
    pub rate: f64,
}

/// Users of one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActiveUsers {
    /// The day, in UTC.
    pub day: String,
    /// Users of whom an event is known.
    pub active_users: i64,
}

/// How long an action takes, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlowAction {
    /// The action.
    pub action: String,
    /// Half took at most so long.
    pub p50: f64,
    /// Of a hundred, ninety-five.
    pub p95: f64,
    /// Of a hundred, ninety-nine.
    pub p99: f64,
    /// The longest.
    pub max_ms: i64,
    /// How often it was done.
    pub n: i64,
}

impl From<activity::Activity> for Activity {
    fn from(activity: activity::Activity) -> Self {
        let activity::Activity {
            top_tools,
            top_users,
            error_rate,
            dau_series,
            dau_avg,
            slow_actions,
        } = activity;
        Self {
            top_tools: top_tools
                .into_iter()
                .map(|(tool_name, source, invocations)| TopTool {
                    tool_name,
                    source,
                    invocations,
                })
                .collect(),
            top_users: top_users
                .into_iter()
                .map(|(username, tool_calls)| TopUser {
                    username,
                    tool_calls,
                })
                .collect(),
            error_rate: error_rate
                .into_iter()
                .map(|(tool_name, invocations, errors, rate)| ErrorRate {
                    tool_name,
                    invocations,
                    errors,
                    rate,
                })
                .collect(),
            dau_series: dau_series
                .into_iter()
                .map(|(day, active_users)| ActiveUsers { day, active_users })
                .collect(),
            dau_avg,
            slow_actions: slow_actions
                .into_iter()
                .map(|slow| SlowAction {
                    action: slow.action,
                    p50: slow.p50,
                    p95: slow.p95,
                    p99: slow.p99,
                    max_ms: slow.max_ms,
                    n: slow.n,
                })
                .collect(),
        }
    }
}
