//! Commits the outcomes of sessions. The rows and the state of a session are always in the same
//! transaction. Several sessions share a transaction if they finish together.

use std::collections::HashMap;
use std::sync::Arc;

use duckdb::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use duckdb::types::Value;
use duckdb::{Connection, params, params_from_iter};
use session_pipeline_host::manifest::{FIRST_RUN_COLUMN, Manifest};
use session_pipeline_host::processor::Cost;
use session_pipeline_host::rows::TableRows;

use crate::activity::SessionResult;
use crate::counters::raise_counter;
use crate::error::StoreError;
use crate::group::{CommitGroup, CompletedSession, SessionOutcome, SkippedSession};
use crate::kill_point::kill_point;
use crate::resume_points::NumberedSession;
use crate::sql::{bigint, observed_columns, timestamp};
use crate::store::Store;
use crate::superseded::{self, FirstRuns, RowPart};
use crate::table_rows::{append_by, column_array, delete_rows};
use crate::transaction::in_transaction;
use crate::{failures, resume_points, shared};

impl Store {
    /// Commits a group atomically.
    ///
    /// # Errors
    /// The database cannot be written. The caller can retry the sessions of the group individually.
    pub fn commit(&self, group: &Arc<CommitGroup>) -> Result<(), StoreError> {
        let written = Arc::clone(group);
        self.write(move |connection| {
            in_transaction(connection, |connection| write_group(connection, &written))
        })?;
        let sessions = group.outcomes.iter().filter_map(counted);
        let processor = &group.manifest.name;
        self.activity().sessions_committed(processor, sessions);
        Ok(())
    }
}

/// How the activity of this process counts an outcome. `None`: only the size and times of a failed
/// session were updated.
fn counted(outcome: &SessionOutcome) -> Option<(SessionResult, Option<&'static str>, Cost)> {
    match outcome {
        SessionOutcome::Completed(session) => Some((SessionResult::Processed, None, session.cost)),
        SessionOutcome::Skipped(_) => Some((SessionResult::Skipped, None, Cost::default())),
        SessionOutcome::Failed(session) => session.is_attempt.then_some((
            SessionResult::Failed,
            Some(session.fault.kind.as_str()),
            session.cost,
        )),
    }
}

fn write_group(connection: &Connection, group: &CommitGroup) -> Result<(), StoreError> {
    let processor = group.manifest.name.as_str();
    let completed: Vec<&CompletedSession> = group
        .outcomes
        .iter()
        .filter_map(|entry| match entry {
            SessionOutcome::Completed(session) => Some(session.as_ref()),
            _ => None,
        })
        .collect();
    let numbers = completed
        .iter()
        .map(|session| resume_points::numbers_of(session));
    let first_seq = match numbers.sum() {
        0 => 0,
        count => raise_counter(connection, "session_seq", bigint(count))? + 1,
    };
    let completed = resume_points::number(&completed, first_seq);
    resume_points::check(connection, group, &completed)?;
    let settled = resume_points::replaced(connection, processor, &completed)?;
    let replaced = resume_points::replaced_by(&completed, &settled);
    let first_runs = superseded::keep(connection, group, &replaced)?;
    delete_replaced(connection, &group.manifest, &completed, &replaced)?;
    resume_points::delete(connection, processor, &settled)?;
    kill_point("rows replaced");
    append_rows(connection, group, &completed, &first_runs)?;
    kill_point("rows appended");
    resume_points::write(connection, processor, &completed)?;
    kill_point("checkpoints written");
    let mut new = Vec::new();
    for NumberedSession { session, seq, .. } in completed {
        match session.state_row {
            Some(known) => update_state(connection, group, session, known.row_id, seq)?,
            None => new.push((session, seq)),
        }
        if let Some(failure) = &session.failure {
            failures::delete(connection, processor, &session.key, failure.row_id)?;
        }
    }
    append_new_states(connection, group, &new)?;
    kill_point("states written");
    for entry in &group.outcomes {
        match entry {
            SessionOutcome::Completed(_) => {}
            SessionOutcome::Skipped(session) => {
                update_observed(connection, processor, session)?;
                if let Some(row_id) = session.failure_row {
                    failures::delete(connection, processor, &session.key, row_id)?;
                }
            }
            SessionOutcome::Failed(session) => {
                failures::record(connection, processor, &group.digest, session)?
            }
        }
    }
    append_costs(connection, group)
}

