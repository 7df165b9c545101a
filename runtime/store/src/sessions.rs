//! Session states for display: over all processors, with counts and times.
//!
//! Runs read the more compact [`StateRows`](crate::state_rows::StateRows) instead.

use std::borrow::Cow;
use std::sync::Arc;

use duckdb::types::Value;
use duckdb::{OptionalExt, Row, params, params_from_iter};
use serde_json::json;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::processor::Cost;

use crate::audit::{AuditedAction, write_audit};
use crate::error::StoreError;
use crate::requests::ReprocessRequests;
use crate::resume_points;
use crate::sql::{list, table_of};
use crate::state::{COLUMNS, INTEGERS, TEXTS, state_row};
use crate::state_rows::StateRow;
use crate::store::Store;
use crate::transaction::in_transaction;

/// All state rows of some sessions.
#[derive(Debug, Default)]
pub struct SessionStateRows {
    /// The rows, ordered by key and processor.
    pub rows: Vec<SessionStateRow>,
    /// The digests that [`StateRow::digest`] refers to.
    pub digests: Vec<String>,
}

/// Selects sessions by their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionSelection<'a> {
    /// All sessions.
    All,
    /// The session with this key.
    One(&'a str),
    /// The sessions after the first key, if any, up to and including the second key.
    Range(Option<&'a str>, &'a str),
    /// The sessions with these keys. At most about a thousand, because each is a parameter.
    Keys(&'a [String]),
}

impl SessionSelection<'_> {
    /// A condition on `session_file` with its parameters.
    pub fn condition(self) -> (Cow<'static, str>, Vec<Value>) {
        let text = |key: &str| Value::Text(key.to_owned());
        match self {
            Self::All => ("true".into(), Vec::new()),
            Self::One(key) => ("session_file = ?".into(), vec![text(key)]),
            Self::Range(None, last) => ("session_file <= ?".into(), vec![text(last)]),
            Self::Range(Some(after), last) => (
                "session_file > ? AND session_file <= ?".into(),
                vec![text(after), text(last)],
            ),
            Self::Keys([]) => ("false".into(), Vec::new()),
            Self::Keys(keys) => {
                let placeholders = vec!["?"; keys.len()].join(", ");
                let condition = format!("session_file IN ({placeholders})");
                (condition.into(), keys.iter().map(|key| text(key)).collect())
            }
        }
    }
}

/// A state row with additional data for display.
#[derive(Clone, Debug)]
pub struct SessionStateRow {
    /// The name of the processor.
    pub processor: String,
    /// The session key.
    pub key: String,
    /// The name of the session's user.
    pub username: String,
    /// The state row that runs use.
    pub known: StateRow,
    /// The number of extracted items.
    pub items: i64,
    /// The time at which a run first found the file missing.
    pub missing_since: Option<UtcMicros>,
}

/// The cost of the last recorded attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCost {
    /// The id of the run.
    pub run_id: String,
    /// The resources used.
    pub cost: Cost,
}

