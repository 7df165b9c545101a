//! Reads reports from the rollups, each in one transaction, so that its rows add up to its totals.

mod calls;
mod cause_values;
mod causes;
mod conditions;
mod drift;
mod key;
mod kinds;
mod names;
mod paths;
mod ranking;
mod runs;
mod session_ids;
pub mod sessions;
mod spending;
mod summary;
mod unmatched;

use std::sync::Arc;

use duckdb::types::Value;
use duckdb::{Connection, Row as SqlRow, params_from_iter};
use jiff::tz::TimeZone;
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_store::money::Usd;
use session_pipeline_store::{Store, StoreError};

use crate::report::plans::plans;
use crate::report::project;
use crate::report::rollups::{fingerprint, is_current, update, update_alone};
use crate::report::views::{DIRECTORY, SESSIONS, register, sums};
use crate::report::zone::local_time;
use crate::report::{
    DayRange, PriceTable, ReportFilter, ReportGrouping, ReportRow, ReportScope, UsageGrouping,
    UsageReport, UsageTotals,
};

use key::{Key, SESSION};

pub use calls::tools;
pub use causes::SessionCauses;
pub(super) use conditions::Conditions;
pub(super) use drift::agent_totals;
pub(super) use key::USERS;
pub(super) use kinds::{unknown_kinds, unknown_kinds_where};
pub(super) use names::condition as named_condition;
pub(crate) use ranking::{RankedNumber, SessionRanking};
pub(super) use runs::unrecorded_total;
pub use spending::{Freshness, ModelUsage, NameLimits, Spending, SpendingSnapshot};
pub(super) use unmatched::empty_notices;

/// Maximum number of updates per report before commits are blocked during the next one.
const UPDATES_MAX: u32 = 3;

/// The usage report. `None`: `usage` never ran.
///
/// # Errors
/// If the database can't be read.
pub fn usage(
    store: &Store,
    prices: &PriceTable,
    grouping: impl Into<UsageGrouping>,
    filter: impl Into<ReportFilter>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<UsageReport>, StoreError> {
    let (UsageGrouping { by, split }, filter) = (grouping.into(), filter.into());
    let Some(snapshot) = ReadSnapshot::open(store, prices, clock)? else {
        return Ok(None);
    };
    let connection = &snapshot.connection;
    let local_time = snapshot.local_time("quarter", &filter.zone)?;
    let key_of = |by| Key::of(by, &local_time).in_scope(by, &filter.scope);
    let (key, split_key) = (key_of(by), split.map(key_of));
    let conditions = Conditions::of(&filter);
    let mut report = UsageReport::empty(by.key(), snapshot.as_of);
    report.split_key = split.map(ReportGrouping::key);
    let sql = totals_sql(&key, split_key.as_ref(), &conditions, filter.top);
    let mut row_count = 0;
    for (place, row) in read(connection, &sql, &conditions.parameters, totals)? {
        match place {
            RowPlace::Total(rows) => (row_count, report.totals) = (rows, row.totals),
            RowPlace::Group => report.rows.push(row),
        }
    }
    report.omitted_rows = row_count.saturating_sub(report.rows.len() as u64);
    runs::add_unrecorded(connection, &mut report, by, &key, &conditions)?;
    // The agent's totals are about whole sessions.
    let has_whole_sessions = filter.days == DayRange::default()
        && filter.model.is_none()
        && filter.provider.is_none()
        && split.is_none();
    if by == ReportGrouping::Session && has_whole_sessions {
        drift::add_agent_totals(connection, &mut report, &conditions, &filter.scope)?;
    }
    report.prompts = prompts(connection, &filter, &conditions)?;
    report.plans = plans(connection, &conditions, &filter.scope)?;
    report.unknown_kinds = unknown_kinds(connection, &filter.scope)?;
    report.outdated_sessions = outdated_sessions(connection, &filter.scope)?;
    names::remove_unpriced_models(&mut report, &filter.scope);
    if by == ReportGrouping::ProjectName && split.is_none() {
        paths::add_paths(connection, &mut report, &conditions)?;
    }
    if report.rows.is_empty() {
        report.notices = empty_notices(connection, &filter)?;
    }
    Ok(Some(report))
}

/// SQL for what files with the same first line have in common: forks of Claude Code, and copies of
/// other agents' files, whose lines have no ids.
const FIRST_LINE: &str = "coalesce(
    first_uuid,
    CASE WHEN agent <> 'claude' THEN concat_ws(chr(31), session_id, started_at) END,
    session_file
)";

