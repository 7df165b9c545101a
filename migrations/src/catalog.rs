//! The tables and views of the schema `main`, from DuckDB's catalog.
//!
//! The catalog is read as a whole, because a query about one table is as expensive as a query about
//! all. DuckDB names are case-insensitive, so names are stored and compared in lower case.

use std::collections::{BTreeMap, BTreeSet};

use duckdb::{Connection, Params, Row};

use crate::error::MigrationError;
use crate::shape::{Column, TableShape};

/// The tables and views of `main` at one point in time.
pub(crate) struct Catalog {
    pub tables: BTreeMap<String, TableShape>,
    pub views: BTreeSet<String>,
}

impl Catalog {
    pub(crate) fn read(conn: &Connection) -> Result<Self, MigrationError> {
        let mut tables: BTreeMap<String, TableShape> = texts(
            conn,
            "the list of tables",
            "SELECT lower(table_name) FROM duckdb_tables()
             WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal",
            [],
        )?
        .into_iter()
        .map(|name| (name.clone(), TableShape::empty(name)))
        .collect();

        for (table, column) in columns(conn)? {
            // The list includes the columns of views.
            if let Some(shape) = tables.get_mut(&table) {
                shape.columns.push(column);
            }
        }
        for (table, is_key, text) in constraints(conn)? {
            if let Some(shape) = tables.get_mut(&table) {
                if is_key {
                    shape.key.push(text.to_lowercase());
                } else {
                    shape.constraints.push(text);
                }
            }
        }

        let views = texts(
            conn,
            "the list of views",
            "SELECT lower(view_name) FROM duckdb_views()
             WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal",
            [],
        )?;
        Ok(Self {
            tables,
            views: views.into_iter().collect(),
        })
    }

    /// Whether a table or view with this name exists.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tables.contains_key(name) || self.views.contains(name)
    }
}

fn columns(conn: &Connection) -> Result<Vec<(String, Column)>, MigrationError> {
    rows(
        conn,
        "the list of columns",
        "SELECT lower(table_name), lower(column_name),
                data_type || CASE WHEN is_nullable THEN '' ELSE ' NOT NULL' END, column_default
         FROM duckdb_columns()
         WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal
         ORDER BY 1, column_index",
        [],
        |row| {
            let column = Column {
                name: row.get(1)?,
                kind: row.get(2)?,
                default: row.get(3)?,
            };
            Ok((row.get(0)?, column))
        },
    )
}

/// One row per column of a primary key, in order, and one row with the text of each other
/// constraint.
fn constraints(conn: &Connection) -> Result<Vec<(String, bool, String)>, MigrationError> {
    rows(
        conn,
        "the list of constraints",
        "SELECT lower(table_name), constraint_type = 'PRIMARY KEY',
                unnest(CASE WHEN constraint_type = 'PRIMARY KEY' THEN constraint_column_names ELSE [constraint_text] END)
         FROM duckdb_constraints()
         WHERE database_name = current_database() AND schema_name = 'main' AND constraint_type <> 'NOT NULL'",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )
}

/// The qualified names of all tables and views outside of `main`.
pub(crate) fn outside_main(conn: &Connection) -> Result<Vec<String>, MigrationError> {
    texts(
        conn,
        "the list of other schemas",
        "SELECT schema_name || '.' || table_name FROM duckdb_tables()
         WHERE database_name = current_database() AND schema_name <> 'main' AND NOT internal
         UNION ALL
         SELECT schema_name || '.' || view_name FROM duckdb_views()
         WHERE database_name = current_database() AND schema_name <> 'main' AND NOT internal
         ORDER BY 1",
        [],
    )
}

/// The names of the secondary indexes of a table in `main`, in their original case.
pub(crate) fn indexes(conn: &Connection, table: &str) -> Result<Vec<String>, MigrationError> {
    texts(
        conn,
        "the list of indexes",
        "SELECT index_name FROM duckdb_indexes()
         WHERE database_name = current_database() AND schema_name = 'main' AND lower(table_name) = ?
         ORDER BY 1",
        [table],
    )
}

/// The names of tables with a foreign key that references this table.
pub(crate) fn referencing_tables(
    conn: &Connection,
    table: &str,
) -> Result<Vec<String>, MigrationError> {
    texts(
        conn,
        "the list of foreign keys",
        "SELECT DISTINCT lower(table_name) FROM duckdb_constraints()
         WHERE database_name = current_database()
           AND constraint_type = 'FOREIGN KEY' AND lower(referenced_table) = ?
         ORDER BY 1",
        [table],
    )
}

/// Quotes a name for SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn texts(
    conn: &Connection,
    what: &'static str,
    sql: &str,
    params: impl Params,
) -> Result<Vec<String>, MigrationError> {
    rows(conn, what, sql, params, |row| row.get(0))
}

/// Runs a query and collects its rows. Errors name what was read: `what`.
pub(crate) fn rows<Item>(
    conn: &Connection,
    what: &'static str,
    sql: &str,
    params: impl Params,
    item: impl FnMut(&Row<'_>) -> duckdb::Result<Item>,
) -> Result<Vec<Item>, MigrationError> {
    let read = || -> duckdb::Result<Vec<Item>> {
        let mut statement = conn.prepare(sql)?;
        statement.query_map(params, item)?.collect()
    };
    read().map_err(|source| MigrationError::Read {
        what,
        source: Box::new(source),
    })
}
