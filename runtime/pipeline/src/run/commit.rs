//! The committing side of a run: receives outcomes on the caller's thread and commits them in
//! groups.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::manifest::Order;
use session_pipeline_store::retry::RetryDecision;
use session_pipeline_store::{CommitGroup, CompletedSession, RunStats, SessionOutcome};

use crate::run::RunError;
use crate::run::attempt::{FailedAttempt, Outcome};
use crate::run::dispatch::{Dispatch, DispatchQueue, Progress};
use crate::run::work::Pass;

impl Pass<'_> {
    /// Receives outcomes and commits them in groups. A serial processor's outcomes are committed
    /// one by one.
    pub(super) fn commit_all(
        &self,
        finished: &Receiver<Outcome>,
        dispatch: &Dispatch,
        backlog: &DispatchQueue,
        stats: &Mutex<RunStats>,
        progress: &dyn Progress,
    ) -> Result<(), RunError> {
        let limits = &self.pipeline.config.group;
        let mut group = PendingGroup::default();
        let mut received = 0;
        loop {
            let (handed_out, more_may_follow) = dispatch.handed_out();
            let is_last = received == handed_out && !more_may_follow;
            let is_full = group.entries.len() >= limits.sessions_max
                || group.rows >= limits.rows_max
                || group.pending_bytes >= limits.bytes_max
                || self.processor.manifest().order == Order::Serial;
            let waited = group.since.map(|since| since.elapsed());
            if !group.entries.is_empty()
                && (is_last || is_full || waited.is_some_and(|waited| waited >= limits.wait_max))
            {
                self.commit(std::mem::take(&mut group), backlog, stats)?;
                continue;
            }
            // An empty group has no deadline, so wait for the next outcome or the end of all
            // workers.
            let outcome = match waited {
                None => finished.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(waited) => finished.recv_timeout(limits.wait_max.saturating_sub(waited)),
            };
            match outcome {
                Ok(outcome) => {
                    received += 1;
                    progress.advanced(outcome.bytes);
                    let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
                    group.add(outcome, &mut stats);
                    if group.entries.is_empty() {
                        // There is nothing to commit, so no worker has to wait.
                        group.in_progress.clear();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) if group.entries.is_empty() => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    self.commit(std::mem::take(&mut group), backlog, stats)?
                }
            }
        }
    }

    fn commit(
        &self,
        pending: PendingGroup,
        backlog: &DispatchQueue,
        stats: &Mutex<RunStats>,
    ) -> Result<(), RunError> {
        let group = Arc::new(self.group(pending.entries));
        let result = match self.pipeline.store.commit(&group) {
            Ok(()) => {
                let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
                group.outcomes.iter().for_each(|entry| {
                    count(entry, &mut stats);
                    self.settle(entry);
                });
                Ok(())
            }
            Err(error) if error.is_database_failure() => Err(error.into()),
            Err(error) => {
                tracing::warn!(
                    "cannot commit a group of sessions, so each is committed separately: {error}"
                );
                self.commit_one_by_one(group, stats)
            }
        };
        backlog.leave(pending.pending_bytes);
        // Wakes the worker that waits for this commit.
        drop(pending.in_progress);
        result
    }

    /// Commits the entries of a rejected group separately, so that an invalid session does not
    /// affect others.
    fn commit_one_by_one(
        &self,
        group: Arc<CommitGroup>,
        stats: &Mutex<RunStats>,
    ) -> Result<(), RunError> {
        let Some(group) = Arc::into_inner(group) else {
            return Err(RunError::Internal(
                "a rejected group is still in use".to_owned(),
            ));
        };
        for entry in group.outcomes {
            let alone = Arc::new(self.group(vec![entry]));
            let result = self.pipeline.store.commit(&alone);
            let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
            match (result, alone.outcomes.first()) {
                (Ok(()), Some(entry)) => {
                    count(entry, &mut stats);
                    self.settle(entry);
                }
                (Err(error), _) if error.is_database_failure() => return Err(error.into()),
                (Err(error), Some(SessionOutcome::Completed(session))) => {
                    let fault = Fault::new(
                        FaultKind::Host,
                        format!("cannot commit the rows of the session: {error}"),
                    );
                    stats.add_error(&session.key, &fault);
                    drop(stats);
                    self.record_rejected(session, fault)?;
                }
                // Without rows, the session can't be the cause.
                (Err(error), _) => return Err(error.into()),
                (Ok(()), None) => {}
            }
        }
        Ok(())
    }

    /// Records that the database rejected the rows of a session, so that it waits for a retry and
    /// health counts it.
    fn record_rejected(&self, session: &CompletedSession, fault: Fault) -> Result<(), RunError> {
        let attempt = FailedAttempt {
            key: &session.key,
            failure: session.failure.as_deref(),
            hash: Some(session.hash),
            observed: session.observed,
            cost: session.cost,
        };
        let failed = self.failed_session(attempt, fault);
        let group = Arc::new(self.group(vec![SessionOutcome::Failed(Box::new(failed))]));
        Ok(self.pipeline.store.commit(&group)?)
    }

    /// Clears the suspicion of a session that crashed the process, once its quarantine is recorded.
    fn settle(&self, entry: &SessionOutcome) {
        if let SessionOutcome::Failed(failed) = entry
            && failed.fault.kind == FaultKind::Crash
        {
            let processor = &self.processor.manifest().name;
            self.pipeline.in_flight.settle(processor, &failed.key);
        }
    }

    fn group(&self, entries: Vec<SessionOutcome>) -> CommitGroup {
        CommitGroup {
            manifest: Arc::new(self.processor.manifest().clone()),
            digest: self.processor.digest().to_owned(),
            run_id: self.run_id.to_owned(),
            now: self.pipeline.now(),
            requests: Arc::clone(&self.requests),
            outcomes: entries,
        }
    }
}

