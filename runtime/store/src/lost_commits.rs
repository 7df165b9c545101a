//! What happens after commits were lost: every session is checked again, and operators are told.

use duckdb::Connection;
use serde_json::json;

use crate::audit::{Audited, write_audit};
use crate::counters::{counter, raise_counter};
use crate::error::StoreError;
use crate::sequence::NUMBER_MAX;
use crate::store::Store;
use crate::transaction::in_transaction;

/// How many were lost, of which no operator knows yet.
const LOST: &str = "lost_commit";
/// The counters whose numbers nobody may use twice.
const NUMBERS: [&str; 5] = ["session_seq", "run", "audit", "token", "llm_call"];
/// Numbers that one commit may take of each, where the configuration does not allow it more.
const NUMBERS_PER_COMMIT: u64 = 100;

/// After lost commits: every session is looked at again, and no number of theirs is used twice.
/// What processors made comes again by that; who looks after the rest, health tells.
pub(crate) fn make_good(
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
            .map_err(StoreError::database("to look at every session again"))?;
    }
    tracing::warn!(
        "commits that were made are not in the database, {lost} in number: its log was lost or cut, or a backup was put back; every session is looked at again"
    );
    Ok(())
}

impl Store {
    /// How many commits were lost, of which no operator knows yet.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn lost_commits(&self) -> Result<u64, StoreError> {
        let lost = counter(&self.reader()?, LOST)?;
        Ok(lost.and_then(|lost| u64::try_from(lost).ok()).unwrap_or(0))
    }

    /// An operator knows of the lost commits; gives how many there were.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn acknowledge_lost_commits(&self, audited: Audited) -> Result<u64, StoreError> {
        let lost = self.lost_commits()?;
        if lost > 0 {
            self.write(move |connection| {
                in_transaction(connection, |connection| {
                    connection
                        .execute("UPDATE main.counters SET value = 0 WHERE name = ?", [LOST])
                        .map_err(StoreError::database("that lost commits are known"))?;
                    let entry = audited.entry("database", &json!({ "lost_commits": lost }));
                    write_audit(connection, &entry)
                })
            })?;
        }
        Ok(lost)
    }
}
