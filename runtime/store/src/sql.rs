//! Names and values in SQL.

use duckdb::types::{TimeUnit, Value};
use session_pipeline_host::clock::UtcMicros;

/// A name as SQL: the one function that quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table of a processor, fully qualified.
pub(crate) fn table_of(processor: &str, table: &str) -> String {
    format!("{}.{}", quoted(processor), quoted(table))
}

/// An instant as a value: UTC, whatever the zone of the database session.
pub fn timestamp(instant: UtcMicros) -> Value {
    Value::Timestamp(TimeUnit::Microsecond, instant.0)
}

/// The same for an instant that may be absent.
pub(crate) fn maybe_timestamp(instant: Option<UtcMicros>) -> Value {
    instant.map_or(Value::Null, timestamp)
}

/// Numbers for `IN (…)`; they come from the database and need no quoting.
pub(crate) fn list(numbers: impl IntoIterator<Item = i64>) -> String {
    numbers
        .into_iter()
        .map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// A count as the database's integer.
pub(crate) fn bigint(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
