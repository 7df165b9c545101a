//! What people recognize a session by, and what it cost: title, project, activity and figures.
//!
//! A cost belongs to the session that a message first appeared in, like in the report by session.
//! Files of sub-agents have no cost of their own, because it is part of the session that started
//! them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use duckdb::types::Value;
use duckdb::{Connection, Row as SqlRow, params_from_iter};
use jiff::tz::TimeZone;
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_host::redaction::without_secrets;
use session_pipeline_store::money::Usd;
use session_pipeline_store::{SessionSelection, Store, StoreError};

use super::causes::{SessionCauses, sessions_sql};
use super::runs::unrecorded_runs;
use super::{ReadSnapshot, usd};
use crate::report::project;
use crate::report::views::{BILLING, COUNTS, DIRECTORY, SESSIONS, sums};
use crate::report::{DayRange, PriceTable};

pub use super::session_ids::files_of;
pub use super::summary::{SessionBackground, SessionFigures, SessionSummary, SubagentRun};

/// Longer texts of transcripts are cut off.
const TEXT_CHARS_MAX: usize = 1000;
/// Maximum number of entries in a list about one session.
const ENTRIES_MAX: usize = 100;

/// What is read of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SummaryParts<'a> {
    /// The sessions whose figures are read. Without figures, the ids of sessions are those in the
    /// files, which can be those of sessions that they continue.
    pub figures: WithFigures,
    /// The columns of `usage.sessions` to read. The rest are absent. `None`: all.
    pub columns: Option<&'a [&'static str]>,
}

impl SummaryParts<'_> {
    /// Everything.
    pub const ALL: Self = Self {
        figures: WithFigures::All,
        columns: None,
    };

    fn includes(self, column: &str) -> bool {
        self.columns.is_none_or(|columns| columns.contains(&column))
    }
}

/// The sessions whose figures are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithFigures {
    /// All selected sessions.
    All,
    /// Those with their last line in this range, inclusive. Others have incomplete figures.
    ActiveBetween(UtcMicros, UtcMicros),
    /// No session.
    None,
}

/// Reads sessions from one state of the database.
#[derive(Debug)]
pub struct SessionReader {
    connection: Connection,
    pub(super) columns: Columns,
    /// Whether the connection has the rollups in a transaction in which they are current.
    pub(super) has_rollups: bool,
}

impl SessionReader {
    /// `None` if `usage` never ran. Without `prices`, there are no figures.
    ///
    /// Updates the rollups if necessary. If that fails and they are not required, the sessions have
    /// no figures, because the list must work when reports do not.
    ///
    /// # Errors
    /// If the database can't be read, or the rollups are required and can't be updated.
    pub fn open(
        store: &Store,
        prices: Option<&PriceTable>,
        requires_rollups: bool,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, StoreError> {
        let connection = store.reader()?;
        let columns = Columns::read(&connection)?;
        if !columns.has("sessions", "session_file") {
            return Ok(None);
        }
        let priced = prices.filter(|_| columns.are_priced());
        let snapshot = match priced.map(|prices| ReadSnapshot::open(store, prices, clock)) {
            None => None,
            Some(Ok(snapshot)) => snapshot,
            Some(Err(
                error @ (StoreError::Canceled(_)
                | StoreError::Invalidated(_)
                | StoreError::WriterStopped),
            )) => return Err(error),
            Some(Err(error)) if requires_rollups => return Err(error),
            Some(Err(error)) => {
                tracing::warn!("the cost of sessions is not available: {error}");
                None
            }
        };
        let has_rollups = snapshot.is_some();
        let connection = snapshot.map_or(connection, |snapshot| snapshot.connection);
        // A run could have added columns in the meantime.
        let columns = Columns::read(&connection)?;
        Ok(Some(Self {
            connection,
            columns,
            has_rollups,
        }))
    }

    /// The ids of the sessions with these causes on these days, with the first folders of their
    /// keys. None if `usage` never ran.
    ///
    /// # Errors
    /// If the reports or the database can't be read.
    pub fn sessions_with(
        &self,
        causes: &SessionCauses,
        days: DayRange,
        zone: &TimeZone,
    ) -> Result<HashSet<(String, String)>, StoreError> {
        if !self.has_rollups {
            return Ok(HashSet::new());
        }
        let (sql, parameters) = sessions_sql(causes, days, zone);
        let rows = self.rows(&sql, &parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.into_iter().collect())
    }

    /// The summaries of some sessions by key. Sessions that `usage` did not process are missing.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn summaries(
        &self,
        sessions: SessionSelection<'_>,
    ) -> Result<HashMap<String, SessionSummary>, StoreError> {
        let mut summaries = self.summaries_with_secrets(sessions, SummaryParts::ALL)?;
        summaries
            .values_mut()
            .for_each(SessionSummary::remove_secrets);
        Ok(summaries)
    }

