//! Counters in the database: numbers that are never used twice.

use duckdb::Connection;

use crate::error::StoreError;

/// The value of a counter; `None` where it was never raised.
pub(crate) fn counter(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    connection
        .query_row(
            "SELECT max(value) FROM main.counters WHERE name = ?",
            [name],
            |row| row.get(0),
        )
        .map_err(StoreError::database("to read a counter"))
}

/// What a counter is after so many numbers were taken: more than before, and never negative.
pub(crate) fn next(name: &str, before: i64, by: i64) -> Result<i64, StoreError> {
    // Callers add one more to what this returns.
    let after = before
        .checked_add(by)
        .filter(|after| before >= 0 && *after < i64::MAX);
    after.ok_or_else(|| StoreError::Counter {
        name: name.to_owned(),
        value: before,
    })
}

/// Raises a counter by `by` within the present transaction; gives its value before.
pub(crate) fn raise_counter(
    connection: &Connection,
    name: &str,
    by: i64,
) -> Result<i64, StoreError> {
    let refused = StoreError::database("a counter");
    let before: Option<i64> = connection
        .prepare_cached("SELECT max(value) FROM main.counters WHERE name = ?")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)))
        .map_err(&refused)?;
    let value = next(name, before.unwrap_or(0), by)?;
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
