//! The sessions that a row of a report is about: those with messages, calls or waste of a cause.
//!
//! The conditions are those of the reports, so that a list of sessions has as many sessions as the
//! row that links to it.

use duckdb::types::Value;
use jiff::tz::TimeZone;

use super::{Conditions, Key};
use crate::report::{DayRange, ReportFilter, ReportGrouping};

/// The causes of a list of sessions. A session is in the list if it has at least one message, one
/// call and one instance of waste that match the fields about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionCauses {
    /// Only sessions that used this model. In combination with other causes, for the same messages,
    /// calls or waste.
    pub model: Option<String>,
    /// Only sessions with a message that has each of these values, such as a branch.
    pub messages: Vec<(ReportGrouping, String)>,
    /// Only sessions with a call of this tool.
    pub tool: Option<String>,
    /// Only sessions with a call that failed with this class. With `tool`, a call of this tool.
    pub failure: Option<String>,
    /// Only sessions in which a user typed this slash command, without the slash.
    pub command: Option<String>,
    /// Only sessions in which the model called this skill.
    pub called_skill: Option<String>,
    /// Only sessions that started a sub-agent of this type.
    pub called_agent_type: Option<String>,
    /// Only sessions with waste of this kind.
    pub waste: Option<String>,
}

impl SessionCauses {
    /// Whether all sessions are included.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The conditions on calls: SQL, and its parameter.
    fn of_calls(&self) -> Vec<(&'static str, &String)> {
        [
            ("tool_name = ?", &self.tool),
            (
                "is_error AND coalesce(error_class, 'unknown') = ?",
                &self.failure,
            ),
            ("command_name = ?", &self.command),
            ("skill_name = ?", &self.called_skill),
            ("agent_type = ?", &self.called_agent_type),
        ]
        .into_iter()
        .filter_map(|(sql, value)| Some((sql, value.as_ref()?)))
        .collect()
    }
}

/// SQL for the ids and directories of the sessions with these causes on these days, and its
/// parameters.
pub(super) fn sessions_sql(
    causes: &SessionCauses,
    days: DayRange,
    zone: &TimeZone,
) -> (String, Vec<Value>) {
    let conditions = Conditions::of(&ReportFilter {
        model: causes.model.clone(),
        zone: zone.clone(),
        ..ReportFilter::from(days)
    });
    let text = |value: &String| Value::Text(value.clone());
    let mut parts = Vec::new();
    let mut parameters = Vec::new();
    let mut add = |table: &str, joins: &str, own: &[String], values: Vec<Value>| {
        let all: Vec<&str> = own.iter().map(String::as_str).collect();
        parts.push(format!(
            "SELECT session_id, directory FROM usage.{table} {joins} WHERE {} AND session_id IS NOT NULL AND {}",
            all.iter().map(|one| format!("({one})")).chain(["true".to_owned()]).collect::<Vec<_>>().join(" AND "),
            conditions.sql
        ));
        parameters.extend(values);
        parameters.extend(conditions.parameters.iter().cloned());
    };
    let calls = causes.of_calls();
    let is_about_messages =
        !causes.messages.is_empty() || (calls.is_empty() && causes.waste.is_none());
    if is_about_messages {
        let keys: Vec<Key> = causes
            .messages
            .iter()
            .map(|(by, _)| Key::of(*by, "quarter"))
            .collect();
        let own: Vec<String> = keys
            .iter()
            .map(|key| format!("{} = ?", key.column))
            .collect();
        let values = causes.messages.iter().map(|(_, value)| text(value));
        add(
            "message_rollups",
            &conditions.joins(&keys),
            &own,
            values.collect(),
        );
    }
    if !calls.is_empty() {
        let own: Vec<String> = calls.iter().map(|(sql, _)| (*sql).to_owned()).collect();
        let values = calls.iter().map(|(_, value)| text(value)).collect();
        add("call_rollups", "", &own, values);
    }
    if let Some(kind) = &causes.waste {
        add(
            "waste_rollups",
            "",
            &["kind = ?".to_owned()],
            vec![text(kind)],
        );
    }
    let sql = format!(
        "SELECT DISTINCT session_id, directory FROM ({})",
        parts.join(" INTERSECT ")
    );
    (sql, parameters)
}