/// Deletes the rows of earlier versions of these sessions.
fn delete_replaced(
    connection: &Connection,
    manifest: &Manifest,
    completed: &[NumberedSession<'_>],
    replaced: &HashMap<i64, NumberedSession<'_>>,
) -> Result<(), StoreError> {
    let mut replaced: Vec<i64> = replaced.keys().copied().collect();
    replaced.sort_unstable();
    // Legacy state rows have no session number. Their rows are found once, by file name.
    let legacy: Vec<&str> = completed
        .iter()
        .map(|numbered| numbered.session)
        .filter(|session| {
            let known = session.state_row;
            known.is_some_and(|known| known.session_seq.is_none())
        })
        .map(|session| session.key.as_str())
        .collect();
    delete_rows(connection, manifest, &replaced, &legacy)
}

fn append_rows(
    connection: &Connection,
    group: &CommitGroup,
    completed: &[NumberedSession<'_>],
    first_runs: &FirstRuns,
) -> Result<(), StoreError> {
    for (index, table) in group.manifest.tables.iter().enumerate() {
        let parts: Vec<RowPart<'_>> = completed
            .iter()
            .flat_map(|numbered| parts_of(*numbered, index))
            .filter(|part| part.rows.rows > 0)
            .collect();
        if parts.is_empty() {
            continue;
        }
        if table.shared_key.is_some() {
            let rows: Vec<&TableRows> = parts.iter().map(|part| part.rows).collect();
            shared::upsert(connection, &group.manifest.name, table, &rows, group.now)?;
            continue;
        }
        let count = parts.iter().map(|part| part.rows.rows).sum();
        let numbers: Int64Array = parts
            .iter()
            .flat_map(|part| std::iter::repeat_n(part.seq, part.rows.rows))
            .collect();
        let files: StringArray = parts
            .iter()
            .flat_map(|part| {
                let key = part.numbered.session.key.as_str();
                std::iter::repeat_n(Some(key), part.rows.rows)
            })
            .collect();
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("session_seq", Arc::new(numbers)),
            ("session_file", Arc::new(files)),
            (
                "recorded_at",
                Arc::new(TimestampMicrosecondArray::from(vec![group.now.0; count])),
            ),
        ];
        for (column, spec) in table.columns.iter().enumerate() {
            let values = parts
                .iter()
                .filter_map(|part| part.rows.columns.get(column));
            let array = if spec.name == FIRST_RUN_COLUMN && !table.identity.is_empty() {
                first_runs.column(table, &parts, &group.run_id)
            } else {
                column_array(spec.kind, values)
            };
            columns.push((&spec.name, array));
        }
        append_batch(
            connection,
            &group.manifest.name,
            &table.name,
            columns,
            "write the rows of a session",
        )?;
    }
    Ok(())
}

/// The new rows of a session for a table: those that its checkpoint settles, and the others.
fn parts_of(numbered: NumberedSession<'_>, table: usize) -> impl Iterator<Item = RowPart<'_>> {
    let part = move |seq, rows| RowPart {
        numbered,
        seq,
        rows,
    };
    let checkpoint = numbered.session.checkpoint.as_deref();
    let settled = checkpoint.and_then(|made| made.new.tables.get(table));
    let settled = numbered.settled_seq.zip(settled);
    let tail = numbered.session.tables.get(table);
    let settled = settled.map(|(seq, rows)| part(seq, rows)).into_iter();
    settled.chain(tail.map(|rows| part(numbered.seq, rows)))
}

fn append_batch(
    connection: &Connection,
    schema: &str,
    table: &str,
    columns: Vec<(&str, ArrayRef)>,
    action: &'static str,
) -> Result<(), StoreError> {
    let db_error = StoreError::database(action);
    let batch = RecordBatch::try_from_iter(columns)
        .map_err(|error| db_error(duckdb::Error::ToSqlConversionFailure(Box::new(error))))?;
    let appender = connection
        .appender_to_db(table, schema)
        .map_err(&db_error)?;
    append_by(appender, batch).map_err(&db_error)
}

/// The column has been an INTEGER since the legacy layout.
fn items(session: &CompletedSession) -> i32 {
    i32::try_from(session.items).unwrap_or(i32::MAX)
}

/// The columns of a state row with their values. The first two are its key.
fn state_columns(
    group: &CommitGroup,
    session: &CompletedSession,
    seq: i64,
) -> [(&'static str, Value); 13] {
    let (size, mtime_ns, ctime_ns) = observed_columns(session.observed);
    let integer = |number: Option<i64>| number.map_or(Value::Null, Value::BigInt);
    let text = |text: &str| Value::Text(text.to_owned());
    [
        ("processor_name", text(&group.manifest.name)),
        ("session_file", text(&session.key)),
        ("username", text(&session.username)),
        ("processed_at", timestamp(session.read_at)),
        ("items_extracted", Value::Int(items(session))),
        ("file_hash", Value::Text(session.hash.to_string())),
        ("file_size", integer(size)),
        ("file_mtime_ns", integer(mtime_ns)),
        ("file_ctime_ns", integer(ctime_ns)),
        ("component_digest", text(&group.digest)),
        ("session_seq", Value::BigInt(seq)),
        (
            "due",
            group
                .still_due(&session.key)
                .map_or(Value::Null, Value::Boolean),
        ),
        ("missing_since", Value::Null),
    ]
}

fn update_state(
    connection: &Connection,
    group: &CommitGroup,
    session: &CompletedSession,
    row_id: i64,
    seq: i64,
) -> Result<(), StoreError> {
    let db_error = StoreError::database("update the state of a session");
    let columns = state_columns(group, session, seq);
    let (key, values) = columns.split_at(2);
    let assignments: Vec<String> = values
        .iter()
        .map(|(column, _)| format!("{column} = ?"))
        .collect();
    let by_key = format!(
        "UPDATE main.session_processor_state SET {} WHERE processor_name = ? AND session_file = ?",
        assignments.join(", ")
    );
    let by_row_id = format!("{by_key} AND rowid = ?");
    let row_id = Value::BigInt(row_id);
    // Try the row id first. If it is stale, the key finds the row, but scans the table.
    for (sql, row_id) in [(&by_row_id, Some(&row_id)), (&by_key, None)] {
        let parameters = values.iter().chain(key).map(|(_, value)| value);
        let updated = connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params_from_iter(parameters.chain(row_id))))
            .map_err(&db_error)?;
        if updated == 1 {
            return Ok(());
        }
    }
    // The row was removed after the scan. Insert it again.
    append_new_states(connection, group, &[(session, seq)])
}

fn append_new_states(
    connection: &Connection,
    group: &CommitGroup,
    new: &[(&CompletedSession, i64)],
) -> Result<(), StoreError> {
    let rows = new
        .iter()
        .map(|(session, seq)| state_columns(group, session, *seq));
    let rows: Vec<_> = rows.collect();
    let Some(first) = rows.first() else {
        return Ok(());
    };
    let columns = first.each_ref().map(|(column, _)| *column);
    connection
        .appender_with_columns_to_db("session_processor_state", "main", &columns)
        .and_then(|mut appender| {
            let rows = rows
                .iter()
                .map(|row| row.each_ref().map(|(_, value)| value));
            appender.append_rows(rows)?;
            // Dropping an appender swallows its errors.
            appender.flush()
        })
        .map_err(StoreError::database("write the state of new sessions"))
}

fn update_observed(
    connection: &Connection,
    processor: &str,
    session: &SkippedSession,
) -> Result<(), StoreError> {
    let (size, mtime_ns, ctime_ns) = observed_columns(session.observed);
    let sql = "UPDATE main.session_processor_state SET file_size = ?, file_mtime_ns = ?, file_ctime_ns = ?, \
         missing_since = NULL WHERE rowid = ? AND processor_name = ? AND session_file = ?";
    // If the row id is stale, the only effect is that the file is hashed again.
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement.execute(params![
                size,
                mtime_ns,
                ctime_ns,
                session.row_id,
                processor,
                session.key
            ])
        })
        .map_err(StoreError::database(
            "update the size and times of a session",
        ))?;
    Ok(())
}