    /// Like [`SessionReader::summaries`], but without a call of [`SessionSummary::remove_secrets`],
    /// which takes most of the time for many sessions.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn summaries_with_secrets(
        &self,
        sessions: SessionSelection<'_>,
        parts: SummaryParts<'_>,
    ) -> Result<HashMap<String, SessionSummary>, StoreError> {
        let (condition, parameters) = sessions.condition();
        let sql = self.summaries_sql(&condition, parts);
        let has_figures = self.has_rollups && parts.figures != WithFigures::None;
        self.rows(&sql, &parameters, |row| {
            Ok((row.get(0)?, summary(row, has_figures)?))
        })
        .map(|rows| rows.into_iter().collect())
    }

    pub(super) fn summaries_sql(&self, condition: &str, parts: SummaryParts<'_>) -> String {
        let has_ids = parts.figures != WithFigures::None;
        let has_figures = self.has_rollups && has_ids;
        let figures = match has_figures {
            true => {
                let rows = "SELECT struct_pack(session_id := session_id, directory := directory) AS key, *
                    FROM usage.message_rollups SEMI JOIN candidates USING (session_id, directory)";
                format!(
                    "SELECT key, CAST(CAST(cost_usd AS DECIMAL(38, 12)) AS VARCHAR) AS cost_usd, cost_is_lower_bound,
                        messages, input_tokens, output_tokens, output_is_lower_bound, cache_read_tokens,
                        cache_creation_tokens FROM ({})",
                    sums(rows, "key", SESSIONS, "key")
                )
            }
            false => "SELECT struct_pack(session_id := session_id, directory := directory) AS key,
                    CAST(NULL AS VARCHAR) AS cost_usd, CAST(NULL AS BOOLEAN) AS cost_is_lower_bound,
                    CAST(NULL AS BIGINT) AS messages, CAST(NULL AS BIGINT) AS input_tokens,
                    CAST(NULL AS BIGINT) AS output_tokens, CAST(NULL AS BOOLEAN) AS output_is_lower_bound,
                    CAST(NULL AS BIGINT) AS cache_read_tokens, CAST(NULL AS BIGINT) AS cache_creation_tokens
                FROM candidates WHERE false"
                .to_owned(),
        };
        let is_active = match parts.figures {
            WithFigures::ActiveBetween(since, before) => format!(
                "WHERE coalesce(ended_at BETWEEN {} AND {}, true)",
                since.0, before.0
            ),
            WithFigures::All | WithFigures::None => String::new(),
        };
        let has_runs = has_figures && self.columns.has("agent_runs", "total_tokens");
        let unrecorded = match has_runs {
            true => format!(
                "SELECT session_id, {DIRECTORY} AS directory, CAST(sum(run_count) AS BIGINT) AS runs FROM ({}) GROUP BY ALL",
                unrecorded_runs()
            ),
            false => {
                "SELECT session_id, directory, CAST(0 AS BIGINT) AS runs FROM named WHERE false"
                    .to_owned()
            }
        };
        let has_requests = has_figures && self.columns.has("sessions", "unrecorded_requests");
        let requests = match has_requests {
            true => format!(
                "SELECT session_id, directory, CAST(sum(unrecorded_requests) AS BIGINT) AS requests FROM (
                    SELECT session_id, {DIRECTORY} AS directory, unrecorded_requests
                    FROM usage.sessions WHERE unrecorded_requests > 0
                    QUALIFY row_number() OVER (
                        PARTITION BY session_id, {DIRECTORY}, started_at, unrecorded_requests ORDER BY session_file
                    ) = 1
                ) GROUP BY ALL"
            ),
            false => {
                "SELECT session_id, directory, CAST(0 AS BIGINT) AS requests FROM named WHERE false"
                    .to_owned()
            }
        };
        format!(
            "WITH all_files AS ({files}),
            chosen AS MATERIALIZED (SELECT * FROM all_files WHERE {condition}),
            originals AS (
                SELECT DISTINCT recorded_id, directory FROM all_files SEMI JOIN chosen USING (recorded_id, directory)
                WHERE recorded_id = own_id AND {has_ids}
            ),
            candidates AS (
                SELECT own_id AS session_id, directory FROM chosen {is_active}
                UNION
                SELECT recorded_id, directory FROM chosen {is_active}
            ),
            figures AS MATERIALIZED ({figures}),
            named AS MATERIALIZED (
                SELECT chosen.*, {SESSION_ID} AS session_id
                FROM chosen
                LEFT JOIN figures AS own
                    ON own.key = struct_pack(session_id := chosen.own_id, directory := chosen.directory)
                LEFT JOIN originals ON originals.recorded_id = chosen.recorded_id
                    AND originals.directory = chosen.directory
            ),
            unrecorded AS ({unrecorded}),
            unrecorded_requests AS ({requests})
            SELECT session_file, named.session_id, title, project, git_branch, entrypoint, started_at, ended_at,
                is_automated, named.held_messages, is_subagent, cost_usd, cost_is_lower_bound, figures.messages,
                input_tokens, output_tokens, output_is_lower_bound, cache_read_tokens, cache_creation_tokens,
                coalesce(runs, 0), active_seconds, prompts, tool_calls, tool_errors, agent,
                coalesce(requests, 0)
            FROM named
            LEFT JOIN figures ON figures.key =
                struct_pack(session_id := named.session_id, directory := named.directory)
            LEFT JOIN unrecorded ON unrecorded.session_id = named.session_id
                AND unrecorded.directory = named.directory
            LEFT JOIN unrecorded_requests ON unrecorded_requests.session_id = named.session_id
                AND unrecorded_requests.directory = named.directory",
            files = self.files_sql(parts),
        )
    }

    /// SQL for all files with the columns of a summary.
    pub(super) fn files_sql(&self, parts: SummaryParts<'_>) -> String {
        let column = |name: &str, kind: &str| match parts.includes(name) {
            true => self.columns.sql("sessions", name, kind),
            false => format!("CAST(NULL AS {kind}) AS {name}"),
        };
        let columns = [
            column("title", "VARCHAR"),
            column("cwd", "VARCHAR"),
            column("project", "VARCHAR"),
            column("git_branch", "VARCHAR"),
            column("entrypoint", "VARCHAR"),
            column("started_at", "TIMESTAMP"),
            column("ended_at", "TIMESTAMP"),
            column("is_automated", "BOOLEAN"),
            column("messages", "BIGINT"),
            column("parent_session", "VARCHAR"),
            column("first_uuid", "VARCHAR"),
            column("active_seconds", "BIGINT"),
            column("prompts", "BIGINT"),
            column("tool_calls", "BIGINT"),
            column("tool_errors", "BIGINT"),
            column("agent", "VARCHAR"),
            column("is_sidechain", "BOOLEAN"),
        ]
        .join(", ");
        // Earlier versions of `usage` read every file as one of Claude Code.
        // Functions of strings take an eighth of the time of regular expressions.
        format!(
            "SELECT session_file, session_id AS recorded_id, {DIRECTORY} AS directory,
                CASE WHEN ends_with(name, '.jsonl') THEN left(name, -6)
                    WHEN ends_with(name, '.json') THEN left(name, -5) ELSE '' END AS own_id,
                starts_with(name, 'agent-') AND ends_with(name, '.jsonl')
                    OR (coalesce(agent, 'claude') <> 'claude' AND coalesce(is_sidechain, false)) AS is_subagent, title, {path} AS project,
                git_branch, entrypoint, epoch_us(started_at) AS started_at, epoch_us(ended_at) AS ended_at,
                is_automated, messages AS held_messages, parent_session, first_uuid,
                active_seconds, prompts, tool_calls, tool_errors, coalesce(agent, 'claude') AS agent
            FROM (
                SELECT session_file, split_part(session_file, '/', -1) AS name, session_id, {columns} FROM usage.sessions
            )",
            path = project::PATH,
        )
    }

    /// What else is known about one session.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn background(&self, key: &str) -> Result<SessionBackground, StoreError> {
        let column = |name: &str, kind: &str| self.columns.sql("sessions", name, kind);
        let columns = [
            column("pull_requests", "VARCHAR"),
            column("lines_added", "BIGINT"),
            column("lines_removed", "BIGINT"),
            column("compactions", "BIGINT"),
            column("api_errors", "BIGINT"),
            column("api_errors_by_class", "VARCHAR"),
            column("queued_prompts", "BIGINT"),
            column("agent_version", "VARCHAR"),
            column("parent_session", "VARCHAR"),
            "session_id".to_owned(),
            column("plan", "VARCHAR"),
            column("unrecorded_usage", "VARCHAR"),
        ]
        .join(", ");
        let sql = format!("SELECT {columns} FROM usage.sessions WHERE session_file = ?");
        let key_parameter = [Value::Text(key.to_owned())];
        let rows = self.rows(&sql, &key_parameter, |row| {
            let background = SessionBackground {
                pull_requests: pull_requests(row.get(0)?),
                lines_added: row.get(1)?,
                lines_removed: row.get(2)?,
                compactions: row.get(3)?,
                api_errors: row.get(4)?,
                api_errors_by_class: counts_by_class(row.get(5)?),
                queued_prompts: row.get(6)?,
                agent_version: text(row, 7)?,
                parent_session: text(row, 8)?,
                plan: text(row, 10)?,
                unrecorded_reasons: counts_by_class(row.get(11)?),
                ..SessionBackground::default()
            };
            Ok((background, text(row, 9)?))
        })?;
        let Some((mut background, recorded_id)) = rows.into_iter().next() else {
            return Ok(SessionBackground::default());
        };
        let summaries = self.summaries(SessionSelection::One(key))?;
        let session_id = summaries
            .get(key)
            .map(|summary| summary.session_id.as_str());
        let is_other = |id: &String| is_subagent_file(key) || session_id != Some(id.as_str());
        // A fork begins with lines of the session that it came from.
        background.parent_session = background.parent_session.or(recorded_id).filter(is_other);
        background.forks = self.forks(key, session_id, background.parent_session.as_deref())?;
        self.add_agent_runs(key, &mut background)?;
        Ok(background)
    }

    /// The keys of other sessions of the user that begin with the same line or continue this one,
    /// except the one that this session continues.
    fn forks(
        &self,
        key: &str,
        session_id: Option<&str>,
        parent: Option<&str>,
    ) -> Result<Vec<String>, StoreError> {
        if is_subagent_file(key) {
            return Ok(Vec::new());
        }
        let sql = format!(
            "WITH all_files AS ({}),
            this AS (SELECT directory, first_uuid FROM all_files WHERE session_file = ?)
            SELECT session_file FROM all_files JOIN this ON this.directory = all_files.directory
            WHERE session_file <> ? AND NOT is_subagent AND own_id IS DISTINCT FROM ?
                AND (all_files.parent_session = ? OR all_files.first_uuid = this.first_uuid)
            ORDER BY session_file LIMIT {ENTRIES_MAX}",
            self.files_sql(SummaryParts::ALL)
        );
        let optional =
            |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.to_owned()));
        let key = || Value::Text(key.to_owned());
        let parameters = [key(), key(), optional(parent), optional(session_id)];
        self.rows(&sql, &parameters, |row| row.get(0))
    }

    fn add_agent_runs(
        &self,
        key: &str,
        background: &mut SessionBackground,
    ) -> Result<(), StoreError> {
        if !self.columns.has("agent_runs", "session_file") {
            return Ok(());
        }
        let column = |name: &str, kind: &str| self.columns.sql("agent_runs", name, kind);
        let sql = format!(
            "SELECT agent_type, total_tokens, total_duration_ms, CAST(count(*) OVER () AS BIGINT)
            FROM (SELECT {}, {}, {}, {}, {} FROM usage.agent_runs WHERE session_file = ?)
            WHERE NOT coalesce(is_superseded, false)
            ORDER BY total_tokens DESC NULLS LAST, line LIMIT {ENTRIES_MAX}",
            column("agent_type", "VARCHAR"),
            column("total_tokens", "BIGINT"),
            column("total_duration_ms", "BIGINT"),
            column("is_superseded", "BOOLEAN"),
            column("line", "BIGINT"),
        );
        let mut count = 0;
        let runs = self.rows(&sql, &[Value::Text(key.to_owned())], |row| {
            let run = SubagentRun {
                agent_type: text(row, 0)?,
                total_tokens: row.get(1)?,
                duration_ms: row.get(2)?,
            };
            Ok((run, row.get::<_, u64>(3)?))
        })?;
        for (run, all) in runs {
            background.agent_runs.push(run);
            count = all;
        }
        background.omitted_agent_runs = count.saturating_sub(background.agent_runs.len() as u64);
        Ok(())
    }

    pub(super) fn rows<T>(
        &self,
        sql: &str,
        parameters: &[Value],
        row: impl Fn(&SqlRow<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = || -> duckdb::Result<Vec<T>> {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map(params_from_iter(parameters), |found| row(found))?;
            rows.collect()
        };
        rows().map_err(StoreError::database("read the sessions of `usage`"))
    }
}

