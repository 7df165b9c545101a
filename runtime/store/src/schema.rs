//! The table `schema_version`: which shape the database has.

use session_pipeline_migrations as migrations;

use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// The version of the database now; `None` where it tells none. Answers at once.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn schema_version(&self) -> Result<Option<u32>, StoreError> {
        self.reader()?
            .query_row("SELECT max(version) FROM main.schema_version", [], |row| {
                row.get(0)
            })
            .map_err(StoreError::database("to tell its version"))
    }

    /// The version that this program writes.
    pub fn expected_schema_version(&self) -> u32 {
        migrations::CURRENT
    }
}
