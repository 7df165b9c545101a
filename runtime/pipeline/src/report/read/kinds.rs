//! Types of lines that this version of `usage` does not know. New versions of agents add them, and
//! what they contain is in no figure.

use duckdb::types::Value;
use duckdb::{Connection, params_from_iter};
use session_pipeline_store::StoreError;

use super::{names, time};
use crate::report::{ReportScope, UnknownKind};

/// Maximum number of kinds in a report. A transcript can contain any number.
const KINDS_MAX: usize = 50;

/// The unknown kinds, the most frequent first.
pub(in crate::report) fn unknown_kinds(
    connection: &Connection,
    scope: &ReportScope,
) -> Result<Vec<UnknownKind>, StoreError> {
    let (is_named, directories) = names::condition("session_file", scope);
    unknown_kinds_where(connection, &is_named, &directories)
}

/// The unknown kinds of the files that meet a condition on `usage.unknown_kinds`, the most frequent
/// first.
pub(in crate::report) fn unknown_kinds_where(
    connection: &Connection,
    condition: &str,
    parameters: &[Value],
) -> Result<Vec<UnknownKind>, StoreError> {
    let sql = format!(
        "SELECT kind, count(DISTINCT session_id), CAST(sum(lines) AS BIGINT), epoch_us(min(first_seen)),
            epoch_us(max(last_seen)), max(agent_version)
        FROM usage.unknown_kinds WHERE {condition} GROUP BY kind ORDER BY 2 DESC, kind LIMIT {KINDS_MAX}"
    );
    let rows = || -> duckdb::Result<Vec<UnknownKind>> {
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map(params_from_iter(parameters), |row| {
            Ok(UnknownKind {
                kind: row.get(0)?,
                sessions: row.get(1)?,
                lines: row.get(2)?,
                first_seen: time(row, 3)?,
                last_seen: time(row, 4)?,
                agent_version: row.get(5)?,
            })
        })?;
        rows.collect()
    };
    rows().map_err(StoreError::database("run the report"))
}
