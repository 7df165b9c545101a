//! The database queries of the health check. Each is one statement.

use session_pipeline_host::clock::UtcMicros;

use crate::error::StoreError;
use crate::sql::timestamp;
use crate::stats::RunStats;
use crate::store::Store;

/// The failures of one processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessorFailures {
    /// The name of the processor.
    pub processor: String,
    /// Sessions whose last attempt failed.
    pub failing: u64,
    /// Failed sessions in quarantine, which are not retried.
    pub quarantined: u64,
    /// If one component has failed on every session so far, the number of these sessions.
    pub failing_everywhere: Option<u64>,
    /// Sessions that were read or attempted since the given time.
    pub recent: u64,
    /// Recent sessions in quarantine.
    pub recent_quarantined: u64,
}

/// The latest runs of one processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestRuns {
    /// The name of the processor.
    pub processor: String,
    /// The start of the run in progress.
    pub running_since: Option<UtcMicros>,
    /// The end of the last run that was not interrupted.
    pub ended_at: Option<UtcMicros>,
    /// The statistics of that run.
    pub stats: Option<RunStats>,
}

impl Store {
    /// Checks that the database responds.
    ///
    /// # Errors
    /// It does not respond.
    pub fn ping(&self) -> Result<(), StoreError> {
        let connection = self.reader()?;
        connection
            .query_row("SELECT 1", [], |_| Ok(()))
            .map_err(StoreError::database("check the database connection"))
    }

    /// The number of users.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn count_users(&self) -> Result<u64, StoreError> {
        let connection = self.reader()?;
        connection
            .query_row("SELECT count(*) FROM main.users", [], |row| row.get(0))
            .map_err(StoreError::database("count the users"))
    }

    /// The time at which a processor last read a session that it then processed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn last_processed_at(&self, processor: &str) -> Result<Option<UtcMicros>, StoreError> {
        let connection = self.reader()?;
        connection
            .query_row(
                "SELECT epoch_us(max(processed_at)) FROM main.session_processor_state WHERE processor_name = ?",
                [processor],
                |row| row.get::<_, Option<i64>>(0),
            )
            .map(|micros| micros.map(UtcMicros))
            .map_err(StoreError::database("read the time of the last processed session"))
    }

    /// Every processor that ever ran with its latest runs, ordered by name.
    ///
    /// # Errors
    /// The database cannot be read.
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
            .map_err(StoreError::database("read the latest runs"))
    }

    /// Every processor with failed sessions, ordered by name, with its recent sessions. Sessions
    /// whose file is gone do not count as failures.
    ///
    /// # Errors
    /// The database cannot be read.
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
            .map_err(StoreError::database("count failed sessions"))
    }
}
