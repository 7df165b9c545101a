//! The table `schema_version`: the version of the database schema.

use session_pipeline_migrations as migrations;

use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// The schema version of the database. `None` if the table is empty.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn schema_version(&self) -> Result<Option<u32>, StoreError> {
        self.reader()?
            .query_row("SELECT max(version) FROM main.schema_version", [], |row| {
                row.get(0)
            })
            .map_err(StoreError::database("read the schema version"))
    }

    /// The schema version that this program uses.
    pub fn expected_schema_version(&self) -> u32 {
        migrations::CURRENT
    }
}
