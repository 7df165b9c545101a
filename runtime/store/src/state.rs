//! The table `session_processor_state`: the state of each session.

use std::array::from_fn;

use duckdb::arrow::array::{Array, Int64Array, RecordBatch, StringArray};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::sessions::FileStat;

use crate::error::StoreError;
use crate::state_rows::{StateRow, StateRows, digest_index};
use crate::store::Store;

/// The columns that [`state_row`] takes, in its order: integers, then texts.
pub(crate) const COLUMNS: &str = "rowid, file_size, file_mtime_ns, file_ctime_ns, session_seq, epoch_us(processed_at), \
     CAST(coalesce(due, false) AS BIGINT), epoch_us(missing_since), session_file, file_hash, component_digest";
pub(crate) const INTEGERS: usize = 8;
pub(crate) const TEXTS: usize = 3;

/// Builds a state row from its columns. Returns it with its key. New digests are added to
/// `digests`.
pub(crate) fn state_row<'a>(
    integers: [Option<i64>; INTEGERS],
    texts: [Option<&'a str>; TEXTS],
    digests: &mut Vec<String>,
) -> Option<(&'a str, StateRow)> {
    let [
        row_id,
        size,
        mtime_ns,
        ctime_ns,
        session_seq,
        processed_at,
        due,
        missing_since,
    ] = integers;
    let [key, hash, digest] = texts;
    let observed = || Some(FileStat::from_columns(size?, mtime_ns?, ctime_ns?));
    let state = StateRow {
        row_id: row_id?,
        observed: observed(),
        hash: hash.and_then(ContentHash::from_hex),
        processed_at: processed_at.map(UtcMicros),
        session_seq,
        digest: digest.map(|digest| digest_index(digests, digest)),
        is_due: due == Some(1),
        is_missing: missing_since.is_some(),
    };
    Some((key?, state))
}

impl Store {
    /// All state rows of a processor, streamed. A query per file would scan the table each time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn state_rows(&self, processor: &str) -> Result<StateRows, StoreError> {
        let db_error = StoreError::database("read the state of the sessions");
        let connection = self.reader()?;
        let rows: i64 = connection
            .query_row(
                "SELECT count(*) FROM main.session_processor_state WHERE processor_name = ?",
                [processor],
                |row| row.get(0),
            )
            .map_err(&db_error)?;
        let rows = usize::try_from(rows).unwrap_or(0);
        let mut statement = connection
            .prepare(&format!(
                "SELECT {COLUMNS} FROM main.session_processor_state WHERE processor_name = ?"
            ))
            .map_err(&db_error)?;
        let mut known = StateRows::with_capacity(rows);
        for (index, batch) in (0..).zip(statement.stream_arrow([processor]).map_err(&db_error)?) {
            add_batch(&mut known, &batch);
            if index == 0 {
                known.reserve_keys(rows);
            }
        }
        Ok(known)
    }
}

fn add_batch(known: &mut StateRows, batch: &RecordBatch) {
    let column = |index: usize| batch.column(index).as_any();
    let integers: [Option<&Int64Array>; INTEGERS] = from_fn(|index| column(index).downcast_ref());
    let texts: [Option<&StringArray>; TEXTS] =
        from_fn(|index| column(INTEGERS + index).downcast_ref());
    for row in 0..batch.num_rows() {
        let integers = integers.map(|column| Some(column.filter(|a| a.is_valid(row))?.value(row)));
        let texts = texts.map(|column| Some(column.filter(|a| a.is_valid(row))?.value(row)));
        if let Some((key, state)) = state_row(integers, texts, &mut known.digests) {
            known.add(key, state);
        }
    }
}
