//! One attempt at one candidate, up to the entry to commit.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::time::Duration;

use crossbeam_channel::Sender;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::{ContentHash, Snapshot};
use session_pipeline_host::fault::{Fault, FaultKind, printable};
use session_pipeline_host::processor::{Cost, Grants, SessionInfo};
use session_pipeline_host::rows::TableRows;
use session_pipeline_host::sandbox;
use session_pipeline_host::sessions::FileStat;
use session_pipeline_store::kill_point::kill_point;
use session_pipeline_store::retry::{FailedContent, FailureState, RetryDecision};
use session_pipeline_store::state_rows::FailureRow;
use session_pipeline_store::{
    CompletedSession, FailedSession, SessionCheckpoint, SessionOutcome, SkippedSession,
};

use crate::in_flight::{DEATHS_MAX, InFlightRecord, SessionGuard, Suspicion};
use crate::run::hashing::Hashing;
use crate::run::resume::Attempted;
use crate::run::work::Pass;
use crate::scan::{Candidate, ContentCheck, trusted};

/// The outcome of one candidate.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) bytes: u64,
    pub(super) pending_bytes: u64,
    /// Set if the session stays in quarantine or keeps waiting after its content was hashed.
    pub(super) verdict: Option<RetryDecision>,
    pub(super) fuel: u64,
    pub(super) was_attempt: bool,
    /// Whether the file became shorter or its beginning changed during the read.
    has_changed: bool,
    pub(super) entry: Option<SessionOutcome>,
    /// Only for serial processors. Dropped with the outcome once it is committed or discarded,
    /// which the worker waits for.
    pub(super) in_progress: Option<Sender<Infallible>>,
}

impl Outcome {
    /// Whether the session failed.
    pub(super) fn is_failed(&self) -> bool {
        matches!(self.entry, Some(SessionOutcome::Failed(_)))
    }
}