/// The number of prompts that people typed, by the time at which their session began. Forks repeat
/// the prompts of their original, and begin with the same line. `None` for one model or provider: a
/// prompt has none.
fn prompts(
    connection: &Connection,
    filter: &ReportFilter,
    conditions: &Conditions,
) -> Result<Option<i64>, StoreError> {
    if filter.model.is_some() || filter.provider.is_some() {
        return Ok(None);
    }
    let sql = format!(
        "SELECT CAST(coalesce(sum(prompts), 0) AS BIGINT) FROM (
            SELECT max(prompts) AS prompts FROM (
                SELECT session_file, session_id, prompts, {FIRST_LINE} AS first_line, {DIRECTORY} AS directory, {project},
                    time_bucket(INTERVAL 15 MINUTES, started_at) AS quarter, coalesce(agent, 'claude') AS agent
                FROM usage.sessions WHERE NOT is_sidechain AND NOT coalesce(is_automated, false) AND prompts > 0
            ) {} WHERE {} GROUP BY first_line
        )",
        conditions.joins([]),
        conditions.sql,
        project = project::columns(),
    );
    connection
        .query_row(&sql, params_from_iter(&conditions.parameters), |row| {
            row.get(0)
        })
        .map(Some)
        .map_err(StoreError::database("run the report"))
}

/// The number of sessions that cannot be processed again because their files are gone, and which an
/// earlier version of `usage` processed.
fn outdated_sessions(connection: &Connection, scope: &ReportScope) -> Result<u64, StoreError> {
    let (is_named, directories) = names::condition("sessions.session_file", scope);
    let sql = format!(
        "SELECT count(*) FROM usage.sessions
        JOIN main.session_processor_state AS state
            ON state.session_seq = sessions.session_seq AND state.processor_name = 'usage'
        WHERE state.missing_since IS NOT NULL
            AND processor_version < (SELECT max(processor_version) FROM usage.sessions) AND {is_named}"
    );
    let count = connection.query_row(&sql, params_from_iter(directories), |row| row.get(0));
    count.map_err(StoreError::database("run the report"))
}

/// SQL for rows that [`totals`] reads: the total and the groups. Costs are texts with twelve
/// decimals.
fn totals_sql(key: &Key, split: Option<&Key>, conditions: &Conditions, top: Option<u32>) -> String {
    let (split_column, split_text) = match split {
        Some(split) => (split.column.as_str(), split.text.replace("key", "split")),
        None => ("CAST(NULL AS VARCHAR)", "split".to_owned()),
    };
    let rows = format!(
        "SELECT {} AS key, {split_column} AS split, * FROM usage.message_rollups {} WHERE {}",
        key.column,
        conditions.joins(std::iter::once(key).chain(split)),
        conditions.sql
    );
    // Without its table, the name would be that of the text, which orders $9 before $10.
    let order = row_order(top, "summed.cost_usd", "key, split");
    // Counting distinct ids per session would take a third of the time, only to find one each.
    let is_by_session = split.is_none() && key.column == SESSION;
    let sessions = match is_by_session {
        true => (
            "CAST(count(key) > 0 AS BIGINT)",
            "sum(sessions) FILTER (is_total = 0) OVER ()",
        ),
        false => (SESSIONS, "sessions"),
    };
    let (keys, grouping) = match split {
        Some(_) => ("key, split", "GROUPING SETS ((key, split), ())"),
        None => (
            "key, CAST(NULL AS VARCHAR) AS split",
            "GROUPING SETS ((key), ())",
        ),
    };
    format!(
        "SELECT CASE WHEN is_total = 1 THEN count(*) OVER () - 1 END, CAST({} AS VARCHAR),
            CAST({split_text} AS VARCHAR), * EXCLUDE (key, split, is_total)
            REPLACE (
                CAST(CAST(cost_usd AS DECIMAL(38, 12)) AS VARCHAR) AS cost_usd,
                CAST(coalesce(CASE WHEN is_total = 1 THEN {} ELSE sessions END, 0) AS BIGINT) AS sessions
            )
         FROM ({}) AS summed ORDER BY {order}",
        key.text,
        sessions.1,
        sums(&rows, keys, sessions.0, grouping),
    )
}

/// SQL that orders rows by key, or puts the total and the largest rows first if their number is
/// limited.
fn row_order(top: Option<u32>, largest: &str, key: &str) -> String {
    match top {
        Some(top) => format!(
            "is_total DESC, {largest} DESC NULLS LAST, {key} NULLS LAST LIMIT {}",
            u64::from(top) + 1
        ),
        None => format!("is_total, {key} NULLS LAST"),
    }
}

/// A database transaction in which the rollups are current.
pub(super) struct ReadSnapshot {
    /// The connection with the open transaction. Dropping it ends the transaction.
    pub(super) connection: Connection,
    /// Every session that was committed before this time is included.
    pub(super) as_of: UtcMicros,
}

