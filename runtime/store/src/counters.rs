//! Counters in the database, for numbers that are never reused.

use duckdb::Connection;

use crate::error::StoreError;

/// The value of a counter. `None` if it was never incremented.
pub(crate) fn counter(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    connection
        .query_row(
            "SELECT max(value) FROM main.counters WHERE name = ?",
            [name],
            |row| row.get(0),
        )
        .map_err(StoreError::database("read a counter"))
}

/// The value of a counter after it is incremented by `by`. Fails if the counter is negative or
/// overflows.
pub(crate) fn next(name: &str, before: i64, by: i64) -> Result<i64, StoreError> {
    // Callers add 1 to the returned value.
    let after = before
        .checked_add(by)
        .filter(|after| before >= 0 && *after < i64::MAX);
    after.ok_or_else(|| StoreError::Counter {
        name: name.to_owned(),
        value: before,
    })
}

/// Increments a counter by `by` in the current transaction. Returns the previous value.
pub(crate) fn raise_counter(
    connection: &Connection,
    name: &str,
    by: i64,
) -> Result<i64, StoreError> {
    let db_error = StoreError::database("increment a counter");
    let before: Option<i64> = connection
        .prepare_cached("SELECT max(value) FROM main.counters WHERE name = ?")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)))
        .map_err(&db_error)?;
    let value = next(name, before.unwrap_or(0), by)?;
    let sql = match before {
        Some(_) => "UPDATE main.counters SET value = ? WHERE name = ?",
        None => "INSERT INTO main.counters (value, name) VALUES (?, ?)",
    };
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(duckdb::params![value, name]))
        .map_err(&db_error)?;
    Ok(before.unwrap_or(0))
}