/// SQL for the id of a file's session.
///
/// The first line of a fork can have the id of the session that it came from. The agent names a
/// file after its session, so the name decides if messages or another file confirm it.
const SESSION_ID: &str = "CASE
    WHEN NOT is_subagent AND (own.key IS NOT NULL OR originals.recorded_id IS NOT NULL) THEN own_id
    ELSE chosen.recorded_id
END";

/// Whether a file has the name of a sub-agent's transcript.
pub fn is_subagent_file(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    name.starts_with("agent-") && name.ends_with(".jsonl")
}

/// The columns that the tables of `usage` have. A database of an earlier version has fewer.
#[derive(Debug)]
pub(super) struct Columns(BTreeSet<(String, String)>);

impl Columns {
    fn read(connection: &Connection) -> Result<Self, StoreError> {
        let names = || -> duckdb::Result<BTreeSet<(String, String)>> {
            let mut statement = connection.prepare(
                "SELECT table_name, column_name FROM duckdb_columns()
                 WHERE schema_name = 'usage' AND database_name = current_database()
                    AND table_name IN ('sessions', 'messages', 'agent_runs')",
            )?;
            let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            names.collect()
        };
        let names = names().map_err(StoreError::database("look up the tables of `usage`"))?;
        Ok(Self(names))
    }