impl ReadSnapshot {
    /// Reads rows whose first column is the number of rows before the limit. Returns them with the
    /// number of omitted rows.
    pub(super) fn limited_rows<T>(
        &self,
        sql: &str,
        conditions: &Conditions,
        row: impl Fn(&SqlRow<'_>) -> duckdb::Result<T>,
    ) -> Result<(Vec<T>, u64), StoreError> {
        let rows = || -> duckdb::Result<(Vec<T>, u64)> {
            let mut statement = self.connection.prepare(sql)?;
            let mut row_count = 0;
            let rows =
                statement.query_map(params_from_iter(&conditions.parameters), |sql_row| {
                    row_count = sql_row.get(0)?;
                    row(sql_row)
                })?;
            let rows: Vec<T> = rows.collect::<duckdb::Result<_>>()?;
            let omitted = u64::saturating_sub(row_count, rows.len() as u64);
            Ok((rows, omitted))
        };
        rows().map_err(StoreError::database("run the report"))
    }

    /// SQL for the local time of a column of the rollups.
    fn local_time(&self, column: &str, zone: &TimeZone) -> Result<String, StoreError> {
        let sql =
            "SELECT epoch_us(min(quarter)), epoch_us(max(quarter)) FROM usage.message_rollups";
        let range: (Option<i64>, Option<i64>) = self
            .connection
            .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(StoreError::database("run the report"))?;
        let (first, last) = (range.0.unwrap_or(0), range.1.unwrap_or(0));
        Ok(local_time(zone, column, first, last))
    }

    /// `None` if `usage` never ran.
    pub(super) fn open(
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
        if !Self::has_views(&connection)? {
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

    /// Whether `usage` ever ran.
    fn has_views(connection: &Connection) -> Result<bool, StoreError> {
        connection
            .query_row(
                "SELECT count(*) > 0 FROM duckdb_views() WHERE schema_name = 'usage' AND view_name = 'daily'",
                [],
                |row| row.get(0),
            )
            .map_err(StoreError::database("run the report"))
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

/// What a row of a query is.
enum RowPlace {
    /// The total, with the number of groups.
    Total(u64),
    /// A group.
    Group,
}

fn read<Figures>(
    connection: &Connection,
    sql: &str,
    parameters: &[Value],
    figures: impl Fn(&SqlRow<'_>) -> duckdb::Result<Figures>,
) -> Result<Vec<(RowPlace, ReportRow<Figures>)>, StoreError> {
    let rows = || -> duckdb::Result<Vec<_>> {
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map(params_from_iter(parameters), |row| {
            let row_count: Option<u64> = row.get(0)?;
            let row_of_keys = ReportRow {
                key: row.get(1)?,
                split: row.get(2)?,
                totals: figures(row)?,
            };
            let place = row_count.map_or(RowPlace::Group, RowPlace::Total);
            Ok((place, row_of_keys))
        })?;
        rows.collect()
    };
    rows().map_err(StoreError::database("run the report"))
}

fn totals(row: &SqlRow<'_>) -> duckdb::Result<UsageTotals> {
    Ok(UsageTotals {
        input_tokens: row.get(3)?,
        output_tokens: row.get(4)?,
        cache_read_tokens: row.get(5)?,
        cache_creation_tokens: row.get(6)?,
        cost_usd: usd(row, 7)?,
        cost_is_lower_bound: row.get(8)?,
        output_is_lower_bound: row.get(9)?,
        unknown_models: texts(row.get(10)?),
        messages: row.get(11)?,
        sessions: row.get(12)?,
        web_searches: row.get(13)?,
        open_messages: row.get(14)?,
        unpriced_messages: row.get(15)?,
        unrecorded_runs: 0,
        unrecorded_tokens: 0,
        unrecorded_requests: 0,
        agent_cost_usd: None,
        agent_output_tokens: None,
        paths: None,
    })
}

/// Parses a decimal with twelve decimals from a text column.
pub(super) fn usd(row: &SqlRow<'_>, index: usize) -> duckdb::Result<Option<Usd>> {
    let text: Option<String> = row.get(index)?;
    let digits = |text: String| text.replace('.', "").parse::<i128>().ok();
    Ok(text
        .and_then(digits)
        .map(|pico_dollars| Usd { pico_dollars }))
}

/// A time in microseconds as text.
pub(super) fn time(row: &SqlRow<'_>, index: usize) -> duckdb::Result<Option<String>> {
    let micros: Option<i64> = row.get(index)?;
    Ok(micros.map(|micros| UtcMicros(micros).to_string()))
}

pub(super) fn texts(value: Value) -> Vec<String> {
    let Value::List(values) = value else {
        return Vec::new();
    };
    let text = |value| match value {
        Value::Text(text) => Some(text),
        _ => None,
    };
    values.into_iter().filter_map(text).collect()
}
