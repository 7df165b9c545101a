//! The report on data quality: why figures are lower bounds, which lines are in no figure, and how
//! far our figures differ from those that the agent itself reports.

use std::collections::BTreeMap;
use std::sync::Arc;

use duckdb::types::Value;
use duckdb::{Connection, Row as SqlRow, params_from_iter};
use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_store::money::Usd;
use session_pipeline_store::{Store, StoreError};

use crate::report::project;
use crate::report::read::sessions::shown;
use crate::report::read::{
    Conditions, ReadSnapshot, agent_totals, time, unknown_kinds_where, unrecorded_total, usd,
};
use crate::report::views::DIRECTORY;
use crate::report::{PriceTable, ReportFilter, ReportScope, UnknownKind};

/// Maximum number of rows in each list.
const ROWS_MAX: usize = 100;

/// Messages of one version of a coding agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VersionQuality {
    /// The version. `None` if the transcript does not contain it.
    pub agent_version: Option<String>,
    /// Number of messages.
    pub messages: i64,
    /// Messages whose final output count was never written.
    pub open_messages: i64,
    /// Messages without a price.
    pub unpriced_messages: i64,
    /// Number of distinct session ids.
    pub sessions: i64,
    /// The coding agent.
    #[serde(default)]
    pub agent: String,
}

/// A reason why a coding agent does not record all tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UnrecordedReason {
    /// The coding agent.
    pub agent: String,
    /// `aborted_turn`: the request in progress when a turn was aborted. `compaction`: the request
    /// that summarized the conversation. `open_session`: the session did not end, and the agent
    /// records its tokens then.
    pub reason: String,
    /// How often it occurred.
    pub requests: i64,
    /// Number of session files.
    pub files: i64,
}

/// A model without a price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UnpricedModel {
    /// The model. `None` if the transcript does not contain it.
    pub model: Option<String>,
    /// Number of messages without a price.
    pub messages: i64,
    /// Their tokens of all classes.
    pub tokens: i64,
    /// Number of distinct session ids.
    pub sessions: i64,
    /// The quarter of an hour of the first of these messages.
    pub first_seen: Option<String>,
    /// The quarter of an hour of the last of these messages.
    pub last_seen: Option<String>,
}

/// The lines of all session files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LineCounts {
    /// Number of files.
    pub files: i64,
    /// Number of lines.
    pub lines: i64,
    /// Lines that are not valid JSON objects.
    pub bad_lines: i64,
    /// Lines of a type that this version does not know.
    pub unknown_lines: i64,
    /// Lines that were not read because they are too long.
    pub skipped_lines: i64,
    /// Files that end within a line.
    pub incomplete_files: i64,
}

/// A session file with lines that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UnreadLines {
    /// The key of the session.
    pub session: String,
    /// The title, if there is one.
    pub title: Option<String>,
    /// Lines that are not valid JSON objects.
    pub bad_lines: i64,
    /// Lines that were not read because they are too long.
    pub skipped_lines: i64,
}

/// A session whose own total differs from ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionDrift {
    /// The id of the session.
    pub session_id: String,
    /// The key of its file.
    pub session: Option<String>,
    /// The title, if there is one.
    pub title: Option<String>,
    /// Our cost in US dollars. `None` if no model has a price.
    #[cfg_attr(feature = "schema", schema(value_type = Option<f64>))]
    pub cost_usd: Option<Usd>,
    /// The cost as the agent itself reports it.
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub agent_cost_usd: Usd,
    /// Our output tokens.
    pub output_tokens: i64,
    /// The output tokens as the agent itself reports them.
    pub agent_output_tokens: i64,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct QualityReport {
    /// Every session that was committed before this time is included.
    pub as_of: String,
    /// By version of the agent, the latest first. At most 100.
    pub versions: Vec<VersionQuality>,
    /// Models without a price, those with the most tokens first. At most 100.
    pub unpriced_models: Vec<UnpricedModel>,
    /// Sub-agent runs without a transcript. Their tokens are in no figure.
    pub unrecorded_runs: i64,
    /// The tokens of these runs, as their results report them.
    pub unrecorded_tokens: i64,
    /// Why coding agents did not record all tokens, the most frequent reasons first.
    #[serde(default)]
    pub unrecorded_requests: Vec<UnrecordedReason>,
    /// Types of lines that this version does not know.
    pub unknown_kinds: Vec<UnknownKind>,
    /// The lines of all session files.
    pub lines: LineCounts,
    /// The session files with the most lines that could not be read. At most 100.
    pub unread: Vec<UnreadLines>,
    /// Number of sessions with totals of the agent.
    pub sessions_with_agent_totals: u64,
    /// The sessions that differ most from the agent's own totals. At most 100.
    pub drift: Vec<SessionDrift>,
}

