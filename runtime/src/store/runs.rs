//! The tables `runs` and `audit_log`: no run without an open row, and no finished one without its
//! audit, written in one transaction.

use std::fmt;
use std::time::Duration;

use duckdb::{Connection, params};
use serde::{Deserialize, Serialize};

use super::sql::timestamp;
use super::transaction::{in_transaction, raise_counter};
use super::{Store, StoreError};
use crate::clock::UtcMicros;

/// Who started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// A request.
    Http,
    /// The scheduler.
    Scheduler,
    /// The command line.
    Cli,
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Scheduler => "scheduler",
            Self::Cli => "cli",
        }
    }

    /// How the audit log names the caller's program (BEHAVIOUR.md 4.2).
    fn client_kind(self) -> &'static str {
        match self {
            Self::Http => "web",
            Self::Scheduler => "scheduler",
            Self::Cli => "cli",
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunResult {
    /// Without any error.
    Ok,
    /// With errors, or not to its end.
    Failed,
    /// Our process died.
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

/// The end of a run, as it is recorded.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// The run.
    pub id: String,
    /// The processor.
    pub processor_name: String,
    /// Who started it.
    pub trigger: Trigger,
    /// How it ended.
    pub result: RunResult,
    /// All stats, as JSON.
    pub stats: String,
    /// What the audit log keeps of them, as JSON.
    pub audit_params: String,
    /// Why it did not come to its end.
    pub error: Option<String>,
    /// When it ended.
    pub finished_at: UtcMicros,
    /// How long it took.
    pub duration: Duration,
}

impl Store {
    /// Opens the row of a run; gives the run's id.
    ///
    /// # Errors
    /// When the database refuses; then there is no run.
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
                    .map_err(StoreError::database("a new run"))?;
                Ok(id)
            })
        })
    }

    /// Closes the row of a run and writes its audit row, together.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn finish_run(&self, run: RunRecord) -> Result<(), StoreError> {
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                let refused = StoreError::database("the end of a run");
                connection
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
                    .map_err(&refused)?;
                write_audit(connection, &run)
            })
        })
    }
}

/// Closes what a crash left open.
pub(super) fn close_interrupted(
    connection: &Connection,
    now: UtcMicros,
) -> Result<u64, StoreError> {
    let refused = StoreError::database("to close interrupted runs");
    in_transaction(connection, |connection| {
        let open: Vec<(String, String, String)> = connection
            .prepare("SELECT id, processor_name, trigger FROM main.runs WHERE finished_at IS NULL ORDER BY started_at, id")
            .and_then(|mut statement| {
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
            })
            .map_err(&refused)?;
        for (id, processor_name, trigger) in &open {
            let error = "the process ended before the run did";
            connection
                .execute(
                    "UPDATE main.runs SET finished_at = ?, result = 'interrupted', error = ? WHERE id = ?",
                    params![timestamp(now), error, id],
                )
                .map_err(&refused)?;
            let record = RunRecord {
                id: id.clone(),
                processor_name: processor_name.clone(),
                trigger: match trigger.as_str() {
                    "http" => Trigger::Http,
                    "scheduler" => Trigger::Scheduler,
                    _ => Trigger::Cli,
                },
                result: RunResult::Interrupted,
                stats: String::new(),
                audit_params:
                    serde_json::json!({ "processor": processor_name, "unhandled_error": error })
                        .to_string(),
                error: None,
                finished_at: now,
                duration: Duration::ZERO,
            };
            write_audit(connection, &record)?;
        }
        Ok(open.len() as u64)
    })
}

fn write_audit(connection: &Connection, run: &RunRecord) -> Result<(), StoreError> {
    let id = (raise_counter(connection, "audit", 1)? + 1).to_string();
    connection
        .execute(
            "INSERT INTO main.audit_log (id, timestamp, action, resource, params, result, duration_ms, client_kind, \
             correlation_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                id,
                timestamp(run.finished_at),
                format!("run_session_processor:{}", run.processor_name),
                format!("job:session-processor:{}", run.processor_name),
                run.audit_params,
                run.result.to_string(),
                i64::try_from(run.duration.as_millis()).unwrap_or(i64::MAX),
                run.trigger.client_kind(),
                run.id,
            ],
        )
        .map_err(StoreError::database("an audit row"))?;
    Ok(())
}
