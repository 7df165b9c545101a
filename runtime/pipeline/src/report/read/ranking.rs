//! The first sessions of a list in the order of a number, found by the database.
//!
//! Reading every session into memory to find fifty takes most of a second for 100,000 sessions. The
//! database finds their keys in a fraction of that.

use duckdb::types::Value;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::StoreError;

use super::names;
use super::sessions::{SessionReader, SummaryParts, WithFigures};
use crate::report::project::{self, ProjectSelector};
use crate::report::views::DIRECTORY;

/// A number that sessions are ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RankedNumber {
    /// The time of the last line.
    EndedAt,
    /// The cost in millionths of a millionth of a dollar.
    Cost,
    Messages,
    Tokens,
    ActiveSeconds,
    Prompts,
    ToolCalls,
    ToolErrors,
}

impl RankedNumber {
    /// SQL over the columns of a summary. NULL: the session has no such number.
    fn sql(self, has_figures: bool) -> &'static str {
        match (self, has_figures) {
            (Self::EndedAt, _) => "ended_at",
            (Self::ActiveSeconds, _) => "active_seconds",
            (Self::Prompts, _) => "prompts",
            (Self::ToolCalls, _) => "tool_calls",
            (Self::ToolErrors, _) => "tool_errors",
            (Self::Messages, false) => "held_messages",
            (Self::Cost | Self::Tokens, false) => "CAST(NULL AS BIGINT)",
            // Without messages, all figures are 0. Those of a sub-agent are in another session.
            (Self::Messages, true) => {
                "CASE WHEN is_subagent THEN held_messages ELSE coalesce(messages, 0) END"
            }
            (Self::Cost, true) => {
                "CASE WHEN NOT is_subagent AND messages IS NULL THEN 0
                    WHEN NOT is_subagent THEN CAST(least(CAST(replace(cost_usd, '.', '') AS HUGEINT), 9223372036854775807) AS BIGINT) END"
            }
            (Self::Tokens, true) => {
                "CASE WHEN NOT is_subagent THEN CAST(least(coalesce(CAST(input_tokens AS HUGEINT)
                    + output_tokens + cache_read_tokens + cache_creation_tokens, 0), 9223372036854775807) AS BIGINT) END"
            }
        }
    }
}

/// Which sessions are ranked, and how. Only sessions whose last line has a time are ranked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionRanking<'a> {
    pub(crate) number: RankedNumber,
    /// Whether the smallest number comes first.
    pub(crate) is_ascending: bool,
    /// The number and the key of the session after which the sessions begin. No number: the session
    /// is one of those without a number, which come last.
    pub(crate) after: Option<(Option<i64>, &'a str)>,
    /// Only sessions in these directories.
    pub(crate) directories: Option<&'a [String]>,
    pub(crate) project: Option<&'a ProjectSelector>,
    pub(crate) agent: Option<&'a str>,
    pub(crate) is_automated: Option<bool>,
    pub(crate) is_subagent: Option<bool>,
    /// Only sessions with their last line in this range, inclusive.
    pub(crate) active: Option<(UtcMicros, UtcMicros)>,
    pub(crate) limit: usize,
    /// What the number depends on.
    pub(crate) parts: SummaryParts<'a>,
}

impl SessionRanking<'_> {
    /// The conditions, over the columns of a summary.
    fn conditions(&self) -> (String, Vec<Value>) {
        let mut conditions = vec!["ended_at IS NOT NULL".to_owned()];
        let mut parameters = Vec::new();
        if let Some(selector) = self.project {
            let (is_selected, values) = selector.condition();
            conditions.push(format!("project <> '' AND {is_selected}"));
            parameters.extend(values);
        }
        if let Some(agent) = self.agent {
            conditions.push("agent = ?".to_owned());
            parameters.push(Value::Text(agent.to_owned()));
        }
        for (column, wanted) in [
            ("is_automated", self.is_automated),
            ("is_subagent", self.is_subagent),
        ] {
            conditions.extend(wanted.map(|wanted| format!("{column} = {wanted}")));
        }
        if let Some((since, before)) = self.active {
            conditions.push(format!("ended_at BETWEEN {} AND {}", since.0, before.0));
        }
        if let Some((number, key)) = self.after {
            let is_later = if self.is_ascending { ">" } else { "<" };
            conditions.push(match number {
                Some(number) => format!(
                    "(number IS NULL OR number {is_later} {number} OR (number = {number} AND session_file > ?))"
                ),
                None => "(number IS NULL AND session_file > ?)".to_owned(),
            });
            parameters.push(Value::Text(key.to_owned()));
        }
        (conditions.join(" AND "), parameters)
    }
}

