//! The report on waste: tokens that sessions could have saved, with their cost and advice.
//!
//! The processor `usage` finds waste and defines its kinds. Kinds overlap: a response can repeat a
//! failed call and have a long context. So there is no total over kinds.

use std::sync::Arc;

use duckdb::Row as SqlRow;
use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_store::money::Usd;
use session_pipeline_store::{Store, StoreError};

use crate::report::read::{Conditions, ReadSnapshot, USERS, empty_notices, usd};
use crate::report::{PriceTable, ReportFilter};

/// What a row stands for, in addition to a kind of waste.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WasteGrouping {
    /// Nothing else.
    #[default]
    Kind,
    /// Sessions, by id.
    Session,
    /// Users.
    User,
    /// Projects, by path.
    Project,
    /// Projects, by name.
    ProjectName,
}

/// The waste of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WasteRow {
    /// `failed_retry`, `reread`, `long_context`, `cache_miss` or `compaction`.
    pub kind: String,
    /// The session, user or project, if the report is by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Number of distinct session ids.
    pub sessions: i64,
    /// Number of calls, responses or compactions.
    pub instances: i64,
    /// The tokens. For a cache miss, those that were paid at a higher rate.
    pub tokens: i64,
    /// What they cost in US dollars, above what would have been paid. `None` if no model has a
    /// price.
    #[cfg_attr(feature = "schema", schema(value_type = Option<f64>))]
    pub cost_usd: Option<Usd>,
    /// Whether some of the models have no price.
    pub cost_is_lower_bound: bool,
    /// What to do about it, in one sentence.
    pub advice: String,
}

/// What to do about a kind of waste.
fn advice(kind: &str) -> &'static str {
    match kind {
        "failed_retry" => {
            "Interrupt an agent that repeats a failing call, and state the cause in CLAUDE.md so that the next session does not try it."
        }
        "reread" => {
            "Start a new session for a new task, and point the agent to the relevant lines instead of whole files."
        }
        "long_context" => {
            "Split long tasks into sessions, or run /compact or /clear at the end of each step."
        }
        "cache_miss" => {
            "Continue a session within the lifetime of its cache, and avoid changing the model, tools or settings in between."
        }
        "compaction" => {
            "End a session before its context is full, and write decisions to a file that the next session reads."
        }
        _ => "This version of the program has no advice for this kind.",
    }
}

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WasteReport {
    /// Every session that was committed before this time is included.
    pub as_of: String,
    /// The most expensive first. Kinds overlap, so their sums do not add up.
    pub rows: Vec<WasteRow>,
    /// Number of rows beyond the limit.
    pub omitted_rows: u64,
    /// Why the report is empty: a filter has a value that no message has. With suggestions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

impl WasteReport {
    /// A report without rows.
    pub fn empty(as_of: UtcMicros) -> Self {
        Self {
            as_of: as_of.to_string(),
            rows: Vec::new(),
            omitted_rows: 0,
            notices: Vec::new(),
        }
    }
}

/// The report on waste. `None`: `usage` never ran.
///
/// # Errors
/// If the database can't be read.
pub fn waste(
    store: &Store,
    prices: &PriceTable,
    by: WasteGrouping,
    filter: &ReportFilter,
    clock: &Arc<dyn Clock>,
) -> Result<Option<WasteReport>, StoreError> {
    let Some(snapshot) = ReadSnapshot::open(store, prices, clock)? else {
        return Ok(None);
    };
    let conditions = Conditions::of(filter);
    let sql = sql(by, &conditions, filter.top);
    let (rows, omitted_rows) = snapshot.limited_rows(&sql, &conditions, waste_row)?;
    let notices = match rows.is_empty() {
        true => empty_notices(&snapshot.connection, filter)?,
        false => Vec::new(),
    };
    Ok(Some(WasteReport {
        as_of: snapshot.as_of.to_string(),
        rows,
        omitted_rows,
        notices,
    }))
}

fn sql(by: WasteGrouping, conditions: &Conditions, top: Option<u32>) -> String {
    let key = match by {
        WasteGrouping::Kind => "CAST(NULL AS VARCHAR)",
        WasteGrouping::Session => "session_id",
        WasteGrouping::User => "coalesce(directories.email, directory)",
        WasteGrouping::Project => "project",
        WasteGrouping::ProjectName => "project_name",
    };
    let limit = top.map_or_else(String::new, |top| format!("LIMIT {top}"));
    format!(
        "SELECT count(*) OVER (), kind, {key} AS key, count(DISTINCT session_id), CAST(sum(instances) AS BIGINT),
            CAST(sum(tokens) AS BIGINT), CAST(CAST(sum(cost_usd) AS DECIMAL(38, 12)) AS VARCHAR) AS cost_text,
            bool_or(has_unpriced)
        FROM usage.waste_rollups {USERS} WHERE {condition}
        GROUP BY kind, key ORDER BY sum(cost_usd) DESC NULLS LAST, kind, key NULLS LAST {limit}",
        condition = conditions.sql,
    )
}

fn waste_row(row: &SqlRow<'_>) -> duckdb::Result<WasteRow> {
    let kind: String = row.get(1)?;
    Ok(WasteRow {
        advice: advice(&kind).to_owned(),
        kind,
        key: row.get(2)?,
        sessions: row.get(3)?,
        instances: row.get(4)?,
        tokens: row.get(5)?,
        cost_usd: usd(row, 6)?,
        cost_is_lower_bound: row.get(7)?,
    })
}
