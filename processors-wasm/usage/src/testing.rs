//! Runs the processor in tests.

use session_pipeline_processor::SessionInfo;
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_processor::table::{OwnedValue, Row};

use crate::Usage;

/// Runs the processor on a transcript with this key, and checks some columns of a table. Cells are
/// separated by spaces, and `-` is a null.
pub fn check<R: Row>(key: &str, lines: &[&str], columns: &str, expected: &[&str]) {
    let host = MemoryHost::new(lines.join("\n").into_bytes());
    host.run::<Usage>(&SessionInfo::new(key)).unwrap();
    let known = R::table().columns;
    let position = |column: &str| {
        let position = known.iter().position(|known| known.name == column);
        position.unwrap_or_else(|| panic!("no column {column}"))
    };
    let show = |row: &Vec<OwnedValue>| {
        let cells = columns
            .split(' ')
            .map(|column| match &row[position(column)] {
                OwnedValue::Text(text) | OwnedValue::Json(text) => text.clone(),
                OwnedValue::S64(number) | OwnedValue::Timestamp(number) => number.to_string(),
                OwnedValue::F64(number) => number.to_string(),
                OwnedValue::Bool(flag) => flag.to_string(),
                OwnedValue::Null => "-".to_owned(),
            });
        cells.collect::<Vec<_>>().join(" ")
    };
    let found: Vec<_> = host.rows(R::TABLE).iter().map(show).collect();
    assert_eq!(found, expected, "{columns}: {lines:?}");
}