impl SessionReader {
    /// The keys of the first sessions of a ranking, in any order. Includes sessions that no
    /// processor knows.
    ///
    /// # Errors
    /// If the database can't be read.
    pub(crate) fn first_keys(
        &self,
        ranking: &SessionRanking<'_>,
    ) -> Result<Vec<String>, StoreError> {
        let (is_selected, mut parameters) = ranking.directories.map_or_else(
            || ("true".to_owned(), Vec::new()),
            |directories| names::is_one_of(DIRECTORY, directories),
        );
        let (is_included, more) = ranking.conditions();
        parameters.extend(more);
        // Figures and ids need several joins, which other numbers do not.
        let rows = match ranking.parts.figures {
            WithFigures::None => {
                format!(
                    "SELECT * FROM ({}) WHERE {is_selected}",
                    self.files_sql(ranking.parts)
                )
            }
            WithFigures::All | WithFigures::ActiveBetween(..) => {
                self.summaries_sql(&is_selected, ranking.parts)
            }
        };
        let sql = format!(
            "SELECT session_file FROM (SELECT *, {number} AS number, {project_name} AS project_name FROM ({rows}))
            WHERE {is_included} ORDER BY number {order} NULLS LAST, session_file LIMIT {limit}",
            number = ranking.number.sql(self.has_rollups),
            project_name = project::name_of("project"),
            order = if ranking.is_ascending { "ASC" } else { "DESC" },
            limit = ranking.limit,
        );
        self.rows(&sql, &parameters, |row| row.get(0))
    }

    /// Whether the database has the times of last lines. A database of an earlier version does not.
    pub(crate) fn has_ends(&self) -> bool {
        let columns = ["ended_at", "session_seq"];
        let mut columns = columns.iter();
        columns.all(|column| self.columns.has("sessions", column))
    }

    /// The directories of all sessions.
    ///
    /// # Errors
    /// If the database can't be read.
    pub(crate) fn directories(&self) -> Result<Vec<String>, StoreError> {
        let sql = format!("SELECT DISTINCT {DIRECTORY} FROM usage.sessions");
        self.rows(&sql, &[], |row| row.get(0))
    }

    /// The keys of the sessions whose last line has a time.
    ///
    /// # Errors
    /// If the database can't be read.
    pub(crate) fn ended_keys(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT session_file FROM usage.sessions WHERE ended_at IS NOT NULL";
        self.rows(sql, &[], |row| row.get(0))
    }

    /// The keys of stored sessions that [`SessionReader::first_keys`] does not rank, at most `limit`.
    ///
    /// # Errors
    /// If the database can't be read.
    pub(crate) fn unranked_keys(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        // The numbers of processings are compared in a tenth of the time of keys, and usually leave
        // nothing to compare.
        let rest = "SELECT session_file FROM main.session_processor_state
                ANTI JOIN (SELECT session_seq FROM usage.sessions WHERE ended_at IS NOT NULL) USING (session_seq)
                WHERE processor_name = 'usage'
            UNION ALL SELECT session_file FROM main.session_processor_state WHERE processor_name <> 'usage'
            UNION ALL SELECT session_file FROM main.session_failures";
        let ranked = "SELECT session_file FROM usage.sessions WHERE ended_at IS NOT NULL";
        self.keys_without(rest, ranked, limit)
    }

    /// The keys of sessions whose rows remain although no processor knows them, at most `limit`.
    ///
    /// # Errors
    /// If the database can't be read.
    pub(crate) fn forgotten_keys(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        let rest = "SELECT session_file FROM usage.sessions ANTI JOIN (
            SELECT session_seq FROM main.session_processor_state WHERE processor_name = 'usage'
        ) USING (session_seq)";
        let known = "SELECT session_file FROM main.session_processor_state
            UNION ALL SELECT session_file FROM main.session_failures";
        self.keys_without(rest, known, limit)
    }

    /// The keys in the rows of the first query that are not in those of the second one.
    fn keys_without(
        &self,
        keys: &str,
        other: &str,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let has_any = self.rows(&format!("SELECT EXISTS ({keys})"), &[], |row| row.get(0))?;
        if has_any.first() == Some(&false) {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT DISTINCT session_file FROM ({keys}) ANTI JOIN ({other}) USING (session_file) LIMIT {limit}"
        );
        self.rows(&sql, &[], |row| row.get(0))
    }
}
