//! Sessions whose file is gone. They are marked as missing, and deleted after some time if the
//! operator configures it. By default, their rows are kept permanently.

use duckdb::{Connection, params};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::manifest::Manifest;

use crate::error::StoreError;
use crate::resume_points;
use crate::sql::{list, maybe_timestamp, timestamp};
use crate::store::Store;
use crate::table_rows::delete_rows;
use crate::transaction::in_transaction;

/// Maximum number of sessions deleted in one transaction.
const SESSIONS_MAX: i64 = 1000;

/// A missing session: row id, session number and key.
type MissingSession = (i64, Option<i64>, String);

/// The sessions whose files disappeared or came back since the last run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceChanges {
    /// Row ids of states whose file is gone.
    pub missing: Vec<i64>,
    /// Row ids of states whose file came back.
    pub returned: Vec<i64>,
    /// Row ids of failures whose file is gone.
    pub missing_failures: Vec<i64>,
    /// Row ids of failures whose file came back.
    pub returned_failures: Vec<i64>,
}

impl Store {
    /// Records which files disappeared or came back.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn mark_missing(
        &self,
        processor: &str,
        changes: &PresenceChanges,
        now: UtcMicros,
    ) -> Result<(), StoreError> {
        let mut marks = Vec::new();
        for (table, vanished, returned) in [
            (
                "session_processor_state",
                &changes.missing,
                &changes.returned,
            ),
            (
                "session_failures",
                &changes.missing_failures,
                &changes.returned_failures,
            ),
        ] {
            for (rows, since) in [(vanished, Some(now)), (returned, None)] {
                if !rows.is_empty() {
                    marks.push((table, rows.clone(), since));
                }
            }
        }
        if marks.is_empty() {
            return Ok(());
        }
        let processor = processor.to_owned();
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                for (table, rows, since) in &marks {
                    for rows in rows.chunks(1000) {
                        let sql = format!(
                            "UPDATE main.{table} SET missing_since = ? WHERE processor_name = ? AND rowid IN ({})",
                            list(rows.iter().copied())
                        );
                        connection
                            .execute(&sql, params![maybe_timestamp(*since), processor])
                            .map_err(StoreError::database("record missing sessions"))?;
                    }
                }
                Ok(())
            })
        })
    }

    /// Deletes the sessions of a processor that have been missing since before `before`. The rows
    /// and the state row of a session are deleted in the same transaction. Returns the number of
    /// deleted sessions.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn delete_missing_sessions(
        &self,
        manifest: &Manifest,
        before: UtcMicros,
    ) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let manifest = manifest.clone();
            let count = self.write(move |connection| {
                in_transaction(connection, |connection| {
                    delete_batch(connection, &manifest, before)
                })
            })?;
            if count == 0 {
                return Ok(deleted);
            }
            deleted += count;
        }
    }
}

fn delete_batch(
    connection: &Connection,
    manifest: &Manifest,
    before: UtcMicros,
) -> Result<u64, StoreError> {
    let db_error = StoreError::database("delete missing sessions");
    let processor = manifest.name.as_str();
    let vanished: Vec<MissingSession> = connection
        .prepare(
            "SELECT rowid, session_seq, session_file FROM main.session_processor_state \
             WHERE processor_name = ? AND missing_since < ? ORDER BY rowid LIMIT ?",
        )
        .and_then(|mut statement| {
            statement
                .query_map(params![processor, timestamp(before), SESSIONS_MAX], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?
                .collect()
        })
        .map_err(&db_error)?;
    if vanished.is_empty() {
        return Ok(0);
    }
    let mut numbers: Vec<i64> = vanished.iter().filter_map(|(_, seq, _)| *seq).collect();
    let keys = vanished.iter().map(|(_, _, key)| key.as_str());
    let settled = resume_points::settled(connection, processor, keys)?;
    numbers.extend(settled.iter().map(|(seq, _)| *seq));
    let legacy: Vec<&str> = vanished
        .iter()
        .filter(|(_, seq, _)| seq.is_none())
        .map(|(_, _, key)| key.as_str())
        .collect();
    delete_rows(connection, manifest, &numbers, &legacy)?;
    resume_points::delete(connection, processor, &settled)?;
    let rows = list(vanished.iter().map(|(row_id, _, _)| *row_id));
    for table in ["session_failures", "session_costs"] {
        let sql = format!(
            "DELETE FROM main.{table} WHERE processor_name = ? AND session_file IN \
             (SELECT session_file FROM main.session_processor_state WHERE processor_name = ? AND rowid IN ({rows}))"
        );
        connection
            .execute(&sql, params![processor, processor])
            .map_err(&db_error)?;
    }
    let sql = format!(
        "DELETE FROM main.session_processor_state WHERE processor_name = ? AND rowid IN ({rows})"
    );
    connection
        .execute(&sql, params![processor])
        .map_err(&db_error)?;
    Ok(vanished.len() as u64)
}