    pub(super) fn has(&self, table: &str, column: &str) -> bool {
        self.0.contains(&(table.to_owned(), column.to_owned()))
    }

    /// Whether messages have all columns that their cost depends on.
    fn are_priced(&self) -> bool {
        let mut columns = COUNTS.iter().chain(&BILLING);
        columns.all(|column| self.has("messages", column))
    }

    /// SQL for a column, which is NULL if the table does not have it.
    fn sql(&self, table: &str, column: &str, kind: &str) -> String {
        match self.has(table, column) {
            true => format!("CAST({column} AS {kind}) AS {column}"),
            false => format!("CAST(NULL AS {kind}) AS {column}"),
        }
    }
}

/// `has_figures`: whether the query reads the rollups.
fn summary(row: &SqlRow<'_>, has_figures: bool) -> duckdb::Result<SessionSummary> {
    let is_subagent: bool = row.get(10)?;
    let has_figures = has_figures && !is_subagent;
    let figures = || -> duckdb::Result<SessionFigures> {
        let (runs, requests): (i64, i64) = (row.get(19)?, row.get(25)?);
        let is_incomplete = runs > 0 || requests > 0;
        let zero = SessionFigures {
            cost_usd: Some(Usd::default()),
            cost_is_lower_bound: is_incomplete,
            output_is_lower_bound: is_incomplete,
            unrecorded_runs: runs,
            unrecorded_requests: requests,
            ..SessionFigures::default()
        };
        let Some(messages) = row.get(13)? else {
            return Ok(zero);
        };
        Ok(SessionFigures {
            cost_usd: usd(row, 11)?,
            cost_is_lower_bound: row.get::<_, bool>(12)? || is_incomplete,
            messages,
            input_tokens: row.get(14)?,
            output_tokens: row.get(15)?,
            output_is_lower_bound: row.get::<_, bool>(16)? || is_incomplete,
            cache_read_tokens: row.get(17)?,
            cache_creation_tokens: row.get(18)?,
            unrecorded_runs: runs,
            unrecorded_requests: requests,
        })
    };
    Ok(SessionSummary {
        session_id: row.get::<_, Option<_>>(1)?.unwrap_or_default(),
        title: nonempty(row, 2)?,
        project: nonempty(row, 3)?,
        branch: nonempty(row, 4)?,
        entrypoint: nonempty(row, 5)?,
        started_at: row.get::<_, Option<i64>>(6)?.map(UtcMicros),
        ended_at: row.get::<_, Option<i64>>(7)?.map(UtcMicros),
        is_automated: row.get(8)?,
        held_messages: row.get(9)?,
        active_seconds: row.get(20)?,
        prompts: row.get(21)?,
        tool_calls: row.get(22)?,
        tool_errors: row.get(23)?,
        agent: nonempty(row, 24)?,
        is_subagent,
        figures: has_figures.then(figures).transpose()?,
    })
}