fn append_costs(connection: &Connection, group: &CommitGroup) -> Result<(), StoreError> {
    let costs: Vec<(&str, Cost)> = group
        .outcomes
        .iter()
        .filter_map(|entry| match entry {
            SessionOutcome::Completed(session) => Some((session.key.as_str(), session.cost)),
            // Sessions that were not attempted have no cost.
            SessionOutcome::Failed(session) => Some((session.key.as_str(), session.cost))
                .filter(|(_, cost)| *cost != Cost::default()),
            SessionOutcome::Skipped(_) => None,
        })
        .collect();
    if costs.is_empty() {
        return Ok(());
    }
    let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; costs.len()])) };
    let numbers = |value: &dyn Fn(&Cost) -> u64| -> ArrayRef {
        Arc::new(
            costs
                .iter()
                .map(|(_, cost)| Some(bigint(value(cost))))
                .collect::<Int64Array>(),
        )
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("processor_name", same(&group.manifest.name)),
        (
            "session_file",
            Arc::new(
                costs
                    .iter()
                    .map(|(key, _)| Some(*key))
                    .collect::<StringArray>(),
            ),
        ),
        ("run_id", same(&group.run_id)),
        ("fuel", numbers(&|cost| cost.fuel)),
        ("peak_memory", numbers(&|cost| cost.peak_memory)),
        ("bytes", numbers(&|cost| cost.bytes)),
        ("guest_micros", numbers(&|cost| cost.guest_micros)),
    ];
    append_batch(
        connection,
        "main",
        "session_costs",
        columns,
        "write the cost of sessions",
    )
}
