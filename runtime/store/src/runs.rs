//! The table `runs`: no run without an open row, and no finished one without its audit, written in
//! one transaction.

use std::fmt;
use std::time::Duration;

use duckdb::{Row, params};
use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;

use crate::audit::{Actor, AuditEntry, ClientKind, write_audit};
use crate::counters::raise_counter;
use crate::error::StoreError;
use crate::llm::{self, LlmUse, llm_use_at};
use crate::sql::timestamp;
use crate::store::Store;
use crate::transaction::{Writer, in_transaction};

/// Through what a run was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Started))]
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
    /// The word for it.
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

    /// Who is taken to have acted where a crash left nothing else.
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

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Ended))]
#[serde(rename_all = "lowercase")]
pub enum RunResult {
    /// Without any error.
    Ok,
    /// With errors, or not to its end.
    Failed,
    /// It was stopped, or the process died.
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
    pub actor: Actor,
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
                    .map_err(&refused)?;
                // One that a shutdown closed before has its audit row already.
                if closed == 0 {
                    return Ok(());
                }
                write_audit(connection, &audit_entry(run))
            })
        })
    }

    /// Closes the runs that are still open, when the process has to end before they do.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn close_open_runs(&self, now: UtcMicros) -> Result<u64, StoreError> {
        self.write_urgently(move |connection| close_interrupted(connection, now))
    }

    /// The latest runs, the newest first; of one processor, where it is named, and before the run of
    /// an id, where one is given.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn runs(
        &self,
        processor: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<RunRow>, StoreError> {
        let refused = StoreError::database("to read the runs");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&runs_where(
                "(? IS NULL OR processor_name = ?) AND (? IS NULL OR CAST(id AS BIGINT) < ?) \
                 ORDER BY CAST(id AS BIGINT) DESC LIMIT ?",
            ))
            .map_err(&refused)?;
        let rows = statement
            .query_map(
                params![processor, processor, before, before, limit],
                run_row,
            )
            .map_err(&refused)?;
        rows.collect::<Result<_, _>>().map_err(&refused)
    }

    /// One run; `None` where there is none of that id.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn run_row(&self, id: &str) -> Result<Option<RunRow>, StoreError> {
        let refused = StoreError::database("to read a run");
        let connection = self.reader()?;
        let mut statement = connection
            .prepare(&runs_where("id = ?"))
            .map_err(&refused)?;
        let mut rows = statement.query_map([id], run_row).map_err(&refused)?;
        rows.next().transpose().map_err(&refused)
    }
}

/// Runs as [`run_row`] reads them, up to a condition.
fn runs_where(condition: &str) -> String {
    format!(
        "SELECT id, processor_name, trigger, epoch_us(started_at), epoch_us(finished_at), result, stats, error, \
         asked.* EXCLUDE (run_id) FROM main.runs LEFT JOIN ({}) AS asked ON asked.run_id = id WHERE {condition}",
        llm::USES
    )
}

/// A run as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Its id.
    pub id: String,
    /// The processor.
    pub processor: String,
    /// Who started it.
    pub trigger: Trigger,
    /// When it began.
    pub started_at: UtcMicros,
    /// When it ended; `None` while it is at work.
    pub finished_at: Option<UtcMicros>,
    /// How it ended.
    pub result: Option<RunResult>,
    /// What it did, as JSON.
    pub stats: Option<String>,
    /// Why it did not come to its end.
    pub error: Option<String>,
    /// What it asked of language models; `None` where it asked nothing.
    pub llm: Option<LlmUse>,
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

/// Closes what a crash left open.
pub(crate) fn close_interrupted(writer: &Writer, now: UtcMicros) -> Result<u64, StoreError> {
    let refused = StoreError::database("to close interrupted runs");
    let open: Vec<(String, String, String)> = writer
        .prepare("SELECT id, processor_name, trigger FROM main.runs WHERE finished_at IS NULL ORDER BY started_at, id")
        .and_then(|mut statement| {
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        })
        .map_err(&refused)?;
    if open.is_empty() {
        return Ok(0);
    }
    in_transaction(writer, |connection| {
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

/// The audit row of a run (BEHAVIOUR.md 4.2, A27).
fn audit_entry(run: RunRecord) -> AuditEntry {
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
