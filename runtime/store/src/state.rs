//! The table `session_processor_state`: the state of each session.

use duckdb::arrow::array::{
    Array, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::sessions::FileStat;

use crate::error::StoreError;
use crate::state_rows::{StateRow, StateRows};
use crate::store::Store;

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
            .prepare(
                "SELECT rowid, session_file, file_size, file_mtime_ns, file_ctime_ns, session_seq, \
                 processed_at, file_hash, component_digest, due, missing_since IS NOT NULL \
                 FROM main.session_processor_state WHERE processor_name = ?",
            )
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
    let integers = |index: usize| batch.column(index).as_any().downcast_ref::<Int64Array>();
    let texts = |index: usize| batch.column(index).as_any().downcast_ref::<StringArray>();
    let flags = |index: usize| batch.column(index).as_any().downcast_ref::<BooleanArray>();
    let times = batch
        .column(6)
        .as_any()
        .downcast_ref::<TimestampMicrosecondArray>();
    let integer = |index: usize, row: usize| {
        integers(index)
            .filter(|a| a.is_valid(row))
            .map(|a| a.value(row))
    };
    let text = |index: usize, row: usize| {
        texts(index)
            .filter(|a| a.is_valid(row))
            .map(|a| a.value(row))
    };
    let flag =
        |index: usize, row: usize| flags(index).is_some_and(|a| a.is_valid(row) && a.value(row));
    let mut last_digest: Option<(String, u16)> = None;
    for row in 0..batch.num_rows() {
        let (Some(row_id), Some(key)) = (integer(0, row), text(1, row)) else {
            continue;
        };
        let observed = match (integer(2, row), integer(3, row), integer(4, row)) {
            (Some(size), Some(mtime_ns), Some(ctime_ns)) => Some(FileStat {
                size: u64::try_from(size).unwrap_or(0),
                mtime_ns,
                ctime_ns,
            }),
            _ => None,
        };
        let digest = text(8, row).map(|digest| match &last_digest {
            Some((last, index)) if last == digest => *index,
            _ => {
                let index = known.digest_index(digest);
                last_digest = Some((digest.to_owned(), index));
                index
            }
        });
        known.add(
            key,
            StateRow {
                row_id,
                observed,
                hash: text(7, row).and_then(ContentHash::from_hex),
                processed_at: times
                    .filter(|a| a.is_valid(row))
                    .map(|a| UtcMicros(a.value(row))),
                session_seq: integer(5, row),
                digest,
                is_due: flag(9, row),
                is_missing: flag(10, row),
            },
        );
    }
}
