//! Converts rows to JSON objects, and JSON objects to rows of shared tables. The output for one
//! session can be the input for the next.
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::borrow::Cow;

use serde_json::{Map, Value};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::manifest::{ColumnKind, Manifest, TableSpec};
use session_pipeline_host::rows::{Cell, TableRows};
use session_pipeline_host::shared::MemoryRows;

/// Converts recorded rows to a JSON object with one array of rows per table, in the order in which
/// the rows were recorded.
pub fn rows_to_json(manifest: &Manifest, tables: &[TableRows]) -> Value {
    let tables = manifest.tables.iter().zip(tables);
    let rows = tables.map(|(spec, rows)| {
        let mut objects = vec![Map::new(); rows.rows];
        for (column, values) in spec.columns.iter().zip(&rows.columns) {
            for (object, cell) in objects.iter_mut().zip(values.cells()) {
                object.insert(column.name.clone(), value_of(&cell));
            }
        }
        let objects = objects.into_iter().map(Value::Object);
        (spec.name.clone(), objects.collect())
    });
    Value::Object(rows.collect())
}

/// Converts all rows of the shared tables to a JSON object with one array of rows per table.
pub fn shared_rows_to_json(manifest: &Manifest, rows: &MemoryRows) -> Value {
    let tables = manifest.tables.iter();
    let shared = tables.filter(|spec| spec.shared_key.is_some());
    let tables = shared.map(|spec| {
        let object = |cells: &[Cell<'static>]| {
            let cells = spec.columns.iter().zip(cells);
            let members = cells.map(|(column, cell)| (column.name.clone(), value_of(cell)));
            Value::Object(members.collect())
        };
        (
            spec.name.clone(),
            rows.rows(&spec.name).map(object).collect(),
        )
    });
    Value::Object(tables.collect())
}

/// Parses the output of [`shared_rows_to_json`]. A missing column is null. The key column is
/// required.
///
/// # Errors
/// A table is not a shared table of the manifest, a column is unknown, or a value has a wrong type.
pub fn parse_shared_rows(manifest: &Manifest, document: &Value) -> Result<MemoryRows, String> {
    let tables = document
        .as_object()
        .ok_or("it is no object of tables, each a list of rows")?;
    let mut shared = MemoryRows::default();
    for (name, rows) in tables {
        let spec = manifest.tables.iter().find(|spec| spec.name == *name);
        let spec = spec
            .filter(|spec| spec.shared_key.is_some())
            .ok_or_else(|| format!("`{}` has no shared table `{name}`", manifest.name))?;
        let rows = rows
            .as_array()
            .ok_or_else(|| format!("the table `{name}` is no list of rows"))?;
        for (place, row) in rows.iter().enumerate() {
            let cells = cells_of(spec, row)
                .map_err(|reason| format!("row {} of `{name}`: {reason}", place + 1))?;
            shared.insert(spec, cells);
        }
    }
    Ok(shared)
}

fn value_of(cell: &Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(value) => (*value).into(),
        Cell::S64(value) => (*value).into(),
        Cell::F64(value) => (*value).into(),
        Cell::Text(text) => text.as_ref().into(),
        Cell::Timestamp(micros) => UtcMicros(*micros).to_string().into(),
    }
}

fn cells_of(spec: &TableSpec, row: &Value) -> Result<Vec<Cell<'static>>, String> {
    let row = row.as_object().ok_or("it is no object of columns")?;
    let is_unknown = |name: &&String| spec.columns.iter().all(|column| column.name != **name);
    if let Some(name) = row.keys().find(is_unknown) {
        return Err(format!("there is no column `{name}`"));
    }
    let cells = spec.columns.iter().map(|column| {
        let value = row.get(&column.name).unwrap_or(&Value::Null);
        if value.is_null() && spec.shared_key.as_ref() == Some(&column.name) {
            return Err(format!("the key `{}` is missing", column.name));
        }
        cell_of(column.kind, value)
            .ok_or_else(|| format!("`{}` does not fit its column: {value}", column.name))
    });
    cells.collect()
}

fn cell_of(kind: ColumnKind, value: &Value) -> Option<Cell<'static>> {
    let text = || value.as_str().map(ToOwned::to_owned);
    Some(match kind {
        _ if value.is_null() => Cell::Null,
        ColumnKind::Bool => Cell::Bool(value.as_bool()?),
        ColumnKind::S64 => Cell::S64(value.as_i64()?),
        ColumnKind::F64 => Cell::F64(value.as_f64()?),
        ColumnKind::Text | ColumnKind::Json => Cell::Text(Cow::Owned(text()?)),
        ColumnKind::Timestamp => Cell::Timestamp(text()?.parse::<UtcMicros>().ok()?.0),
    })
}
