//! Removing what is kept for a time only, in transactions of a bounded size.

use duckdb::{Connection, Params, params};
use session_pipeline_host::clock::UtcMicros;

use crate::error::StoreError;
use crate::sql::timestamp;
use crate::store::Store;
use crate::transaction::in_transaction;

/// From when on things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Runs that ended earlier are removed, save the last one of each processor, and with them what
    /// their sessions cost.
    pub runs_since: UtcMicros,
    /// Requests to language models that were sent earlier are removed: as long as runs.
    pub calls_since: UtcMicros,
    /// Answers of language models that are older are removed.
    pub responses_since: UtcMicros,
    /// Failures of sessions whose files have been gone for longer are removed.
    pub missing_failures_since: UtcMicros,
}

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs.
    pub runs: u64,
    /// What single sessions cost.
    pub costs: u64,
    /// Requests to language models.
    pub calls: u64,
    /// Answers of language models.
    pub responses: u64,
    /// Failures of sessions whose files are gone.
    pub failures: u64,
}

/// Runs removed in one transaction, each with what its sessions cost.
const RUNS_MAX: u64 = 500;

/// Runs that are old, save the last of each processor: health and status tell of that one.
const OLD_RUNS: &str = "SELECT id FROM main.runs WHERE finished_at < ? AND CAST(id AS BIGINT) NOT IN \
     (SELECT max(CAST(id AS BIGINT)) FROM main.runs GROUP BY processor_name)";

impl Store {
    /// Removes what a plan does not keep. Where there is nothing of it, nothing is written.
    ///
    /// # Errors
    /// When the database refuses; what was removed before that is gone.
    pub fn sweep(&self, keep: Retention) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        while self.has_old_runs(keep)? {
            let (costs, runs) = self.write(move |connection| {
                in_transaction(connection, |connection| remove_runs(connection, keep))
            })?;
            swept.costs += costs;
            swept.runs += runs;
        }
        if self.has_other_old_rows(keep)? {
            let others = self.write(move |connection| {
                in_transaction(connection, |connection| remove_others(connection, keep))
            })?;
            swept = Swept {
                runs: swept.runs,
                costs: swept.costs + others.costs,
                ..others
            };
        }
        Ok(swept)
    }

    fn has_old_runs(&self, keep: Retention) -> Result<bool, StoreError> {
        self.reader()?
            .query_row(
                &format!("SELECT EXISTS ({OLD_RUNS})"),
                [timestamp(keep.runs_since)],
                |row| row.get(0),
            )
            .map_err(StoreError::database("to look for old runs"))
    }

    fn has_other_old_rows(&self, keep: Retention) -> Result<bool, StoreError> {
        self.reader()?
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM main.runs WHERE finished_at < ?) \
                 OR EXISTS (SELECT 1 FROM main.llm_calls WHERE sent_at < ?) \
                 OR EXISTS (SELECT 1 FROM main.llm_responses WHERE created_at < ?) \
                 OR EXISTS (SELECT 1 FROM main.session_failures WHERE missing_since < ?)",
                params![
                    timestamp(keep.runs_since),
                    timestamp(keep.calls_since),
                    timestamp(keep.responses_since),
                    timestamp(keep.missing_failures_since),
                ],
                |row| row.get(0),
            )
            .map_err(StoreError::database("to look for old rows"))
    }
}

fn remove_runs(connection: &Connection, keep: Retention) -> Result<(u64, u64), StoreError> {
    let some = format!("{OLD_RUNS} ORDER BY CAST(id AS BIGINT) LIMIT {RUNS_MAX}");
    let since = timestamp(keep.runs_since);
    // Both see the same runs: in one transaction nobody else adds to them.
    let costs = remove(
        connection,
        &format!("DELETE FROM main.session_costs WHERE run_id IN ({some})"),
        [&since],
    )?;
    let runs = remove(
        connection,
        &format!("DELETE FROM main.runs WHERE id IN ({some})"),
        [&since],
    )?;
    Ok((costs, runs))
}

fn remove_others(connection: &Connection, keep: Retention) -> Result<Swept, StoreError> {
    let older = |sql: &str, since| remove(connection, sql, [timestamp(since)]);
    Ok(Swept {
        runs: 0,
        // Of the last runs the rows stay, and not what their sessions cost.
        costs: older(
            "DELETE FROM main.session_costs WHERE run_id IN (SELECT id FROM main.runs WHERE finished_at < ?)",
            keep.runs_since,
        )?,
        calls: older(
            "DELETE FROM main.llm_calls WHERE sent_at < ?",
            keep.calls_since,
        )?,
        responses: older(
            "DELETE FROM main.llm_responses WHERE created_at < ?",
            keep.responses_since,
        )?,
        failures: older(
            "DELETE FROM main.session_failures WHERE missing_since < ?",
            keep.missing_failures_since,
        )?,
    })
}

fn remove(connection: &Connection, sql: &str, params: impl Params) -> Result<u64, StoreError> {
    connection
        .execute(sql, params)
        .map(|removed| removed as u64)
        .map_err(StoreError::database("to remove what is old"))
}
