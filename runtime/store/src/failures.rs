//! The table `session_failures`: sessions whose last attempt failed.

use std::collections::HashMap;

use duckdb::types::Value;
use duckdb::{Connection, params, params_from_iter};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::fault::Fault;
use session_pipeline_host::sessions::FileStat;

use crate::error::StoreError;
use crate::group::FailedSession;
use crate::retry::FailureState;
use crate::sessions::SessionSelection;
use crate::sql::{maybe_timestamp, observed_columns, timestamp};
use crate::state_rows::FailureRow;
use crate::store::Store;

impl Store {
    /// All failures of a processor, by session key.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn failures(&self, processor: &str) -> Result<HashMap<String, FailureRow>, StoreError> {
        self.failures_of(processor, SessionSelection::All)
    }

    /// The failures of a processor for some sessions, by session key.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn failures_of(
        &self,
        processor: &str,
        keys: SessionSelection<'_>,
    ) -> Result<HashMap<String, FailureRow>, StoreError> {
        let (condition, keys) = keys.condition();
        let processor = Value::Text(processor.to_owned());
        let parameters = std::iter::once(processor).chain(keys);
        let db_error = StoreError::database("read the failed sessions");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&format!(
                "SELECT session_file, rowid, file_hash, file_size, file_mtime_ns, file_ctime_ns, component_digest, \
                 attempts, epoch_us(next_attempt_at), epoch_us(quarantined_at), epoch_us(last_attempt_at), fault, detail, \
                 own_attempts, missing_since IS NOT NULL FROM main.session_failures \
                 WHERE processor_name = ? AND {condition}",
            ))
            .map_err(&db_error)?;
        let rows = statement
            .query_map(params_from_iter(parameters), |row| {
                let observed = match (row.get(3)?, row.get(4)?, row.get(5)?) {
                    (Some(size), Some(mtime_ns), Some(ctime_ns)) => {
                        Some(FileStat::from_columns(size, mtime_ns, ctime_ns))
                    }
                    _ => None,
                };
                let failure = FailureRow {
                    row_id: row.get(1)?,
                    hash: row
                        .get::<_, Option<String>>(2)?
                        .as_deref()
                        .and_then(ContentHash::from_hex),
                    observed,
                    digest: row.get(6)?,
                    failures: FailureState {
                        attempts: count(row.get(7)?),
                        own_attempts: count(row.get(13)?),
                        next_attempt_at: row.get::<_, Option<i64>>(8)?.map(UtcMicros),
                        quarantined_at: row.get::<_, Option<i64>>(9)?.map(UtcMicros),
                    },
                    fault: Fault::stored(
                        &row.get::<_, String>(11)?,
                        row.get::<_, Option<String>>(12)?.unwrap_or_default(),
                    ),
                    last_attempt_at: UtcMicros(row.get(10)?),
                    is_missing: row.get(14)?,
                };
                Ok((row.get(0)?, failure))
            })
            .map_err(&db_error)?;
        rows.collect::<Result<_, _>>().map_err(&db_error)
    }
}

/// Converts a stored count. Clamps invalid values.
pub(crate) fn count(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(u32::MAX)
}

/// Records a failed attempt in the current transaction.
pub(crate) fn record(
    connection: &Connection,
    processor: &str,
    digest: &str,
    failed: &FailedSession,
) -> Result<(), StoreError> {
    let db_error = StoreError::database("record a failed session");
    let hash = failed.hash.map(|hash| hash.to_string());
    let (size, mtime_ns, ctime_ns) = observed_columns(failed.observed);
    let updated = match failed.failure_row {
        Some(row_id) => connection
            .prepare_cached(
                "UPDATE main.session_failures SET file_hash = ?, file_size = ?, file_mtime_ns = ?, file_ctime_ns = ?, \
                 component_digest = ?, attempts = ?, own_attempts = ?, fault = ?, detail = ?, last_attempt_at = ?, \
                 next_attempt_at = ?, quarantined_at = ?, missing_since = NULL WHERE rowid = ? AND processor_name = ? AND session_file = ?",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    hash,
                    size,
                    mtime_ns,
                    ctime_ns,
                    digest,
                    i64::from(failed.failures.attempts),
                    i64::from(failed.failures.own_attempts),
                    failed.fault.kind.as_str(),
                    failed.fault.detail,
                    timestamp(failed.at),
                    maybe_timestamp(failed.failures.next_attempt_at),
                    maybe_timestamp(failed.failures.quarantined_at),
                    row_id,
                    processor,
                    failed.key,
                ])
            })
            .map_err(&db_error)?,
        None => 0,
    };
    // If the row was released in the meantime, do not create it again only because the file was
    // touched.
    if updated == 1 || !failed.is_attempt {
        return Ok(());
    }
    // The row never existed, or its row id is stale. Find it by its key, which is slow but always
    // correct.
    let deleted = delete_by_key(connection, processor, &failed.key)?;
    // A session that was released during the run starts over, without its earlier failures.
    let was_released = failed.failure_row.is_some() && deleted == 0;
    let failures = match was_released {
        true => failed.failures_if_released,
        false => failed.failures,
    };
    connection
        .prepare_cached(
            "INSERT INTO main.session_failures (processor_name, session_file, file_hash, file_size, file_mtime_ns, \
             file_ctime_ns, component_digest, attempts, own_attempts, fault, detail, last_attempt_at, next_attempt_at, \
             quarantined_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                processor,
                failed.key,
                hash,
                size,
                mtime_ns,
                ctime_ns,
                digest,
                i64::from(failures.attempts),
                i64::from(failures.own_attempts),
                failed.fault.kind.as_str(),
                failed.fault.detail,
                timestamp(failed.at),
                maybe_timestamp(failures.next_attempt_at),
                maybe_timestamp(failures.quarantined_at),
            ])
        })
        .map_err(&db_error)?;
    Ok(())
}

/// Deletes the failure row of a session that succeeded.
pub(crate) fn delete(
    connection: &Connection,
    processor: &str,
    key: &str,
    row_id: i64,
) -> Result<(), StoreError> {
    let deleted = connection
        .prepare_cached("DELETE FROM main.session_failures WHERE rowid = ? AND processor_name = ? AND session_file = ?")
        .and_then(|mut statement| statement.execute(params![row_id, processor, key]))
        .map_err(StoreError::database("delete the failure of a session"))?;
    if deleted == 0 {
        delete_by_key(connection, processor, key)?;
    }
    Ok(())
}

/// Returns the number of deleted rows.
fn delete_by_key(connection: &Connection, processor: &str, key: &str) -> Result<usize, StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM main.session_failures WHERE processor_name = ? AND session_file = ?",
        )
        .and_then(|mut statement| statement.execute(params![processor, key]))
        .map_err(StoreError::database("delete the failure of a session"))
}
