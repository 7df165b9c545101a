//! Activity for operators: top tools and users, error rates, active users per day, and slow
//! actions. Each call counts once over all files.

use std::sync::Arc;
use std::time::Duration;

use duckdb::{Connection, Row};
use serde::Serialize;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{
    AuditedAction, Store, StoreError, in_transaction, timestamp, write_audit,
};

use crate::report::rollups::invalidate;
use crate::report::views::with_names;

/// Maximum number of rows in each list.
const ROWS_MAX: u32 = 10;
/// Actions with fewer samples are omitted, because their percentiles mean little.
const ACTIONS_MIN: u32 = 5;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The time span of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivityWindow {
    /// The last N days.
    Days(u32),
    /// All time.
    All,
}

/// Activity in a window.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Activity {
    /// Tool, source, number of calls.
    pub top_tools: Vec<TopTool>,
    /// User, number of calls.
    pub top_users: Vec<TopUser>,
    /// Tool, calls, errors, and the error rate rounded to four decimals.
    pub error_rate: Vec<ErrorRate>,
    /// Day and number of active users for the last thirty days, oldest first.
    #[cfg_attr(feature = "schema", schema(min_items = 30, max_items = 30))]
    pub dau_series: Vec<ActiveUsers>,
    /// Mean of the series, rounded to one decimal.
    pub dau_avg: f64,
    /// The slowest actions.
    pub slow_actions: Vec<SlowAction>,
}

/// How often a tool was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TopTool {
    /// The tool.
    pub tool_name: String,
    /// `builtin`, `mcp` or `plugin`.
    pub source: String,
    /// Calls.
    pub invocations: i64,
}

/// How much a user had done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TopUser {
    /// The user.
    pub username: String,
    /// Calls of tools.
    pub tool_calls: i64,
}

/// How often calls of a tool fail.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ActiveUsers {
    /// The day, in UTC.
    pub day: String,
    /// Users of whom an event is known.
    pub active_users: i64,
}

/// Durations of an audited action, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SlowAction {
    /// The action.
    pub action: String,
    /// Half took at most so long.
    pub p50: f64,
    /// Of a hundred, ninety-five.
    pub p95: f64,
    /// Of a hundred, ninety-nine.
    pub p99: f64,
    /// The maximum.
    pub max_ms: i64,
    /// Number of samples.
    pub n: i64,
}

