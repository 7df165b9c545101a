//! The table `runs`. Every run has a row from its start on. The end of a run and its audit entry
//! are written in one transaction.

use std::fmt;
use std::time::Duration;

use duckdb::{Row, params};
use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;

use crate::audit::{Actor, AuditEntry, ClientKind, write_audit};
use crate::counters::raise_counter;
use crate::error::StoreError;
use crate::llm::{self, LlmUsage, llm_use_at};
use crate::sql::timestamp;
use crate::store::Store;
use crate::transaction::{Writer, in_transaction};

/// What started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Started))]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// An HTTP request.
    Http,
    /// The scheduler.
    Scheduler,
    /// The command line.
    Cli,
}

impl Trigger {
    /// The name in the database, such as `http`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Scheduler => "scheduler",
            Self::Cli => "cli",
        }
    }

    fn from_word(word: &str) -> Self {
        match word {
            "http" => Self::Http,
            "scheduler" => Self::Scheduler,
            _ => Self::Cli,
        }
    }

    /// The assumed actor of a run that crashed, because the actual one is unknown.
    fn actor(self) -> Actor {
        let client_kind = match self {
            Self::Http => ClientKind::Web,
            Self::Scheduler => ClientKind::Scheduler,
            Self::Cli => ClientKind::Cli,
        };
        Actor {
            client_kind,
            ..Actor::cli()
        }
    }
}

/// The result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Ended))]
#[serde(rename_all = "lowercase")]
pub enum RunResult {
    /// The run completed without errors.
    Ok,
    /// The run had errors or did not complete.
    Failed,
    /// The process died during the run.
    Interrupted,
}

impl fmt::Display for RunResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        })
    }
}

/// The data recorded at the end of a run.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// The id of the run.
    pub id: String,
    /// The name of the processor.
    pub processor_name: String,
    /// Who started the run.
    pub actor: Actor,
    /// The result.
    pub result: RunResult,
    /// The statistics, as JSON.
    pub stats: String,
    /// The part of the statistics that the audit log stores, as JSON.
    pub audit_params: String,
    /// The error that stopped the run early.
    pub error: Option<String>,
    /// The time at which the run ended.
    pub finished_at: UtcMicros,
    /// The duration of the run.
    pub duration: Duration,
}

impl Store {
    /// Records the start of a run. Returns the id of the run.
    ///
    /// # Errors
    /// The database cannot be written. Then the run must not start.
    pub fn begin_run(
        &self,
        processor: &str,
        trigger: Trigger,
        now: UtcMicros,
    ) -> Result<String, StoreError> {
        let processor = processor.to_owned();
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                let id = (raise_counter(connection, "run", 1)? + 1).to_string();
                connection
                    .execute(
                        "INSERT INTO main.runs (id, processor_name, trigger, started_at) VALUES (?, ?, ?, ?)",
                        params![id, processor, trigger.as_str(), timestamp(now)],
                    )
                    .map_err(StoreError::database("record the start of a run"))?;
                Ok(id)
            })
        })
    }

    /// Records the end of a run and writes its audit entry, in one transaction.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn finish_run(&self, run: RunEnd) -> Result<(), StoreError> {
        let (processor, result) = (run.processor_name.clone(), run.result.to_string());
        let is_closed = self.write(move |connection| {
            in_transaction(connection, |connection| {
                let db_error = StoreError::database("record the end of a run");
                let closed = connection
                    .execute(
                        "UPDATE main.runs SET finished_at = ?, result = ?, stats = ?, error = ? \
                         WHERE id = ? AND finished_at IS NULL",
                        params![
                            timestamp(run.finished_at),
                            run.result.to_string(),
                            run.stats,
                            run.error,
                            run.id
                        ],
                    )
                    .map_err(&db_error)?;
                // A run that a shutdown closed already has its audit entry.
                if closed == 0 {
                    return Ok(false);
                }
                write_audit(connection, &audit_entry(run)).map(|()| true)
            })
        })?;
        if is_closed {
            self.activity().run_ended(processor, result);
        }
        Ok(())
    }

    /// Closes the runs that are still in progress, because the process must exit.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn close_open_runs(&self, now: UtcMicros) -> Result<u64, StoreError> {
        self.write_urgently(move |connection| close_interrupted(connection, now))
    }

    /// Returns the latest runs, newest first. Optionally only runs of one processor, and only runs
    /// before an id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn runs(
        &self,
        processor: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<RunRow>, StoreError> {
        let db_error = StoreError::database("read the runs");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&runs_where(
                "(? IS NULL OR processor_name = ?) AND (? IS NULL OR CAST(id AS BIGINT) < ?) \
                 ORDER BY CAST(id AS BIGINT) DESC LIMIT ?",
            ))
            .map_err(&db_error)?;
        let rows = statement
            .query_map(
                params![processor, processor, before, before, limit],
                run_row,
            )
            .map_err(&db_error)?;
        rows.collect::<Result<_, _>>().map_err(&db_error)
    }

    /// Looks up a run by its id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn run_row(&self, id: &str) -> Result<Option<RunRow>, StoreError> {
        let db_error = StoreError::database("read a run");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&runs_where("id = ?"))
            .map_err(&db_error)?;
        let mut rows = statement.query_map([id], run_row).map_err(&db_error)?;
        rows.next().transpose().map_err(&db_error)
    }
}