impl QualityReport {
    /// The report without titles of sessions, which contain words of prompts.
    #[must_use]
    pub fn without_titles(mut self) -> Self {
        for unread in &mut self.unread {
            unread.title = None;
        }
        for drift in &mut self.drift {
            drift.title = None;
        }
        self
    }

    /// A report without figures.
    pub fn empty(as_of: UtcMicros) -> Self {
        Self {
            as_of: as_of.to_string(),
            versions: Vec::new(),
            unpriced_models: Vec::new(),
            unrecorded_runs: 0,
            unrecorded_tokens: 0,
            unrecorded_requests: Vec::new(),
            unknown_kinds: Vec::new(),
            lines: LineCounts::default(),
            unread: Vec::new(),
            sessions_with_agent_totals: 0,
            drift: Vec::new(),
        }
    }
}

/// The report on data quality. `None`: `usage` never ran.
///
/// Messages belong to the days of the filter, and files to the day of their last line. The filter can
/// have days, a user, a project and an agent; the rest of it has no effect on files.
///
/// # Errors
/// If the database can't be read.
pub fn quality(
    store: &Store,
    prices: &PriceTable,
    filter: impl Into<ReportFilter>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<QualityReport>, StoreError> {
    let filter = ReportFilter {
        model: None,
        session: None,
        ..filter.into()
    };
    let Some(snapshot) = ReadSnapshot::open(store, prices, clock)? else {
        return Ok(None);
    };
    let connection = &snapshot.connection;
    let conditions = Conditions::of(&filter);
    let reader = FilteredReader {
        connection,
        conditions: &conditions,
    };
    let (unrecorded_runs, unrecorded_tokens) = unrecorded_total(connection, &conditions)?;
    let (sessions_with_agent_totals, drift) = drift(&reader)?;
    let lines = reader.rows(&lines_sql(&reader), |row| {
        Ok(LineCounts {
            files: row.get(0)?,
            lines: row.get(1)?,
            bad_lines: row.get(2)?,
            unknown_lines: row.get(3)?,
            skipped_lines: row.get(4)?,
            incomplete_files: row.get(5)?,
        })
    })?;
    let of_files = format!(
        "session_file IN (SELECT session_file FROM {})",
        reader.files()
    );
    Ok(Some(QualityReport {
        as_of: snapshot.as_of.to_string(),
        versions: reader.rows(&versions_sql(&reader), |row| {
            Ok(VersionQuality {
                agent_version: row.get(0)?,
                messages: row.get(1)?,
                open_messages: row.get(2)?,
                unpriced_messages: row.get(3)?,
                sessions: row.get(4)?,
                agent: row.get(5)?,
            })
        })?,
        unpriced_models: reader.rows(&unpriced_sql(&reader), |row| {
            Ok(UnpricedModel {
                model: row.get(0)?,
                messages: row.get(1)?,
                tokens: row.get(2)?,
                sessions: row.get(3)?,
                first_seen: time(row, 4)?,
                last_seen: time(row, 5)?,
            })
        })?,
        unrecorded_runs,
        unrecorded_tokens,
        unrecorded_requests: unrecorded_reasons(&reader)?,
        unknown_kinds: unknown_kinds_where(connection, &of_files, &conditions.parameters)?,
        lines: lines.first().copied().unwrap_or_default(),
        unread: reader.rows(&unread_sql(&reader), |row| {
            Ok(UnreadLines {
                session: row.get(0)?,
                title: title(row, 1)?,
                bad_lines: row.get(2)?,
                skipped_lines: row.get(3)?,
            })
        })?,
        sessions_with_agent_totals,
        drift,
    }))
}

/// A title without secrets.
fn title(row: &SqlRow<'_>, index: usize) -> duckdb::Result<Option<String>> {
    let title: Option<String> = row.get(index)?;
    Ok(title.map(|title| shown(&title)))
}

/// Reads rows that meet the conditions of the report.
struct FilteredReader<'a> {
    connection: &'a Connection,
    conditions: &'a Conditions,
}

