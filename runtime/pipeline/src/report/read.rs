//! Reads reports from the rollups, each in one transaction, so that its rows add up to its totals.

use std::sync::Arc;

use duckdb::types::Value;
use duckdb::{Connection, Row as SqlRow, params_from_iter};
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_store::money::Usd;
use session_pipeline_store::{Store, StoreError};

use crate::report::rollups::{CALL_COUNTS, fingerprint, is_current, update, update_alone};
use crate::report::views::{register, sums};
use crate::report::{
    DayRange, PriceTable, ReportGrouping, ReportRow, ToolCalls, UsageReport, UsageTotals,
};

/// Maximum number of updates per report before commits are blocked during the next one.
const UPDATES_MAX: u32 = 3;

/// The usage report. `None`: `usage` never ran.
///
/// # Errors
/// If the database can't be read.
pub fn usage(
    store: &Store,
    prices: &PriceTable,
    by: ReportGrouping,
    days: DayRange,
    clock: &Arc<dyn Clock>,
) -> Result<Option<UsageReport>, StoreError> {
    let (key, text) = match by {
        ReportGrouping::Day => ("day", "CAST(key AS VARCHAR)"),
        ReportGrouping::Month => (
            "CAST(date_trunc('month', day) AS DATE)",
            "strftime(key, '%Y-%m')",
        ),
        ReportGrouping::Session => ("session_id", "key"),
        ReportGrouping::User => ("coalesce(directories.email, directory)", "key"),
        ReportGrouping::Model => ("model", "key"),
        ReportGrouping::Project => ("project", "key"),
    };
    let Some(snapshot) = ReadSnapshot::open(store, prices, clock)? else {
        return Ok(None);
    };
    let (filter, parameters) = filter(days);
    let sql = totals_sql(text, key, &filter);
    let mut report = UsageReport::empty(by.key(), snapshot.as_of);
    let connection = snapshot.connection;
    for (is_total, row) in read(&connection, &sql, &parameters, totals)? {
        if is_total {
            report.totals = row.totals;
        } else {
            report.rows.push(row);
        }
    }
    Ok(Some(report))
}

/// The report on calls of tools. Its totals are those of [`usage`]. `None`: `usage` never ran.
///
/// # Errors
/// If the database can't be read.
pub fn tools(
    store: &Store,
    prices: &PriceTable,
    days: DayRange,
    clock: &Arc<dyn Clock>,
) -> Result<Option<UsageReport<ToolCalls>>, StoreError> {
    let Some(snapshot) = ReadSnapshot::open(store, prices, clock)? else {
        return Ok(None);
    };
    let (filter, parameters) = filter(days);
    let mut report = UsageReport::empty("tool", snapshot.as_of);
    let connection = snapshot.connection;
    let of_messages = totals_sql("NULL", "NULL", &filter);
    if let Some((_, row)) = read(&connection, &of_messages, &parameters, totals)?.pop() {
        report.totals = row.totals;
    }
    let of_calls = format!(
        "SELECT CAST(0 AS BIGINT), tool_name, {}, count(DISTINCT session_id)
         FROM usage.call_rollups WHERE {filter} GROUP BY tool_name ORDER BY tool_name",
        CALL_COUNTS
            .map(|count| format!("CAST(sum({count}) AS BIGINT)"))
            .join(", ")
    );
    report.rows = read(&connection, &of_calls, &parameters, calls)?
        .into_iter()
        .map(|(_, row)| row)
        .collect();
    Ok(Some(report))
}

/// SQL for rows that [`totals`] reads: first the groups, then the total. Costs are texts with
/// twelve decimals.
fn totals_sql(text: &str, key: &str, filter: &str) -> String {
    let names = if key.contains("directories.") {
        "LEFT JOIN usage.directories USING (directory)"
    } else {
        ""
    };
    let rows = format!("SELECT {key} AS key, * FROM usage.message_rollups {names} WHERE {filter}");
    format!(
        "SELECT CAST(is_total AS BIGINT), CAST({text} AS VARCHAR), * EXCLUDE (key, is_total)
            REPLACE (CAST(CAST(cost_usd AS DECIMAL(38, 12)) AS VARCHAR) AS cost_usd)
         FROM ({}) ORDER BY is_total, key NULLS LAST",
        sums(&rows, "GROUPING SETS ((key), ())")
    )
}

/// A database transaction in which the rollups are current.
struct ReadSnapshot {
    /// The connection with the open transaction. Dropping it ends the transaction.
    connection: Connection,
    /// Every session that was committed before this time is included.
    as_of: UtcMicros,
}

