//! Works through the candidates: workers execute guests, and the caller's thread commits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use session_pipeline_host::fault::{Fault, FaultKind, printable};
use session_pipeline_host::manifest::Order;
use session_pipeline_host::processor::{Cost, Grants, Processor};
use session_pipeline_host::sandbox::{FileAccess, confine_if_possible};
use session_pipeline_host::sessions::SessionsRoot;
use session_pipeline_host::shared::SharedRows;
use session_pipeline_store::{ReprocessRequests, RunStats, private_folder};

use crate::identity::Identities;
use crate::in_flight::WorkerSeat;
use crate::run::attempt::Outcome;
use crate::run::dispatch::{Dispatch, DispatchQueue, Permits, Progress};
use crate::run::hashing::{HashedSessions, Hashing};
use crate::run::recorded::RecordedRows;
use crate::run::turns::Turns;
use crate::run::{Pipeline, RunError, RunRequest};
use crate::scan::Candidate;

/// Up to 1 MiB of the stack is for the guest, the rest for the host.
const WORKER_STACK_BYTES: usize = 4 << 20;
/// Capacity of the channel to the committing thread.
const OUTCOMES_MAX: usize = 256;

/// The receiving end of the workers' outcomes. Dropping it stops the workers and waits for them, so
/// that none is blocked on the backlog, the channel or a commit.
struct Outcomes<'a> {
    finished: Receiver<Outcome>,
    dispatch: &'a Dispatch,
    backlog: &'a DispatchQueue,
    turns: Option<&'a Turns>,
}

impl Drop for Outcomes<'_> {
    fn drop(&mut self) {
        self.dispatch.stop();
        self.backlog.close();
        self.turns.into_iter().for_each(Turns::close);
        self.finished.iter().for_each(drop);
    }
}

/// The work on the candidates of a run.
pub(super) struct Pass<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) root: &'a SessionsRoot,
    pub(super) processor: &'a Processor,
    /// Number of suspects at the front of the candidates.
    pub(super) suspects: usize,
    pub(super) request: &'a RunRequest,
    pub(super) run_id: &'a str,
    /// Requests to reprocess sessions since the scan.
    pub(super) requests: Arc<ReprocessRequests>,
    /// Start of the time budget, on the monotonic clock.
    pub(super) started: Duration,
    pub(super) identities: Identities<'a>,
    pub(super) grants: Grants,
}

