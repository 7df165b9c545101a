//! Rows that outlive the content that yielded them, where a manifest asks for that.
//!
//! Agents shorten transcripts in place, and people edit them; what was billed stays billed. So when
//! a session was rewritten, rows of its earlier content that the new one does not yield again are
//! not deleted: they move under the session's new number, marked as superseded. Neither are those
//! that it does yield again, since a rewritten transcript may hold only a part of what a row came
//! from: of these the first and the last are kept. And of each row it is remembered which run
//! recorded it first, however often its session is processed again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use duckdb::Connection;
use duckdb::arrow::array::{ArrayRef, Int64Array};
use session_pipeline_host::manifest::{FIRST_RUN_COLUMN, SUPERSEDED_COLUMN, TableSpec};
use session_pipeline_host::rows::{ColumnValues, TableRows};

use crate::error::StoreError;
use crate::group::{Change, CompletedSession, Group};
use crate::sql::{list, quoted, table_of};

/// Which run recorded a row first: by table, the session's new number and the row's identity.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    first_runs: HashMap<String, HashMap<(i64, String), i64>>,
}

/// A row of an earlier content.
struct Earlier {
    session_seq: i64,
    row_id: i64,
    identity: Option<String>,
    first_run: Option<i64>,
    is_superseded: bool,
}

/// Moves what is to be kept of the earlier contents of these sessions under their new numbers, and
/// returns what their new rows take over from the earlier ones.
pub(crate) fn keep(
    connection: &Connection,
    group: &Group,
    completed: &[&CompletedSession],
    first_seq: i64,
) -> Result<Carried, StoreError> {
    let mut carried = Carried::default();
    let replaced: HashMap<i64, (i64, &CompletedSession)> = completed
        .iter()
        .zip(first_seq..)
        .filter_map(|(session, seq)| Some((session.known?.session_seq?, (seq, *session))))
        .collect();
    if replaced.is_empty() {
        return Ok(carried);
    }
    for (index, table) in group.manifest.tables.iter().enumerate() {
        if table.identity.is_empty() {
            continue;
        }
        let yielded: HashMap<i64, HashSet<&str>> = replaced
            .values()
            .map(|(seq, session)| {
                let rows = session.tables.get(index);
                let identities = rows.map(|rows| identities(table, rows));
                (*seq, identities.into_iter().flatten().flatten().collect())
            })
            .collect();
        let mut kept: HashMap<(i64, String), Vec<i64>> = HashMap::new();
        let mut moved: HashMap<i64, Vec<i64>> = HashMap::new();
        let first_runs = carried.first_runs.entry(table.name.clone()).or_default();
        for row in earlier(connection, &group.manifest.name, table, replaced.keys())? {
            let Some((seq, session)) = replaced.get(&row.session_seq) else {
                continue;
            };
            let Some(identity) = row.identity else {
                continue;
            };
            let is_yielded = yielded
                .get(seq)
                .is_some_and(|new| new.contains(identity.as_str()));
            if is_yielded && let Some(run) = row.first_run {
                let first = first_runs.entry((*seq, identity.clone())).or_insert(run);
                *first = run.min(*first);
            }
            let is_lost =
                !is_yielded && matches!(session.change, Change::Rewritten | Change::Unproven);
            if row.is_superseded || is_lost || session.change == Change::Rewritten {
                kept.entry((*seq, identity)).or_default().push(row.row_id);
            }
        }
        // Rows are numbered in the order in which they were recorded.
        for ((seq, _), mut rows) in kept {
            rows.sort_unstable();
            let moved = moved.entry(seq).or_default();
            moved.extend(rows.first());
            moved.extend(rows.last().filter(|_| rows.len() > 1));
        }
        let name = table_of(&group.manifest.name, &table.name);
        for (seq, rows) in moved {
            let sql = format!(
                "UPDATE {name} SET session_seq = {seq}, {SUPERSEDED_COLUMN} = true WHERE rowid IN ({})",
                list(rows)
            );
            connection
                .execute_batch(&sql)
                .map_err(StoreError::database("to keep superseded rows"))?;
        }
    }
    Ok(carried)
}

/// The rows of earlier contents, where they can be told from others.
fn earlier<'a>(
    connection: &Connection,
    processor: &str,
    table: &TableSpec,
    replaced: impl Iterator<Item = &'a i64>,
) -> Result<Vec<Earlier>, StoreError> {
    let columns: Vec<String> = table.identity.iter().map(|name| quoted(name)).collect();
    let first_run = match table.column(FIRST_RUN_COLUMN) {
        Some(_) => FIRST_RUN_COLUMN,
        None => "CAST(NULL AS BIGINT)",
    };
    // A row without the mark is of a version that identified nothing.
    let sql = format!(
        "SELECT session_seq, rowid, coalesce({}), {first_run}, {SUPERSEDED_COLUMN} FROM {}
         WHERE session_seq IN ({}) AND {SUPERSEDED_COLUMN} IS NOT NULL",
        columns.join(", "),
        table_of(processor, &table.name),
        list(replaced.copied())
    );
    let rows = || -> duckdb::Result<Vec<Earlier>> {
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map([], |row| {
            Ok(Earlier {
                session_seq: row.get(0)?,
                row_id: row.get(1)?,
                identity: row.get(2)?,
                first_run: row.get(3)?,
                is_superseded: row.get(4)?,
            })
        })?;
        rows.collect()
    };
    rows().map_err(StoreError::database("to read the rows of earlier contents"))
}

/// What identifies each row.
fn identities<'a>(table: &TableSpec, rows: &'a TableRows) -> Vec<Option<&'a str>> {
    let mut identities = vec![None; rows.rows];
    for name in &table.identity {
        let column = table
            .column(name)
            .and_then(|(index, _)| rows.columns.get(index));
        if let Some(ColumnValues::Text(texts)) = column {
            for (identity, text) in identities.iter_mut().zip(texts.iter()) {
                *identity = identity.or(text);
            }
        }
    }
    identities
}

impl Carried {
    /// The column that says which run recorded each row first, over the rows of some sessions.
    pub(crate) fn first_runs(
        &self,
        table: &TableSpec,
        parts: &[(&CompletedSession, i64, &TableRows)],
        run_id: &str,
    ) -> ArrayRef {
        let this_run = run_id.parse::<i64>().ok();
        let known = self.first_runs.get(&table.name);
        let mut runs = Vec::new();
        for (session, seq, rows) in parts {
            let Some(known) = known.filter(|_| session.known.is_some()) else {
                runs.extend(std::iter::repeat_n(this_run, rows.rows));
                continue;
            };
            runs.extend(
                identities(table, rows)
                    .into_iter()
                    .map(|identity| {
                        let earlier = known.get(&(*seq, identity?.to_owned()));
                        earlier.copied()
                    })
                    .map(|earlier| earlier.or(this_run)),
            );
        }
        Arc::new(Int64Array::from(runs))
    }
}