/// The query for the columns that [`run_row`] reads, with a condition.
fn runs_where(condition: &str) -> String {
    format!(
        "SELECT id, processor_name, trigger, epoch_us(started_at), epoch_us(finished_at), result, stats, error, \
         asked.* EXCLUDE (run_id) FROM main.runs LEFT JOIN ({}) AS asked ON asked.run_id = id WHERE {condition}",
        llm::USES
    )
}

/// A row of `runs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// The id of the run.
    pub id: String,
    /// The name of the processor.
    pub processor: String,
    /// What started the run.
    pub trigger: Trigger,
    /// The time at which the run started.
    pub started_at: UtcMicros,
    /// The time at which the run ended. `None` while it is in progress.
    pub finished_at: Option<UtcMicros>,
    /// The result.
    pub result: Option<RunResult>,
    /// The statistics, as JSON.
    pub stats: Option<String>,
    /// The error that stopped the run early.
    pub error: Option<String>,
    /// The language model usage. `None` if the run sent no requests.
    pub llm: Option<LlmUsage>,
}

fn run_row(row: &Row<'_>) -> duckdb::Result<RunRow> {
    let result: Option<String> = row.get(5)?;
    Ok(RunRow {
        id: row.get(0)?,
        processor: row.get(1)?,
        trigger: Trigger::from_word(&row.get::<_, String>(2)?),
        started_at: UtcMicros(row.get(3)?),
        finished_at: row.get::<_, Option<i64>>(4)?.map(UtcMicros),
        result: result.map(|word| match word.as_str() {
            "ok" => RunResult::Ok,
            "interrupted" => RunResult::Interrupted,
            _ => RunResult::Failed,
        }),
        stats: row.get(6)?,
        error: row.get(7)?,
        llm: llm_use_at(row, 8)?,
    })
}

/// Closes runs that a crash left open.
pub(crate) fn close_interrupted(writer: &Writer, now: UtcMicros) -> Result<u64, StoreError> {
    let db_error = StoreError::database("close interrupted runs");
    let open: Vec<(String, String, String)> = writer
        .prepare("SELECT id, processor_name, trigger FROM main.runs WHERE finished_at IS NULL ORDER BY started_at, id")
        .and_then(|mut statement| {
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        })
        .map_err(&db_error)?;
    if open.is_empty() {
        return Ok(0);
    }
    in_transaction(writer, |connection| {
        for (id, processor_name, trigger) in &open {
            let error = "the process exited during the run";
            connection
                .execute(
                    "UPDATE main.runs SET finished_at = ?, result = 'interrupted', error = ? WHERE id = ?",
                    params![timestamp(now), error, id],
                )
                .map_err(&db_error)?;
            let record = RunEnd {
                id: id.clone(),
                processor_name: processor_name.clone(),
                actor: Trigger::from_word(trigger).actor(),
                result: RunResult::Interrupted,
                stats: String::new(),
                audit_params:
                    serde_json::json!({ "processor": processor_name, "unhandled_error": error })
                        .to_string(),
                error: None,
                finished_at: now,
                duration: Duration::ZERO,
            };
            write_audit(connection, &audit_entry(record))?;
        }
        Ok(open.len() as u64)
    })
}

/// The audit entry of a run.
fn audit_entry(run: RunEnd) -> AuditEntry {
    let action = format!("run_session_processor:{}", run.processor_name);
    let resource = format!("job:session-processor:{}", run.processor_name);
    AuditEntry {
        params: Some(run.audit_params),
        result: run.result.to_string(),
        duration: Some(run.duration),
        correlation_id: Some(run.id),
        ..AuditEntry::new(action, resource, run.actor, run.finished_at)
    }
}
