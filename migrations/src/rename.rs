//! Tables of other systems with a name that our schema needs. They are renamed, never dropped.
//!
//! A legacy database has tables `users` and `audit_log`, and a user can have created a table
//! `runs`. Each is renamed in the transaction of the step that creates our table, so that the rows
//! always exist under one of the two names.

use std::fmt;

use duckdb::Connection;

use crate::catalog::{self, Catalog};
use crate::error::{MigrationError, listed};
use crate::shape::{self, TableShape};

/// A table or view of another system that is renamed.
///
/// Its rows, columns and constraints stay unchanged. Views over it refer to it by name, as all
/// DuckDB views do. They read our table afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenamedObject {
    /// The number of the step that needs the name.
    pub number: u32,
    /// Whether it is a table or a view.
    pub kind: ObjectKind,
    /// The old name, which our table uses now.
    pub from: String,
    /// The new name.
    pub to: String,
    /// The secondary indexes, which are dropped, because DuckDB cannot rename a table that has one.
    pub indices: Vec<String>,
}

/// The type of a renamed object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// A table with different columns.
    Table,
    /// A view.
    View,
}

/// The tables and views to rename before a step can create its tables.
pub(crate) fn plan(
    conn: &Connection,
    catalog: &Catalog,
    number: u32,
) -> Result<Vec<RenamedObject>, MigrationError> {
    let mut plan = Vec::new();
    for from in shape::introduced_by(number) {
        let kind = if catalog.views.contains(&from) {
            ObjectKind::View
        } else if catalog
            .tables
            .get(&from)
            .is_some_and(|found| !is_ours(found, number))
        {
            ObjectKind::Table
        } else {
            continue;
        };
        let holders = catalog::referencing_tables(conn, &from)?;
        if !holders.is_empty() {
            return Err(MigrationError::ReferencedTable {
                table: from,
                holders: listed(holders),
            });
        }
        plan.push(RenamedObject {
            number,
            kind,
            to: free_name(&from, catalog),
            indices: catalog::indexes(conn, &from)?,
            from,
        });
    }
    Ok(plan)
}

impl RenamedObject {
    /// The statements that rename it, in order.
    pub(crate) fn statements(&self) -> Vec<String> {
        let rename = format!(
            "ALTER {} main.{} RENAME TO {}",
            self.kind.sql_keyword(),
            catalog::quoted(&self.from),
            catalog::quoted(&self.to)
        );
        self.indices
            .iter()
            .map(|index| format!("DROP INDEX main.{}", catalog::quoted(index)))
            .chain([rename])
            .collect()
    }
}

fn is_ours(found: &TableShape, number: u32) -> bool {
    shape::shapes_from(&found.name, number)
        .iter()
        .any(|shape| shape.matches(found))
}

fn free_name(name: &str, catalog: &Catalog) -> String {
    let mut free = format!("legacy_{name}");
    let mut count = 2_u32;
    while catalog.has(&free) {
        free = format!("legacy_{name}_{count}");
        count += 1;
    }
    free
}

impl ObjectKind {
    fn sql_keyword(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::View => "VIEW",
        }
    }
}

impl fmt::Display for RenamedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} `{}` was renamed to `{}`",
            self.kind.sql_keyword().to_lowercase(),
            self.from,
            self.to
        )?;
        if !self.indices.is_empty() {
            write!(f, ", without its indexes {}", listed(&self.indices))?;
        }
        Ok(())
    }
}
