//! Removes secrets from rows, for processors whose manifest requests it.
//!
//! Such rows repeat text that one user wrote, and other users can read them. The secrets remain
//! only in the user's transcript.

use crate::manifest::{ColumnKind, ColumnSpec, TableSpec};
use crate::redaction::KnownSecrets;
use crate::rows::{TableRows, TextValues};

/// Suffixes of columns with ids and names that other rows refer to.
const REFERENCES: [&str; 5] = ["_id", "_ref", "_uuid", "_user", "_by"];

/// The columns of a table that can repeat text written by people, with their indexes.
///
/// Excludes ids, references and the key of a shared table.
pub fn redacted_columns(table: &TableSpec) -> impl Iterator<Item = (usize, &ColumnSpec)> {
    let columns = table.columns.iter().enumerate();
    columns
        .filter(|(_, column)| matches!(column.kind, ColumnKind::Text | ColumnKind::Json))
        .filter(|(_, column)| column.name != "id")
        .filter(|(_, column)| !REFERENCES.iter().any(|end| column.name.ends_with(end)))
        .filter(|(_, column)| table.shared_key.as_ref() != Some(&column.name))
}

/// Redacts the rows of one session. A secret that one text labels as such is removed from all
/// texts.
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

/// Redacts one text of a column of this kind.
pub fn redacted_text(known: &KnownSecrets, kind: ColumnKind, text: &str) -> String {
    match kind {
        ColumnKind::Json => known.clean_json(text),
        _ => known.clean(text),
    }
}
