//! Usage: the report of tokens and cost, and its administration.
//!
//! The report itself is written by [`session_pipeline_pipeline::report`], whose cost is an exact
//! decimal number; these types describe it, and read it back.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A report by days, months, sessions, users, models, projects, or tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageReportBody {
    /// Every session that was committed before this time is included.
    #[schema(format = DateTime)]
    pub as_of: String,
    /// The sums over all messages of these days, whatever the rows are about.
    pub totals: UsageTotalsBody,
    /// In order of their keys.
    pub rows: Vec<UsageRow>,
}

/// A row: what it is about, and its sums. Rows about tools have those of [`UsageToolRow`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum UsageRow {
    /// Calls of one tool.
    Tool(UsageToolRow),
    /// Messages of one day, month, session, user, model or project.
    Messages(UsageMessageRow),
}

/// Sums over messages, each counted once over all files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageTotalsBody {
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
pub struct UsageMessageRow {
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
pub struct UsageToolRow {
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
pub struct PruneBody {
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
pub struct UploadBody {
    /// `ok`.
    pub status: String,
    /// The name under which it lies.
    pub filename: String,
    /// Its size in bytes, decompressed.
    pub size: u64,
}
