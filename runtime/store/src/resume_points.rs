//! Checkpoints of sessions, from which their processing continues when they have grown.
//!
//! The rows of such a session have several session numbers. The rows that a checkpoint settled have
//! a number of their own, which never gets or loses rows until the whole session is processed again.
//! All other rows, the tail, have the number in the state row, and each processing replaces them.

use std::collections::HashMap;

use duckdb::types::Value;
use duckdb::{Connection, OptionalExt as _, params, params_from_iter};
use session_pipeline_host::checkpoint::Checkpoint;
use session_pipeline_host::content::HashedPrefix;

use crate::error::StoreError;
use crate::group::{CommitGroup, CompletedSession};
use crate::sql::bigint;
use crate::store::Store;

/// A stored checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct ResumePoint {
    /// The session number of the rows that it settled.
    pub settled_seq: i64,
    /// Identifies the inputs other than the transcript. Only a processing with equal inputs can
    /// continue.
    pub inputs: String,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
}

/// A session with the numbers of its new rows.
#[derive(Clone, Copy)]
pub(crate) struct NumberedSession<'a> {
    pub(crate) session: &'a CompletedSession,
    /// The number of the rows of its new checkpoint, if it has one.
    pub(crate) settled_seq: Option<i64>,
    /// The number of the other rows.
    pub(crate) seq: i64,
}

/// The number of session numbers that a session needs.
pub(crate) fn numbers_of(session: &CompletedSession) -> u64 {
    1 + u64::from(session.checkpoint.is_some())
}

/// Gives the sessions their numbers, from `first` on.
pub(crate) fn number<'a>(
    sessions: &[&'a CompletedSession],
    first: i64,
) -> Vec<NumberedSession<'a>> {
    let mut next = first;
    let mut take = || {
        let number = next;
        next = next.saturating_add(1);
        number
    };
    let sessions = sessions.iter();
    let numbered = sessions.map(|session| NumberedSession {
        session,
        settled_seq: session.checkpoint.as_ref().map(|_| take()),
        seq: take(),
    });
    numbered.collect()
}

impl Store {
    /// The checkpoint of a session.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn resume_point(
        &self,
        processor: &str,
        key: &str,
    ) -> Result<Option<ResumePoint>, StoreError> {
        let sql = "SELECT settled_seq, inputs, prefix_bytes, prefix_lines, prefix_md5_state, prefix_check, row_count, \
             row_bytes, state FROM main.session_resume_points WHERE processor_name = ? AND session_file = ?";
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
        let row = self
            .reader()?
            .query_row(sql, [processor, key], |row| {
                let check: Vec<u8> = row.get(5)?;
                let Ok(check) = check.try_into() else {
                    return Ok(None);
                };
                Ok(Some(ResumePoint {
                    settled_seq: row.get(0)?,
                    inputs: row.get(1)?,
                    checkpoint: Checkpoint {
                        prefix: HashedPrefix {
                            bytes: unsigned(row.get(2)?),
                            lines: unsigned(row.get(3)?),
                            md5_state: row.get(4)?,
                            check,
                        },
                        rows: unsigned(row.get(6)?),
                        row_bytes: unsigned(row.get(7)?),
                        state: row.get(8)?,
                    },
                }))
            })
            .optional()
            .map_err(StoreError::database("read the checkpoint of a session"))?;
        Ok(row.flatten())
    }
}