impl Store {
    /// The next keys of sessions with a state row or a failure after a key, in order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn session_keys(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let db_error = StoreError::database("read the known sessions");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&format!(
                "SELECT session_file FROM main.session_processor_state WHERE ? IS NULL OR session_file > ? \
                 UNION SELECT session_file FROM main.session_failures WHERE ? IS NULL OR session_file > ? \
                 ORDER BY session_file LIMIT {limit}"
            ))
            .map_err(&db_error)?;
        let rows = statement
            .query_map([after; 4], |row| row.get(0))
            .map_err(&db_error)?;
        rows.collect::<Result<_, _>>().map_err(&db_error)
    }

    /// The state rows of some sessions.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn session_states(
        &self,
        keys: SessionSelection<'_>,
    ) -> Result<SessionStateRows, StoreError> {
        let (condition, parameters) = keys.condition();
        let db_error = StoreError::database("read the state of the sessions");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&format!(
                "SELECT {COLUMNS}, processor_name, username, CAST(coalesce(items_extracted, 0) AS BIGINT) \
                 FROM main.session_processor_state WHERE {condition} \
                 ORDER BY session_file, processor_name",
            ))
            .map_err(&db_error)?;
        let mut states = SessionStateRows::default();
        let mut rows = statement
            .query(params_from_iter(parameters))
            .map_err(&db_error)?;
        while let Some(row) = rows.next().map_err(&db_error)? {
            let state = session_state(row, &mut states.digests).map_err(&db_error)?;
            states.rows.extend(state);
        }
        Ok(states)
    }

    /// The cost of a processor's last attempt at a session. `None` if it was never recorded or has
    /// expired.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn session_cost(
        &self,
        processor: &str,
        key: &str,
    ) -> Result<Option<SessionCost>, StoreError> {
        let connection = self.reader()?;
        connection
            .prepare(
                "SELECT run_id, fuel, peak_memory, bytes, guest_micros FROM main.session_costs \
                 WHERE processor_name = ? AND session_file = ? ORDER BY CAST(run_id AS BIGINT) DESC LIMIT 1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row(params![processor, key], |row| {
                        let count = |index| -> duckdb::Result<u64> {
                            let value: Option<i64> = row.get(index)?;
                            Ok(u64::try_from(value.unwrap_or(0)).unwrap_or(0))
                        };
                        Ok(SessionCost {
                            run_id: row.get(0)?,
                            cost: Cost {
                                fuel: count(1)?,
                                peak_memory: count(2)?,
                                bytes: count(3)?,
                                guest_micros: count(4)?,
                            },
                        })
                    })
                    .optional()
            })
            .map_err(StoreError::database("read the cost of a session"))
    }

    /// The number of rows of a session in each session-owned table of a processor.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn session_row_counts(
        &self,
        processor: &str,
        state: &SessionStateRow,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let db_error = StoreError::database("count the rows of a session");
        let connection = self.reader()?;
        let tables: Vec<String> = connection
            .prepare(
                "SELECT DISTINCT columns.table_name FROM duckdb_columns() AS columns \
                 JOIN duckdb_tables() AS tables USING (database_name, schema_name, table_name) \
                 WHERE columns.database_name = current_database() AND columns.schema_name = ? \
                 AND columns.column_name = 'session_file' ORDER BY columns.table_name",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([processor], |row| row.get(0))?
                    .collect()
            })
            .map_err(&db_error)?;
        let settled_rows =
            resume_points::settled(&connection, processor, std::iter::once(state.key.as_str()))?;
        let settled = || settled_rows.iter().map(|(seq, _)| *seq);
        let mut counts = Vec::new();
        for table in tables {
            // The session number uses the zone maps of the table. A legacy row has no number.
            let (condition, parameters) = match state.known.session_seq {
                Some(seq) => (
                    format!("session_seq IN ({})", list(settled().chain([seq]))),
                    None,
                ),
                None => ("session_file = ?".to_owned(), Some(state.key.as_str())),
            };
            let sql = format!(
                "SELECT count(*) FROM {} WHERE {condition}",
                table_of(processor, &table)
            );
            let rows = connection
                .query_row(&sql, params_from_iter(parameters), |row| {
                    row.get::<_, i64>(0)
                })
                .map_err(&db_error)?;
            counts.push((table, u64::try_from(rows).unwrap_or(0)));
        }
        Ok(counts)
    }

    /// Marks one or all sessions of a processor to be processed again. Deletes nothing. Returns the
    /// number of marked sessions.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn mark_due(
        &self,
        processor: &str,
        key: Option<&str>,
        audited: AuditedAction,
    ) -> Result<u64, StoreError> {
        let (processor, key) = (processor.to_owned(), key.map(str::to_owned));
        let requests = Arc::clone(&self.requests);
        self.write(move |connection| {
            let marked = in_transaction(connection, |connection| {
                let db_error = StoreError::database("mark sessions for reprocessing");
                let wanted = "processor_name = ? AND (? IS NULL OR session_file = ?)";
                // Do not write rows that are already marked.
                connection
                    .execute(
                        &format!(
                            "UPDATE main.session_processor_state SET due = true \
                             WHERE {wanted} AND due IS DISTINCT FROM true"
                        ),
                        params![processor, key, key],
                    )
                    .map_err(&db_error)?;
                let marked: i64 = connection
                    .query_row(
                        &format!(
                            "SELECT count(*) FROM main.session_processor_state WHERE {wanted}"
                        ),
                        params![processor, key, key],
                        |row| row.get(0),
                    )
                    .map_err(&db_error)?;
                let params = json!({ "processor": processor, "session": key, "marked": marked });
                let resource = format!("processor:{processor}");
                write_audit(connection, &audited.entry(resource, &params))?;
                Ok(u64::try_from(marked).unwrap_or(0))
            })?;
            requests.add(&processor, key.as_deref());
            Ok(marked)
        })
    }

    /// Watches the requests to process a processor's sessions again. A run calls this before it
    /// reads the state rows, so that its commits do not clear the marks of later requests.
    pub fn watch_requests(&self, processor: &str) -> Arc<ReprocessRequests> {
        self.requests.watch(processor)
    }
}

fn session_state(
    row: &Row<'_>,
    digests: &mut Vec<String>,
) -> duckdb::Result<Option<SessionStateRow>> {
    let mut integers = [None; INTEGERS];
    for (index, integer) in integers.iter_mut().enumerate() {
        *integer = row.get(index)?;
    }
    let mut texts: [Option<String>; TEXTS] = Default::default();
    for (index, text) in texts.iter_mut().enumerate() {
        *text = row.get(INTEGERS + index)?;
    }
    let texts = texts.each_ref().map(|text| text.as_deref());
    let Some((key, known)) = state_row(integers, texts, digests) else {
        return Ok(None);
    };
    let [.., missing_since] = integers;
    let more = INTEGERS + TEXTS;
    Ok(Some(SessionStateRow {
        processor: row.get(more)?,
        key: key.to_owned(),
        username: row.get(more + 1)?,
        known,
        items: row.get(more + 2)?,
        missing_since: missing_since.map(UtcMicros),
    }))
}
