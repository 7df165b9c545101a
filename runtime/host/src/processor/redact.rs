//! Rows without what looks like a secret, for processors whose manifest asks for it.
//!
//! Such rows repeat what one user wrote, and others can read them. The words themselves stay in the
//! user's transcript only.

use crate::manifest::{ColumnSpec, Kind, TableSpec};
use crate::redaction::KnownSecrets;
use crate::rows::{TableRows, TextValues};

/// Endings of columns with ids and names, which other rows refer to.
const REFERENCES: [&str; 5] = ["_id", "_ref", "_uuid", "_user", "_by"];

/// The columns of a table that can repeat what people wrote, with their positions.
///
/// Ids, references and the key of a shared table are not among them.
pub fn redacted_columns(table: &TableSpec) -> impl Iterator<Item = (usize, &ColumnSpec)> {
    let columns = table.columns.iter().enumerate();
    columns
        .filter(|(_, column)| matches!(column.kind, Kind::Text | Kind::Json))
        .filter(|(_, column)| column.name != "id")
        .filter(|(_, column)| !REFERENCES.iter().any(|end| column.name.ends_with(end)))
        .filter(|(_, column)| table.shared_key.as_ref() != Some(&column.name))
}

/// The rows of one session, redacted. A secret that one text announces is removed from all of them.
pub(super) fn redacted(tables: &[TableSpec], mut rows: Vec<TableRows>) -> Vec<TableRows> {
    let mut known = KnownSecrets::default();
    for (table, rows) in tables.iter().zip(&rows) {
        for (index, _) in redacted_columns(table) {
            let texts = rows.texts(index).into_iter().flat_map(TextValues::iter);
            texts.flatten().for_each(|text| known.learn(text));
        }
    }
    for (table, rows) in tables.iter().zip(&mut rows) {
        for (index, column) in redacted_columns(table) {
            let Some(texts) = rows.texts(index) else {
                continue;
            };
            let mut cleaned = TextValues::default();
            for text in texts.iter() {
                let text = text.map(|text| redacted_text(&known, column.kind, text));
                cleaned.push(text.as_deref());
            }
            rows.replace_texts(index, cleaned);
        }
    }
    rows
}

/// One text of a column of this kind, redacted.
pub fn redacted_text(known: &KnownSecrets, kind: Kind, text: &str) -> String {
    match kind {
        Kind::Json => known.clean_json(text),
        _ => known.clean(text),
    }
}