impl Pass<'_> {
    /// Processes one candidate, up to the entry to commit.
    pub(super) fn process_candidate(
        &self,
        candidate: &Candidate,
        grants: &Grants,
        stay: &mut SessionGuard<'_>,
        hashing: Hashing,
    ) -> Outcome {
        let mut outcome = self.try_once(candidate, grants, stay, hashing);
        // Such a file is read once more, then left for the next run.
        if outcome.has_changed {
            outcome = self.try_once(candidate, grants, stay, Hashing::default());
        }
        outcome
    }

    /// The record to write before the session is started.
    pub(super) fn record(&self, candidate: &Candidate) -> InFlightRecord {
        InFlightRecord {
            processor: self.processor.manifest().name.clone(),
            session: candidate.key.clone(),
            component: self.processor.digest().to_owned(),
            size: candidate.observed.size,
            hash: None,
            is_alone: false,
            deaths: 0,
        }
    }

    fn try_once(
        &self,
        candidate: &Candidate,
        grants: &Grants,
        stay: &mut SessionGuard<'_>,
        hashing: Hashing,
    ) -> Outcome {
        let read_at = self.pipeline.now();
        let limits = self.processor.limits();
        let mut snapshot = match Snapshot::open(self.root, &candidate.key, read_at, limits) {
            Ok(snapshot) => snapshot.with_prefix_hash(candidate.known_bytes()),
            // The file was removed after the scan. The next scan will notice.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::debug!(session = %printable(&candidate.key), "session was removed after the scan");
                return Outcome {
                    entry: None,
                    ..self.skipped(candidate, None)
                };
            }
            Err(error) => {
                let fault = Fault::new(
                    FaultKind::Input,
                    format!("cannot open the session: {error}"),
                );
                let observed = self.seen(candidate);
                let mut outcome = self.failed(candidate, None, observed, fault, Cost::default());
                outcome.was_attempt = false;
                return outcome;
            }
        };
        let observed = trusted(
            snapshot.observed(),
            read_at,
            self.pipeline.config.quiet_window,
        );
        let mut known_hash = None;
        // Deaths count for the content, so a suspect is hashed first.
        if (candidate.check != ContentCheck::Nothing || stay.is_suspect())
            && snapshot.size() <= limits.session_bytes_max
        {
            let hash = match snapshot
                .finish()
                .and_then(|hash| snapshot.rewind().map(|()| hash))
            {
                Ok(hash) => hash,
                Err(error) => {
                    let fault = Fault::new(FaultKind::Input, sandbox::read_detail(&error));
                    let mut outcome =
                        self.failed(candidate, None, observed, fault, Cost::default());
                    outcome.was_attempt = false;
                    return outcome;
                }
            };
            known_hash = Some(hash);
            let is_as_in_state = candidate
                .known
                .is_some_and(|known| known.hash == Some(hash) && !known.is_due);
            let failed_same = candidate
                .failure
                .as_ref()
                .filter(|failure| failure.hash == Some(hash));
            match (candidate.check, failed_same) {
                (ContentCheck::FailureHash { verdict, .. }, Some(failure)) => {
                    return self.keep_failed(candidate, verdict, failure.failures, hash, observed);
                }
                (
                    ContentCheck::StateHash
                    | ContentCheck::FailureHash {
                        or_state_hash: true,
                        ..
                    },
                    _,
                ) if is_as_in_state => return self.skipped(candidate, observed),
                _ => {}
            }
        }
        if stay.suspicion(known_hash) == Suspicion::Proven {
            let key = printable(&candidate.key);
            let fault = Fault::new(
                FaultKind::Crash,
                format!(
                    "the process died {DEATHS_MAX} times in a row while it processed only this session; after fixing the \
                     cause, or if someone killed the process, run `session-pipeline quarantine release --session '{key}'`"
                ),
            );
            return self.failed(candidate, known_hash, observed, fault, Cost::default());
        }
        let snapshot = snapshot
            .with_hashed_beginning(hashing.beginning)
            .with_companions(hashing.companions);
        self.execute(candidate, grants, snapshot, read_at, observed)
    }

    fn execute(
        &self,
        candidate: &Candidate,
        grants: &Grants,
        snapshot: Snapshot,
        read_at: UtcMicros,
        observed: Option<FileStat>,
    ) -> Outcome {
        let directory = candidate
            .key
            .split('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let identity = match self.identities.of(&directory) {
            Ok(identity) => identity,
            Err(error) => {
                let fault = Fault::new(
                    FaultKind::Host,
                    format!("cannot look up the user of the session: {error}"),
                );
                return self.failed(candidate, None, observed, fault, Cost::default());
            }
        };
        let (user_id, username) = match identity {
            Some(identity) => (Some(identity.user_id), identity.email),
            None => (None, directory.clone()),
        };
        let session = SessionInfo {
            key: candidate.key.clone(),
            username,
            directory,
            user_id,
        };
        let Attempted {
            execution,
            resumed_from,
        } = self.process_or_resume(candidate, &session, snapshot, grants);
        kill_point("session processed");
        for line in &execution.log {
            tracing::debug!(session = %printable(&candidate.key), level = ?line.level, "{}", line.message);
        }
        let (completed, hash) = match (execution.outcome, execution.hash) {
            (Ok(completed), Some(hash)) => (completed, hash),
            (Ok(_), None) => {
                let fault =
                    Fault::new(FaultKind::Input, "the session could not be read completely");
                return self.failed(candidate, None, observed, fault, execution.cost);
            }
            (Err(fault), hash) => {
                let mut outcome = self.failed(candidate, hash, observed, fault, execution.cost);
                outcome.has_changed = execution.has_changed;
                return outcome;
            }
        };
        let bytes = candidate.observed.size;
        let cost = execution.cost;
        let change = candidate.change(hash, execution.prefix_hash);
        let pending_bytes = completed.all_tables().map(TableRows::bytes).sum();
        let checkpoint = completed.settled.map(|new| {
            let inputs = self.processor.checkpoint_key(&session);
            Box::new(SessionCheckpoint { inputs, new: *new })
        });
        let session = CompletedSession {
            key: session.key,
            username: session.username,
            state_row: candidate.known,
            failure: candidate.failure.clone().map(Box::new),
            read_at,
            observed,
            hash,
            items: completed.items,
            tables: completed.tables,
            resumed_from,
            checkpoint,
            cost,
            change,
        };
        let entry = Some(SessionOutcome::Completed(Box::new(session)));
        Outcome {
            bytes,
            pending_bytes,
            fuel: cost.fuel,
            was_attempt: true,
            entry,
            ..Outcome::default()
        }
    }

    /// A session with unchanged content. Updates its observation and removes a failure of other
    /// content in between.
    fn skipped(&self, candidate: &Candidate, observed: Option<FileStat>) -> Outcome {
        let entry = candidate.known.map(|known| {
            SessionOutcome::Skipped(SkippedSession {
                key: candidate.key.clone(),
                row_id: known.row_id,
                failure_row: candidate.failure.as_ref().map(|failure| failure.row_id),
                observed,
            })
        });
        Outcome {
            bytes: candidate.observed.size,
            entry,
            ..Outcome::default()
        }
    }

    /// A changed file with the same content that failed before. The session keeps waiting or stays
    /// in quarantine, and only its observation is updated.
    fn keep_failed(
        &self,
        candidate: &Candidate,
        verdict: RetryDecision,
        failures: FailureState,
        hash: ContentHash,
        observed: Option<FileStat>,
    ) -> Outcome {
        if verdict == RetryDecision::Try {
            // Cannot happen: the scan requests this check only for other verdicts.
            return Outcome {
                entry: None,
                ..self.skipped(candidate, None)
            };
        }
        let entry = candidate
            .failure
            .as_ref()
            .filter(|_| observed.is_some())
            .map(|failure| {
                SessionOutcome::Failed(Box::new(FailedSession {
                    key: candidate.key.clone(),
                    failure_row: Some(failure.row_id),
                    hash: Some(hash),
                    observed,
                    failures,
                    failures_if_released: failures,
                    fault: failure.fault.clone(),
                    at: failure.last_attempt_at,
                    cost: Cost::default(),
                    is_attempt: false,
                }))
            });
        Outcome {
            bytes: candidate.observed.size,
            verdict: Some(verdict),
            entry,
            ..Outcome::default()
        }
    }

    /// The observation of the walk for a session that can't be opened, so that it waits like other
    /// failed sessions.
    pub(super) fn seen(&self, candidate: &Candidate) -> Option<FileStat> {
        let quiet_window = self.pipeline.config.quiet_window;
        trusted(candidate.observed, self.pipeline.now(), quiet_window)
    }

    pub(super) fn failed(
        &self,
        candidate: &Candidate,
        hash: Option<ContentHash>,
        observed: Option<FileStat>,
        fault: Fault,
        cost: Cost,
    ) -> Outcome {
        let attempt = FailedAttempt {
            key: &candidate.key,
            failure: candidate.failure.as_ref(),
            hash,
            observed,
            cost,
        };
        Outcome {
            bytes: candidate.observed.size,
            fuel: cost.fuel,
            was_attempt: true,
            entry: Some(SessionOutcome::Failed(Box::new(
                self.failed_session(attempt, fault),
            ))),
            ..Outcome::default()
        }
    }

    /// The failure row of an attempt, including when the session is retried.
    pub(super) fn failed_session(&self, attempt: FailedAttempt<'_>, fault: Fault) -> FailedSession {
        let FailedAttempt {
            key,
            failure,
            hash,
            observed,
            cost,
        } = attempt;
        let now = self.pipeline.now();
        let before =
            failure.filter(|failure| failure.digest.as_deref() == Some(self.processor.digest()));
        let known_hash = before.and_then(|failure| failure.hash);
        let failures = before.map(|failure| failure.failures).unwrap_or_default();
        // The content is unknown, and could differ from the quarantined one. Without an
        // observation, the next run checks it again.
        let observed = observed.filter(|_| hash.is_some() || failures.quarantined_at.is_none());
        let manifest = self.processor.manifest();
        let cadence = self.pipeline.config.cadence_of(
            &manifest.name,
            Duration::from_secs(u64::from(manifest.cadence_seconds)),
        );
        let after = |before: FailureState, known_hash| {
            let content = FailedContent::compare(known_hash, hash);
            before.after(&fault, content, now, cadence)
        };
        FailedSession {
            key: key.to_owned(),
            failure_row: failure.map(|failure| failure.row_id),
            hash: hash.or(known_hash),
            observed,
            failures: after(failures, known_hash),
            failures_if_released: after(FailureState::default(), None),
            fault,
            at: now,
            cost,
            is_attempt: true,
        }
    }
}

/// A failed attempt.
pub(super) struct FailedAttempt<'a> {
    pub(super) key: &'a str,
    /// The previous failure.
    pub(super) failure: Option<&'a FailureRow>,
    pub(super) hash: Option<ContentHash>,
    pub(super) observed: Option<FileStat>,
    pub(super) cost: Cost,
}
