//! Rows of processors' tables: appends them in batches, and deletes the rows of sessions.

use std::sync::Arc;

use duckdb::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringBuilder,
    TimestampMicrosecondArray,
};
use duckdb::{Appender, Connection};
use session_pipeline_host::manifest::{ColumnKind, Manifest};
use session_pipeline_host::rows::ColumnValues;

use crate::error::StoreError;
use crate::sql::{list, table_of};

/// Deletes the session-owned rows with these session numbers or these file names.
pub(crate) fn delete_rows(
    connection: &Connection,
    manifest: &Manifest,
    replaced: &[i64],
    legacy: &[&str],
) -> Result<(), StoreError> {
    let db_error = StoreError::database("delete the previous rows of sessions");
    for table in manifest
        .tables
        .iter()
        .filter(|table| table.shared_key.is_none())
    {
        let name = table_of(&manifest.name, &table.name);
        if !replaced.is_empty() {
            let sql = format!(
                "DELETE FROM {name} WHERE session_seq IN ({})",
                list(replaced.iter().copied())
            );
            connection.execute_batch(&sql).map_err(&db_error)?;
        }
        for key in legacy {
            connection
                .prepare_cached(&format!("DELETE FROM {name} WHERE session_file = ?"))
                .and_then(|mut statement| statement.execute([key]))
                .map_err(&db_error)?;
        }
    }
    Ok(())
}

pub(crate) fn append_by(mut appender: Appender<'_>, batch: RecordBatch) -> duckdb::Result<()> {
    appender.append_record_batch(batch)?;
    // Dropping an appender swallows its errors.
    appender.flush()
}

/// Builds one column of a batch from the rows of several sessions.
pub(crate) fn column_array<'a>(
    kind: ColumnKind,
    parts: impl Iterator<Item = &'a ColumnValues>,
) -> ArrayRef {
    let (mut bools, mut integers, mut floats) = (Vec::new(), Vec::new(), Vec::new());
    let mut texts = StringBuilder::new();
    for part in parts {
        match part {
            ColumnValues::Bool(values) => bools.extend_from_slice(values),
            ColumnValues::S64(values) | ColumnValues::Timestamp(values) => {
                integers.extend_from_slice(values)
            }
            ColumnValues::F64(values) => floats.extend_from_slice(values),
            ColumnValues::Text(values) => values.iter().for_each(|text| texts.append_option(text)),
        }
    }
    match kind {
        ColumnKind::Bool => Arc::new(BooleanArray::from(bools)),
        ColumnKind::S64 => Arc::new(Int64Array::from(integers)),
        ColumnKind::F64 => Arc::new(Float64Array::from(floats)),
        ColumnKind::Text | ColumnKind::Json => Arc::new(texts.finish()),
        ColumnKind::Timestamp => Arc::new(TimestampMicrosecondArray::from(integers)),
    }
}