impl Pass<'_> {
    /// Works through the candidates. Returns the number handed out; the rest is left for the next
    /// run.
    pub(super) fn work_through(
        &self,
        candidates: &[Candidate],
        stats: &Mutex<RunStats>,
        progress: &dyn Progress,
    ) -> Result<usize, RunError> {
        let config = &self.pipeline.config;
        let is_serial = self.processor.manifest().order == Order::Serial;
        // Only waiting for answers of a model is worth the risk of processing a session twice.
        let at_once = config.llm.concurrency;
        let slots = (is_serial && at_once > 1 && self.asks_model()).then(|| Permits::new(at_once));
        let workers = match &slots {
            // Half of the workers can wait for their turn while the others ask the model.
            Some(_) => at_once.saturating_mul(2),
            None if is_serial => 1,
            None => config.workers,
        }
        .clamp(1, candidates.len().max(1));
        // One worker processes them in order anyway.
        let turns = (is_serial && workers > 1).then(Turns::default);
        let dispatch = Dispatch::new(candidates.len(), self.attempts_max());
        let ahead = HashedSessions::new(candidates, self.root, workers);
        let backlog = DispatchQueue::new(
            config
                .group
                .bytes_max
                .saturating_add(self.processor.limits().row_bytes_max),
        );
        let result = std::thread::scope(|scope| {
            let (sender, finished) = bounded(OUTCOMES_MAX);
            // Dropped before the scope joins its threads, on every path including a panic, and
            // after the sender, which would keep the channel open.
            let finished = Outcomes {
                finished,
                dispatch: &dispatch,
                backlog: &backlog,
                turns: turns.as_ref(),
            };
            let outcomes = sender;
            for number in 0..workers {
                let outcomes = outcomes.clone();
                let turns = turns.as_ref().zip(slots.as_ref());
                let (dispatch, backlog, ahead) = (&dispatch, &backlog, &ahead);
                let worker =
                    move || self.work(candidates, dispatch, ahead, backlog, turns, &outcomes);
                let thread = std::thread::Builder::new()
                    .name(format!("worker-{number}"))
                    .stack_size(WORKER_STACK_BYTES);
                if let Err(source) = thread.spawn_scoped(scope, worker) {
                    return Err(RunError::Internal(format!(
                        "cannot start a worker thread: {source}"
                    )));
                }
            }
            drop(outcomes);
            self.commit_all(&finished.finished, &dispatch, &backlog, stats, progress)
        });
        let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
        let (handed_out, _) = dispatch.handed_out();
        let handed_out = handed_out.min(candidates.len());
        stats.capped = (candidates.len() - handed_out) as u64;
        result.map(|()| handed_out)
    }

    /// The tightest cap for this processor.
    fn attempts_max(&self) -> Option<u64> {
        let for_llm = self
            .request
            .max_llm_sessions
            .filter(|_| self.processor.manifest().uses_llm);
        self.request.max_sessions.into_iter().chain(for_llm).min()
    }

    /// Restricts this thread to what sessions need, before it runs a guest.
    fn confine(&self) {
        let spill = self.pipeline.config.store_options().spill_dir();
        // DuckDB creates the folder on first use, which a confined thread can't.
        if let Err(error) = private_folder(&spill) {
            tracing::debug!(%error, "cannot confine threads that run guests");
            return;
        }
        confine_if_possible(FileAccess {
            sessions: Some(self.root.folder()),
            scratch: &[self.pipeline.in_flight.folder(), &spill],
        });
    }

    /// Whether sessions ask a language model.
    fn asks_model(&self) -> bool {
        let model = self.grants.model.as_ref();
        self.processor.manifest().uses_llm && model.is_some_and(|grant| grant.model.is_some())
    }

    /// Processes candidates until there are no more.
    ///
    /// The sessions of a serial processor have the same result as if they were processed one after
    /// the other, like optimistic transactions: each records its lookups in the shared tables, and
    /// repeats them when all earlier sessions are committed. If a result differs, the session is
    /// processed again. It then has the only turn, so nothing can change in the meantime.
    fn work(
        &self,
        candidates: &[Candidate],
        dispatch: &Dispatch,
        ahead: &HashedSessions<'_>,
        backlog: &DispatchQueue,
        turns: Option<(&Turns, &Permits)>,
        outcomes: &Sender<Outcome>,
    ) {
        let clock = &self.pipeline.clock;
        let must_stop =
            || self.pipeline.is_stopping() || self.pipeline.halted(self.run_id).is_some();
        let is_time_up = || {
            self.request
                .time_budget
                .is_some_and(|budget| clock.monotonic().saturating_sub(self.started) > budget)
        };
        let is_serial = self.processor.manifest().order == Order::Serial;
        let (turns, slots) = turns.unzip();
        let mut worker = Worker {
            seat: self.pipeline.in_flight.worker_seat(),
            slots,
            is_confined: false,
        };
        while let Some((index, candidate)) = dispatch
            .next(must_stop, is_time_up)
            .and_then(|index| Some((index, candidates.get(index)?)))
        {
            let is_suspect = index < self.suspects;
            let recorded = turns.and_then(|_| self.grants.shared.clone());
            let recorded = recorded.map(|rows| Arc::new(RecordedRows::new(rows)));
            let grants = Grants {
                shared: match &recorded {
                    Some(rows) => Some(Arc::clone(rows) as Arc<dyn SharedRows>),
                    None => self.grants.shared.clone(),
                },
                ..self.grants.clone()
            };
            let mut outcome = self.attempt(candidate, is_suspect, &grants, &mut worker, || {
                ahead.start(index)
            });
            let turn = match turns.map(|turns| turns.wait_for(index)) {
                None => None,
                Some(Some(turn)) => Some(turn),
                // The run ends without a commit of this session.
                Some(None) => return,
            };
            let has_conflict = recorded.is_some_and(|rows| !rows.still_hold());
            if let Some(turn) = &turn
                && index > 0
            {
                // One after the other, the run would end with the first failure after the stop.
                let is_after_stop = (has_conflict || outcome.is_failed())
                    && must_stop()
                    && (has_conflict || turn.is_after_stop());
                if is_after_stop || dispatch.has_taken_back(index) {
                    dispatch.take_back(index);
                    continue;
                }
            }
            if has_conflict {
                tracing::debug!(session = %printable(&candidate.key), "another session changed what this one looked up; it is processed again");
                let fuel = outcome.fuel;
                outcome = self.attempt(
                    candidate,
                    is_suspect,
                    &self.grants,
                    &mut worker,
                    Hashing::default,
                );
                outcome.fuel = outcome.fuel.saturating_add(fuel);
            }
            let (in_progress, settled) = bounded(0);
            outcome.in_progress = is_serial.then_some(in_progress);
            dispatch.done(outcome.was_attempt);
            backlog.enter(outcome.pending_bytes);
            let pending_bytes = outcome.pending_bytes;
            if outcomes.send(outcome).is_err() {
                backlog.leave(pending_bytes);
                return;
            }
            // The next session of a serial processor depends on the rows of this one, so wait for
            // the commit, without a permit. Nothing is ever sent: the other end is dropped once the
            // outcome is settled, or immediately for independent processors.
            let _ = settled.recv();
            drop(turn);
        }
    }

    /// Attempts one session. Waits for a permit.
    fn attempt(
        &self,
        candidate: &Candidate,
        is_suspect: bool,
        grants: &Grants,
        worker: &mut Worker<'_>,
        hashing: impl FnOnce() -> Hashing,
    ) -> Outcome {
        let _slot = worker.slots.map(Permits::take);
        let mut stay = worker.seat.begin(|| self.record(candidate), is_suspect);
        // After the slots folder exists, and only if there is a session.
        if !std::mem::replace(&mut worker.is_confined, true) {
            self.confine();
        }
        let _permit = self.pipeline.permits.take();
        let attempt = std::panic::AssertUnwindSafe(|| {
            self.process_candidate(candidate, grants, &mut stay, hashing())
        });
        std::panic::catch_unwind(attempt).unwrap_or_else(|_| {
            let fault = Fault::new(
                FaultKind::Host,
                "internal error: the host panicked on this session; please report it",
            );
            let observed = self.seen(candidate);
            self.failed(candidate, None, observed, fault, Cost::default())
        })
    }
}

/// The state of a worker's thread.
struct Worker<'a> {
    /// Limits the sessions that ask a model at once.
    slots: Option<&'a Permits>,
    seat: WorkerSeat<'a>,
    is_confined: bool,
}
