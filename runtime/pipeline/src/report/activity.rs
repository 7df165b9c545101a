//! Who did how much, for operators (BEHAVIOUR.md 8.8): tools, users, failures, active days, and the
//! actions of ours that take long. Each call counts once over all files.

use std::sync::Arc;
use std::time::Duration;

use duckdb::{Connection, Row};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{Audited, Store, StoreError, in_transaction, timestamp, write_audit};

use crate::report::rollups::forget;
use crate::report::views::with_names;

/// Rows of each list.
const ROWS_MAX: u32 = 10;
/// An action that was done less often has no percentiles worth telling.
const ACTIONS_MIN: u32 = 5;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How far back to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// So many days before now.
    Days(u32),
    /// Everything.
    All,
}

/// What was going on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Activity {
    /// Tool, source, calls.
    pub top_tools: Vec<(String, String, i64)>,
    /// User, calls.
    pub top_users: Vec<(String, i64)>,
    /// Tool, calls, failures, the one by the other to four places.
    pub error_rate: Vec<(String, i64, i64, f64)>,
    /// Day and users, always for thirty days, the oldest first.
    pub dau_series: Vec<(String, i64)>,
    /// Their mean, to one place.
    pub dau_avg: f64,
    /// What takes long.
    pub slow_actions: Vec<SlowAction>,
}

/// How long an audited action takes, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowAction {
    /// The action.
    pub action: String,
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max_ms: i64,
    /// How often it was done.
    pub n: i64,
}

/// What was going on within a window before now. The views of `usage` must be there.
///
/// # Errors
/// When the database can't be read.
pub fn activity(store: &Store, window: Window, now: UtcMicros) -> Result<Activity, StoreError> {
    let connection = store.reader()?;
    let since = match window {
        Window::Days(days) => now.minus(DAY.saturating_mul(days)),
        Window::All => UtcMicros(i64::MIN),
    };
    // Without a lower bound, what bears no time counts too.
    let calls = match window {
        Window::Days(_) => "usage.distinct_calls WHERE occurred_at >= make_timestamp(?)",
        Window::All => "usage.distinct_calls WHERE ? IS NOT NULL",
    };
    let top_tools = all(
        &connection,
        &format!(
            "SELECT tool_name, source, count(*) AS calls FROM {calls} GROUP BY ALL
             ORDER BY calls DESC, tool_name, source LIMIT {ROWS_MAX}"
        ),
        since,
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let top_users = all(
        &connection,
        &format!(
            "SELECT username, count(*) AS calls FROM {calls} GROUP BY ALL
             ORDER BY calls DESC, username LIMIT {ROWS_MAX}"
        ),
        since,
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let error_rate = all(
        &connection,
        &format!(
            "SELECT tool_name, count(*) AS calls, count(*) FILTER (is_error) AS errors,
                round(count(*) FILTER (is_error) / count(*), 4) AS rate
             FROM {calls} GROUP BY ALL ORDER BY rate DESC, calls DESC, tool_name LIMIT {ROWS_MAX}"
        ),
        since,
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
    )?;
    let dau_series: Vec<(String, i64)> = all(
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
        |row| Ok((row.get(0)?, row.get(1)?)),
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
    let users: i64 = dau_series.iter().map(|(_, users)| users).sum();
    Ok(Activity {
        top_tools,
        top_users,
        error_rate,
        dau_avg: (users as f64 / dau_series.len().max(1) as f64 * 10.0).round() / 10.0,
        dau_series,
        slow_actions,
    })
}

/// Removes the events that lie so many days or more before now; gives how many were removed and
/// how many are left. What bears no time stays. The sessions themselves stay processed, so their
/// events come back only when somebody asks for it.
///
/// # Errors
/// When the database refuses.
pub fn prune(store: &Store, days: u32, audited: Audited) -> Result<(u64, u64), StoreError> {
    let before = audited.now.minus(DAY.saturating_mul(days));
    let updates = Arc::clone(store.updates());
    store.write(move |connection| {
        let refused = StoreError::database("prune events");
        in_transaction(connection, |connection| {
            let pruned = format!(
                "CREATE OR REPLACE TEMP TABLE pruned AS
                    SELECT DISTINCT session_seq FROM usage.events WHERE occurred_at < make_timestamp({})",
                before.0
            );
            connection.execute_batch(&pruned).map_err(&refused)?;
            forget(connection, &updates, "temp.pruned")?;
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
