//! Recovery after lost commits: every session is checked again, and operators are notified.

use duckdb::Connection;
use serde_json::json;

use crate::audit::{AuditedAction, write_audit};
use crate::counters::{counter, raise_counter};
use crate::error::StoreError;
use crate::sequence::NUMBER_MAX;
use crate::store::Store;
use crate::transaction::in_transaction;

/// The number of missing commits that no operator has acknowledged.
const LOST: &str = "lost_commit";
/// Counters whose numbers must never be reused.
const NUMBERS: [&str; 5] = ["session_seq", "run", "audit", "token", "llm_call"];
/// Numbers of each counter that one commit can use, unless the configuration allows more sessions
/// per commit.
const NUMBERS_PER_COMMIT: u64 = 100;

/// After lost commits, marks every session for a new check and skips the numbers of the lost
/// commits. Processing the sessions again restores the rows of processors. Health reports the data
/// that cannot be restored.
pub(crate) fn recover(
    connection: &Connection,
    lost: u64,
    sessions_per_commit: usize,
) -> Result<(), StoreError> {
    let lost = i64::try_from(lost).unwrap_or(NUMBER_MAX);
    let per_commit = NUMBERS_PER_COMMIT.max(sessions_per_commit as u64);
    let margin = lost.saturating_mul(i64::try_from(per_commit).unwrap_or(NUMBER_MAX));
    let margin = margin.min(i64::MAX / 4);
    for name in NUMBERS {
        raise_counter(connection, name, margin)?;
    }
    raise_counter(connection, LOST, lost)?;
    for table in ["session_processor_state", "session_failures"] {
        connection
            .execute_batch(&format!(
                "UPDATE main.{table} SET file_size = NULL, file_mtime_ns = NULL, file_ctime_ns = NULL"
            ))
            .map_err(StoreError::database("mark all sessions for a new check"))?;
    }
    let missing = match lost {
        1 => "1 commit is missing".to_owned(),
        lost => format!("{lost} commits are missing"),
    };
    tracing::warn!(
        "{missing}: the database log was lost or an older backup was restored; every session is checked again"
    );
    Ok(())
}

impl Store {
    /// The number of missing commits that no operator has acknowledged.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn lost_commits(&self) -> Result<u64, StoreError> {
        let lost = counter(&self.reader()?, LOST)?;
        Ok(lost.and_then(|lost| u64::try_from(lost).ok()).unwrap_or(0))
    }

    /// Acknowledges the missing commits. Returns their number.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn acknowledge_lost_commits(&self, audited: AuditedAction) -> Result<u64, StoreError> {
        let lost = self.lost_commits()?;
        if lost > 0 {
            self.write(move |connection| {
                in_transaction(connection, |connection| {
                    connection
                        .execute("UPDATE main.counters SET value = 0 WHERE name = ?", [LOST])
                        .map_err(StoreError::database("acknowledge the missing commits"))?;
                    let entry = audited.entry("database", &json!({ "lost_commits": lost }));
                    write_audit(connection, &entry)
                })
            })?;
        }
        Ok(lost)
    }
}
