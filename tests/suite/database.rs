//! Direct access to the database of a test, bypassing the store.
//!
//! Use it only while no pipeline has the database open. Closing a second handle would release
//! DuckDB's lock.

use duckdb::Connection;
use session_pipeline_harness::DataDir;

/// Returns each row of a query as text: cells joined with ` | `, nulls as `-`.
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

/// Returns the only row of a query as text.
pub fn cell(dir: &DataDir, sql: &str) -> String {
    let rows = rows(dir, sql);
    assert_eq!(rows.len(), 1, "`{sql}` must return one row");
    rows.into_iter().next().unwrap()
}

pub fn execute(dir: &DataDir, sql: &str) {
    Connection::open(dir.database_path())
        .unwrap()
        .execute_batch(sql)
        .unwrap();
}
