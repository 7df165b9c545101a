//! Reads reports from the rollups, each in one transaction, so that its rows add up to its totals.

mod causes;
mod drift;
mod kinds;
mod names;
mod runs;
pub mod sessions;
mod spending;

use std::sync::Arc;

use duckdb::types::Value;
use duckdb::{Connection, Row as SqlRow, params_from_iter};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_host::day::Day;
use session_pipeline_store::money::Usd;
use session_pipeline_store::{Store, StoreError};

use crate::report::plans::plans;
use crate::report::rollups::{bucket_middle, fingerprint, is_current, update, update_alone};
use crate::report::views::{DIRECTORY, PROJECT, SESSIONS, register, sums};
use crate::report::zone::local_time;
use crate::report::{
    DayRange, PriceTable, ReportFilter, ReportGrouping, ReportRow, ReportScope, ToolCalls,
    ToolGrouping, UsageGrouping, UsageReport, UsageTotals,
};

pub use causes::SessionCauses;
pub(super) use drift::agent_totals;
pub(super) use kinds::{unknown_kinds, unknown_kinds_where};
pub(super) use names::condition as named_condition;
pub(super) use runs::unrecorded_total;
pub use spending::{Freshness, ModelUsage, NameLimits, Spending, SpendingSnapshot};

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
    let has_whole_sessions =
        filter.days == DayRange::default() && filter.model.is_none() && split.is_none();
    if by == ReportGrouping::Session && has_whole_sessions {
        drift::add_agent_totals(connection, &mut report, &conditions, &filter.scope)?;
    }
    report.prompts = prompts(connection, &filter, &conditions)?;
    report.plans = plans(connection, &conditions, &filter.scope)?;
    report.unknown_kinds = unknown_kinds(connection, &filter.scope)?;
    report.outdated_sessions = outdated_sessions(connection, &filter.scope)?;
    names::remove_unpriced_models(&mut report, &filter.scope);
    Ok(Some(report))
}

/// The report on calls of tools. Its totals are those of [`usage`]. `None`: `usage` never ran.
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
/// the prompts of their original, and begin with the same line. `None` for one model: a prompt has
/// none.
fn prompts(
    connection: &Connection,
    filter: &ReportFilter,
    conditions: &Conditions,
) -> Result<Option<i64>, StoreError> {
    if filter.model.is_some() {
        return Ok(None);
    }
    let sql = format!(
        "SELECT CAST(coalesce(sum(prompts), 0) AS BIGINT) FROM (
            SELECT max(prompts) AS prompts FROM (
                SELECT session_file, session_id, prompts, {FIRST_LINE} AS first_line, {DIRECTORY} AS directory, {PROJECT} AS project,
                    time_bucket(INTERVAL 15 MINUTES, started_at) AS quarter, coalesce(agent, 'claude') AS agent
                FROM usage.sessions WHERE NOT is_sidechain AND NOT coalesce(is_automated, false) AND prompts > 0
            ) {} WHERE {} GROUP BY first_line
        )",
        conditions.joins([]),
        conditions.sql
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

/// The key of a report's groups.
pub(super) struct Key {
    /// SQL over a rollup.
    column: String,
    /// SQL for its text, over the column `key`.
    text: String,
    /// SQL for the tables that the column needs.
    join: &'static str,
}

/// The session of a row.
const SESSION: &str = "session_id";

/// The current name of the user of a row.
const USER: &str = "coalesce(directories.email, directory)";

pub(super) const USERS: &str = "LEFT JOIN usage.directories USING (directory)";

/// The types of sub-agents from the calls that started them. A sub-agent's own file does not
/// contain its type.
/// A user's transcripts cannot name the sub-agents of another user.
const AGENT_TYPES: &str = "LEFT JOIN (
    SELECT agent_id, split_part(session_file, '/', 1) AS directory, min(agent_type) AS started_type
    FROM usage.agent_runs WHERE agent_id IS NOT NULL AND agent_type IS NOT NULL GROUP BY ALL
) USING (agent_id, directory)";

/// The links of sessions to pull requests, ordered by time. A user's transcripts cannot link the
/// sessions of another user.
const PULL_REQUESTS: &str = "LEFT JOIN (
    SELECT session_id, directory,
        list_sort(list(struct_pack(quarter := quarter, pull_request := pull_request))) AS links
    FROM (
        SELECT session_id, directory, quarter, min(pull_request) AS pull_request
        FROM usage.message_rollups WHERE pull_request IS NOT NULL GROUP BY ALL
    ) GROUP BY ALL
) USING (session_id, directory)";

/// The pull request of a message. In files without a link, such as those of sub-agents: the one
/// that the session linked next, or else the last one, like in a file with links.
const PULL_REQUEST: &str = "CASE
    WHEN pull_request IS NOT NULL OR links IS NULL THEN pull_request
    WHEN len(links) = 1 THEN links[1].pull_request
    ELSE coalesce(list_filter(links, lambda link: link.quarter >= quarter)[1].pull_request, links[-1].pull_request)
    END";

