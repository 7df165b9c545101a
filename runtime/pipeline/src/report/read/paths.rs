//! The number of paths with the same name, so that people notice different projects in one row.

use std::collections::HashMap;

use duckdb::{Connection, params_from_iter};
use session_pipeline_store::StoreError;

use super::Conditions;
use crate::report::UsageReport;

/// Adds the number of paths to the rows of a report by the name of projects.
pub(super) fn add_paths(
    connection: &Connection,
    report: &mut UsageReport,
    conditions: &Conditions,
) -> Result<(), StoreError> {
    let sql = format!(
        "SELECT project_name, count(*) FROM (
            SELECT DISTINCT project_name, project FROM usage.message_rollups {} WHERE project IS NOT NULL AND {}
        ) GROUP BY project_name",
        conditions.joins([]),
        conditions.sql
    );
    let read = || -> duckdb::Result<HashMap<Option<String>, i64>> {
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map(params_from_iter(&conditions.parameters), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        rows.collect()
    };
    let paths = read().map_err(StoreError::database("count the paths of projects"))?;
    for row in &mut report.rows {
        row.totals.paths = paths.get(&row.key).copied();
    }
    Ok(())
}
