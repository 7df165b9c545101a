//! The report on calls of tools.

use std::sync::Arc;

use duckdb::Row as SqlRow;
use session_pipeline_host::clock::Clock;
use session_pipeline_store::{Store, StoreError};

use super::conditions::Conditions;
use super::key::Key;
use super::{ReadSnapshot, RowPlace, empty_notices, read, row_order, texts, totals, totals_sql};
use crate::report::rollups::bucket_middle;
use crate::report::{
    PriceTable, ReportFilter, ReportGrouping, ToolCalls, ToolGrouping, UsageReport,
};

/// The report on calls of tools. Its totals are those of [`usage`](super::usage). `None`: `usage` never ran.
///
/// # Errors
/// If the database can't be read.
pub fn tools(
    store: &Store,
    prices: &PriceTable,
    by: ToolGrouping,
    filter: impl Into<ReportFilter>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<UsageReport<ToolCalls>>, StoreError> {
    let filter = filter.into();
    let Some(snapshot) = ReadSnapshot::open(store, prices, clock)? else {
        return Ok(None);
    };
    let connection = &snapshot.connection;
    let conditions = Conditions::of(&filter);
    let mut report = UsageReport::empty(by.key(), snapshot.as_of);
    let source = Key::of(ReportGrouping::Source, "");
    let of_messages = totals_sql(&source, None, &conditions, Some(0));
    if let Some((_, row)) = read(connection, &of_messages, &conditions.parameters, totals)?.pop() {
        report.totals = row.totals;
    }
    let sql = calls_sql(by, &conditions, filter.top);
    let mut row_count = 0;
    for (place, row) in read(connection, &sql, &conditions.parameters, calls)? {
        match place {
            RowPlace::Total(rows) => {
                row_count = rows;
                report.tool_calls = Some(row.totals.calls);
                report.failed_tool_calls = Some(row.totals.errors);
            }
            RowPlace::Group => report.rows.push(row),
        }
    }
    report.omitted_rows = row_count.saturating_sub(report.rows.len() as u64);
    if report.rows.is_empty() && report.totals.messages == 0 {
        report.notices = empty_notices(connection, &filter)?;
    }
    Ok(Some(report))
}

/// SQL for rows that [`calls`] reads: the number of groups in a row of its own, and the groups.
fn calls_sql(by: ToolGrouping, conditions: &Conditions, top: Option<u32>) -> String {
    let (column, only) = match by {
        ToolGrouping::Tool => ("tool_name", ""),
        ToolGrouping::McpServer => ("mcp_server", "AND mcp_server IS NOT NULL"),
    };
    let order = row_order(top, "calls", "key");
    // Durations and sessions are expensive, so only those of listed rows are counted.
    let listed_only = match top {
        Some(_) => "SEMI JOIN (SELECT key FROM listed WHERE is_total = 0) USING (key)",
        None => "",
    };
    let key = Key {
        column: column.to_owned(),
        text: "key".to_owned(),
        join: "",
    };
    format!(
        "WITH chosen AS NOT MATERIALIZED (
            SELECT {column} AS key, session_id, is_error, error_class, duration_buckets, calls
            FROM usage.call_rollups {joins}
            WHERE tool_name IS NOT NULL {only} AND {condition}
        ),
        grouped AS MATERIALIZED (
            SELECT key, is_error, error_class, sum(calls) AS calls FROM chosen GROUP BY ALL
        ),
        counted AS (
            SELECT GROUPING(key) AS is_total, key, CAST(coalesce(sum(calls), 0) AS BIGINT) AS calls,
                CAST(coalesce(sum(calls) FILTER (is_error), 0) AS BIGINT) AS errors,
                {classes}
            FROM grouped GROUP BY GROUPING SETS ((key), ())
        ),
        listed AS MATERIALIZED (SELECT *, count(*) OVER () - 1 AS row_count FROM counted ORDER BY {order}),
        buckets AS (
            SELECT key, duration_bucket, sum(calls) OVER (PARTITION BY key ORDER BY duration_bucket) AS calls_up_to,
                sum(calls) OVER (PARTITION BY key) AS all_calls
            FROM (
                SELECT key, duration_bucket, count(*) AS calls
                FROM (SELECT key, unnest(duration_buckets) AS duration_bucket FROM chosen {listed_only}) GROUP BY ALL
            )
        ),
        durations AS (
            SELECT key, min(duration_bucket) FILTER (calls_up_to >= all_calls * 0.5) AS half,
                min(duration_bucket) FILTER (calls_up_to >= all_calls * 0.95) AS nearly_all
            FROM buckets GROUP BY key
        ),
        classes AS (
            SELECT key, list(error_class || '=' || calls ORDER BY error_class) AS classes
            FROM (
                SELECT key, coalesce(error_class, 'unknown') AS error_class, sum(calls) AS calls
                FROM grouped WHERE is_error GROUP BY ALL
            ) GROUP BY key
        ),
        in_sessions AS (
            SELECT key, count(DISTINCT hash(session_id)) AS sessions FROM chosen {listed_only} GROUP BY key
        )
        SELECT CASE WHEN is_total = 1 THEN row_count END, listed.key, NULL, calls, errors,
            tool_errors, exit_codes, rejected, siblings_failed,
            coalesce(classes, []), {half}, {nearly_all}, coalesce(sessions, 0)
        FROM listed
        LEFT JOIN in_sessions ON in_sessions.key = listed.key AND is_total = 0
        LEFT JOIN durations ON durations.key = listed.key AND is_total = 0
        LEFT JOIN classes ON classes.key = listed.key AND is_total = 0
        ORDER BY {listed_order}",
        listed_order = row_order(top, "calls", "listed.key"),
        joins = conditions.joins([&key]),
        condition = conditions.sql,
        classes = [
            ("tool_error", "tool_errors"),
            ("exit_code", "exit_codes"),
            ("rejected", "rejected"),
            ("sibling_failed", "siblings_failed"),
        ]
        .map(|(class, name)| format!(
            "CAST(coalesce(sum(calls) FILTER (error_class = '{class}'), 0) AS BIGINT) AS {name}"
        ))
        .join(", "),
        half = bucket_middle("half"),
        nearly_all = bucket_middle("nearly_all"),
    )
}

fn calls(row: &SqlRow<'_>) -> duckdb::Result<ToolCalls> {
    let classes = texts(row.get(9)?);
    let classes = classes.iter().filter_map(|class| {
        let (class, calls) = class.rsplit_once('=')?;
        Some((class.to_owned(), calls.parse().ok()?))
    });
    Ok(ToolCalls {
        calls: row.get(3)?,
        errors: row.get(4)?,
        tool_errors: row.get(5)?,
        exit_codes: row.get(6)?,
        rejected: row.get(7)?,
        siblings_failed: row.get(8)?,
        errors_by_class: classes.collect(),
        p50_ms: row.get(10)?,
        p95_ms: row.get(11)?,
        sessions: row.get(12)?,
    })
}
