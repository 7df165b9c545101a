//! Tables of others that bear one of our names: they are renamed, never dropped.
//!
//! A legacy database has its own `users` and `audit_log`, and somebody may have made a `runs`.
//! Each makes room in the transaction of the step that brings ours, so that a table is never without its rows.

use std::fmt;

use duckdb::Connection;

use crate::catalog::{self, Catalog};
use crate::error::{MigrationError, listed};
use crate::shape::{self, TableShape};

/// A table or view of somebody else that makes room for one of our tables.
///
/// Its rows, columns and constraints stay.
/// A view over it goes by name, as all of DuckDB's views do, and reads our table from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    /// The number of the step that needs the name.
    pub number: u32,
    /// What it is.
    pub kind: ObjectKind,
    /// Its old name, which is now one of ours.
    pub from: String,
    /// Its new name.
    pub to: String,
    /// Its secondary indices, which are dropped: DuckDB renames no table that has one.
    pub indices: Vec<String>,
}

/// What can be in the way of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// A table of another shape.
    Table,
    /// A view.
    View,
}

/// Everything that has to make room before a step can make its tables.
pub(crate) fn plan(
    conn: &Connection,
    catalog: &Catalog,
    number: u32,
) -> Result<Vec<Renamed>, MigrationError> {
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
        let holders = catalog::holders(conn, &from)?;
        if !holders.is_empty() {
            return Err(MigrationError::Held {
                table: from,
                holders: listed(holders),
            });
        }
        plan.push(Renamed {
            number,
            kind,
            to: free_name(&from, catalog),
            indices: catalog::indices(conn, &from)?,
            from,
        });
    }
    Ok(plan)
}

impl Renamed {
    /// The statements that do it, in order.
    pub(crate) fn statements(&self) -> Vec<String> {
        let rename = format!(
            "ALTER {} main.{} RENAME TO {}",
            self.kind.word(),
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
    fn word(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::View => "VIEW",
        }
    }
}

impl fmt::Display for Renamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} `{}` is kept as `{}`",
            self.kind.word().to_lowercase(),
            self.from,
            self.to
        )?;
        if !self.indices.is_empty() {
            write!(f, ", without its indices {}", listed(&self.indices))?;
        }
        Ok(())
    }
}
