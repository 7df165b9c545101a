//! Working through the candidates: workers execute, the caller's thread groups and commits.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::dispatch::{Backlog, Dispatch, Progress};
use super::{Pipeline, RunError, RunRequest, Stats};
use crate::clock::UtcMicros;
use crate::content::{ContentHash, Snapshot};
use crate::fault::{Fault, FaultKind};
use crate::identity::Identities;
use crate::in_flight::{DEATHS_MAX, Record, Stay, Suspicion};
use crate::kill_point::reached;
use crate::manifest::Order;
use crate::processor::{Cost, Grants, Processor, SessionInfo};
use crate::quarantine::{Content, Failures, Verdict};
use crate::rows::TableRows;
use crate::sandbox;
use crate::scan::{Candidate, Check, trusted};
use crate::sessions::{Observed, SessionsRoot};
use crate::store::{CompletedSession, Entry, FailedSession, Group, SkippedSession};

/// The guest may use 1 MiB of the stack; the rest is ours.
const WORKER_STACK_BYTES: usize = 4 << 20;
/// Outcomes that may wait for the committing thread.
const OUTCOMES_MAX: usize = 256;

/// One pass over the candidates of a run.
pub(super) struct Pass<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) root: &'a SessionsRoot,
    pub(super) processor: &'a Processor,
    /// So many candidates at the beginning are sessions that a dead process was at.
    pub(super) suspects: usize,
    pub(super) request: &'a RunRequest,
    pub(super) run_id: &'a str,
    pub(super) started: Duration,
    pub(super) identities: Identities<'a>,
    pub(super) grants: Grants,
}

/// What became of one candidate.
#[derive(Default)]
struct Outcome {
    bytes: u64,
    held_bytes: u64,
    /// For the stats: a session that stays in quarantine or goes on waiting after all.
    verdict: Option<Verdict>,
    fuel: u64,
    was_attempt: bool,
    /// The file became shorter while it was read.
    has_shrunk: bool,
    entry: Option<Entry>,
    /// Of a serial processor: dropped with the outcome as soon as that is committed, or never will
    /// be; its worker waits for that.
    in_hand: Option<Sender<Infallible>>,
}

