//! The usage report, and pruning.
//!
//! [`session_pipeline_pipeline::report`] serializes the report, with its cost as an exact decimal
//! number. The types here describe that JSON in the OpenAPI document, and deserialize it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::report::{PlanUse, UnknownKind};
use utoipa::ToSchema;

/// A report on messages, or on calls of tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageReportBody {
    /// The report includes every session that was committed before this time.
    #[schema(format = DateTime)]
    pub as_of: String,
    /// The sums over all messages in the range of days. They do not depend on the grouping.
    pub totals: UsageTotalsBody,
    /// Sorted by key, or by cost if `top` limits their number.
    pub rows: Vec<UsageRow>,
    /// The number of rows beyond the limit.
    #[serde(default)]
    pub omitted_rows: u64,
    /// The number of prompts that people typed, in sessions that began on these days. Null in
    /// reports on one model and on tools.
    #[serde(default)]
    pub prompts: Option<i64>,
    /// The number of calls in all rows, including those beyond the limit. Only in reports on tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<i64>,
    /// The number of these calls that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_tool_calls: Option<i64>,
    /// Subscription plans that the sessions ran on. Requests on a plan are not billed by the token,
    /// so their cost is what they would cost at list prices. At most 50.
    #[serde(default)]
    pub plans: Vec<PlanUse>,
    /// Types of lines that are in no count, because this version does not know them. At most 50.
    #[serde(default)]
    pub unknown_kinds: Vec<UnknownKind>,
    /// The number of sessions whose files are gone, and which an earlier version processed. Their
    /// figures stay as they were, without causes.
    #[serde(default)]
    pub outdated_sessions: u64,
    /// Why the report is empty: a filter has a value that no message has. With suggestions. Absent if
    /// the report is not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// A row of the report. A report by tool has rows of type [`UsageToolRow`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum UsageRow {
    /// The calls of one tool.
    Tool(UsageToolRow),
    /// The messages of one group.
    Messages(Box<UsageMessageRow>),
}

/// Sums over messages. A message in several files counts once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageTotalsBody {
    /// Input tokens, without cache reads and cache writes.
    pub input_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// Tokens read from the cache.
    pub cache_read_tokens: i64,
    /// Tokens written to the cache.
    pub cache_creation_tokens: i64,
    /// Cost in US dollars, of the models that have a price. Null if none has one.
    #[schema(required = true)]
    pub cost_usd: Option<f64>,
    /// Whether the actual cost is higher, because a price or a count is missing.
    pub cost_is_lower_bound: bool,
    /// Whether the transcript lacks the final output count of a message.
    pub output_is_lower_bound: bool,
    /// Models without a price for their time and speed. At most 100.
    pub unknown_models: Vec<String>,
    /// The number of messages.
    pub messages: i64,
    /// The number of distinct session ids.
    pub sessions: i64,
    /// The number of web searches by the API, which are billed in addition to tokens.
    #[serde(default)]
    pub web_searches: i64,
    /// The number of messages whose final output count was never written.
    #[serde(default)]
    pub open_messages: i64,
    /// The number of messages without a price.
    #[serde(default)]
    pub unpriced_messages: i64,
    /// The number of sub-agent runs without a transcript. Their tokens are in no other count.
    #[serde(default)]
    pub unrecorded_runs: i64,
    /// The tokens of these runs, as their results report them.
    #[serde(default)]
    pub unrecorded_tokens: i64,
    /// The number of times that tokens were spent which the agent did not record, such as those of
    /// the request in progress when a turn was aborted.
    #[serde(default)]
    pub unrecorded_requests: i64,
    /// The cost as the agent itself reports it. Only in a report by session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_cost_usd: Option<f64>,
    /// The output tokens as the agent itself reports them. Only in a report by session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_output_tokens: Option<i64>,
    /// The number of paths with the name of the project, such as the clones of a repository. Only in a
    /// report by project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<i64>,
}

/// The sums of one group. Exactly those of the fields before the sums are present that `by` and
/// `split` select. A field is null if the transcript does not contain it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageMessageRow {
    /// The day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// The Monday of the week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub week: Option<String>,
    /// The month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
    /// The hour of the week, such as `Mon 09:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hour: Option<String>,
    /// The session id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The path of the repository or folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The name of the project: the last part of the path of the repository or folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    /// The Git branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The pull request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<String>,
    /// `main`, `subagent` or `auxiliary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The type of the sub-agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// The skill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skill: Option<String>,
    /// The plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The MCP server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_server: Option<String>,
    /// The effort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// The entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<String>,
    /// The coding agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The provider of the models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The sums.
    #[serde(flatten)]
    pub totals: UsageTotalsBody,
}

/// The calls of one tool, and how they failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageToolRow {
    /// The tool. Absent in a report by MCP server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The MCP server. Only in a report by MCP server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_server: Option<String>,
    /// The number of calls. A call in several files counts once.
    pub calls: i64,
    /// The number of calls that failed, for any reason.
    pub errors: i64,
    /// Failed calls in which the tool reported an error.
    pub tool_errors: i64,
    /// Failed calls of a command that exited with a code other than zero.
    pub exit_codes: i64,
    /// Calls that the user rejected.
    pub rejected: i64,
    /// Calls canceled because another call of the same message failed.
    pub siblings_failed: i64,
    /// Failed calls by class, including the four classes above.
    #[serde(default)]
    pub errors_by_class: BTreeMap<String, i64>,
    /// Half of the calls took at most this many milliseconds from call to result, within 5 %. Null
    /// if no result has a time.
    #[serde(default)]
    pub p50_ms: Option<f64>,
    /// 95 % of the calls took at most this many milliseconds, within 5 %.
    #[serde(default)]
    pub p95_ms: Option<f64>,
    /// The number of distinct session ids.
    pub sessions: i64,
}

/// The result of pruning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PruneBody {
    /// `ok`, or `skipped` if no retention period is set.
    pub status: PruneStatus,
    /// Why nothing was pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The retention period, in days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// The number of deleted events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// The number of remaining events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
}

/// Whether events were pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PruneStatus {
    /// Events older than the retention period were deleted.
    Ok,
    /// No retention period is set.
    Skipped,
}