impl FilteredReader<'_> {
    /// SQL for the messages of the report, without `SELECT`.
    fn messages(&self) -> String {
        format!(
            "usage.message_rollups {} WHERE {}",
            self.conditions.joins([]),
            self.conditions.sql
        )
    }

    /// SQL for the session files of the report, without `SELECT`.
    fn files(&self) -> String {
        format!(
            "(SELECT * REPLACE ({path} AS project, coalesce(agent, 'claude') AS agent), {name} AS project_name,
                {DIRECTORY} AS directory, time_bucket(INTERVAL 15 MINUTES, ended_at) AS quarter
                FROM usage.sessions) {joins} WHERE {condition}",
            path = project::PATH,
            name = project::name_of(project::PATH),
            joins = self.conditions.joins([]),
            condition = self.conditions.sql
        )
    }

    /// The rows of SQL that contains the conditions once.
    fn rows<T>(
        &self,
        sql: &str,
        row: impl FnMut(&SqlRow<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = || -> duckdb::Result<Vec<T>> {
            let mut statement = self.connection.prepare(sql)?;
            let parameters: &[Value] = &self.conditions.parameters;
            statement
                .query_map(params_from_iter(parameters), row)?
                .collect()
        };
        rows().map_err(StoreError::database("run the report"))
    }
}

fn versions_sql(reader: &FilteredReader<'_>) -> String {
    // Versions are compared number by number.
    format!(
        "SELECT agent_version, CAST(sum(message_count) AS BIGINT), CAST(sum(open_count) AS BIGINT),
            CAST(coalesce(sum(message_count) FILTER (cost_usd IS NULL), 0) AS BIGINT), count(DISTINCT session_id),
            coalesce(agent, 'claude') AS agent
        FROM (SELECT message_rollups.* FROM {messages}) LEFT JOIN (
            SELECT session_id, max(agent_version) AS agent_version FROM usage.sessions GROUP BY ALL
        ) USING (session_id)
        GROUP BY agent, agent_version
        ORDER BY list_transform(string_split(agent_version, '.'), lambda part: try_cast(part AS INTEGER)) DESC NULLS LAST,
            agent_version DESC, agent LIMIT {ROWS_MAX}",
        messages = reader.messages()
    )
}

/// The reasons by agent. `usage` writes them as JSON, in few different values.
fn unrecorded_reasons(reader: &FilteredReader<'_>) -> Result<Vec<UnrecordedReason>, StoreError> {
    let sql = format!(
        "SELECT agent, CAST(unrecorded_usage AS VARCHAR) AS reasons, count(*)
        FROM {} AND unrecorded_requests > 0 GROUP BY ALL",
        reader.files()
    );
    let found = reader.rows(&sql, |row| {
        let (agent, reasons, files): (String, Option<String>, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((agent, reasons.unwrap_or_default(), files))
    })?;
    let mut sums = BTreeMap::<(String, String), (i64, i64)>::new();
    for (agent, reasons, files) in found {
        let reasons: BTreeMap<String, i64> = serde_json::from_str(&reasons).unwrap_or_default();
        for (reason, requests) in reasons {
            let sum = sums.entry((agent.clone(), reason)).or_default();
            sum.0 = sum.0.saturating_add(requests.saturating_mul(files));
            sum.1 = sum.1.saturating_add(files);
        }
    }
    let reasons = sums.into_iter();
    let reasons = reasons.map(|((agent, reason), (requests, files))| UnrecordedReason {
        agent,
        reason,
        requests,
        files,
    });
    let mut reasons: Vec<UnrecordedReason> = reasons.collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.requests));
    reasons.truncate(ROWS_MAX);
    Ok(reasons)
}

