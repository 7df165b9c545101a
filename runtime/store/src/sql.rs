//! Names and values in SQL.

use duckdb::types::{TimeUnit, Value};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::sessions::FileStat;

/// Quotes a name. All SQL names are quoted by this function.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The qualified name of a processor's table.
pub(crate) fn table_of(processor: &str, table: &str) -> String {
    format!("{}.{}", quoted(processor), quoted(table))
}

/// A timestamp as a value in UTC, independent of the database session's time zone.
pub fn timestamp(instant: UtcMicros) -> Value {
    Value::Timestamp(TimeUnit::Microsecond, instant.0)
}

/// Like [`timestamp`]. `None` becomes null.
pub(crate) fn maybe_timestamp(instant: Option<UtcMicros>) -> Value {
    instant.map_or(Value::Null, timestamp)
}

/// A list of numbers for `IN (…)`. They come from the database and need no quoting.
pub(crate) fn list(numbers: impl IntoIterator<Item = i64>) -> String {
    numbers
        .into_iter()
        .map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Converts a count to a BIGINT. Saturates.
pub(crate) fn bigint(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The columns of the metadata of a file, all null if it is not known.
pub(crate) fn observed_columns(
    observed: Option<FileStat>,
) -> (Option<i64>, Option<i64>, Option<i64>) {
    match observed.map(FileStat::columns) {
        Some((size, mtime_ns, ctime_ns)) => (Some(size), Some(mtime_ns), Some(ctime_ns)),
        None => (None, None, None),
    }
}
