//! Works through the candidates: workers execute guests, and the caller's thread commits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::manifest::Order;
use session_pipeline_host::processor::{Cost, Grants, Processor};
use session_pipeline_host::sandbox::{FileAccess, confine_if_possible};
use session_pipeline_host::sessions::SessionsRoot;
use session_pipeline_store::{ReprocessRequests, RunStats, private_folder};

use crate::identity::Identities;
use crate::run::attempt::Outcome;
use crate::run::dispatch::{Dispatch, DispatchQueue, Progress};
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
}

impl Drop for Outcomes<'_> {
    fn drop(&mut self) {
        self.dispatch.stop();
        self.backlog.close();
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
        let workers = match self.processor.manifest().order {
            Order::Serial => 1,
            Order::Independent => config.workers.clamp(1, candidates.len().max(1)),
        };
        let dispatch = Dispatch::new(candidates.len(), self.attempts_max());
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
            };
            let outcomes = sender;
            for number in 0..workers {
                let outcomes = outcomes.clone();
                let worker = || self.work(candidates, &dispatch, &backlog, outcomes);
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

    fn work(
        &self,
        candidates: &[Candidate],
        dispatch: &Dispatch,
        backlog: &DispatchQueue,
        outcomes: Sender<Outcome>,
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
        let mut seat = self.pipeline.in_flight.worker_seat();
        let mut is_confined = false;
        while let Some((index, candidate)) = dispatch
            .next(must_stop, is_time_up)
            .and_then(|index| Some((index, candidates.get(index)?)))
        {
            let mut outcome = {
                let mut stay = seat.begin(|| self.record(candidate), index < self.suspects);
                // After the slots folder exists, and only if there is a session.
                if !std::mem::replace(&mut is_confined, true) {
                    self.confine();
                }
                let _permit = self.pipeline.permits.take();
                let attempt =
                    std::panic::AssertUnwindSafe(|| self.process_candidate(candidate, &mut stay));
                std::panic::catch_unwind(attempt).unwrap_or_else(|_| {
                    let fault = Fault::new(
                        FaultKind::Host,
                        "internal error: the host panicked on this session; please report it",
                    );
                    let observed = self.seen(candidate);
                    self.failed(candidate, None, observed, fault, Cost::default())
                })
            };
            let (in_progress, settled) = bounded(0);
            outcome.in_progress = is_serial.then_some(in_progress);
            dispatch.done(outcome.was_attempt);
            backlog.enter(outcome.pending_bytes);
            let pending_bytes = outcome.pending_bytes;
            if outcomes.send(outcome).is_err() {
                backlog.leave(pending_bytes);
                return;
            }
            // A serial processor's next session depends on the rows of this one, so wait for the
            // commit, without a permit. Nothing is ever sent: the other end is dropped once the
            // outcome is settled, or immediately for independent processors.
            let _ = settled.recv();
        }
    }
}
