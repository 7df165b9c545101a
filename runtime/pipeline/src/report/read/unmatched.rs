//! Why a report is empty: a filter has a value that nothing has, or the filters exclude each other.
//! Without a notice, a mistyped name looks like no usage.

use duckdb::{Connection, params_from_iter};
use session_pipeline_store::StoreError;

use super::key::{USER, USERS};
use super::{Conditions, names};
use crate::nearest::{COMPARED_MAX, FilterValue};
use crate::report::project::ProjectSelector;
use crate::report::{ReportFilter, ReportScope};

/// The notices on an empty report. Call it only for those, because it reads all values.
pub(in crate::report) fn empty_notices(
    connection: &Connection,
    filter: &ReportFilter,
) -> Result<Vec<String>, StoreError> {
    let mut notices = Vec::new();
    let filters = filters(filter);
    let has_names = !filters.is_empty();
    for (noun, given, columns, alone) in filters {
        let mut value = FilterValue::new(noun, given);
        if is_matched(connection, &alone)? {
            continue;
        }
        for column in columns {
            for name in values(connection, column, &filter.scope)? {
                value.consider(&name);
            }
        }
        notices.push(value.notice("message"));
    }
    // A report on calls or waste can be empty although there are messages.
    if notices.is_empty() && has_names && !is_matched(connection, filter)? {
        notices.push("no message matches all filters, although each name is known".to_owned());
    }
    Ok(notices)
}

/// The filters that name something: what, its value, the columns of existing values, and the filter
/// without the others.
type NamedFilter<'a> = (&'static str, &'a str, Vec<&'static str>, ReportFilter);

fn filters(filter: &ReportFilter) -> Vec<NamedFilter<'_>> {
    let none = || ReportFilter {
        scope: filter.scope.clone(),
        ..ReportFilter::default()
    };
    let mut filters: Vec<NamedFilter<'_>> = Vec::new();
    if let Some(user) = &filter.user {
        let alone = ReportFilter {
            user: Some(user.clone()),
            ..none()
        };
        filters.push(("user", user, vec![USER, "directory"], alone));
    }
    if let Some(project) = &filter.project {
        let alone = ReportFilter {
            project: Some(project.clone()),
            ..none()
        };
        let columns = match ProjectSelector::parse(project) {
            ProjectSelector::Name(_) => vec!["project_name"],
            ProjectSelector::Path(_) | ProjectSelector::LastParts(_) => vec!["project"],
        };
        filters.push(("project", project, columns, alone));
    }
    if let Some(model) = &filter.model {
        let alone = ReportFilter {
            model: Some(model.clone()),
            ..none()
        };
        let column = match filter.scope {
            ReportScope::Team(_) => names::TEAM_MODEL,
            ReportScope::Everyone | ReportScope::Own(_) => "model",
        };
        filters.push(("model", model, vec![column], alone));
    }
    if let Some(agent) = &filter.agent {
        let alone = ReportFilter {
            agent: Some(agent.clone()),
            ..none()
        };
        filters.push(("agent", agent, vec!["agent"], alone));
    }
    if let Some(provider) = &filter.provider {
        let alone = ReportFilter {
            provider: Some(provider.clone()),
            ..none()
        };
        filters.push(("provider", provider, vec!["provider"], alone));
    }
    if let Some(session) = &filter.session {
        let alone = ReportFilter {
            session: Some(session.clone()),
            ..none()
        };
        filters.push(("session", session, vec!["session_id"], alone));
    }
    filters
}

fn is_matched(connection: &Connection, filter: &ReportFilter) -> Result<bool, StoreError> {
    let conditions = Conditions::of(filter);
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM usage.message_rollups {} WHERE {})",
        conditions.joins([]),
        conditions.sql
    );
    connection
        .query_row(&sql, params_from_iter(&conditions.parameters), |row| {
            row.get(0)
        })
        .map_err(StoreError::database("look up the value of a filter"))
}

/// The values of a column in the sessions of a scope, the most frequent first.
fn values(
    connection: &Connection,
    column: &str,
    scope: &ReportScope,
) -> Result<Vec<String>, StoreError> {
    let conditions = Conditions::of(&ReportFilter {
        scope: scope.clone(),
        ..ReportFilter::default()
    });
    let sql = format!(
        "SELECT name FROM (SELECT {column} AS name FROM usage.message_rollups {USERS} WHERE {condition})
        WHERE name IS NOT NULL GROUP BY name ORDER BY count(*) DESC, name LIMIT {COMPARED_MAX}",
        condition = conditions.sql,
    );
    let read = || -> duckdb::Result<Vec<String>> {
        let mut statement = connection.prepare(&sql)?;
        let rows =
            statement.query_map(params_from_iter(&conditions.parameters), |row| row.get(0))?;
        rows.collect()
    };
    read().map_err(StoreError::database("read the values of a filter"))
}
