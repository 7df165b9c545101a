//! What `schema_version` says of a database, and whether that can be believed.

use std::fmt;

use duckdb::Connection;

use crate::catalog::{self, Catalog};
use crate::error::{MigrationError, listed};
use crate::ladder::{CURRENT, LADDER, OLDEST};

/// The number that the seed of the legacy system gave to the same step, so a database of its making may bear it.
const NEWEST_LEGACY: u32 = 29;

/// How many names an error lists; more help nobody.
const LISTED_MAX: usize = 5;

/// Where on the ladder a database was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is empty.
    Fresh,
    /// It is of the legacy system, which recorded numbers without name and checksum.
    Legacy(u32),
    /// It is ours, and every number up to this one is recorded.
    At(u32),
}

impl Found {
    /// The number of the database, if it has one.
    #[must_use]
    pub fn number(self) -> Option<u32> {
        match self {
            Self::Fresh => None,
            Self::Legacy(number) | Self::At(number) => Some(number),
        }
    }

    /// Whether a step of this number is already done.
    pub(crate) fn includes(self, number: u32) -> bool {
        // A legacy database starts from the lowest rung: every step may run again, and leaves its name and checksum.
        matches!(self, Self::At(found) if number <= found)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh => write!(f, "a fresh database"),
            Self::Legacy(number) => write!(f, "schema {number} of the legacy system"),
            Self::At(number) => write!(f, "schema {number}"),
        }
    }
}

struct Row {
    version: i64,
    name: Option<String>,
    checksum: Option<String>,
}

impl Row {
    fn is_unnamed(&self) -> bool {
        self.name.is_none() && self.checksum.is_none()
    }
}

/// Reads the record and refuses whatever we must not build on.
pub(crate) fn read(conn: &Connection, catalog: &Catalog) -> Result<Found, MigrationError> {
    let rows = rows(conn, catalog)?;
    let Some(newest) = rows.iter().map(|row| row.version).max() else {
        return fresh(conn, catalog);
    };
    if newest > i64::from(CURRENT) {
        return Err(MigrationError::Newer { found: newest });
    }
    let Some(found) = u32::try_from(newest).ok().filter(|found| *found >= OLDEST) else {
        return Err(MigrationError::TooOld { found: newest });
    };
    if found <= NEWEST_LEGACY && rows.iter().all(Row::is_unnamed) {
        return Ok(Found::Legacy(found));
    }
    // A whole record in another hand is said first: then its gaps are no gaps.
    for step in LADDER.iter().filter(|step| step.number <= found) {
        let of_step = |row: &&Row| row.version == i64::from(step.number);
        for row in rows.iter().filter(of_step) {
            if row.name.as_deref() != Some(step.name) {
                return Err(MigrationError::Foreign {
                    number: step.number,
                    recorded: row
                        .name
                        .as_ref()
                        .map_or_else(|| "nothing".to_owned(), |name| format!("`{name}`")),
                    expected: step.name,
                });
            }
            if row.checksum != Some(step.checksum()) {
                return Err(MigrationError::Edited {
                    number: step.number,
                    name: step.name,
                });
            }
        }
    }
    for step in LADDER.iter().filter(|step| step.number <= found) {
        if !rows.iter().any(|row| row.version == i64::from(step.number)) {
            return Err(MigrationError::Gap {
                missing: step.number,
                found,
            });
        }
    }
    Ok(Found::At(found))
}

/// No version means a fresh database only if there is nothing else in it either.
fn fresh(conn: &Connection, catalog: &Catalog) -> Result<Found, MigrationError> {
    let mut others: Vec<String> = catalog
        .tables
        .keys()
        .filter(|table| *table != "schema_version")
        .chain(&catalog.views)
        .cloned()
        .collect();
    others.extend(catalog::elsewhere(conn)?);
    if others.is_empty() {
        return Ok(Found::Fresh);
    }
    let hidden = others.len().saturating_sub(LISTED_MAX);
    let mut tables = listed(others.iter().take(LISTED_MAX));
    if hidden > 0 {
        tables.push_str(&format!(" and {hidden} more"));
    }
    Err(MigrationError::Unversioned { tables })
}

fn rows(conn: &Connection, catalog: &Catalog) -> Result<Vec<Row>, MigrationError> {
    let Some(table) = catalog.tables.get("schema_version") else {
        return Ok(Vec::new());
    };
    // The legacy system kept only the first two.
    let or_null = |column| match table.column(column) {
        Some(_) => format!("CAST({column} AS VARCHAR)"),
        None => "NULL".to_owned(),
    };
    let sql = format!(
        "SELECT CAST(version AS BIGINT), {}, {} FROM schema_version WHERE version IS NOT NULL ORDER BY 1",
        or_null("name"),
        or_null("checksum")
    );
    catalog::rows(conn, "`schema_version`", &sql, [], |row| {
        Ok(Row {
            version: row.get(0)?,
            name: row.get(1)?,
            checksum: row.get(2)?,
        })
    })
}