impl Key {
    /// `local` is SQL for the local time of a row.
    fn of(by: ReportGrouping, local: &str) -> Self {
        let (column, text, join) = match by {
            ReportGrouping::Day => (format!("CAST({local} AS DATE)"), "key", ""),
            ReportGrouping::Week => {
                let monday = format!("CAST(date_trunc('week', {local}) AS DATE)");
                (monday, "key", "")
            }
            ReportGrouping::Month => {
                let first = format!("CAST(date_trunc('month', {local}) AS DATE)");
                (first, "strftime(key, '%Y-%m')", "")
            }
            ReportGrouping::Hour => (
                format!("isodow({local}) * 24 + hour({local})"),
                "['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'][key // 24] || printf(' %02d:00', key % 24)",
                "",
            ),
            ReportGrouping::Session => (SESSION.to_owned(), "key", ""),
            ReportGrouping::User => (USER.to_owned(), "key", USERS),
            ReportGrouping::Model => ("model".to_owned(), "key", ""),
            ReportGrouping::Project => ("project".to_owned(), "key", ""),
            ReportGrouping::Branch => ("git_branch".to_owned(), "key", ""),
            ReportGrouping::PullRequest => (
                PULL_REQUEST.to_owned(),
                "key",
                PULL_REQUESTS,
            ),
            ReportGrouping::Source => ("source".to_owned(), "key", ""),
            ReportGrouping::AgentType => (
                "coalesce(agent_type, started_type, CASE WHEN source <> 'subagent' THEN '(' || source || ')' END)"
                    .to_owned(),
                "key",
                AGENT_TYPES,
            ),
            ReportGrouping::Skill => ("skill".to_owned(), "key", ""),
            ReportGrouping::Plugin => ("plugin".to_owned(), "key", ""),
            ReportGrouping::McpServer => ("mcp_server".to_owned(), "key", ""),
            ReportGrouping::Effort => ("effort".to_owned(), "key", ""),
            ReportGrouping::Entrypoint => ("entrypoint".to_owned(), "key", ""),
            ReportGrouping::Agent => ("agent".to_owned(), "key", ""),
        };
        Self {
            column,
            text: text.to_owned(),
            join,
        }
    }

    /// The key without names that the scope excludes. In a report on the team, models without a
    /// price have no name.
    fn in_scope(self, by: ReportGrouping, scope: &ReportScope) -> Self {
        if !matches!(scope, ReportScope::Team(_)) || by != ReportGrouping::Model {
            return self;
        }
        Self {
            column: names::TEAM_MODEL.to_owned(),
            ..self
        }
    }
}

/// The conditions of a report, over any rollup.
pub(super) struct Conditions {
    pub(super) sql: String,
    pub(super) parameters: Vec<Value>,
    needs_users: bool,
}

impl Conditions {
    pub(super) fn of(filter: &ReportFilter) -> Self {
        let mut conditions = vec!["true".to_owned()];
        let mut parameters = Vec::new();
        let mut bound = |condition, day: Option<Date>| {
            let Some(day) = day else { return };
            conditions.push(String::from(condition));
            let start = day.to_zoned_datetime(filter.zone.clone());
            // The last day begins after the last instant in some zones.
            let start = start.map_or(i64::MAX, |start| start.timestamp().as_microsecond());
            parameters.push(Value::BigInt(start));
        };
        let DayRange { since, until } = filter.days;
        bound("epoch_us(quarter) >= ?", since.map(Day::date));
        let end = until.map(|day| day.date().tomorrow().unwrap_or(Date::MAX));
        bound("epoch_us(quarter) < ?", end);
        if let Some(user) = &filter.user {
            conditions.push("? IN (coalesce(directories.email, directory), directory)".to_owned());
            parameters.push(Value::Text(user.clone()));
        }
        if let Some(project) = &filter.project {
            let separators: &[char] = &['/', '\\'];
            let trimmed = project.trim_end_matches(separators);
            let project = if trimmed.is_empty() { project } else { trimmed };
            conditions.push(
                "(project = ? OR ends_with(project, '/' || ?) OR ends_with(project, '\\' || ?))"
                    .to_owned(),
            );
            parameters.extend([project; 3].map(|text| Value::Text(text.to_owned())));
        }
        if let Some(model) = &filter.model {
            let column = match &filter.scope {
                ReportScope::Team(_) => names::TEAM_MODEL,
                ReportScope::Everyone | ReportScope::Own(_) => "model",
            };
            conditions.push(format!("{column} = ?"));
            parameters.push(Value::Text(model.clone()));
        }
        if let Some(agent) = &filter.agent {
            conditions.push("agent = ?".to_owned());
            parameters.push(Value::Text(agent.clone()));
        }
        if let Some(session) = &filter.session {
            conditions.push("session_id = ?".to_owned());
            parameters.push(Value::Text(session.clone()));
        }
        if let ReportScope::Own(directories) = &filter.scope {
            let (is_own, own) = names::is_one_of("directory", directories);
            conditions.push(is_own);
            parameters.extend(own);
        }
        Self {
            sql: conditions.join(" AND "),
            parameters,
            needs_users: filter.user.is_some(),
        }
    }

    /// The tables that the conditions and the keys need, each once.
    pub(super) fn joins<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> String {
        let mut joins: Vec<&str> = keys.into_iter().map(|key| key.join).collect();
        joins.extend(self.needs_users.then_some(USERS));
        joins.sort_unstable();
        joins.dedup();
        joins.join(" ")
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
    })
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