/// Checks that the rows after which sessions were continued are still there. They are not if the
/// session was deleted in the meantime.
pub(crate) fn check(
    connection: &Connection,
    group: &CommitGroup,
    sessions: &[NumberedSession<'_>],
) -> Result<(), StoreError> {
    for NumberedSession { session, .. } in sessions {
        let Some(settled_seq) = session.resumed_from else {
            continue;
        };
        let sql = "SELECT count(*) FROM main.session_resume_points \
             WHERE processor_name = ? AND session_file = ? AND settled_seq = ?";
        let found: i64 = connection
            .query_row(
                sql,
                params![group.manifest.name, session.key, settled_seq],
                |row| row.get(0),
            )
            .map_err(StoreError::database("check the checkpoint of a session"))?;
        if found != 1 {
            return Err(StoreError::CheckpointGone {
                session: session.key.clone(),
            });
        }
    }
    Ok(())
}

/// The settled rows that whole sessions replace: session numbers with their session key.
pub(crate) fn replaced(
    connection: &Connection,
    processor: &str,
    sessions: &[NumberedSession<'_>],
) -> Result<Vec<(i64, String)>, StoreError> {
    let whole = sessions.iter().map(|numbered| numbered.session);
    let whole = whole.filter(|session| {
        session.resumed_from.is_none()
            && session
                .state_row
                .is_some_and(|row| row.session_seq.is_some())
    });
    settled(
        connection,
        processor,
        whole.map(|session| session.key.as_str()),
    )
}

/// The numbers of the settled rows of sessions, with the session keys.
pub(crate) fn settled<'a>(
    connection: &Connection,
    processor: &'a str,
    keys: impl Iterator<Item = &'a str>,
) -> Result<Vec<(i64, String)>, StoreError> {
    let mut parameters = vec![processor];
    parameters.extend(keys);
    if parameters.len() == 1 {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT session_seq, session_file FROM main.session_settled_rows \
         WHERE processor_name = ? AND session_file IN ({})",
        placeholders(parameters.len() - 1)
    );
    let rows = || -> duckdb::Result<Vec<(i64, String)>> {
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map(params_from_iter(parameters), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        rows.collect()
    };
    rows().map_err(StoreError::database("read the settled rows of sessions"))
}

/// Deletes the checkpoints of sessions, but not their rows.
pub(crate) fn delete(
    connection: &Connection,
    processor: &str,
    settled: &[(i64, String)],
) -> Result<(), StoreError> {
    if settled.is_empty() {
        return Ok(());
    }
    let mut parameters = vec![processor];
    parameters.extend(settled.iter().map(|(_, key)| key.as_str()));
    for table in ["session_resume_points", "session_settled_rows"] {
        let sql = format!(
            "DELETE FROM main.{table} WHERE processor_name = ? AND session_file IN ({})",
            placeholders(settled.len())
        );
        connection
            .execute(&sql, params_from_iter(&parameters))
            .map_err(StoreError::database("delete the checkpoints of sessions"))?;
    }
    Ok(())
}

/// Stores the new checkpoints of sessions.
pub(crate) fn write(
    connection: &Connection,
    processor: &str,
    sessions: &[NumberedSession<'_>],
) -> Result<(), StoreError> {
    let db_error = StoreError::database("write the checkpoint of a session");
    for numbered in sessions {
        let (Some(settled_seq), Some(made)) = (numbered.settled_seq, &numbered.session.checkpoint)
        else {
            continue;
        };
        let key = &numbered.session.key;
        let checkpoint = &made.new.checkpoint;
        let prefix = &checkpoint.prefix;
        connection
            .execute(
                "DELETE FROM main.session_resume_points WHERE processor_name = ? AND session_file = ?",
                params![processor, key],
            )
            .map_err(&db_error)?;
        connection
            .execute(
                "INSERT INTO main.session_resume_points (processor_name, session_file, settled_seq, inputs, prefix_bytes, \
                 prefix_lines, prefix_md5_state, prefix_check, row_count, row_bytes, state) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    processor,
                    key,
                    settled_seq,
                    made.inputs,
                    bigint(prefix.bytes),
                    bigint(prefix.lines),
                    Value::Blob(prefix.md5_state.clone()),
                    Value::Blob(prefix.check.to_vec()),
                    bigint(checkpoint.rows),
                    bigint(checkpoint.row_bytes),
                    Value::Blob(checkpoint.state.clone()),
                ],
            )
            .map_err(&db_error)?;
        connection
            .execute(
                "INSERT INTO main.session_settled_rows (processor_name, session_file, session_seq) VALUES (?, ?, ?)",
                params![processor, key, settled_seq],
            )
            .map_err(&db_error)?;
    }
    Ok(())
}

/// The numbers of the rows that each session replaces, with the session.
pub(crate) fn replaced_by<'a>(
    sessions: &[NumberedSession<'a>],
    settled: &[(i64, String)],
) -> HashMap<i64, NumberedSession<'a>> {
    let tails = sessions.iter().filter_map(|numbered| {
        let known = numbered.session.state_row?;
        Some((known.session_seq?, *numbered))
    });
    let mut replaced: HashMap<i64, NumberedSession<'a>> = tails.collect();
    if !settled.is_empty() {
        let by_key: HashMap<&str, NumberedSession<'a>> = sessions
            .iter()
            .map(|numbered| (numbered.session.key.as_str(), *numbered))
            .collect();
        replaced.extend(
            settled
                .iter()
                .filter_map(|(seq, key)| Some((*seq, *by_key.get(key.as_str())?))),
        );
    }
    replaced
}

fn placeholders(count: usize) -> String {
    vec!["?"; count].join(", ")
}
