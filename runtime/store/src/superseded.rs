//! Keeps rows of earlier versions of a session, for tables whose manifest asks for it.
//!
//! Agents truncate transcripts in place, and people edit them, but billed usage stays billed. When
//! a session was rewritten, rows that the new content does not produce are not deleted. They move
//! to the session's new number and are marked as superseded. The same applies to rows that the new
//! content produces again, because a rewritten transcript can contain only a part of the data of a
//! row. Of these, the first and the last version are kept. The run that first recorded a row is
//! also kept, however often its session is processed again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use duckdb::Connection;
use duckdb::arrow::array::{ArrayRef, Int64Array};
use session_pipeline_host::manifest::{FIRST_RUN_COLUMN, SUPERSEDED_COLUMN, TableSpec};
use session_pipeline_host::rows::{ColumnValues, TableRows};

use crate::error::StoreError;
use crate::group::{CommitGroup, ContentChange};
use crate::resume_points::NumberedSession;
use crate::sql::{list, quoted, table_of};

/// The run that first recorded each row, by table, new session number and row identity.
#[derive(Debug, Default)]
pub(crate) struct FirstRuns {
    by_table: HashMap<String, HashMap<(i64, String), i64>>,
}

/// New rows of one session and table with the same session number.
pub(crate) struct RowPart<'a> {
    pub(crate) numbered: NumberedSession<'a>,
    /// The session number of the rows.
    pub(crate) seq: i64,
    pub(crate) rows: &'a TableRows,
}

/// A row of an earlier version.
struct EarlierRow {
    session_seq: i64,
    row_id: i64,
    identity: Option<String>,
    first_run: Option<i64>,
    is_superseded: bool,
}

/// Moves the rows to keep to the new session numbers. `replaced` has the new session of each replaced
/// number. Returns the first runs that the new rows
/// inherit.
pub(crate) fn keep(
    connection: &Connection,
    group: &CommitGroup,
    replaced: &HashMap<i64, NumberedSession<'_>>,
) -> Result<FirstRuns, StoreError> {
    let mut inherited = FirstRuns::default();
    if replaced.is_empty() {
        return Ok(inherited);
    }
    for (index, table) in group.manifest.tables.iter().enumerate() {
        if table.identity.is_empty() {
            continue;
        }
        let produced: HashMap<i64, HashSet<&str>> = replaced
            .values()
            .map(|NumberedSession { session, seq, .. }| {
                let rows = session.all_rows().filter(|(of, _)| *of == index);
                let identities = rows.flat_map(|(_, rows)| identities(table, rows));
                (*seq, identities.flatten().collect())
            })
            .collect();
        let mut to_keep: HashMap<(i64, String), Vec<i64>> = HashMap::new();
        let mut moved: HashMap<i64, Vec<i64>> = HashMap::new();
        let first_runs = inherited.by_table.entry(table.name.clone()).or_default();
        for row in earlier(connection, &group.manifest.name, table, replaced.keys())? {
            let Some(NumberedSession { session, seq, .. }) = replaced.get(&row.session_seq) else {
                continue;
            };
            let Some(identity) = row.identity else {
                continue;
            };
            let is_produced = produced
                .get(seq)
                .is_some_and(|new| new.contains(identity.as_str()));
            if is_produced && let Some(run) = row.first_run {
                let first = first_runs.entry((*seq, identity.clone())).or_insert(run);
                *first = run.min(*first);
            }
            let is_lost = !is_produced
                && matches!(
                    session.change,
                    ContentChange::Rewritten | ContentChange::Unproven
                );
            if row.is_superseded || is_lost || session.change == ContentChange::Rewritten {
                to_keep
                    .entry((*seq, identity))
                    .or_default()
                    .push(row.row_id);
            }
        }
        // Row ids reflect the order in which rows were recorded.
        for ((seq, _), mut rows) in to_keep {
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
                .map_err(StoreError::database("keep superseded rows"))?;
        }
    }
    Ok(inherited)
}

/// The rows of earlier versions, if they have an identity.
fn earlier<'a>(
    connection: &Connection,
    processor: &str,
    table: &TableSpec,
    replaced: impl Iterator<Item = &'a i64>,
) -> Result<Vec<EarlierRow>, StoreError> {
    let columns: Vec<String> = table.identity.iter().map(|name| quoted(name)).collect();
    let first_run = match table.column(FIRST_RUN_COLUMN) {
        Some(_) => FIRST_RUN_COLUMN,
        None => "CAST(NULL AS BIGINT)",
    };
    // A row without the mark was written by a version of the processor without identities.
    let sql = format!(
        "SELECT session_seq, rowid, coalesce({}), {first_run}, {SUPERSEDED_COLUMN} FROM {}
         WHERE session_seq IN ({}) AND {SUPERSEDED_COLUMN} IS NOT NULL",
        columns.join(", "),
        table_of(processor, &table.name),
        list(replaced.copied())
    );
    let rows = || -> duckdb::Result<Vec<EarlierRow>> {
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map([], |row| {
            Ok(EarlierRow {
                session_seq: row.get(0)?,
                row_id: row.get(1)?,
                identity: row.get(2)?,
                first_run: row.get(3)?,
                is_superseded: row.get(4)?,
            })
        })?;
        rows.collect()
    };
    rows().map_err(StoreError::database("read the previous rows of sessions"))
}

/// The identity of each row.
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

impl FirstRuns {
    /// The column with the first run of each row, for the rows of some sessions.
    pub(crate) fn column(
        &self,
        table: &TableSpec,
        parts: &[RowPart<'_>],
        run_id: &str,
    ) -> ArrayRef {
        let this_run = run_id.parse::<i64>().ok();
        let known = self.by_table.get(&table.name);
        let mut runs = Vec::new();
        for RowPart { numbered, rows, .. } in parts {
            let is_known = numbered.session.state_row.is_some();
            let Some(known) = known.filter(|_| is_known) else {
                runs.extend(std::iter::repeat_n(this_run, rows.rows));
                continue;
            };
            runs.extend(
                identities(table, rows)
                    .into_iter()
                    .map(|identity| {
                        let earlier = known.get(&(numbered.seq, identity?.to_owned()));
                        earlier.copied()
                    })
                    .map(|earlier| earlier.or(this_run)),
            );
        }
        Arc::new(Int64Array::from(runs))
    }
}
