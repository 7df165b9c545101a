//! What health asks of the database, each in one statement.

use super::{Store, StoreError};
use crate::clock::UtcMicros;

/// The failures of one processor's component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessorFailures {
    /// The processor.
    pub processor: String,
    /// Sessions whose last attempt failed.
    pub failing: u64,
    /// Those of them that are not tried any more.
    pub quarantined: u64,
    /// Whether one component failed on that many of them and never succeeded on any session.
    pub failing_everywhere: Option<u64>,
}

impl Store {
    /// Whether the database answers at all.
    ///
    /// # Errors
    /// When it does not.
    pub fn ping(&self) -> Result<(), StoreError> {
        let connection = self.reader()?;
        connection
            .query_row("SELECT 1", [], |_| Ok(()))
            .map_err(StoreError::database("a question"))
    }

    /// How many users there are.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn count_users(&self) -> Result<u64, StoreError> {
        let connection = self.reader()?;
        connection
            .query_row("SELECT count(*) FROM main.users", [], |row| row.get(0))
            .map_err(StoreError::database("to count its users"))
    }

    /// When a processor last read a session that it then processed.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn last_processed_at(&self, processor: &str) -> Result<Option<UtcMicros>, StoreError> {
        let connection = self.reader()?;
        connection
            .query_row(
                "SELECT epoch_us(max(processed_at)) FROM main.session_processor_state WHERE processor_name = ?",
                [processor],
                |row| row.get::<_, Option<i64>>(0),
            )
            .map(|micros| micros.map(UtcMicros))
            .map_err(StoreError::database("to tell when it last processed"))
    }

    /// The processors that ever ran, by name.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn processors_that_ran(&self) -> Result<Vec<String>, StoreError> {
        let connection = self.reader()?;
        connection
            .prepare("SELECT DISTINCT processor_name FROM main.runs ORDER BY processor_name")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .map_err(StoreError::database("to tell what ran"))
    }

    /// The processors on whose sessions the last attempt failed, in the order of their names.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn failures_by_processor(&self) -> Result<Vec<ProcessorFailures>, StoreError> {
        let connection = self.reader()?;
        connection
            .prepare(
                "WITH components AS (
                    SELECT processor_name, component_digest, count(*) AS failing, count(quarantined_at) AS quarantined
                    FROM main.session_failures GROUP BY ALL
                ), successes AS (
                    SELECT DISTINCT processor_name, component_digest FROM main.session_processor_state
                )
                SELECT processor_name, CAST(sum(failing) AS BIGINT), CAST(sum(quarantined) AS BIGINT),
                    max(failing) FILTER (successes.component_digest IS NULL)
                FROM components LEFT JOIN successes USING (processor_name, component_digest)
                GROUP BY processor_name ORDER BY processor_name",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([], |row| {
                        Ok(ProcessorFailures {
                            processor: row.get(0)?,
                            failing: row.get(1)?,
                            quarantined: row.get(2)?,
                            failing_everywhere: row.get(3)?,
                        })
                    })?
                    .collect()
            })
            .map_err(StoreError::database("to count failures"))
    }
}