impl Pass<'_> {
    pub(super) fn work_through(
        &self,
        candidates: Vec<Candidate>,
        stats: &Mutex<Stats>,
        progress: &dyn Progress,
    ) -> Result<(), RunError> {
        let config = &self.pipeline.config;
        let workers = match self.processor.manifest().order {
            Order::Serial => 1,
            Order::Independent => config.workers.clamp(1, candidates.len().max(1)),
        };
        let dispatch = Dispatch::new(candidates.len(), self.attempts_max());
        let backlog = Backlog::new(
            config
                .group
                .bytes_max
                .saturating_add(self.processor.limits().row_bytes_max),
        );
        let (outcomes, finished) = bounded(OUTCOMES_MAX);
        let result = std::thread::scope(|scope| {
            for number in 0..workers {
                let outcomes = outcomes.clone();
                let worker = || self.work(&candidates, &dispatch, &backlog, outcomes);
                let thread = std::thread::Builder::new()
                    .name(format!("worker-{number}"))
                    .stack_size(WORKER_STACK_BYTES);
                if let Err(source) = thread.spawn_scoped(scope, worker) {
                    dispatch.stop();
                    return Err(RunError::Broken(format!(
                        "no worker could be started: {source}"
                    )));
                }
            }
            drop(outcomes);
            let result = self.commit_all(&finished, &dispatch, &backlog, stats, progress);
            if result.is_err() {
                // Workers that wait for room or for the channel must not wait for ever.
                dispatch.stop();
                for outcome in &finished {
                    backlog.leave(outcome.held_bytes);
                }
            }
            result
        });
        let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
        let (handed_out, _) = dispatch.handed_out();
        stats.capped = (candidates.len() - handed_out.min(candidates.len())) as u64;
        result
    }

    /// The tightest cap that holds for this processor.
    fn attempts_max(&self) -> Option<u64> {
        let for_llm = self
            .request
            .max_llm_sessions
            .filter(|_| self.processor.manifest().uses_llm);
        self.request.max_sessions.into_iter().chain(for_llm).min()
    }

    fn work(
        &self,
        candidates: &[Candidate],
        dispatch: &Dispatch,
        backlog: &Backlog,
        outcomes: Sender<Outcome>,
    ) {
        let clock = &self.pipeline.clock;
        let is_over_budget = || {
            self.pipeline.is_stopping()
                || self.pipeline.halted(self.run_id).is_some()
                || self
                    .request
                    .time_budget
                    .is_some_and(|budget| clock.monotonic().saturating_sub(self.started) > budget)
        };
        let is_serial = self.processor.manifest().order == Order::Serial;
        let mut seat = self.pipeline.in_flight.seat();
        while let Some((index, candidate)) = dispatch
            .next(is_over_budget)
            .and_then(|index| Some((index, candidates.get(index)?)))
        {
            let mut outcome = {
                let mut stay = seat.begin(|| self.record(candidate), index < self.suspects);
                let _permit = self.pipeline.permits.take();
                let attempt = std::panic::AssertUnwindSafe(|| self.look_at(candidate, &mut stay));
                std::panic::catch_unwind(attempt).unwrap_or_else(|_| {
                    let fault = Fault::new(
                        FaultKind::Host,
                        "the host panicked at this session; please report it",
                    );
                    let observed = self.seen(candidate);
                    self.failed(candidate, None, observed, fault, Cost::default())
                })
            };
            let (in_hand, settled) = bounded(0);
            outcome.in_hand = is_serial.then_some(in_hand);
            dispatch.done(outcome.was_attempt);
            backlog.enter(outcome.held_bytes);
            let held_bytes = outcome.held_bytes;
            if outcomes.send(outcome).is_err() {
                backlog.leave(held_bytes);
                return;
            }
            // The next session of a serial processor builds on what this one left: no permit is
            // held meanwhile. Nothing is ever sent; the other end goes when the outcome is settled,
            // or at once where there is none to wait for.
            let _ = settled.recv();
        }
    }

    /// Deals with one candidate, up to what is to be committed.
    fn look_at(&self, candidate: &Candidate, stay: &mut Stay<'_>) -> Outcome {
        let mut outcome = self.try_once(candidate, stay);
        // A file that became shorter is read again once, then left for the next run.
        if outcome.has_shrunk {
            outcome = self.try_once(candidate, stay);
        }
        outcome
    }

    /// What is written down of a session before it is begun.
    fn record(&self, candidate: &Candidate) -> Record {
        Record {
            processor: self.processor.manifest().name.clone(),
            session: candidate.key.clone(),
            component: self.processor.digest().to_owned(),
            size: candidate.observed.size,
            hash: None,
            is_alone: false,
            deaths: 0,
        }
    }

    fn try_once(&self, candidate: &Candidate, stay: &mut Stay<'_>) -> Outcome {
        let read_at = self.pipeline.now();
        let line_bytes_max = self.processor.limits().line_bytes_max;
        let mut snapshot = match Snapshot::open(self.root, &candidate.key, read_at, line_bytes_max)
        {
            Ok(snapshot) => snapshot,
            // Gone since the scan: the next one will know.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::debug!(session = %crate::fault::printable(&candidate.key), "gone since the scan");
                return Outcome {
                    entry: None,
                    ..self.skipped(candidate, None)
                };
            }
            Err(error) => {
                let fault = Fault::new(
                    FaultKind::Input,
                    format!("the session can't be opened: {error}"),
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
        // A suspect's deaths are those of its content.
        if (candidate.check != Check::Nothing || stay.is_suspect())
            && snapshot.observed().size <= self.processor.limits().session_bytes_max
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
            let failed_so = candidate
                .failure
                .as_ref()
                .filter(|failure| failure.hash == Some(hash));
            match (candidate.check, failed_so) {
                (Check::FailureHash { verdict, .. }, Some(failure)) => {
                    return self.still_held_back(
                        candidate,
                        verdict,
                        failure.failures,
                        hash,
                        observed,
                    );
                }
                (
                    Check::StateHash
                    | Check::FailureHash {
                        or_state_hash: true,
                        ..
                    },
                    _,
                ) if is_as_in_state => return self.skipped(candidate, observed),
                _ => {}
            }
        }
        if stay.suspicion(known_hash) == Suspicion::Proven {
            let key = crate::fault::printable(&candidate.key);
            let fault = Fault::new(
                FaultKind::Crash,
                format!(
                    "our process died {DEATHS_MAX} times in a row while it was at this session alone; once that is \
                     mended, or if somebody ended it by hand: session-pipeline quarantine release --session '{key}'"
                ),
            );
            return self.failed(candidate, known_hash, observed, fault, Cost::default());
        }
        self.execute(candidate, snapshot, read_at, observed)
    }

    fn execute(
        &self,
        candidate: &Candidate,
        snapshot: Snapshot,
        read_at: UtcMicros,
        observed: Option<Observed>,
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
                    format!("its user can't be looked up: {error}"),
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
        let execution = self
            .processor
            .process_with(&session, snapshot, &self.grants);
        reached("session processed");
        for line in &execution.log {
            tracing::debug!(session = %crate::fault::printable(&candidate.key), level = ?line.level, "{}", line.message);
        }
        let (completed, hash) = match (execution.outcome, execution.hash) {
            (Ok(completed), Some(hash)) => (completed, hash),
            (Ok(_), None) => {
                let fault =
                    Fault::new(FaultKind::Input, "the session could not be read to its end");
                return self.failed(candidate, None, observed, fault, execution.cost);
            }
            (Err(fault), hash) => {
                let mut outcome = self.failed(candidate, hash, observed, fault, execution.cost);
                outcome.has_shrunk = execution.has_shrunk;
                return outcome;
            }
        };
        let bytes = candidate.observed.size;
        let cost = execution.cost;
        let held_bytes = completed.tables.iter().map(TableRows::bytes).sum();
        let session = CompletedSession {
            key: session.key,
            username: session.username,
            known: candidate.known,
            failure_row: candidate.failure.as_ref().map(|failure| failure.row_id),
            read_at,
            observed,
            hash,
            items: completed.items,
            tables: completed.tables,
            cost,
        };
        let entry = Some(Entry::Completed(Box::new(session)));
        Outcome {
            bytes,
            held_bytes,
            fuel: cost.fuel,
            was_attempt: true,
            entry,
            ..Outcome::default()
        }
    }

    /// A session whose content is what it was: only what was observed of it changes, and a failure
    /// of some content in between is over.
    fn skipped(&self, candidate: &Candidate, observed: Option<Observed>) -> Outcome {
        let entry = candidate.known.map(|known| {
            Entry::Skipped(SkippedSession {
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

    /// A touched session whose content is the one that failed: it goes on waiting, or stays in
    /// quarantine; only what was observed of it changes.
    fn still_held_back(
        &self,
        candidate: &Candidate,
        verdict: Verdict,
        failures: Failures,
        hash: ContentHash,
        observed: Option<Observed>,
    ) -> Outcome {
        if verdict == Verdict::Try {
            // The scan never asks this of a session that may be tried.
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
                Entry::Failed(Box::new(FailedSession {
                    key: candidate.key.clone(),
                    failure_row: Some(failure.row_id),
                    hash: Some(hash),
                    observed,
                    failures,
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

    /// What the walk saw of a session that nobody could open, so that it waits like any other.
    fn seen(&self, candidate: &Candidate) -> Option<Observed> {
        let quiet_window = self.pipeline.config.quiet_window;
        trusted(candidate.observed, self.pipeline.now(), quiet_window)
    }

    fn failed(
        &self,
        candidate: &Candidate,
        hash: Option<ContentHash>,
        observed: Option<Observed>,
        fault: Fault,
        cost: Cost,
    ) -> Outcome {
        let now = self.pipeline.now();
        let before = candidate
            .failure
            .as_ref()
            .filter(|failure| failure.digest.as_deref() == Some(self.processor.digest()));
        let known_hash = before.and_then(|failure| failure.hash);
        let failures = before.map(|failure| failure.failures).unwrap_or_default();
        // What is in quarantine is another content than the one observed now, as far as anybody
        // knows: with nothing kept of it the next run looks for itself.
        let observed = observed.filter(|_| hash.is_some() || failures.quarantined_at.is_none());
        let cadence = Duration::from_secs(u64::from(self.processor.manifest().cadence_seconds));
        let entry = Entry::Failed(Box::new(FailedSession {
            key: candidate.key.clone(),
            failure_row: candidate.failure.as_ref().map(|failure| failure.row_id),
            hash: hash.or(known_hash),
            observed,
            failures: failures.after(&fault, Content::against(known_hash, hash), now, cadence),
            fault,
            at: now,
            cost,
            is_attempt: true,
        }));
        Outcome {
            bytes: candidate.observed.size,
            fuel: cost.fuel,
            was_attempt: true,
            entry: Some(entry),
            ..Outcome::default()
        }
    }

    /// Takes outcomes as they come and commits them in groups; a lone session at once.
    fn commit_all(
        &self,
        finished: &Receiver<Outcome>,
        dispatch: &Dispatch,
        backlog: &Backlog,
        stats: &Mutex<Stats>,
        progress: &dyn Progress,
    ) -> Result<(), RunError> {
        let limits = &self.pipeline.config.group;
        let mut group = Pending::default();
        let mut received = 0;
        loop {
            let (handed_out, more_may_follow) = dispatch.handed_out();
            let is_last = received == handed_out && !more_may_follow;
            let is_full = group.entries.len() >= limits.sessions_max
                || group.rows >= limits.rows_max
                || group.held_bytes >= limits.bytes_max
                || self.processor.manifest().order == Order::Serial;
            let waited = group.since.map(|since| since.elapsed());
            if !group.entries.is_empty()
                && (is_last || is_full || waited.is_some_and(|waited| waited >= limits.wait_max))
            {
                self.commit(std::mem::take(&mut group), backlog, stats)?;
                continue;
            }
            let wait = waited.map_or(limits.wait_max, |waited| {
                limits.wait_max.saturating_sub(waited)
            });
            match finished.recv_timeout(wait) {
                Ok(outcome) => {
                    received += 1;
                    progress.advanced(outcome.bytes);
                    let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
                    group.add(outcome, &mut stats);
                    if group.entries.is_empty() {
                        // Nothing of it is committed, so nobody has to wait for that.
                        group.in_hand.clear();
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
        pending: Pending,
        backlog: &Backlog,
        stats: &Mutex<Stats>,
    ) -> Result<(), RunError> {
        let group = Arc::new(self.group(pending.entries));
        let result = match self.pipeline.store.commit(&group) {
            Ok(()) => {
                let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
                group.entries.iter().for_each(|entry| {
                    count(entry, &mut stats);
                    self.settle(entry);
                });
                Ok(())
            }
            Err(error) if error.is_of_the_database() => Err(error.into()),
            Err(error) => {
                tracing::warn!("a group of sessions was refused, each is tried alone: {error}");
                self.commit_one_by_one(group, stats)
            }
        };
        backlog.leave(pending.held_bytes);
        // Committed, or refused and told: whoever waited for it goes on.
        drop(pending.in_hand);
        result
    }

    /// After a refused group: so that one bad session costs only itself.
    fn commit_one_by_one(&self, group: Arc<Group>, stats: &Mutex<Stats>) -> Result<(), RunError> {
        let Some(group) = Arc::into_inner(group) else {
            return Err(RunError::Broken(
                "a refused group is still in use".to_owned(),
            ));
        };
        for entry in group.entries {
            let alone = Arc::new(self.group(vec![entry]));
            let result = self.pipeline.store.commit(&alone);
            let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
            match (result, alone.entries.first()) {
                (Ok(()), Some(entry)) => {
                    count(entry, &mut stats);
                    self.settle(entry);
                }
                (Err(error), _) if error.is_of_the_database() => return Err(error.into()),
                (Err(error), Some(Entry::Completed(session))) => {
                    let fault = Fault::new(
                        FaultKind::Host,
                        format!("its rows could not be committed: {error}"),
                    );
                    stats.add_error(&session.key, &fault);
                }
                // The database takes nothing at all: that is no session's fault.
                (Err(error), _) => return Err(error.into()),
                (Ok(()), None) => {}
            }
        }
        Ok(())
    }

    /// A session that was given up for the deaths it caused is no suspect any more once that is
    /// recorded.
    fn settle(&self, entry: &Entry) {
        if let Entry::Failed(failed) = entry
            && failed.fault.kind == FaultKind::Crash
        {
            let processor = &self.processor.manifest().name;
            self.pipeline.in_flight.settle(processor, &failed.key);
        }
    }

    fn group(&self, entries: Vec<Entry>) -> Group {
        Group {
            manifest: Arc::new(self.processor.manifest().clone()),
            digest: self.processor.digest().to_owned(),
            run_id: self.run_id.to_owned(),
            now: self.pipeline.now(),
            entries,
        }
    }
}

/// Counts what is committed, so that a run that breaks off reports what really stands.
fn count(entry: &Entry, stats: &mut Stats) {
    match entry {
        Entry::Completed(session) => {
            stats.processed += 1;
            stats.items_extracted += session.items;
        }
        Entry::Skipped(_) | Entry::Failed(_) => {}
    }
}

/// Outcomes on their way into one transaction.
#[derive(Default)]
struct Pending {
    entries: Vec<Entry>,
    rows: u64,
    held_bytes: u64,
    since: Option<Instant>,
    in_hand: Vec<Sender<Infallible>>,
}

impl Pending {
    fn add(&mut self, outcome: Outcome, stats: &mut Stats) {
        self.since.get_or_insert_with(Instant::now);
        self.held_bytes += outcome.held_bytes;
        stats.fuel += outcome.fuel;
        if outcome.was_attempt {
            stats.bytes += outcome.bytes;
        }
        match (outcome.verdict, &outcome.entry) {
            (Some(verdict), _) => {
                // It was a candidate only until its hash was known.
                stats.scanned -= 1;
                match verdict {
                    Verdict::Quarantined => stats.quarantined += 1,
                    Verdict::Waiting | Verdict::Try => stats.waiting += 1,
                }
            }
            (None, None | Some(Entry::Skipped(_))) => stats.skipped += 1,
            (None, Some(Entry::Failed(failed))) => stats.add_error(&failed.key, &failed.fault),
            (None, Some(Entry::Completed(completed))) => {
                self.rows += completed
                    .tables
                    .iter()
                    .map(|table| table.rows as u64)
                    .sum::<u64>();
            }
        }
        self.entries.extend(outcome.entry);
        self.in_hand.extend(outcome.in_hand);
    }
}
