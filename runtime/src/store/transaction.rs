//! Transactions that can't be half-done.
//!
//! After a failed statement DuckDB's COMMIT answers OK and rolls back. So a transaction here is a
//! function: any error in it leaves by `?`, and nothing is committed.

use duckdb::Connection;

use super::StoreError;
use crate::kill_point::reached;

/// Runs `work` in one transaction: committed if it gives `Ok`, rolled back otherwise.
pub(crate) fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection
        .execute_batch("BEGIN TRANSACTION")
        .map_err(StoreError::database("a new transaction"))?;
    reached("transaction begun");
    let result = work(connection).and_then(|value| {
        reached("transaction to be committed");
        connection
            .execute_batch("COMMIT")
            .map_err(StoreError::database("a commit"))
            .map(|()| value)
    });
    if result.is_err() {
        // A failed commit has ended the transaction already; then there is nothing to roll back.
        let _ = connection.execute_batch("ROLLBACK");
    } else {
        reached("transaction committed");
    }
    result
}

/// Brings the log into the database file, unless somebody still reads an older state: then what
/// was written before stays in the log, as safe as in the file, until a later checkpoint. To wait
/// for readers would make every writer wait for the longest report.
pub(crate) fn checkpoint(connection: &Connection) -> Result<(), StoreError> {
    reached("checkpoint to be made");
    let done = connection.execute_batch("CHECKPOINT");
    reached("checkpoint made");
    match done {
        Err(error) if error.to_string().contains("Cannot CHECKPOINT") => {
            tracing::debug!("no checkpoint while older states are read");
            Ok(())
        }
        done => done.map_err(StoreError::database("a checkpoint")),
    }
}

/// Raises a counter by `by` within the present transaction; gives its value before.
pub(super) fn raise_counter(
    connection: &Connection,
    name: &str,
    by: i64,
) -> Result<i64, StoreError> {
    let refused = StoreError::database("a counter");
    let before: Option<i64> = connection
        .prepare_cached("SELECT max(value) FROM main.counters WHERE name = ?")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)))
        .map_err(&refused)?;
    let value = before.unwrap_or(0).saturating_add(by);
    let sql = match before {
        Some(_) => "UPDATE main.counters SET value = ? WHERE name = ?",
        None => "INSERT INTO main.counters (value, name) VALUES (?, ?)",
    };
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(duckdb::params![value, name]))
        .map_err(&refused)?;
    Ok(before.unwrap_or(0))
}
