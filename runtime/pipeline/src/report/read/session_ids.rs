//! The files of a session, by its id.

use duckdb::params;
use session_pipeline_store::{Store, StoreError};

use super::sessions::is_subagent_file;

/// Maximum number of files. A transcript can contain any id.
const FILES_MAX: usize = 1000;

/// The keys of the files whose transcripts contain this session id, without those of sub-agents.
/// Empty if `usage` never ran.
///
/// # Errors
/// If the database can't be read.
pub fn files_of(store: &Store, session_id: &str) -> Result<Vec<String>, StoreError> {
    let refused = StoreError::database("look up the files of a session");
    let connection = store.reader()?;
    let columns: i64 = connection
        .query_row(
            "SELECT count(*) FROM duckdb_columns() WHERE database_name = current_database()
                AND schema_name = 'usage' AND table_name = 'sessions'
                AND column_name IN ('session_file', 'session_id', 'is_sidechain', 'agent')",
            [],
            |row| row.get(0),
        )
        .map_err(&refused)?;
    if columns < 4 {
        return Ok(Vec::new());
    }
    // The files of sub-agents of Claude Code have their own names. Other agents mark theirs.
    let sql = format!(
        "SELECT session_file FROM usage.sessions
        WHERE session_id = ? AND NOT (coalesce(agent, 'claude') <> 'claude' AND coalesce(is_sidechain, false))
        ORDER BY session_file LIMIT {FILES_MAX}"
    );
    let read = || -> duckdb::Result<Vec<String>> {
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map(params![session_id], |row| row.get::<_, String>(0))?;
        rows.collect()
    };
    let mut files = read().map_err(&refused)?;
    files.retain(|key| !is_subagent_file(key));
    Ok(files)
}