/// Counts committed entries only, so that an aborted run reports correct numbers.
fn count(entry: &SessionOutcome, stats: &mut RunStats) {
    match entry {
        SessionOutcome::Completed(session) => {
            stats.processed += 1;
            stats.items_extracted = stats.items_extracted.saturating_add(session.items);
        }
        SessionOutcome::Skipped(_) | SessionOutcome::Failed(_) => {}
    }
}

/// Outcomes for the next transaction.
#[derive(Default)]
struct PendingGroup {
    entries: Vec<SessionOutcome>,
    rows: u64,
    pending_bytes: u64,
    since: Option<Instant>,
    in_progress: Vec<Sender<Infallible>>,
}

impl PendingGroup {
    fn add(&mut self, outcome: Outcome, stats: &mut RunStats) {
        self.since.get_or_insert_with(Instant::now);
        self.pending_bytes += outcome.pending_bytes;
        stats.fuel = stats.fuel.saturating_add(outcome.fuel);
        if outcome.was_attempt {
            stats.bytes += outcome.bytes;
        }
        match (outcome.verdict, &outcome.entry) {
            (Some(verdict), _) => {
                // After hashing, it is no longer a candidate.
                stats.scanned -= 1;
                match verdict {
                    RetryDecision::Quarantined => stats.quarantined += 1,
                    RetryDecision::Waiting | RetryDecision::Try => stats.waiting += 1,
                }
            }
            (None, None | Some(SessionOutcome::Skipped(_))) => stats.skipped += 1,
            (None, Some(SessionOutcome::Failed(failed))) => {
                stats.add_error(&failed.key, &failed.fault)
            }
            (None, Some(SessionOutcome::Completed(completed))) => {
                self.rows += completed
                    .all_rows()
                    .map(|(_, rows)| rows.rows as u64)
                    .sum::<u64>();
            }
        }
        self.entries.extend(outcome.entry);
        self.in_progress.extend(outcome.in_progress);
    }
}
