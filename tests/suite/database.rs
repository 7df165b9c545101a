//! Looking into the database of a test, past the store.
//!
//! Only while no pipeline has it open: closing a second handle would drop DuckDB's lock.

use duckdb::Connection;
use session_pipeline_harness::DataDir;

/// The rows of a query, one text each: cells joined with ` | `, nulls as `-`.
pub fn rows(dir: &DataDir, sql: &str) -> Vec<String> {
    let connection = Connection::open(dir.database_path()).unwrap();
    let mut statement = connection
        .prepare(&format!("SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ({sql})"))
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut texts = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let columns = row.as_ref().column_count();
        let cells = (0..columns).map(|index| row.get::<_, Option<String>>(index).unwrap());
        let cells: Vec<String> = cells
            .map(|cell| cell.unwrap_or_else(|| "-".to_owned()))
            .collect();
        texts.push(cells.join(" | "));
    }
    texts
}

/// The only cell of a query.
pub fn cell(dir: &DataDir, sql: &str) -> String {
    let rows = rows(dir, sql);
    assert_eq!(rows.len(), 1, "`{sql}` gives one row");
    rows.into_iter().next().unwrap()
}

/// Runs statements.
pub fn execute(dir: &DataDir, sql: &str) {
    Connection::open(dir.database_path())
        .unwrap()
        .execute_batch(sql)
        .unwrap();
}
