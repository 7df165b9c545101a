//! Working through the candidates: workers execute, the caller's thread groups and commits.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::manifest::Order;
use session_pipeline_host::processor::{Cost, Grants, Processor};
use session_pipeline_host::sandbox::{Reach, confine_if_possible};
use session_pipeline_host::sessions::SessionsRoot;
use session_pipeline_store::ReprocessRequests;
use session_pipeline_store::Stats;

use crate::identity::Identities;
use crate::run::attempt::Outcome;
use crate::run::dispatch::{Backlog, Dispatch, Progress};
use crate::run::{Pipeline, RunError, RunRequest};
use crate::scan::Candidate;

/// The guest may use 1 MiB of the stack; the rest is ours.
const WORKER_STACK_BYTES: usize = 4 << 20;
/// Outcomes that may wait for the committing thread.
const OUTCOMES_MAX: usize = 256;

/// What comes from the workers. Dropping it stops them, and waits until they have: none of them
/// may wait for room, for the channel or for its commit once no one takes their outcomes.
struct Outcomes<'a> {
    finished: Receiver<Outcome>,
    dispatch: &'a Dispatch,
    backlog: &'a Backlog,
}

impl Drop for Outcomes<'_> {
    fn drop(&mut self) {
        self.dispatch.stop();
        self.backlog.close();
        self.finished.iter().for_each(drop);
    }
}

/// One pass over the candidates of a run.
pub(super) struct Pass<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) root: &'a SessionsRoot,
    pub(super) processor: &'a Processor,
    /// So many candidates at the beginning are sessions that a dead process was at.
    pub(super) suspects: usize,
    pub(super) request: &'a RunRequest,
    pub(super) run_id: &'a str,
    /// The requests to process sessions again since the scan.
    pub(super) requests: Arc<ReprocessRequests>,
    /// When the first candidate could be handed out: the time budget counts from here.
    pub(super) started: Duration,
    pub(super) identities: Identities<'a>,
    pub(super) grants: Grants,
}

impl Pass<'_> {
    /// Returns how many candidates were handed out; the others are left for the next run.
    pub(super) fn work_through(
        &self,
        candidates: &[Candidate],
        stats: &Mutex<Stats>,
        progress: &dyn Progress,
    ) -> Result<usize, RunError> {
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
        let result = std::thread::scope(|scope| {
            let (sender, finished) = bounded(OUTCOMES_MAX);
            // Dropped before the scope waits for its threads, on every way out, a panic included;
            // and after the sender, which would keep it waiting.
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
                    return Err(RunError::Broken(format!(
                        "no worker could be started: {source}"
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

    /// The tightest cap that holds for this processor.
    fn attempts_max(&self) -> Option<u64> {
        let for_llm = self
            .request
            .max_llm_sessions
            .filter(|_| self.processor.manifest().uses_llm);
        self.request.max_sessions.into_iter().chain(for_llm).min()
    }

    /// Takes from this thread what no session needs, before it runs a guest.
    fn confine(&self) {
        let spill = self.pipeline.config.store_options().spill_dir();
        // The database makes the folder when it first needs it, which a confined thread can't.
        if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(&spill) {
            tracing::debug!(%error, "threads that run guests are not confined");
            return;
        }
        confine_if_possible(Reach {
            sessions: Some(self.root.folder()),
            scratch: &[self.pipeline.in_flight.folder(), &spill],
        });
    }

    fn work(
        &self,
        candidates: &[Candidate],
        dispatch: &Dispatch,
        backlog: &Backlog,
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
        let mut seat = self.pipeline.in_flight.seat();
        let mut is_confined = false;
        while let Some((index, candidate)) = dispatch
            .next(must_stop, is_time_up)
            .and_then(|index| Some((index, candidates.get(index)?)))
        {
            let mut outcome = {
                let mut stay = seat.begin(|| self.record(candidate), index < self.suspects);
                // Once the folder of slots is there, and never where there is nothing to do.
                if !std::mem::replace(&mut is_confined, true) {
                    self.confine();
                }
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
}
