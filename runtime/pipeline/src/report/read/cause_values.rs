//! Which causes in the filter of a list no session has, with similar values that some session has.

use duckdb::types::Value;
use jiff::tz::TimeZone;
use session_pipeline_store::StoreError;

use super::causes::{SessionCauses, sessions_sql};
use super::key::Key;
use super::names;
use super::sessions::SessionReader;
use crate::nearest::{COMPARED_MAX, FilterValue};
use crate::report::{DayRange, ReportGrouping};

/// The value of one cause, and where its values are stored.
struct CauseValue<'a> {
    /// What the value names.
    noun: &'static str,
    given: &'a str,
    rollup: &'static str,
    /// SQL over the rollup.
    column: String,
    join: &'static str,
    /// The filter without the other causes.
    alone: SessionCauses,
}

impl SessionReader {
    /// The notices on the causes that no session in these directories has on any day. `None` as
    /// directories: all. Call it only for an empty list, because it reads all values.
    ///
    /// # Errors
    /// If the database can't be read.
    pub(crate) fn cause_notices(
        &self,
        causes: &SessionCauses,
        directories: Option<&[String]>,
    ) -> Result<Vec<String>, StoreError> {
        let mut notices = Vec::new();
        for cause in values_of(causes) {
            let mut value = FilterValue::new(cause.noun, cause.given);
            if self.has_sessions(&cause.alone, directories)? {
                continue;
            }
            for name in self.names(&cause, directories)? {
                value.consider(&name);
            }
            notices.push(value.notice("session"));
        }
        Ok(notices)
    }

    /// Whether a session in these directories has a cause.
    fn has_sessions(
        &self,
        causes: &SessionCauses,
        directories: Option<&[String]>,
    ) -> Result<bool, StoreError> {
        if !self.has_rollups {
            return Ok(false);
        }
        let (sql, mut parameters) = sessions_sql(causes, DayRange::default(), &TimeZone::UTC);
        let (is_visible, visible) = condition(directories);
        parameters.extend(visible);
        let sql = format!("SELECT EXISTS (SELECT 1 FROM ({sql}) WHERE {is_visible})");
        let found = self.rows(&sql, &parameters, |row| row.get(0))?;
        Ok(found.first() == Some(&true))
    }

    /// The values of a cause in these directories, the most frequent first.
    fn names(
        &self,
        cause: &CauseValue<'_>,
        directories: Option<&[String]>,
    ) -> Result<Vec<String>, StoreError> {
        if !self.has_rollups {
            return Ok(Vec::new());
        }
        let (is_visible, parameters) = condition(directories);
        let sql = format!(
            "SELECT name FROM (SELECT {} AS name FROM usage.{} {} WHERE {is_visible})
            WHERE name IS NOT NULL GROUP BY name ORDER BY count(*) DESC, name LIMIT {COMPARED_MAX}",
            cause.column, cause.rollup, cause.join
        );
        self.rows(&sql, &parameters, |row| row.get(0))
    }
}

fn condition(directories: Option<&[String]>) -> (String, Vec<Value>) {
    directories.map_or_else(
        || ("true".to_owned(), Vec::new()),
        |directories| names::is_one_of("directory", directories),
    )
}

/// The field of a cause.
type CauseField = fn(&mut SessionCauses) -> &mut Option<String>;

fn values_of(causes: &SessionCauses) -> Vec<CauseValue<'_>> {
    let mut values = Vec::new();
    if let Some(model) = &causes.model {
        values.push(CauseValue {
            alone: SessionCauses {
                model: Some(model.clone()),
                ..SessionCauses::default()
            },
            ..of_rollup("model", model, "message_rollups", "model")
        });
    }
    for (by, given) in &causes.messages {
        let Key { column, join, .. } = Key::of(*by, "quarter");
        values.push(CauseValue {
            noun: noun(*by),
            given,
            rollup: "message_rollups",
            column,
            join,
            alone: SessionCauses {
                messages: vec![(*by, given.clone())],
                ..SessionCauses::default()
            },
        });
    }
    let failure = "CASE WHEN is_error THEN coalesce(error_class, 'unknown') END";
    let of_calls: [(&str, &Option<String>, &str, &str, CauseField); 6] = [
        (
            "tool",
            &causes.tool,
            "call_rollups",
            "tool_name",
            |causes| &mut causes.tool,
        ),
        (
            "class of failed calls",
            &causes.failure,
            "call_rollups",
            failure,
            |causes| &mut causes.failure,
        ),
        (
            "slash command",
            &causes.command,
            "call_rollups",
            "command_name",
            |causes| &mut causes.command,
        ),
        (
            "called skill",
            &causes.called_skill,
            "call_rollups",
            "skill_name",
            |causes| &mut causes.called_skill,
        ),
        (
            "started sub-agent",
            &causes.called_agent_type,
            "call_rollups",
            "agent_type",
            |causes| &mut causes.called_agent_type,
        ),
        (
            "kind of waste",
            &causes.waste,
            "waste_rollups",
            "kind",
            |causes| &mut causes.waste,
        ),
    ];
    for (noun, given, rollup, column, field) in of_calls {
        let Some(given) = given else { continue };
        let mut alone = SessionCauses::default();
        *field(&mut alone) = Some(given.clone());
        values.push(CauseValue {
            alone,
            ..of_rollup(noun, given, rollup, column)
        });
    }
    values
}

fn of_rollup<'a>(
    noun: &'static str,
    given: &'a str,
    rollup: &'static str,
    column: &str,
) -> CauseValue<'a> {
    CauseValue {
        noun,
        given,
        rollup,
        column: column.to_owned(),
        join: "",
        alone: SessionCauses::default(),
    }
}

fn noun(by: ReportGrouping) -> &'static str {
    match by {
        ReportGrouping::PullRequest => "pull request",
        ReportGrouping::Source => "part of the session",
        ReportGrouping::AgentType => "type of sub-agent",
        ReportGrouping::McpServer => "MCP server",
        ReportGrouping::Entrypoint => "entry point",
        by => by.key(),
    }
}