/// A text of a transcript without secrets. An empty text is none.
fn text(row: &SqlRow<'_>, index: usize) -> duckdb::Result<Option<String>> {
    Ok(nonempty(row, index)?.map(|text| shown(&text)))
}

/// A text of a transcript as it is. An empty text is none.
fn nonempty(row: &SqlRow<'_>, index: usize) -> duckdb::Result<Option<String>> {
    let text: Option<String> = row.get(index)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// A text of a transcript without secrets, cut off if it is long.
pub fn shown(text: &str) -> String {
    let text = without_secrets(text);
    let end = text.char_indices().nth(TEXT_CHARS_MAX);
    let end = end.map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or_default().to_owned()
}

fn pull_requests(json: Option<String>) -> Vec<String> {
    let list: Vec<serde_json::Value> = json
        .and_then(|json| serde_json::from_str(&json).ok())
        .unwrap_or_default();
    let texts = list.iter().filter_map(serde_json::Value::as_str);
    texts.take(ENTRIES_MAX).map(shown).collect()
}

fn counts_by_class(json: Option<String>) -> BTreeMap<String, i64> {
    let counts: BTreeMap<String, serde_json::Value> = json
        .and_then(|json| serde_json::from_str(&json).ok())
        .unwrap_or_default();
    let counts = counts
        .into_iter()
        .filter_map(|(class, count)| Some((shown(&class), count.as_i64()?)));
    counts.take(ENTRIES_MAX).collect()
}
