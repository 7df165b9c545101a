//! What a report includes, as SQL over the rollups.

use duckdb::types::Value;
use jiff::civil::Date;
use session_pipeline_host::day::Day;

use super::key::{Key, USERS};
use super::names;
use crate::report::project::ProjectSelector;
use crate::report::{DayRange, ReportFilter, ReportScope};

/// The conditions of a report, over any rollup.
pub(in crate::report) struct Conditions {
    pub(in crate::report) sql: String,
    pub(in crate::report) parameters: Vec<Value>,
    needs_users: bool,
}

impl Conditions {
    pub(in crate::report) fn of(filter: &ReportFilter) -> Self {
        let mut conditions = vec!["true".to_owned()];
        let mut parameters = Vec::new();
        // A constant next to the bare column, so that DuckDB skips row groups by their smallest and
        // largest time.
        let mut bound = |comparison: &str, day: Option<Date>| {
            let Some(day) = day else { return };
            let start = day.to_zoned_datetime(filter.zone.clone());
            // The last day begins after the last instant in some zones.
            let start = start.map_or_else(
                |_| "TIMESTAMP 'infinity'".to_owned(),
                |start| format!("make_timestamp({})", start.timestamp().as_microsecond()),
            );
            conditions.push(format!("quarter {comparison} {start}"));
        };
        let DayRange { since, until } = filter.days;
        bound(">=", since.map(Day::date));
        let end = until.map(|day| day.date().tomorrow().unwrap_or(Date::MAX));
        bound("<", end);
        if let Some(user) = &filter.user {
            conditions.push("? IN (coalesce(directories.email, directory), directory)".to_owned());
            parameters.push(Value::Text(user.clone()));
        }
        if let Some(project) = &filter.project {
            let (is_selected, values) = ProjectSelector::parse(project).condition();
            conditions.push(is_selected.to_owned());
            parameters.extend(values);
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
        if let Some(provider) = &filter.provider {
            conditions.push("provider = ?".to_owned());
            parameters.push(Value::Text(provider.clone()));
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
    pub(in crate::report) fn joins<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> String {
        let mut joins: Vec<&str> = keys.into_iter().map(|key| key.join).collect();
        joins.extend(self.needs_users.then_some(USERS));
        joins.sort_unstable();
        joins.dedup();
        joins.join(" ")
    }
}
