//! The columns of the processor's tables, which depend on its version.
//!
//! A new version adds its columns when it first runs. Until then, they are read as NULL.

use std::collections::HashSet;

use duckdb::Connection;
use session_pipeline_store::StoreError;

/// The names of existing columns, as `table.column`.
pub(super) struct KnowledgeColumns(HashSet<String>);

impl KnowledgeColumns {
    /// Reads the columns. `None` if the processor has not created its tables.
    pub(super) fn read(connection: &Connection) -> Result<Option<Self>, StoreError> {
        let refused = StoreError::database("search the knowledge items");
        let mut statement = connection
            .prepare(
                "SELECT table_name || '.' || column_name FROM duckdb_columns() \
                 WHERE database_name = current_database() AND schema_name = 'verification'",
            )
            .map_err(&refused)?;
        let names = statement
            .query_map([], |row| row.get(0))
            .map_err(&refused)?;
        let names: HashSet<String> = names.collect::<Result<_, _>>().map_err(&refused)?;
        let columns = Self(names);
        let tables = ["items", "evidence", "relations", "contradictions"];
        let has_all = tables.iter().all(|table| columns.has(table, "id"));
        Ok(has_all.then_some(columns))
    }

    /// Whether a table has a column.
    pub(super) fn has(&self, table: &str, column: &str) -> bool {
        self.0.contains(&format!("{table}.{column}"))
    }

    /// SQL for a column: its name, or a NULL of this type.
    pub(super) fn sql(&self, table: &str, column: &str, kind: &str) -> String {
        match self.has(table, column) {
            true => format!("{table}.{column}"),
            false => format!("CAST(NULL AS {kind})"),
        }
    }
}
