//! Redacts rows that were stored under older redaction rules.

use duckdb::{Connection, params};
use session_pipeline_host::manifest::{ColumnSpec, Manifest, TableSpec};
use session_pipeline_host::processor::{redacted_columns, redacted_text};
use session_pipeline_host::redaction::{KnownSecrets, RULES_VERSION};

use crate::counters::raise_counter;
use crate::error::StoreError;
use crate::sql::{quoted, table_of};
use crate::store::Store;
use crate::transaction::in_transaction;

impl Store {
    /// Removes secrets from a processor's rows, once for each version of the rules. Returns the
    /// number of changed values.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub fn redact_rows(&self, manifest: &Manifest) -> Result<u64, StoreError> {
        let failed = StoreError::database("redact stored rows");
        // The counter stores the version of the rules that the stored rows were redacted with.
        let counter = format!("redaction:{}", manifest.name);
        let version: i64 = self
            .reader()?
            .query_row(
                "SELECT coalesce(max(value), 0) FROM main.counters WHERE name = ?",
                [&counter],
                |row| row.get(0),
            )
            .map_err(&failed)?;
        if version >= RULES_VERSION {
            return Ok(0);
        }
        let (schema, tables) = (manifest.name.clone(), manifest.tables.clone());
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                let mut known = KnownSecrets::default();
                for table in &tables {
                    for (_, column) in redacted_columns(table) {
                        let texts = texts_of(connection, &schema, table, column);
                        let texts = texts.map_err(&failed)?;
                        texts.iter().for_each(|text| known.learn(text));
                    }
                }
                let mut changed = 0;
                for table in &tables {
                    let redacted = redact_table(connection, &schema, table, &known);
                    changed += redacted.map_err(&failed)?;
                }
                raise_counter(connection, &counter, RULES_VERSION - version)?;
                Ok(changed)
            })
        })
    }
}

/// The distinct texts of a column.
fn texts_of(
    connection: &Connection,
    schema: &str,
    table: &TableSpec,
    column: &ColumnSpec,
) -> duckdb::Result<Vec<String>> {
    let (stored, name) = (table_of(schema, &table.name), quoted(&column.name));
    let sql = format!("SELECT DISTINCT {name} FROM {stored} WHERE {name} IS NOT NULL");
    let mut statement = connection.prepare(&sql)?;
    let texts = statement.query_map([], |row| row.get(0))?;
    texts.collect()
}

fn redact_table(
    connection: &Connection,
    schema: &str,
    table: &TableSpec,
    known: &KnownSecrets,
) -> duckdb::Result<u64> {
    let stored = table_of(schema, &table.name);
    let mut changed = 0;
    for (_, column) in redacted_columns(table) {
        let name = quoted(&column.name);
        let sql = format!("UPDATE {stored} SET {name} = ? WHERE {name} = ?");
        for text in texts_of(connection, schema, table, column)? {
            let clean = redacted_text(known, column.kind, &text);
            if clean != text {
                changed += connection.execute(&sql, params![clean, text])? as u64;
            }
        }
    }
    Ok(changed)
}
