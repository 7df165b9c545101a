//! The table `session_waits`: sessions that were due in a run but were postponed by its caps.
//!
//! The next scan processes them first, in order of their waiting time, so that a stream of new
//! sessions cannot starve them. Each row stores the time since which the session has been waiting.

use std::collections::HashMap;
use std::sync::Arc;

use duckdb::arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use duckdb::{Connection, params};
use session_pipeline_host::clock::UtcMicros;

use crate::error::StoreError;
use crate::store::Store;
use crate::table_rows::append_by;
use crate::transaction::in_transaction;

/// Maximum number of keys in one statement.
const KEYS_MAX: usize = 1000;

impl Store {
    /// The time since which each session of a processor has been waiting, by session key.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn session_waits(&self, processor: &str) -> Result<HashMap<String, UtcMicros>, StoreError> {
        let connection = self.reader()?;
        connection
            .prepare(
                "SELECT session_file, epoch_us(since) FROM main.session_waits WHERE processor_name = ?",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([processor], |row| Ok((row.get(0)?, UtcMicros(row.get(1)?))))?
                    .collect()
            })
            .map_err(StoreError::database("read the waiting sessions"))
    }

    /// Records the sessions that a run postponed. New sessions in `left` wait since `now`. Sessions
    /// that are no longer in `left` stop waiting.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn record_waits(
        &self,
        processor: &str,
        before: &HashMap<String, UtcMicros>,
        left: &[&str],
        now: UtcMicros,
    ) -> Result<(), StoreError> {
        let added: Vec<String> = left
            .iter()
            .filter(|key| !before.contains_key(**key))
            .map(|key| (*key).to_owned())
            .collect();
        let removed = match left.len() - added.len() == before.len() {
            true => Vec::new(),
            false => {
                let left: std::collections::HashSet<&str> = left.iter().copied().collect();
                let gone = before.keys().filter(|key| !left.contains(key.as_str()));
                gone.cloned().collect()
            }
        };
        if added.is_empty() && removed.is_empty() {
            return Ok(());
        }
        let processor = processor.to_owned();
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                remove(connection, &processor, &removed)?;
                append(connection, &processor, &added, now)
            })
        })
    }
}

fn remove(connection: &Connection, processor: &str, keys: &[String]) -> Result<(), StoreError> {
    let db_error = StoreError::database("remove waiting sessions");
    for keys in keys.chunks(KEYS_MAX) {
        let places = vec!["?"; keys.len()].join(", ");
        let sql = format!(
            "DELETE FROM main.session_waits WHERE processor_name = ? AND session_file IN ({places})"
        );
        let mut values: Vec<&dyn duckdb::ToSql> = params![processor].to_vec();
        values.extend(keys.iter().map(|key| key as &dyn duckdb::ToSql));
        connection
            .execute(&sql, values.as_slice())
            .map_err(&db_error)?;
    }
    Ok(())
}

fn append(
    connection: &Connection,
    processor: &str,
    keys: &[String],
    now: UtcMicros,
) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let db_error = StoreError::database("record waiting sessions");
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "processor_name",
            Arc::new(StringArray::from(vec![processor; keys.len()])),
        ),
        (
            "session_file",
            Arc::new(keys.iter().map(Some).collect::<StringArray>()),
        ),
        (
            "since",
            Arc::new(TimestampMicrosecondArray::from(vec![now.0; keys.len()])),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns)
        .map_err(|error| db_error(duckdb::Error::ToSqlConversionFailure(Box::new(error))))?;
    let appender = connection
        .appender_to_db("session_waits", "main")
        .map_err(&db_error)?;
    append_by(appender, batch).map_err(&db_error)
}
