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

use crate::report::read::{Conditions, ReadSnapshot, USERS, usd};
use crate::report::views::{DIRECTORY, ORIGINAL_FIRST, PROJECT, with_copies};
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
    /// Projects.
    Project,
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
}

impl WasteReport {
    /// A report without rows.
    pub fn empty(as_of: UtcMicros) -> Self {
        Self {
            as_of: as_of.to_string(),
            rows: Vec::new(),
            omitted_rows: 0,
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
    Ok(Some(WasteReport {
        as_of: snapshot.as_of.to_string(),
        rows,
        omitted_rows,
    }))
}

const COLUMNS: &str =
    "session_seq, session_file, session_id, kind, occurred_at, model, instances, input_tokens,
    output_tokens, cache_read_tokens, cache_creation_5m_tokens, cache_creation_1h_tokens";

/// Waste has the ordinary rates of its model: whether a request was fast or a batch is a choice,
/// and not a part of the waste.
fn sql(by: WasteGrouping, conditions: &Conditions, top: Option<u32>) -> String {
    let key = match by {
        WasteGrouping::Kind => "CAST(NULL AS VARCHAR)",
        WasteGrouping::Session => "session_id",
        WasteGrouping::User => "coalesce(directories.email, directory)",
        WasteGrouping::Project => "project",
    };
    let limit = top.map_or_else(String::new, |top| format!("LIMIT {top}"));
    format!(
        "WITH {copies},
        ranked AS (
            SELECT *, row_number() OVER (PARTITION BY key ORDER BY {ORIGINAL_FIRST}) AS place
            FROM owned WHERE folder = owner
        ),
        distinct_waste AS (
            SELECT {COLUMNS} FROM usage.waste AS waste ANTI JOIN copies ON waste.rowid = copy
            UNION ALL
            SELECT {COLUMNS} FROM ranked WHERE place = 1
        ),
        placed AS (
            SELECT waste.kind, waste.session_id, waste.instances, waste.model, waste.occurred_at,
                {DIRECTORY} AS directory, {PROJECT} AS project,
                time_bucket(INTERVAL 15 MINUTES, waste.occurred_at) AS quarter,
                waste.input_tokens, waste.output_tokens, waste.cache_read_tokens, waste.cache_creation_5m_tokens,
                waste.cache_creation_1h_tokens
            FROM distinct_waste AS waste
            LEFT JOIN (SELECT session_seq, cwd, project FROM usage.sessions) AS session USING (session_seq)
        ),
        chosen AS (SELECT {key} AS key, * FROM placed {USERS} WHERE {condition}),
        priced AS (
            SELECT chosen.*, CASE
                WHEN input_tokens = 0 AND output_tokens = 0 AND cache_read_tokens = 0
                    AND cache_creation_5m_tokens = 0 AND cache_creation_1h_tokens = 0 THEN 0
                ELSE input_tokens * rate.input + output_tokens * rate.output + cache_read_tokens * rate.cache_read
                    + cache_creation_5m_tokens * rate.cache_write_5m + cache_creation_1h_tokens * rate.cache_write_1h
                END AS cost_usd
            FROM chosen LEFT JOIN usage.rates AS rate
                ON rate.model = chosen.model AND NOT (is_fast OR is_us OR is_batch) AND context_above < 0
                AND coalesce(occurred_at, TIMESTAMP '9999-12-30') >= begins_at
                AND coalesce(occurred_at, TIMESTAMP '9999-12-30') < ends_at
        )
        SELECT count(*) OVER (), kind, key, count(DISTINCT session_id), CAST(sum(instances) AS BIGINT),
            CAST(sum(greatest(input_tokens, 0) + greatest(output_tokens, 0) + greatest(cache_read_tokens, 0)
                + cache_creation_5m_tokens + cache_creation_1h_tokens) AS BIGINT),
            CAST(CAST(sum(cost_usd) AS DECIMAL(38, 12)) AS VARCHAR) AS cost_text, bool_or(cost_usd IS NULL)
        FROM priced GROUP BY kind, key ORDER BY sum(cost_usd) DESC NULLS LAST, kind, key NULLS LAST {limit}",
        copies = with_copies("usage.waste", "waste_key"),
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
