//! The table `component_files`: the last usable component of each file in the processors folder. If
//! a file is replaced by a broken one, the previous component stays in use, even after a restart.

use std::collections::BTreeMap;

use duckdb::{OptionalExt, params};
use serde_json::json;
use session_pipeline_host::clock::UtcMicros;

use crate::audit::{Actor, AuditedAction, write_audit};
use crate::error::StoreError;
use crate::sql::timestamp;
use crate::store::Store;
use crate::transaction::in_transaction;

/// A component whose `describe` succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedComponent {
    /// The name in its manifest.
    pub name: String,
    /// The version in its manifest.
    pub version: u32,
    /// The SHA-256 of the component.
    pub digest: String,
}

/// The audited action for a change of a file. The service is the actor, because it cannot know who
/// changed the file.
fn audited(action: &'static str, now: UtcMicros) -> AuditedAction {
    let actor = Actor::system();
    AuditedAction { action, actor, now }
}

impl Store {
    /// The last usable component of each file, by file name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn component_files(&self) -> Result<BTreeMap<String, LoadedComponent>, StoreError> {
        let db_error = StoreError::database("read the component files");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(
                "SELECT file_name, digest, processor_name, version \
                 FROM main.component_files JOIN main.components USING (digest)",
            )
            .map_err(&db_error)?;
        let rows = statement
            .query_map([], |row| {
                let component = LoadedComponent {
                    digest: row.get(1)?,
                    name: row.get(2)?,
                    version: u32::try_from(row.get::<_, i64>(3)?).unwrap_or(u32::MAX),
                };
                Ok((row.get(0)?, component))
            })
            .map_err(&db_error)?;
        rows.collect::<Result<_, _>>().map_err(&db_error)
    }

    /// The digests of components that were replaced by other components in the files of their
    /// processors.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn replaced_components(&self) -> Result<Vec<String>, StoreError> {
        let db_error = StoreError::database("read the replaced components");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(
                "WITH current_files AS (SELECT * FROM main.component_files JOIN main.components USING (digest)) \
                 SELECT digest FROM main.components \
                 WHERE processor_name IN (SELECT processor_name FROM current_files) \
                 AND digest NOT IN (SELECT digest FROM current_files)",
            )
            .map_err(&db_error)?;
        let rows = statement
            .query_map([], |row| row.get(0))
            .map_err(&db_error)?;
        rows.collect::<Result<_, _>>().map_err(&db_error)
    }

    /// Records that a file contains this usable component.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn record_component_file(
        &self,
        file: String,
        digest: String,
        now: UtcMicros,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                let values = params![digest, timestamp(now), file];
                for sql in [
                    "UPDATE main.component_files SET digest = ?, taken_at = ? WHERE file_name = ?",
                    "INSERT INTO main.component_files (digest, taken_at, file_name) VALUES (?, ?, ?)",
                ] {
                    let changed = connection
                        .execute(sql, values)
                        .map_err(StoreError::database("record a component file"))?;
                    if changed > 0 {
                        break;
                    }
                }
                let known = connection
                    .query_row(
                        "SELECT processor_name, version FROM main.components WHERE digest = ?",
                        [&digest],
                        |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)),
                    )
                    .optional()
                    .map_err(StoreError::database("read a component"))?;
                let (processor, version) = known.unzip();
                let params = json!({ "digest": digest, "processor": processor, "version": version });
                let resource = format!("processor-file:{file}");
                write_audit(connection, &audited("component.take_over", now).entry(resource, &params))
            })
        })
    }

    /// Removes the record of a file that was deleted. The rows of its component remain.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn remove_component_file(&self, file: String, now: UtcMicros) -> Result<(), StoreError> {
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                let removed = connection
                    .execute(
                        "DELETE FROM main.component_files WHERE file_name = ?",
                        [&file],
                    )
                    .map_err(StoreError::database("remove a component file"))?;
                if removed == 0 {
                    return Ok(());
                }
                let resource = format!("processor-file:{file}");
                write_audit(
                    connection,
                    &audited("component.remove", now).entry(resource, &json!({})),
                )
            })
        })
    }
}
