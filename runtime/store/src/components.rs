//! The table `components`: every component that ever ran here.

use std::collections::HashMap;

use duckdb::{OptionalExt, params};
use session_pipeline_host::clock::UtcMicros;

use crate::error::StoreError;
use crate::sql::timestamp;
use crate::store::Store;
use crate::transaction::in_transaction;

/// A row of `components`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentRecord {
    /// The name of the processor.
    pub processor_name: String,
    /// The version in the manifest.
    pub version: u32,
    /// The SHA-256 of the compiled code, if it is stored.
    pub compiled_sha256: Option<String>,
}

impl Store {
    /// Looks up a component by its digest.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn component(&self, digest: &str) -> Result<Option<ComponentRecord>, StoreError> {
        let db_error = StoreError::database("read a component");
        let connection = self.reader()?;
        connection
            .prepare("SELECT processor_name, version, compiled_sha256 FROM main.components WHERE digest = ?")
            .and_then(|mut statement| {
                statement
                    .query_row([digest], |row| {
                        Ok(ComponentRecord {
                            processor_name: row.get(0)?,
                            version: u32::try_from(row.get::<_, i64>(1)?).unwrap_or(u32::MAX),
                            compiled_sha256: row.get(2)?,
                        })
                    })
                    .optional()
            })
            .map_err(db_error)
    }

    /// The versions of a processor's components, by digest.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn component_versions(&self, processor: &str) -> Result<HashMap<String, u32>, StoreError> {
        let db_error = StoreError::database("read the versions of a processor");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare("SELECT digest, version FROM main.components WHERE processor_name = ?")
            .map_err(&db_error)?;
        let rows = statement
            .query_map([processor], |row| {
                Ok((
                    row.get(0)?,
                    u32::try_from(row.get::<_, i64>(1)?).unwrap_or(u32::MAX),
                ))
            })
            .map_err(&db_error)?;
        rows.collect::<Result<_, _>>().map_err(&db_error)
    }

    /// Records a component, or the new compiled code of a known component.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn record_component(
        &self,
        digest: String,
        component: ComponentRecord,
        now: UtcMicros,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                let db_error = StoreError::database("record a component");
                let ComponentRecord { processor_name, version, compiled_sha256 } = component;
                let updated = connection
                    .execute(
                        "UPDATE main.components SET compiled_sha256 = ? WHERE digest = ?",
                        params![compiled_sha256, digest],
                    )
                    .map_err(&db_error)?;
                if updated == 0 {
                    connection
                        .execute(
                            "INSERT INTO main.components (digest, processor_name, version, compiled_sha256, first_seen_at) \
                             VALUES (?, ?, ?, ?, ?)",
                            params![digest, processor_name, i64::from(version), compiled_sha256, timestamp(now)],
                        )
                        .map_err(&db_error)?;
                }
                Ok(())
            })
        })
    }
}