fn unpriced_sql(reader: &FilteredReader<'_>) -> String {
    format!(
        "SELECT model, CAST(sum(message_count) AS BIGINT) AS messages,
            CAST(least(sum(CAST(input_tokens AS HUGEINT) + output_tokens + cache_read_tokens + cache_creation_5m_tokens
                + cache_creation_1h_tokens), 9223372036854775807) AS BIGINT) AS tokens,
            count(DISTINCT session_id), epoch_us(min(quarter)), epoch_us(max(quarter))
        FROM {} AND cost_usd IS NULL GROUP BY model HAVING messages > 0 OR tokens > 0
        ORDER BY tokens DESC, model LIMIT {ROWS_MAX}",
        reader.messages()
    )
}

fn lines_sql(reader: &FilteredReader<'_>) -> String {
    format!(
        "SELECT count(*), CAST(coalesce(sum(lines), 0) AS BIGINT), CAST(coalesce(sum(bad_lines), 0) AS BIGINT),
            CAST(coalesce(sum(unknown_types), 0) AS BIGINT), CAST(coalesce(sum(passed_over_lines), 0) AS BIGINT),
            count(*) FILTER (torn_tail)
        FROM {}",
        reader.files()
    )
}

fn unread_sql(reader: &FilteredReader<'_>) -> String {
    format!(
        "SELECT session_file, title, CAST(bad_lines AS BIGINT), CAST(passed_over_lines AS BIGINT) FROM {}
            AND (bad_lines > 0 OR passed_over_lines > 0)
        ORDER BY bad_lines + passed_over_lines DESC, session_file LIMIT {ROWS_MAX}",
        reader.files()
    )
}

/// The number of sessions with totals of the agent, and those that differ most.
/// Their figures are those of whole sessions, because the agent's totals are.
fn drift(reader: &FilteredReader<'_>) -> Result<(u64, Vec<SessionDrift>), StoreError> {
    let totals = agent_totals(reader.connection, &ReportScope::Everyone)?;
    let sql = format!(
        "SELECT session_id, CAST(CAST(sum(cost_usd) AS DECIMAL(38, 12)) AS VARCHAR),
            CAST(least(sum(output_tokens), 9223372036854775807) AS BIGINT),
            (SELECT min(session_file) FROM usage.sessions WHERE sessions.session_id = ours.session_id AND NOT is_sidechain),
            (SELECT min(title) FROM usage.sessions WHERE sessions.session_id = ours.session_id)
        FROM usage.message_rollups AS ours SEMI JOIN usage.agent_totals USING (session_id)
        WHERE session_id IN (SELECT session_id FROM {})
        GROUP BY session_id",
        reader.messages()
    );
    let ours = reader.rows(&sql, |row| {
        let session_id: String = row.get(0)?;
        let Some((agent_cost, agent_output_tokens)) = totals
            .get(&session_id)
            .and_then(|agent| Some((agent.cost?, agent.output_tokens)))
        else {
            return Ok(None);
        };
        Ok(Some(SessionDrift {
            cost_usd: usd(row, 1)?,
            output_tokens: row.get(2)?,
            session: row.get(3)?,
            title: title(row, 4)?,
            session_id,
            agent_cost_usd: agent_cost,
            agent_output_tokens,
        }))
    })?;
    let mut drift: Vec<SessionDrift> = ours.into_iter().flatten().collect();
    let count = drift.len() as u64;
    let difference = |drift: &SessionDrift| {
        let ours = drift.cost_usd.map_or(0, |cost| cost.pico_dollars);
        ours.abs_diff(drift.agent_cost_usd.pico_dollars)
    };
    drift.retain(|drift| difference(drift) > 0);
    drift.sort_by(|one, two| {
        (difference(two), &one.session_id).cmp(&(difference(one), &two.session_id))
    });
    drift.truncate(ROWS_MAX);
    Ok((count, drift))
}