impl ReadSnapshot {
    /// `None` if `usage` never ran.
    fn open(
        store: &Store,
        prices: &PriceTable,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, StoreError> {
        let fingerprint = fingerprint(prices);
        let mut connection = store.reader()?;
        match Self::begin(connection, &fingerprint, clock)? {
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(outdated) => connection = outdated,
        }
        let has_views: bool = connection
            .query_row(
                "SELECT count(*) > 0 FROM duckdb_views() WHERE schema_name = 'usage' AND view_name = 'daily'",
                [],
                |row| row.get(0),
            )
            .map_err(StoreError::database("run the report"))?;
        if !has_views {
            return Ok(None);
        }
        // Blocks other updates until the snapshot is open.
        let turn = store.rollup_updates().turn()?;
        // Prices could have changed, and the views could be those of another version.
        register(store, prices)?;
        for _ in 0..UPDATES_MAX {
            match Self::begin(connection, &fingerprint, clock)? {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(outdated) => connection = outdated,
            }
            update(store, &turn, &fingerprint)?;
        }
        // Sessions are committed faster than updates complete, so block commits during the update.
        let (stamp, clock) = (fingerprint.clone(), Arc::clone(clock));
        let snapshot = update_alone(store, &fingerprint, move || {
            Self::begin(connection, &stamp, &clock)
        })?;
        // No other writer can have changed anything in between.
        Ok(snapshot.ok())
    }

    /// Starts the transaction. Returns the connection if the rollups are outdated.
    fn begin(
        connection: Connection,
        fingerprint: &str,
        clock: &Arc<dyn Clock>,
    ) -> Result<Result<Self, Connection>, StoreError> {
        let refused = StoreError::database("run the report");
        // Taken before the transaction, so that it includes everything committed before `as_of`.
        let as_of = clock.now();
        connection
            .execute_batch("BEGIN TRANSACTION READ ONLY")
            .map_err(&refused)?;
        if is_current(&connection, fingerprint)? {
            return Ok(Ok(Self { connection, as_of }));
        }
        connection.execute_batch("ROLLBACK").map_err(&refused)?;
        Ok(Err(connection))
    }
}

fn filter(days: DayRange) -> (String, Vec<Value>) {
    let mut filters = vec!["true".to_owned()];
    let mut parameters = Vec::new();
    if let Some(since) = days.since {
        filters.push("day >= CAST(CAST(? AS VARCHAR) AS DATE)".to_owned());
        parameters.push(Value::Text(since.to_string()));
    }
    if let Some(until) = days.until {
        filters.push("day <= CAST(CAST(? AS VARCHAR) AS DATE)".to_owned());
        parameters.push(Value::Text(until.to_string()));
    }
    (filters.join(" AND "), parameters)
}

fn read<Figures>(
    connection: &Connection,
    sql: &str,
    parameters: &[Value],
    figures: impl Fn(&SqlRow<'_>) -> duckdb::Result<Figures>,
) -> Result<Vec<(bool, ReportRow<Figures>)>, StoreError> {
    let rows = || -> duckdb::Result<Vec<_>> {
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map(params_from_iter(parameters), |row| {
            let is_total: i64 = row.get(0)?;
            let key = row.get(1)?;
            let totals = figures(row)?;
            Ok((is_total == 1, ReportRow { key, totals }))
        })?;
        rows.collect()
    };
    rows().map_err(StoreError::database("run the report"))
}

fn totals(row: &SqlRow<'_>) -> duckdb::Result<UsageTotals> {
    Ok(UsageTotals {
        input_tokens: row.get(2)?,
        output_tokens: row.get(3)?,
        cache_read_tokens: row.get(4)?,
        cache_creation_tokens: row.get(5)?,
        cost_usd: usd(row, 6)?,
        cost_is_lower_bound: row.get(7)?,
        output_is_lower_bound: row.get(8)?,
        unknown_models: texts(row.get(9)?),
        messages: row.get(10)?,
        sessions: row.get(11)?,
    })
}

fn calls(row: &SqlRow<'_>) -> duckdb::Result<ToolCalls> {
    Ok(ToolCalls {
        calls: row.get(2)?,
        errors: row.get(3)?,
        tool_errors: row.get(4)?,
        exit_codes: row.get(5)?,
        rejected: row.get(6)?,
        siblings_failed: row.get(7)?,
        sessions: row.get(8)?,
    })
}

/// Parses a decimal with twelve decimals from a text column.
fn usd(row: &SqlRow<'_>, index: usize) -> duckdb::Result<Option<Usd>> {
    let text: Option<String> = row.get(index)?;
    let digits = |text: String| text.replace('.', "").parse::<i128>().ok();
    Ok(text
        .and_then(digits)
        .map(|pico_dollars| Usd { pico_dollars }))
}

fn texts(value: Value) -> Vec<String> {
    let Value::List(values) = value else {
        return Vec::new();
    };
    let text = |value| match value {
        Value::Text(text) => Some(text),
        _ => None,
    };
    values.into_iter().filter_map(text).collect()
}
