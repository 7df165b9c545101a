//! Determines what a migration would do. Read-only.

use duckdb::Connection;

use crate::catalog::Catalog;
use crate::error::MigrationError;
use crate::ladder::{CURRENT, LADDER, OLDEST, Step};
use crate::record::{self, DatabaseState};
use crate::rename::{self, RenamedObject};
use crate::shape;

/// The state of a database and its pending steps.
#[derive(Debug)]
pub struct Status {
    /// The state in which the database was found.
    pub found: DatabaseState,
    /// The steps to reach [`CURRENT`], in order.
    pub pending: Vec<&'static Step>,
    /// The tables and views that these steps would rename.
    pub renamed: Vec<RenamedObject>,
}

/// Examines a database without changing it.
///
/// # Errors
/// Every problem that would prevent [`crate::apply()`] from starting.
pub fn status(conn: &Connection) -> Result<Status, MigrationError> {
    let catalog = Catalog::read(conn)?;
    let found = record::read(conn, &catalog)?;
    if let DatabaseState::At(number) = found {
        shape::verify_at(&catalog, number)?;
    }
    let pending: Vec<&'static Step> = LADDER
        .iter()
        .filter(|step| !found.includes(step.number))
        .collect();
    let mut renamed = Vec::new();
    for step in &pending {
        renamed.extend(rename::plan(conn, &catalog, step.number)?);
    }
    Ok(Status {
        found,
        pending,
        renamed,
    })
}

impl Status {
    /// The number of the database, if it has one.
    #[must_use]
    pub fn version(&self) -> Option<u32> {
        self.found.number()
    }

    /// The pending steps up to a number, or all pending steps.
    ///
    /// # Errors
    /// [`MigrationError::NoSuchNumber`] and [`MigrationError::Downward`].
    pub fn plan(&self, to: Option<u32>) -> Result<Vec<&'static Step>, MigrationError> {
        let to = to.unwrap_or(CURRENT);
        if !(OLDEST..=CURRENT).contains(&to) {
            return Err(MigrationError::NoSuchNumber { to });
        }
        if let Some(found) = self.found.number().filter(|found| *found > to) {
            return Err(MigrationError::Downward { found, to });
        }
        Ok(self
            .pending
            .iter()
            .copied()
            .filter(|step| step.number <= to)
            .collect())
    }
}
