//! Atomic transactions.
//!
//! After a failed statement DuckDB's COMMIT answers OK and rolls back. Therefore, a transaction is
//! a function: every error leaves it through `?`, and nothing is committed. An error that the
//! function swallows is also detected, because every commit starts with a statement of our own,
//! which then fails.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use duckdb::Connection;

use crate::activity::Activity;
use crate::checkpoint::Checkpoints;
use crate::error::StoreError;
use crate::kill_point::kill_point;
use crate::sequence::Commits;

/// Growth of the log, in bytes, that triggers a checkpoint.
const LOG_BYTES: u64 = 64 << 20;

/// The only connection that writes. Numbers its commits.
#[derive(Debug)]
pub struct Writer {
    // Must be the first field, so that it is closed first.
    connection: Connection,
    commits: Commits,
    checkpoints: Arc<Checkpoints>,
    activity: Arc<Activity>,
    /// The size of the log, in bytes, at which the next checkpoint is due.
    checkpoint_at: Cell<u64>,
}

impl Writer {
    pub(crate) fn new(
        connection: Connection,
        commits: Commits,
        checkpoints: Arc<Checkpoints>,
    ) -> Self {
        Self {
            connection,
            commits,
            checkpoints,
            activity: Arc::default(),
            checkpoint_at: Cell::new(LOG_BYTES),
        }
    }

    /// What this process committed.
    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Writes the log to the database file, unless a reader uses an older state.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.checkpoints.run(&self.connection)
    }

    /// Runs a checkpoint if the log is large. A failure does not affect the commit.
    fn checkpoint_if_due(&self) {
        let bytes = || self.checkpoints.log_bytes();
        if !bytes().is_ok_and(|bytes| bytes >= self.checkpoint_at.get()) {
            return;
        }
        if let Err(error) = self.checkpoint() {
            tracing::warn!("cannot write the database log to the database file: {error}");
        }
        // If a full disk or a reader prevents the checkpoint, do not retry at every commit.
        let left = bytes().unwrap_or_default();
        self.checkpoint_at.set(left.saturating_add(LOG_BYTES));
    }

    /// Runs a last checkpoint. If it fails, the data remains in the log.
    pub(crate) fn end(self) {
        if self.checkpoints.log_bytes().is_ok_and(|bytes| bytes > 0)
            && let Err(error) = self.checkpoint()
        {
            tracing::debug!("the last checkpoint failed: {error}");
        }
    }
}

impl Deref for Writer {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Runs `work` in a transaction. Commits if it returns `Ok`, otherwise rolls back.
pub fn in_transaction<T>(
    connection: &Writer,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let began = Instant::now();
    connection
        .execute_batch("BEGIN TRANSACTION")
        .map_err(StoreError::database("begin a transaction"))?;
    kill_point("transaction begun");
    let result = work(connection).and_then(|value| {
        // Must be the last statement. If an error was swallowed, this statement fails.
        let number = connection.commits.raise(connection)?;
        kill_point("before commit");
        connection
            .execute_batch("COMMIT")
            .map_err(StoreError::database("commit a transaction"))
            .map(|()| (value, number))
    });
    if result.is_err() {
        // A failed commit has already ended the transaction. The rollback then fails, which is
        // fine.
        let _ = connection.execute_batch("ROLLBACK");
    }
    result.map(|(value, number)| {
        kill_point("after commit");
        connection.commits.record_committed(number);
        connection.activity.committed(began.elapsed());
        connection.checkpoint_if_due();
        value
    })
}

// This test is here because no code of this program swallows an error.
#[cfg(test)]
mod tests {
    use super::in_transaction;
    use crate::open::StoreOptions;
    use crate::store::Store;
    use session_pipeline_host::clock::UtcMicros;

    #[test]
    fn an_error_that_is_swallowed_in_a_transaction_is_found_and_nothing_is_committed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions::new(dir.path()), UtcMicros(0)).unwrap();
        let add = "INSERT INTO main.counters VALUES ('mine', 1)";
        let result = store.write(move |connection| {
            in_transaction(connection, |connection| {
                connection.execute_batch(add).unwrap();
                // A duplicate key.
                connection.execute_batch(add).unwrap_err();
                Ok(())
            })
        });
        let error = std::error::Error::source(&result.unwrap_err())
            .map(ToString::to_string)
            .unwrap();
        assert!(error.contains("transaction is aborted"), "{error}");
        let count = "SELECT count(*) FROM main.counters WHERE name = 'mine'";
        let counted = |store: &Store| -> i64 {
            let reader = store.reader().unwrap();
            reader.query_row(count, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(counted(&store), 0);
        store
            .write(move |connection| {
                in_transaction(connection, |connection| {
                    connection.execute_batch(add).unwrap();
                    Ok(())
                })
            })
            .unwrap();
        assert_eq!(counted(&store), 1);
    }
}
