//! Knowledge as it is stored and shown to others: without what looks like a secret.
//!
//! Items and quotes repeat what one user said, and every analyst sees them. The words themselves
//! stay in the user's transcript only. Secrets are removed when a session's rows are handed over,
//! when stored rows are older than the rules, and once more when rows are read.

use super::{KnownItem, ShownItem};
use crate::manifest::{Kind, TableSpec};
use crate::redaction::KnownSecrets;
use crate::rows::{TableRows, TextValues};

/// Endings of columns that hold ids and names, which others refer to.
const REFERENCES: [&str; 5] = ["_id", "_ref", "_uuid", "_user", "_by"];

/// Whether a column of `verification` holds words that people may have said.
pub(crate) fn is_shown(column: &str) -> bool {
    column != "id" && !REFERENCES.iter().any(|ending| column.ends_with(ending))
}

/// A session's rows without secrets. What one text announces is removed from all of them.
pub(crate) fn shown_rows(tables: &[TableSpec], mut rows: Vec<TableRows>) -> Vec<TableRows> {
    let mut known = KnownSecrets::default();
    for (table, rows) in tables.iter().zip(&rows) {
        for (index, _) in shown_columns(table) {
            let texts = rows.texts(index).into_iter().flat_map(TextValues::iter);
            texts.flatten().for_each(|text| known.learn(text));
        }
    }
    for (table, rows) in tables.iter().zip(&mut rows) {
        for (index, kind) in shown_columns(table) {
            let Some(texts) = rows.texts(index) else {
                continue;
            };
            let mut cleaned = TextValues::default();
            for text in texts.iter() {
                let text = text.map(|text| clean(&known, kind, text));
                cleaned.push(text.as_deref());
            }
            rows.replace_texts(index, cleaned);
        }
    }
    rows
}

fn shown_columns(table: &TableSpec) -> impl Iterator<Item = (usize, Kind)> {
    let columns = table.columns.iter().enumerate();
    columns
        .filter(|(_, column)| matches!(column.kind, Kind::Text | Kind::Json))
        .filter(|(_, column)| {
            is_shown(&column.name) && table.shared_key.as_ref() != Some(&column.name)
        })
        .map(|(index, column)| (index, column.kind))
}

fn clean(known: &KnownSecrets, kind: Kind, text: &str) -> String {
    match kind {
        Kind::Json => known.clean_json(text),
        _ => known.clean(text),
    }
}

/// An item by itself.
pub(super) fn item(item: KnownItem) -> KnownItem {
    let known = learned(&item, &[]);
    item_by(&known, item)
}

/// An item with all that belongs to it.
pub(super) fn all(shown: ShownItem) -> ShownItem {
    let quotes: Vec<&str> = shown
        .evidence
        .iter()
        .map(|evidence| evidence.quote.as_str())
        .collect();
    let known = learned(&shown.item, &quotes);
    let mut shown = ShownItem {
        item: item_by(&known, shown.item),
        ..shown
    };
    for evidence in &mut shown.evidence {
        evidence.quote = known.clean(&evidence.quote);
    }
    for tie in &mut shown.ties {
        tie.title = known.clean(&tie.title);
        tie.explanation = tie.explanation.as_deref().map(|text| known.clean(text));
    }
    shown
}

fn learned(item: &KnownItem, others: &[&str]) -> KnownSecrets {
    let mut known = KnownSecrets::default();
    for text in [item.title.as_str(), item.content.as_str()]
        .iter()
        .chain(others)
    {
        known.learn(text);
    }
    known
}

fn item_by(known: &KnownSecrets, item: KnownItem) -> KnownItem {
    KnownItem {
        title: known.clean(&item.title),
        content: known.clean(&item.content),
        entities: item.entities.as_deref().map(|text| known.clean_json(text)),
        ..item
    }
}
