//! What health asks of the database, each in one statement.

use session_pipeline_host::clock::UtcMicros;

use crate::error::StoreError;
use crate::sql::timestamp;
use crate::stats::Stats;
use crate::store::Store;

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
    /// Sessions that were read or tried since the given time.
    pub recent: u64,
    /// Those of them that are not tried any more.
    pub recent_quarantined: u64,
}

/// The latest runs of one processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestRuns {
    /// The processor.
    pub processor: String,
    /// When the run in progress began.
    pub running_since: Option<UtcMicros>,
    /// When the last run ended that was not interrupted.
    pub ended_at: Option<UtcMicros>,
    /// What that one did.
    pub stats: Option<Stats>,
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

    /// The processors that ever ran, by name, each with its latest runs.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn latest_runs(&self) -> Result<Vec<LatestRuns>, StoreError> {
        let connection = self.reader()?;
        connection
            .prepare(
                "SELECT processor_name, epoch_us(max(started_at) FILTER (finished_at IS NULL)), \
                 epoch_us(arg_max(finished_at, CAST(id AS BIGINT)) FILTER (result IN ('ok', 'failed'))), \
                 arg_max(stats, CAST(id AS BIGINT)) FILTER (result IN ('ok', 'failed')) \
                 FROM main.runs GROUP BY processor_name ORDER BY processor_name",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([], |row| {
                        Ok(LatestRuns {
                            processor: row.get(0)?,
                            running_since: row.get::<_, Option<i64>>(1)?.map(UtcMicros),
                            ended_at: row.get::<_, Option<i64>>(2)?.map(UtcMicros),
                            stats: row
                                .get::<_, Option<String>>(3)?
                                .and_then(|stats| serde_json::from_str(&stats).ok()),
                        })
                    })?
                    .collect()
            })
            .map_err(StoreError::database("to tell what ran"))
    }

    /// The processors on whose sessions the last attempt failed, in the order of their names, with
    /// what became of the sessions since a time. A session whose file is gone is nobody's failure.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn failures_by_processor(
        &self,
        since: UtcMicros,
    ) -> Result<Vec<ProcessorFailures>, StoreError> {
        let connection = self.reader()?;
        connection
            .prepare(
                "WITH components AS (
                    SELECT processor_name, component_digest, count(*) AS failing, count(quarantined_at) AS quarantined
                    FROM main.session_failures WHERE missing_since IS NULL GROUP BY ALL
                ), successes AS (
                    SELECT DISTINCT processor_name, component_digest FROM main.session_processor_state
                ), failures AS (
                    SELECT processor_name, CAST(sum(failing) AS BIGINT) AS failing,
                        CAST(sum(quarantined) AS BIGINT) AS quarantined,
                        max(failing) FILTER (successes.component_digest IS NULL) AS everywhere
                    FROM components LEFT JOIN successes USING (processor_name, component_digest) GROUP BY processor_name
                ), recently_read AS (
                    SELECT processor_name, session_file FROM main.session_processor_state WHERE processed_at >= ?
                ), recently_failed AS (
                    SELECT processor_name, session_file, quarantined_at FROM main.session_failures
                    WHERE last_attempt_at >= ? AND missing_since IS NULL
                ), readings AS (
                    SELECT processor_name, count(*) AS sessions FROM recently_read GROUP BY 1
                ), failed AS (
                    SELECT processor_name, count(*) AS sessions, count(quarantined_at) AS quarantined
                    FROM recently_failed GROUP BY 1
                ), twice AS (
                    SELECT processor_name, count(*) AS sessions
                    FROM recently_failed SEMI JOIN recently_read USING (processor_name, session_file) GROUP BY 1
                )
                SELECT processor_name, failing, failures.quarantined, everywhere,
                    coalesce(readings.sessions, 0) + coalesce(failed.sessions, 0) - coalesce(twice.sessions, 0),
                    coalesce(failed.quarantined, 0)
                FROM failures LEFT JOIN readings USING (processor_name) LEFT JOIN failed USING (processor_name)
                    LEFT JOIN twice USING (processor_name)
                ORDER BY processor_name",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([timestamp(since), timestamp(since)], |row| {
                        Ok(ProcessorFailures {
                            processor: row.get(0)?,
                            failing: row.get(1)?,
                            quarantined: row.get(2)?,
                            failing_everywhere: row.get(3)?,
                            recent: row.get(4)?,
                            recent_quarantined: row.get(5)?,
                        })
                    })?
                    .collect()
            })
            .map_err(StoreError::database("to count failures"))
    }
}
