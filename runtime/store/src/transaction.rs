//! Transactions that can't be half-done.
//!
//! After a failed statement DuckDB's COMMIT answers OK and rolls back. So a transaction here is a
//! function: any error in it leaves by `?`, and nothing is committed. An error that does not leave
//! is found all the same, since every commit begins with a statement of ours.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;

use duckdb::Connection;

use crate::checkpoint::Checkpoints;
use crate::error::StoreError;
use crate::kill_point::reached;
use crate::sequence::Commits;

/// So much is added to the log before it is brought into the file.
const LOG_BYTES: u64 = 64 << 20;

/// The one connection that writes, with the count of its commits.
#[derive(Debug)]
pub struct Writer {
    // First, so that it is closed first.
    connection: Connection,
    commits: Commits,
    checkpoints: Arc<Checkpoints>,
    /// The length of the log, in bytes, from which on it is brought into the file.
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
            checkpoint_at: Cell::new(LOG_BYTES),
        }
    }

    /// Brings the log into the database file, where nobody reads an older state.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.checkpoints.make(&self.connection)
    }

    /// A checkpoint after a commit that made the log long. The commit stands, whatever becomes of it.
    fn checkpoint_if_due(&self) {
        let bytes = || self.checkpoints.log_bytes();
        if !bytes().is_ok_and(|bytes| bytes >= self.checkpoint_at.get()) {
            return;
        }
        if let Err(error) = self.checkpoint() {
            tracing::warn!("the log of the database can't be brought into its file: {error}");
        }
        // Where a full disk or a reader of an older state is in the way, not at every commit.
        let left = bytes().unwrap_or_default();
        self.checkpoint_at.set(left.saturating_add(LOG_BYTES));
    }

    /// Nothing is written any more. What could not be brought into the file stands in the log.
    pub(crate) fn end(self) {
        if self.checkpoints.log_bytes().is_ok_and(|bytes| bytes > 0)
            && let Err(error) = self.checkpoint()
        {
            tracing::debug!("no checkpoint at the end: {error}");
        }
    }
}

impl Deref for Writer {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Runs `work` in one transaction: committed if it gives `Ok`, rolled back otherwise.
pub fn in_transaction<T>(
    connection: &Writer,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection
        .execute_batch("BEGIN TRANSACTION")
        .map_err(StoreError::database("a new transaction"))?;
    reached("transaction begun");
    let result = work(connection).and_then(|value| {
        // Last of all: where a statement failed and nobody heeded it, this one is refused.
        let number = connection.commits.raise(connection)?;
        reached("transaction to be committed");
        connection
            .execute_batch("COMMIT")
            .map_err(StoreError::database("a commit"))
            .map(|()| (value, number))
    });
    if result.is_err() {
        // A failed commit has ended the transaction already; then there is nothing to roll back.
        let _ = connection.execute_batch("ROLLBACK");
    }
    result.map(|(value, number)| {
        reached("transaction committed");
        connection.commits.made(number);
        connection.checkpoint_if_due();
        value
    })
}

// No code of ours swallows an error, so nobody outside can try it.
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
                // The same key once more.
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