/// Collects the activity in a window before now. Requires the views of `usage`.
///
/// # Errors
/// If the database can't be read.
pub fn activity(
    store: &Store,
    window: ActivityWindow,
    now: UtcMicros,
) -> Result<Activity, StoreError> {
    let connection = store.reader()?;
    let since = match window {
        ActivityWindow::Days(days) => now.minus(DAY.saturating_mul(days)),
        ActivityWindow::All => UtcMicros(i64::MIN),
    };
    // Without a lower bound, calls without a timestamp count too.
    let calls = match window {
        ActivityWindow::Days(_) => "usage.distinct_calls WHERE occurred_at >= make_timestamp(?)",
        ActivityWindow::All => "usage.distinct_calls WHERE ? IS NOT NULL",
    };
    let top_tools = all(
        &connection,
        &format!(
            "SELECT tool_name, source, count(*) AS calls FROM {calls} GROUP BY ALL
             ORDER BY calls DESC, tool_name, source LIMIT {ROWS_MAX}"
        ),
        since,
        |row| {
            Ok(TopTool {
                tool_name: row.get(0)?,
                source: row.get(1)?,
                invocations: row.get(2)?,
            })
        },
    )?;
    let top_users = all(
        &connection,
        &format!(
            "SELECT username, count(*) AS calls FROM {calls} GROUP BY ALL
             ORDER BY calls DESC, username LIMIT {ROWS_MAX}"
        ),
        since,
        |row| {
            Ok(TopUser {
                username: row.get(0)?,
                tool_calls: row.get(1)?,
            })
        },
    )?;
    let error_rate = all(
        &connection,
        &format!(
            "SELECT tool_name, count(*) AS calls, count(*) FILTER (is_error) AS errors,
                round(count(*) FILTER (is_error) / count(*), 4) AS rate
             FROM {calls} GROUP BY ALL ORDER BY rate DESC, calls DESC, tool_name LIMIT {ROWS_MAX}"
        ),
        since,
        |row| {
            Ok(ErrorRate {
                tool_name: row.get(0)?,
                invocations: row.get(1)?,
                errors: row.get(2)?,
                rate: row.get(3)?,
            })
        },
    )?;
    let dau_series: Vec<ActiveUsers> = all(
        &connection,
        &format!(
            "WITH days AS (
                SELECT CAST(make_timestamp(?) AS DATE) - CAST(back AS INTEGER) AS day FROM range(30) AS r (back)
            )
            SELECT CAST(day AS VARCHAR), count(DISTINCT username)
            FROM days LEFT JOIN ({}) ON CAST(occurred_at AS DATE) = day GROUP BY day ORDER BY day",
            with_names("SELECT session_file, username, occurred_at FROM usage.events")
        ),
        now,
        |row| {
            Ok(ActiveUsers {
                day: row.get(0)?,
                active_users: row.get(1)?,
            })
        },
    )?;
    let slow_actions = all(
        &connection,
        &format!(
            "SELECT action, quantile_cont(duration_ms, 0.5), quantile_cont(duration_ms, 0.95) AS p95,
                quantile_cont(duration_ms, 0.99), max(duration_ms), count(*) AS n
             FROM main.audit_log WHERE duration_ms IS NOT NULL AND epoch_us(timestamp) >= ?
             GROUP BY action HAVING n >= {ACTIONS_MIN} ORDER BY p95 DESC, action LIMIT {ROWS_MAX}"
        ),
        since,
        |row| {
            Ok(SlowAction {
                action: row.get(0)?,
                p50: row.get(1)?,
                p95: row.get(2)?,
                p99: row.get(3)?,
                max_ms: row.get(4)?,
                n: row.get(5)?,
            })
        },
    )?;
    let users: i64 = dau_series.iter().map(|day| day.active_users).sum();
    Ok(Activity {
        top_tools,
        top_users,
        error_rate,
        dau_avg: (users as f64 / dau_series.len().max(1) as f64 * 10.0).round() / 10.0,
        dau_series,
        slow_actions,
    })
}

/// Deletes events that are at least this many days old. Returns the numbers of deleted and
/// remaining events. Events without a timestamp stay. The sessions stay processed, so the events
/// return only if they are reprocessed.
///
/// # Errors
/// If the database fails.
pub fn prune(store: &Store, days: u32, audited: AuditedAction) -> Result<(u64, u64), StoreError> {
    let before = audited.now.minus(DAY.saturating_mul(days));
    let updates = Arc::clone(store.rollup_updates());
    store.write(move |connection| {
        let refused = StoreError::database("prune events");
        in_transaction(connection, |connection| {
            let pruned = format!(
                "CREATE OR REPLACE TEMP TABLE pruned AS
                    SELECT DISTINCT session_seq FROM usage.events WHERE occurred_at < make_timestamp({})",
                before.0
            );
            connection.execute_batch(&pruned).map_err(&refused)?;
            invalidate(connection, &updates, "temp.pruned")?;
            connection
                .execute_batch("DROP TABLE temp.pruned")
                .map_err(&refused)?;
            let deleted = connection
                .execute(
                    "DELETE FROM usage.events WHERE occurred_at < ?",
                    [timestamp(before)],
                )
                .map_err(&refused)?;
            let remaining: i64 = connection
                .query_row("SELECT count(*) FROM usage.events", [], |row| row.get(0))
                .map_err(&refused)?;
            let params = serde_json::json!({
                "retention_days": days, "deleted": deleted, "remaining": remaining,
            });
            write_audit(connection, &audited.entry("usage.events", &params))?;
            Ok((deleted as u64, u64::try_from(remaining).unwrap_or(0)))
        })
    })
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    instant: UtcMicros,
    row: impl Fn(&Row<'_>) -> duckdb::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let rows = || -> duckdb::Result<Vec<T>> {
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([instant.0], |found| row(found))?;
        rows.collect()
    };
    rows().map_err(StoreError::database("read the activity"))
}
