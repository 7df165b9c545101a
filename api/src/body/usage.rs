//! The usage report, pruning, and uploads.
//!
//! [`session_pipeline_pipeline::report`] serializes the report, with its cost as an exact decimal
//! number. The types here describe that JSON in the OpenAPI document, and deserialize it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A report grouped by day, month, session, user, model, project or tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageReportBody {
    /// The report includes every session that was committed before this time.
    #[schema(format = DateTime)]
    pub as_of: String,
    /// The sums over all messages in the range of days. They do not depend on the grouping.
    pub totals: UsageTotalsBody,
    /// Sorted by key.
    pub rows: Vec<UsageRow>,
}

/// A row of the report. A report by tool has rows of type [`UsageToolRow`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum UsageRow {
    /// The calls of one tool.
    Tool(UsageToolRow),
    /// The messages of one day, month, session, user, model or project.
    Messages(UsageMessageRow),
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
}

/// The sums of one group. Exactly one of the first six fields is present: the one that `by`
/// selects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageMessageRow {
    /// The day, in UTC. Null if the transcript has no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// The month, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
    /// The session id.
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
}

/// The calls of one tool, and how they failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageToolRow {
    /// The tool.
    #[schema(required = true)]
    pub tool: Option<String>,
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

/// An uploaded session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadBody {
    /// Always `ok`.
    pub status: String,
    /// The file name of the stored session.
    pub filename: String,
    /// The decompressed size, in bytes.
    pub size: u64,
}
