//! When sessions began, as `usage` read it in their transcripts.

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{Store, StoreError};

/// Calls `each` with the key and the first time of each session that `usage` has processed. No call
/// if `usage` has not run yet.
///
/// # Errors
/// If the database can't be read.
pub fn session_starts(
    store: &Store,
    mut each: impl FnMut(&str, UtcMicros),
) -> Result<(), StoreError> {
    let refused = StoreError::database("read the first times of the sessions");
    let connection = store.reader()?;
    let has_times: i64 = connection
        .query_row(
            "SELECT count(*) FROM duckdb_columns() WHERE database_name = current_database() \
             AND schema_name = 'usage' AND table_name = 'sessions' AND column_name = 'started_at'",
            [],
            |row| row.get(0),
        )
        .map_err(&refused)?;
    if has_times == 0 {
        return Ok(());
    }
    let mut statement = connection
        .prepare(
            "SELECT session_file, epoch_us(started_at) FROM usage.sessions WHERE started_at IS NOT NULL",
        )
        .map_err(&refused)?;
    let mut rows = statement.query([]).map_err(&refused)?;
    while let Some(row) = rows.next().map_err(&refused)? {
        let key: String = row.get(0).map_err(&refused)?;
        each(&key, UtcMicros(row.get(1).map_err(&refused)?));
    }
    Ok(())
}
