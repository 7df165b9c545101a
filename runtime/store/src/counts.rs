//! Counts over the state tables, in one statement.

use serde::Serialize;
use session_pipeline_host::clock::UtcMicros;

use crate::error::StoreError;
use crate::store::Store;

/// The counts of one processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessorStatus {
    /// The name of the processor.
    pub processor: String,
    /// Processed sessions.
    pub sessions: i64,
    /// Items extracted from these sessions.
    pub items_extracted: i64,
    /// Sessions that a user requested to process again.
    pub due: i64,
    /// Sessions whose file is gone. Their rows remain.
    pub missing: i64,
    /// Sessions whose last attempt failed.
    pub failing: i64,
    /// Failed sessions in quarantine, which are not retried.
    pub quarantined: i64,
    /// The time at which the latest session was read.
    pub last_processed_at: Option<String>,
    /// The result of the last finished run. `None` if there is none.
    pub last_run: Option<String>,
    /// The time at which that run ended.
    pub last_run_at: Option<String>,
    /// The start of the run in progress. `None` if there is none.
    pub running_since: Option<String>,
}

impl Store {
    /// The counts of each processor that has any rows.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn processor_counts(&self) -> Result<Vec<ProcessorStatus>, StoreError> {
        let db_error = StoreError::database("count sessions");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(
                "WITH states AS (
                    SELECT processor_name, count(*) AS sessions, CAST(sum(items_extracted) AS BIGINT) AS items,
                        count(*) FILTER (due) AS due, count(missing_since) AS missing, max(processed_at) AS last
                    FROM main.session_processor_state GROUP BY 1
                ), failures AS (
                    SELECT processor_name, count(*) AS failing, count(quarantined_at) AS quarantined
                    FROM main.session_failures WHERE missing_since IS NULL GROUP BY 1
                ), latest AS (
                    SELECT processor_name,
                        arg_max(result, CAST(id AS BIGINT)) FILTER (finished_at IS NOT NULL) AS result,
                        arg_max(finished_at, CAST(id AS BIGINT)) FILTER (finished_at IS NOT NULL) AS finished_at,
                        max(started_at) FILTER (finished_at IS NULL) AS running_since
                    FROM main.runs GROUP BY 1
                ), names AS (
                    SELECT processor_name FROM states UNION SELECT processor_name FROM failures
                    UNION SELECT processor_name FROM latest
                )
                SELECT processor_name, coalesce(sessions, 0), coalesce(items, 0), coalesce(due, 0), coalesce(missing, 0),
                    coalesce(failing, 0), coalesce(quarantined, 0), epoch_us(last), result, epoch_us(finished_at),
                    epoch_us(running_since)
                FROM names LEFT JOIN states USING (processor_name) LEFT JOIN failures USING (processor_name)
                    LEFT JOIN latest USING (processor_name)",
            )
            .map_err(&db_error)?;
        let rows = statement
            .query_map([], |row| {
                Ok(ProcessorStatus {
                    processor: row.get(0)?,
                    sessions: row.get(1)?,
                    items_extracted: row.get(2)?,
                    due: row.get(3)?,
                    missing: row.get(4)?,
                    failing: row.get(5)?,
                    quarantined: row.get(6)?,
                    last_processed_at: instant(row.get(7)?),
                    last_run: row.get(8)?,
                    last_run_at: instant(row.get(9)?),
                    running_since: instant(row.get(10)?),
                })
            })
            .map_err(&db_error)?;
        rows.collect::<Result<_, _>>().map_err(&db_error)
    }
}

/// Formats a timestamp.
fn instant(micros: Option<i64>) -> Option<String> {
    micros.map(|micros| UtcMicros(micros).to_string())
}
