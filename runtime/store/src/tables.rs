//! The tables of processors. They are created at registration and extended with nullable columns.
//! They are never dropped.

use duckdb::Connection;
use session_pipeline_host::manifest::{Manifest, TableSpec};

use crate::error::StoreError;
use crate::sql::{quoted, table_of};
use crate::store::Store;
use crate::transaction::in_transaction;

/// The columns that the host adds to session-owned tables. They have no key and no index, because
/// an index would prevent DuckDB from reusing the space of deleted rows.
const SESSION_COLUMNS: [(&str, &str); 3] = [
    ("session_seq", "BIGINT"),
    ("session_file", "VARCHAR"),
    ("recorded_at", "TIMESTAMP"),
];

/// The columns that the host adds to shared tables. They have no defaults: DuckDB must replay a
/// computed default exactly from the log, and times come from our clock.
const SHARED_COLUMNS: [(&str, &str); 2] =
    [("created_at", "TIMESTAMP"), ("updated_at", "TIMESTAMP")];

impl Store {
    /// Creates the tables of a manifest, or checks that existing tables match it. Writes nothing if
    /// all tables match.
    ///
    /// # Errors
    /// The columns of an existing table are not a prefix of the columns in the manifest.
    pub fn register_tables(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let reader = self.reader()?;
        let mut statements = Vec::new();
        for table in &manifest.tables {
            statements.extend(changes(&reader, &manifest.name, table)?);
        }
        if statements.is_empty() {
            return Ok(());
        }
        statements.insert(
            0,
            format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(&manifest.name)),
        );
        self.change_tables(statements)
    }

    /// Changes definitions in one transaction, followed by a checkpoint unless a reader uses an
    /// older state. DuckDB's replay of a log with definitions is the least reliable.
    pub fn change_tables(&self, statements: Vec<String>) -> Result<(), StoreError> {
        self.write(move |connection| {
            let db_error = StoreError::database("create or change a table");
            in_transaction(connection, |connection| {
                statements
                    .iter()
                    .try_for_each(|sql| connection.execute_batch(sql).map_err(&db_error))
            })?;
            connection.checkpoint()
        })
    }
}

/// The statements that change a table to match the manifest.
fn changes(
    connection: &Connection,
    processor: &str,
    table: &TableSpec,
) -> Result<Vec<String>, StoreError> {
    let host: &[(&str, &str)] = match table.shared_key {
        None => &SESSION_COLUMNS,
        Some(_) => &SHARED_COLUMNS,
    };
    let wanted: Vec<(String, &str, &str)> = host
        .iter()
        .map(|(name, sql_type)| ((*name).to_owned(), *sql_type, " NOT NULL"))
        .chain(table.columns.iter().map(|column| {
            let is_key = table.shared_key.as_ref() == Some(&column.name);
            // The only index. It finds and replaces a row by its key.
            let constraint = if is_key { " PRIMARY KEY" } else { "" };
            (column.name.clone(), column.kind.sql_type(), constraint)
        }))
        .collect();
    let found = columns(connection, processor, &table.name)?;
    let name = table_of(processor, &table.name);
    if found.is_empty() {
        let columns: Vec<String> = wanted
            .iter()
            .map(|(column, sql_type, constraint)| {
                format!("{} {sql_type}{constraint}", quoted(column))
            })
            .collect();
        return Ok(vec![format!(
            "CREATE TABLE {name} ({})",
            columns.join(", ")
        )]);
    }
    for (index, (found_name, found_type)) in found.iter().enumerate() {
        let difference = match wanted.get(index) {
            Some((name, sql_type, _)) if name == found_name && sql_type == found_type => continue,
            Some((name, sql_type, _)) => format!(
                "column {} is `{found_name} {found_type}` and should be `{name} {sql_type}`",
                index + 1
            ),
            None => format!("the column `{found_name}` is no longer in the manifest"),
        };
        return Err(shape_error(processor, table, difference));
    }
    let key = key_of(connection, processor, &table.name)?;
    if key != table.shared_key {
        let named = |key: &Option<String>| match key {
            Some(key) => format!("the key `{key}`"),
            None => "no key".to_owned(),
        };
        let (found, wanted) = (named(&key), named(&table.shared_key));
        let difference = format!("the table has {found} and should have {wanted}");
        return Err(shape_error(processor, table, difference));
    }
    let added = wanted.get(found.len()..).unwrap_or_default().iter();
    Ok(added
        .map(|(column, sql_type, _)| {
            format!(
                "ALTER TABLE {name} ADD COLUMN {} {sql_type}",
                quoted(column)
            )
        })
        .collect())
}

fn shape_error(processor: &str, table: &TableSpec, difference: String) -> StoreError {
    StoreError::TableShape {
        table: format!("{processor}.{}", table.name),
        difference,
    }
}

/// The primary key column of a table.
fn key_of(
    connection: &Connection,
    schema: &str,
    table: &str,
) -> Result<Option<String>, StoreError> {
    let db_error = StoreError::database("read the key of a table");
    let mut statement = connection
        .prepare(
            "SELECT constraint_column_names[1] FROM duckdb_constraints() \
             WHERE database_name = current_database() AND schema_name = ? AND table_name = ? \
             AND constraint_type = 'PRIMARY KEY'",
        )
        .map_err(&db_error)?;
    let mut rows = statement
        .query_map([schema, table], |row| row.get(0))
        .map_err(&db_error)?;
    rows.next().transpose().map_err(&db_error)
}

fn columns(
    connection: &Connection,
    schema: &str,
    table: &str,
) -> Result<Vec<(String, String)>, StoreError> {
    let db_error = StoreError::database("read the columns of a table");
    let mut statement = connection
        .prepare(
            "SELECT column_name, data_type FROM duckdb_columns() \
             WHERE database_name = current_database() AND schema_name = ? AND table_name = ? ORDER BY column_index",
        )
        .map_err(&db_error)?;
    let rows = statement
        .query_map([schema, table], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(&db_error)?;
    rows.collect::<Result<_, _>>().map_err(&db_error)
}

// This test is here because an external test cannot control a concurrent reader.
#[cfg(test)]
mod tests {
    use crate::open::StoreOptions;
    use crate::store::Store;
    use session_pipeline_host::clock::UtcMicros;

    #[test]
    fn a_reader_of_an_older_state_stops_neither_a_definition_nor_a_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions::new(dir.path()), UtcMicros(0)).unwrap();
        let reader = store.reader().unwrap();
        reader
            .execute_batch("BEGIN TRANSACTION; SELECT count(*) FROM main.counters")
            .unwrap();
        let write = |sql: &'static str| {
            store.write(move |connection| {
                connection.execute_batch(sql).unwrap();
                Ok(())
            })
        };
        write("INSERT INTO main.counters VALUES ('old', 1)").unwrap();
        write("UPDATE main.counters SET value = 2").unwrap();
        store
            .change_tables(vec!["CREATE TABLE main.defined (a BIGINT)".to_owned()])
            .unwrap();
        store.checkpoint().unwrap();
        drop(reader);
        store.checkpoint().unwrap();
    }
}
