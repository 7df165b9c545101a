//! The table `scheduler_jobs`: the last run of each job, so that a restart does not run all jobs at
//! once.

use duckdb::{Connection, params};
use session_pipeline_host::clock::UtcMicros;

use crate::error::StoreError;
use crate::sql::maybe_timestamp;
use crate::store::Store;
use crate::transaction::in_transaction;

/// A row of `scheduler_jobs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// The name of the job.
    pub name: String,
    /// The tick that started the last run.
    pub last_run_at: Option<UtcMicros>,
    /// The status of that run.
    pub last_status: Option<String>,
}

impl Store {
    /// All jobs that ever ran, ordered by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn jobs(&self) -> Result<Vec<JobRow>, StoreError> {
        let db_error = StoreError::database("read the scheduler jobs");
        let connection = self.reader()?;
        connection
            .prepare("SELECT name, epoch_us(last_run_at), last_status FROM main.scheduler_jobs ORDER BY name")
            .and_then(|mut statement| {
                statement
                    .query_map([], |row| {
                        Ok(JobRow {
                            name: row.get(0)?,
                            last_run_at: row.get::<_, Option<i64>>(1)?.map(UtcMicros),
                            last_status: row.get(2)?,
                        })
                    })?
                    .collect()
            })
            .map_err(db_error)
    }

    /// Stores the last run of a job.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn record_job(&self, job: JobRow) -> Result<(), StoreError> {
        self.write(move |connection| {
            in_transaction(connection, |connection| write(connection, &job))
        })
    }
}

fn write(connection: &Connection, job: &JobRow) -> Result<(), StoreError> {
    let values = params![maybe_timestamp(job.last_run_at), job.last_status, job.name];
    for sql in [
        "UPDATE main.scheduler_jobs SET last_run_at = ?, last_status = ? WHERE name = ?",
        "INSERT INTO main.scheduler_jobs (last_run_at, last_status, name) VALUES (?, ?, ?)",
    ] {
        let changed = connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map_err(StoreError::database("record the last run of a job"))?;
        if changed > 0 {
            break;
        }
    }
    Ok(())
}
