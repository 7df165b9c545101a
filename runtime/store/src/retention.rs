//! Deletes expired rows, in transactions of limited size.

use duckdb::{Connection, Params, params};
use session_pipeline_host::clock::UtcMicros;

use crate::error::StoreError;
use crate::sql::timestamp;
use crate::store::Store;
use crate::transaction::in_transaction;

/// The retention limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Runs that ended before this time are deleted, with the costs of their sessions. The last run
    /// of each processor is kept.
    pub runs_since: UtcMicros,
    /// Requests to language models that were sent before this time are deleted. The same limit as
    /// for runs.
    pub calls_since: UtcMicros,
    /// Responses of language models that were stored before this time are deleted.
    pub responses_since: UtcMicros,
    /// Failures of sessions whose files disappeared before this time are deleted.
    pub missing_failures_since: UtcMicros,
    /// Sign-ins that were last used at this time or before are deleted.
    pub sign_ins_since: UtcMicros,
}

/// The number of deleted rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedRows {
    /// Deleted runs.
    pub runs: u64,
    /// Deleted session costs.
    pub costs: u64,
    /// Deleted requests to language models.
    pub calls: u64,
    /// Deleted responses of language models.
    pub responses: u64,
    /// Deleted failures of sessions whose files are gone.
    pub failures: u64,
    /// Deleted sign-ins.
    pub sign_ins: u64,
}

/// Maximum number of runs per transaction. The costs of their sessions are deleted with them.
const RUNS_MAX: u64 = 500;

/// Expired runs, except for the last run of each processor, which health and status report.
const OLD_RUNS: &str = "SELECT id FROM main.runs WHERE finished_at < ? AND CAST(id AS BIGINT) NOT IN \
     (SELECT max(CAST(id AS BIGINT)) FROM main.runs GROUP BY processor_name)";

impl Store {
    /// Deletes expired rows. Writes nothing if there are none.
    ///
    /// # Errors
    /// The database cannot be written. Rows that were deleted before the error stay deleted.
    pub fn delete_expired(&self, keep: RetentionLimits) -> Result<DeletedRows, StoreError> {
        let mut swept = DeletedRows::default();
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
            swept = DeletedRows {
                runs: swept.runs,
                costs: swept.costs + others.costs,
                ..others
            };
        }
        Ok(swept)
    }

    fn has_old_runs(&self, keep: RetentionLimits) -> Result<bool, StoreError> {
        self.reader()?
            .query_row(
                &format!("SELECT EXISTS ({OLD_RUNS})"),
                [timestamp(keep.runs_since)],
                |row| row.get(0),
            )
            .map_err(StoreError::database("find expired runs"))
    }

    fn has_other_old_rows(&self, keep: RetentionLimits) -> Result<bool, StoreError> {
        self.reader()?
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM main.runs WHERE finished_at < ?) \
                 OR EXISTS (SELECT 1 FROM main.llm_calls WHERE sent_at < ?) \
                 OR EXISTS (SELECT 1 FROM main.llm_responses WHERE created_at < ?) \
                 OR EXISTS (SELECT 1 FROM main.session_failures WHERE missing_since < ?) \
                 OR EXISTS (SELECT 1 FROM main.sign_ins WHERE last_used_at <= ?)",
                params![
                    timestamp(keep.runs_since),
                    timestamp(keep.calls_since),
                    timestamp(keep.responses_since),
                    timestamp(keep.missing_failures_since),
                    timestamp(keep.sign_ins_since),
                ],
                |row| row.get(0),
            )
            .map_err(StoreError::database("find expired rows"))
    }
}

fn remove_runs(connection: &Connection, keep: RetentionLimits) -> Result<(u64, u64), StoreError> {
    let some = format!("{OLD_RUNS} ORDER BY CAST(id AS BIGINT) LIMIT {RUNS_MAX}");
    let since = timestamp(keep.runs_since);
    // Both statements see the same runs, because they are in one transaction.
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

fn remove_others(
    connection: &Connection,
    keep: RetentionLimits,
) -> Result<DeletedRows, StoreError> {
    let older = |sql: &str, since| remove(connection, sql, [timestamp(since)]);
    Ok(DeletedRows {
        runs: 0,
        // The last run of each processor is kept, but the costs of its sessions are not.
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
        sign_ins: older(
            "DELETE FROM main.sign_ins WHERE last_used_at <= ?",
            keep.sign_ins_since,
        )?,
    })
}

fn remove(connection: &Connection, sql: &str, params: impl Params) -> Result<u64, StoreError> {
    connection
        .execute(sql, params)
        .map(|removed| removed as u64)
        .map_err(StoreError::database("delete expired rows"))
}
