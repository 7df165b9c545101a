//! Converts rows to text, and finds differences between the rows of two executions.
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::manifest::Manifest;
use session_pipeline_host::processor::SessionOutput;
use session_pipeline_host::rows::{Cell, ColumnValues, TableRows};

/// The cells of a column as readable texts. Nulls are `-`.
pub fn texts(column: &ColumnValues) -> Vec<String> {
    column.cells().map(|cell| text_of(&cell)).collect()
}

/// A cell as a readable text. Null is `-`.
pub fn text_of(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Null => "-".to_owned(),
        Cell::Bool(value) => value.to_string(),
        Cell::S64(value) => value.to_string(),
        Cell::F64(value) => value.to_string(),
        Cell::Text(text) => text.clone().into_owned(),
        Cell::Timestamp(micros) => UtcMicros(*micros).to_string(),
    }
}

/// The rows of a table. Each row is a text with the values of `columns`, joined with ` | `.
#[expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests call it, and a wrong name is an error in the test"
)]
pub(crate) fn rows_of(
    manifest: &Manifest,
    completed: &SessionOutput,
    table: &str,
    columns: &str,
) -> Vec<String> {
    let index = manifest.tables.iter().position(|spec| spec.name == table);
    let index = index.unwrap_or_else(|| panic!("the manifest has no table `{table}`"));
    let (spec, recorded) = (&manifest.tables[index], &completed.tables[index]);
    let columns: Vec<Vec<String>> = columns
        .split_whitespace()
        .map(|name| {
            let index = spec.columns.iter().position(|column| column.name == name);
            let index = index.unwrap_or_else(|| panic!("the table has no column `{table}.{name}`"));
            texts(&recorded.columns[index])
        })
        .collect();
    let row = |index: usize| {
        let cells: Vec<&str> = columns
            .iter()
            .map(|column| column[index].as_str())
            .collect();
        cells.join(" | ")
    };
    (0..recorded.rows).map(row).collect()
}

/// Describes the first difference between two outputs. Ignores the rows of shared tables.
pub fn difference(
    manifest: &Manifest,
    one: &SessionOutput,
    other: &SessionOutput,
) -> Option<String> {
    let pairs = one.tables.iter().zip(&other.tables);
    let mut owned = manifest
        .tables
        .iter()
        .zip(pairs)
        .filter(|(spec, _)| spec.shared_key.is_none());
    owned.find_map(|(spec, (one, other))| {
        let columns = spec.columns.iter().map(|column| column.name.as_str());
        let difference = difference_in(columns, one, other)?;
        Some(format!("table `{}`: {difference}", spec.name))
    })
}

fn difference_in<'a>(
    mut columns: impl Iterator<Item = &'a str>,
    one: &TableRows,
    other: &TableRows,
) -> Option<String> {
    if one == other {
        return None;
    }
    if one.rows != other.rows {
        return Some(format!("{} rows, and then {}", one.rows, other.rows));
    }
    one.columns.iter().zip(&other.columns).find_map(|(a, b)| {
        let name = columns.next().unwrap_or_default();
        let (a, b) = (texts(a), texts(b));
        let index = a.iter().zip(&b).position(|(a, b)| a != b)?;
        let (a, b) = (shortened(a.get(index)?), shortened(b.get(index)?));
        Some(format!(
            "`{name}` of row {} is `{a}`, and then `{b}`",
            index + 1
        ))
    })
}

/// The first 60 characters of a cell.
fn shortened(cell: &str) -> String {
    const CHARS_MAX: usize = 60;
    match cell.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", cell.get(..end).unwrap_or_default()),
        None => cell.to_owned(),
    }
}
