//! The table `component_files`: which component each file of the folder of processors last held
//! that could be used, so that a broken replacement is survived, also by a restart.

use std::collections::BTreeMap;

use duckdb::{OptionalExt, params};
use serde_json::json;
use session_pipeline_host::clock::UtcMicros;

use crate::audit::{Actor, Audited, write_audit};
use crate::error::StoreError;
use crate::sql::timestamp;
use crate::store::Store;
use crate::transaction::in_transaction;

/// A component that described itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The name in its manifest.
    pub name: String,
    /// The version in its manifest.
    pub version: u32,
    /// Its SHA-256.
    pub digest: String,
}

/// Files come and go by themselves, as far as the program can tell.
fn audited(action: &'static str, now: UtcMicros) -> Audited {
    let actor = Actor::system();
    Audited { action, actor, now }
}

impl Store {
    /// The last good component of each file, by the file's name.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn component_files(&self) -> Result<BTreeMap<String, Component>, StoreError> {
        let refused = StoreError::database("to read which files hold which components");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(
                "SELECT file_name, digest, processor_name, version \
                 FROM main.component_files JOIN main.components USING (digest)",
            )
            .map_err(&refused)?;
        let rows = statement
            .query_map([], |row| {
                let component = Component {
                    digest: row.get(1)?,
                    name: row.get(2)?,
                    version: u32::try_from(row.get::<_, i64>(3)?).unwrap_or(u32::MAX),
                };
                Ok((row.get(0)?, component))
            })
            .map_err(&refused)?;
        rows.collect::<Result<_, _>>().map_err(&refused)
    }

    /// The digests of those components that others took over from, in the files of their processors.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn superseded_components(&self) -> Result<Vec<String>, StoreError> {
        let refused = StoreError::database("to read which components were replaced");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(
                "WITH held AS (SELECT * FROM main.component_files JOIN main.components USING (digest)) \
                 SELECT digest FROM main.components \
                 WHERE processor_name IN (SELECT processor_name FROM held) \
                 AND digest NOT IN (SELECT digest FROM held)",
            )
            .map_err(&refused)?;
        let rows = statement
            .query_map([], |row| row.get(0))
            .map_err(&refused)?;
        rows.collect::<Result<_, _>>().map_err(&refused)
    }

    /// Records that a file holds this component, which is good.
    ///
    /// # Errors
    /// When the database refuses.
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
                        .map_err(StoreError::database("which file holds a component"))?;
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
                    .map_err(StoreError::database("to read what it knows of a component"))?;
                let (processor, version) = known.unzip();
                let params = json!({ "digest": digest, "processor": processor, "version": version });
                let resource = format!("processor-file:{file}");
                write_audit(connection, &audited("component.take_over", now).entry(resource, &params))
            })
        })
    }

    /// Forgets a file that was taken away. What its component wrote stays.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn forget_component_file(&self, file: String, now: UtcMicros) -> Result<(), StoreError> {
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                let removed = connection
                    .execute(
                        "DELETE FROM main.component_files WHERE file_name = ?",
                        [&file],
                    )
                    .map_err(StoreError::database("to forget a file of a component"))?;
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
