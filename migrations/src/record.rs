//! Reads `schema_version` and checks that it is valid.

use std::fmt;

use duckdb::Connection;

use crate::catalog::{self, Catalog};
use crate::error::{MigrationError, listed};
use crate::ladder::{CURRENT, LADDER, OLDEST};

/// The legacy system used this number for the same step, so its databases can have it.
const NEWEST_LEGACY: u32 = 29;

/// Maximum number of names in an error.
const LISTED_MAX: usize = 5;

/// The state in which a database was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseState {
    /// The database is empty.
    Fresh,
    /// The legacy system wrote the database. It recorded numbers without names and checksums.
    Legacy(u32),
    /// This program wrote the database. Every number up to this one is recorded.
    At(u32),
}

impl DatabaseState {
    /// The number of the database, if it has one.
    #[must_use]
    pub fn number(self) -> Option<u32> {
        match self {
            Self::Fresh => None,
            Self::Legacy(number) | Self::At(number) => Some(number),
        }
    }

    /// Whether the step with this number was already applied.
    pub(crate) fn includes(self, number: u32) -> bool {
        // A legacy database starts from the first step. Every step can run again, and records its
        // name and checksum.
        matches!(self, Self::At(found) if number <= found)
    }
}

impl fmt::Display for DatabaseState {
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

/// Reads the record. Fails if the database must not be migrated.
pub(crate) fn read(conn: &Connection, catalog: &Catalog) -> Result<DatabaseState, MigrationError> {
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
        return Ok(DatabaseState::Legacy(found));
    }
    // Check for a record of another system first. Its gaps are not gaps.
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
    Ok(DatabaseState::At(found))
}

/// A database without a version is fresh only if it has no tables or views.
fn fresh(conn: &Connection, catalog: &Catalog) -> Result<DatabaseState, MigrationError> {
    let mut others: Vec<String> = catalog
        .tables
        .keys()
        .filter(|table| *table != "schema_version")
        .chain(&catalog.views)
        .cloned()
        .collect();
    others.extend(catalog::outside_main(conn)?);
    if others.is_empty() {
        return Ok(DatabaseState::Fresh);
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
    // The legacy table lacks `name` and `checksum`.
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
