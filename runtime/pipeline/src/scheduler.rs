//! The async driver of the [`timetable`]: sleeps, determines which
//! jobs are due, and starts them.
//!
//! # Usage
//!
//! A server creates a [`Scheduler`] and awaits [`Scheduler::run`] with three arguments:
//!
//! - the store, which saves the last runs of jobs;
//! - `run`, a function from the name of a processor to the result of its run;
//! - `stop`, a future that completes when the process should stop.
//!
//! `run` is the same function that the HTTP endpoint calls, so both share the lock and the audit
//! entry. It is called on its own task, so it can take any time, but it must not block the thread.
//! Runs block, so use `spawn_blocking`. [`JobResult`] is the result of a job, and converts from the
//! result of a run. [`Scheduler::with_processor_source`] sets a function that returns the current processors at
//! every tick.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use session_pipeline_host::clock::SystemClock;
//! # use session_pipeline_pipeline::run::{Pipeline, RunError, RunRequest};
//! # use session_pipeline_pipeline::scheduler::timetable::JobResult;
//! # use session_pipeline_pipeline::scheduler::{Scheduler, cadences, cadences_after_examination};
//! # async fn serve(pipeline: Arc<Pipeline>, request: RunRequest, stop: impl Future<Output = ()>)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Arc::new(SystemClock::default());
//! let scheduler = Scheduler::new(pipeline.config(), cadences(&pipeline), clock)?;
//! let current = Arc::clone(&pipeline);
//! let scheduler = scheduler.with_processor_source(move || cadences_after_examination(&current));
//! let watch = scheduler.watch(); // for health and for lists of jobs
//! let store = Arc::clone(&pipeline);
//! let run = move |processor: String| {
//!     let (pipeline, request) = (Arc::clone(&pipeline), request.clone());
//!     async move {
//!         let run = move || pipeline.run(&processor, &request, &());
//!         match tokio::task::spawn_blocking(run).await {
//!             Ok(result) => JobResult::from(&result),
//!             Err(panic) => JobResult::Failed(panic.to_string()),
//!         }
//!     }
//! };
//! scheduler.run(store, run, stop).await;
//! # Ok(()) }
//! ```

pub mod timetable;

use std::pin::pin;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_store::{JobRow, Store};
use tokio::task::{JoinHandle, JoinSet};

use crate::config::Config;
use crate::registry::Refresh;
use crate::registry::listing::ProcessorOrigin;
use crate::run::{Pipeline, RunError, RunReport};
use crate::schedule::TickTooLong;
use crate::scheduler::timetable::{Job, JobResult, Timetable};

/// Returns the current processors with their cadences.
type Processors = dyn Fn() -> Vec<(String, Option<Duration>)> + Send + Sync;

/// Starts jobs when they are due.
pub struct Scheduler {
    shared: Arc<SchedulerShared>,
    config: Config,
    /// Called at every tick. `None`: the jobs are fixed at the start.
    processors: Option<Arc<Processors>>,
    clock: Arc<dyn Clock>,
    tick: Duration,
    startup_grace: Duration,
}

#[derive(Debug)]
struct SchedulerShared {
    state: Mutex<SchedulerState>,
    tick: Duration,
}

#[derive(Debug, Default)]
struct SchedulerState {
    timetable: Timetable,
    last_tick_at: Option<UtcMicros>,
}

impl SchedulerShared {
    fn state(&self) -> MutexGuard<'_, SchedulerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle to observe a scheduler.
#[derive(Clone, Debug)]
pub struct SchedulerHandle(Arc<SchedulerShared>);

/// The state of a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerStatus {
    /// The interval between two ticks.
    pub tick: Duration,
    /// The last tick. `None`: there was none.
    pub last_tick_at: Option<UtcMicros>,
    /// The jobs.
    pub jobs: Vec<Job>,
}

impl SchedulerHandle {
    /// The current state.
    pub fn status(&self) -> SchedulerStatus {
        let state = self.0.state();
        SchedulerStatus {
            tick: self.0.tick,
            last_tick_at: state.last_tick_at,
            jobs: state.timetable.jobs().to_vec(),
        }
    }
}

impl From<&Result<RunReport, RunError>> for JobResult {
    fn from(result: &Result<RunReport, RunError>) -> Self {
        match result {
            Ok(report) => match (report.stats.nothing_attempted_error(), report.stats.errors) {
                (Some(reason), _) => Self::Failed(reason),
                (None, 0) => Self::Ok,
                (None, 1) => Self::Failed("1 session failed".to_owned()),
                (None, errors) => Self::Failed(format!("{errors} sessions failed")),
            },
            Err(error @ (RunError::AlreadyRunning(_) | RunError::Registry(_))) => {
                Self::Rejected(error.to_string())
            }
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// The processors that have jobs, with the cadences in their manifests. `None`: the processor is
/// unavailable or not installed.
///
/// The first call loads each processor, which can take seconds, so do not call it on a thread that
/// answers requests. New files in the folder of processors are included only after
/// [`Pipeline::examine_folder`].
pub fn cadences(pipeline: &Pipeline) -> Vec<(String, Option<Duration>)> {
    let (registry, config) = (pipeline.registry(), pipeline.config());
    let now = pipeline.clock().now();
    let notice = Refresh::Notice(Some(pipeline.store()));
    if let Err(error) = registry.refresh(config, now, notice) {
        tracing::warn!(%error, "cannot check the folder of processors");
    }
    let names = registry.names().into_iter();
    names
        .map(|name| {
            let cadence = match registry.cadence(&name) {
                Some(cadence) => cadence,
                None if registry.check(&name).is_err() => None,
                None => load_cadence(pipeline, &name),
            };
            let cadence = match registry.origin(&name) {
                ProcessorOrigin::Shipped => cadence,
                // A third-party cadence shorter than the tick must not stop the server.
                ProcessorOrigin::Dropped => {
                    cadence.map(|cadence| cadence.max(config.scheduler.tick))
                }
            };
            (name, cadence)
        })
        .collect()
}

/// Like [`cadences`], but first lets new components take over. It can take as long as compiling.
pub fn cadences_after_examination(pipeline: &Pipeline) -> Vec<(String, Option<Duration>)> {
    if let Err(error) = pipeline.examine_folder(true) {
        tracing::warn!(%error, "cannot check the folder of processors");
    }
    cadences(pipeline)
}

fn load_cadence(pipeline: &Pipeline, name: &str) -> Option<Duration> {
    match pipeline.processor(name) {
        Ok(processor) => {
            let seconds = processor.manifest().cadence_seconds;
            Some(Duration::from_secs(seconds.into()))
        }
        Err(error) => {
            tracing::info!(processor = name, %error, "cannot determine the cadence, so the default applies");
            None
        }
    }
}

impl Scheduler {
    /// A scheduler for these processors, with the cadences in their manifests.
    ///
    /// # Errors
    /// If the tick is longer than the interval of a job.
    pub fn new(
        config: &Config,
        processors: impl IntoIterator<Item = (String, Option<Duration>)>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TickTooLong> {
        let timetable = Timetable::new(config, processors)?;
        let tick = config.scheduler.tick;
        Ok(Self {
            config: config.clone(),
            processors: None,
            shared: Arc::new(SchedulerShared {
                state: Mutex::new(SchedulerState {
                    timetable,
                    last_tick_at: None,
                }),
                tick,
            }),
            clock,
            tick,
            startup_grace: config.scheduler.startup_grace,
        })
    }

    /// Makes the scheduler call `processors` at every tick for the current processors and cadences.
    /// The call can take any time. The tick does not wait for it, and a later tick uses its result.
    #[must_use]
    pub fn with_processor_source(
        mut self,
        processors: impl Fn() -> Vec<(String, Option<Duration>)> + Send + Sync + 'static,
    ) -> Self {
        self.processors = Some(Arc::new(processors));
        self
    }

    /// A handle to observe the scheduler.
    pub fn watch(&self) -> SchedulerHandle {
        SchedulerHandle(Arc::clone(&self.shared))
    }

    /// Starts due jobs at every tick until `stop` completes. Then it starts no further job and
    /// returns once all running jobs have ended. Drop the future to stop waiting.
    ///
    /// `run` is called concurrently for different jobs, but never for the same one. Nothing starts
    /// before the startup grace is over, so that the server can answer requests first.
    pub async fn run<S, R, F>(self, store: Arc<S>, run: R, stop: impl Future<Output = ()>)
    where
        S: AsRef<Store> + Send + Sync + 'static,
        R: Fn(String) -> F + Send + Sync + 'static,
        F: Future<Output = JobResult> + Send + 'static,
    {
        let run = Arc::new(run);
        let mut stop = pin!(stop);
        let mut answer = self.request_processors(&store);
        if tokio::time::timeout(self.startup_grace, &mut stop)
            .await
            .is_ok()
        {
            return;
        }
        let rows = read_jobs(Arc::clone(&store)).await;
        self.shared.state().timetable.restore(&rows);
        let mut runs = JoinSet::new();
        loop {
            let now = self.clock.now();
            match answer.as_ref().map(Receiver::try_recv) {
                Some(Err(TryRecvError::Empty)) => {}
                Some(Ok((processors, rows))) => {
                    let mut state = self.shared.state();
                    state
                        .timetable
                        .update_processors(&self.config, processors, &rows);
                    drop(state);
                    answer = self.request_processors(&store);
                }
                // If the call panicked, the processors stay the same.
                Some(Err(TryRecvError::Disconnected)) | None => {
                    answer = self.request_processors(&store)
                }
            }
            let due = {
                let mut state = self.shared.state();
                state.last_tick_at = Some(now);
                state.timetable.start_due(now)
            };
            for job in due {
                let run = Arc::clone(&run);
                let run = tokio::spawn(async move { run(job.processor).await });
                let (shared, store) = (Arc::clone(&self.shared), Arc::clone(&store));
                runs.spawn(attend(job.name, run, shared, store));
            }
            // Finished runs have already been recorded by `attend`.
            while runs.try_join_next().is_some() {}
            if tokio::time::timeout(self.tick, &mut stop).await.is_ok() {
                break;
            }
        }
        while runs.join_next().await.is_some() {}
    }
}

/// The current processors, and the stored rows of all jobs.
type ProcessorsReceiver = Receiver<(Vec<(String, Option<Duration>)>, Vec<JobRow>)>;

impl Scheduler {
    /// Calls `processors` on a separate thread, because it can wait for a compiler. Stopping does
    /// not wait for it.
    fn request_processors<S: AsRef<Store> + Send + Sync + 'static>(
        &self,
        store: &Arc<S>,
    ) -> Option<ProcessorsReceiver> {
        let processors = Arc::clone(self.processors.as_ref()?);
        let store = Arc::clone(store);
        let (sender, receiver) = channel();
        let ask = move || {
            let processors = processors();
            // Without rows, a new job only starts once too often.
            let rows = (*store).as_ref().jobs().unwrap_or_default();
            // The scheduler might have stopped.
            let _ = sender.send((processors, rows));
        };
        let thread = std::thread::Builder::new().name("look".to_owned());
        // If the thread can't be started, the next tick tries again.
        thread.spawn(ask).ok().map(|_| receiver)
    }
}

/// Waits for a run and records its result, even after a panic.
async fn attend<S>(
    name: String,
    run: JoinHandle<JobResult>,
    shared: Arc<SchedulerShared>,
    store: Arc<S>,
) where
    S: AsRef<Store> + Send + Sync + 'static,
{
    let end = match run.await {
        Ok(end) => end,
        Err(error) => JobResult::Failed(format!("the run failed with an internal error: {error}")),
    };
    if let Some(reason) = end.reason() {
        tracing::warn!(
            job = name,
            end = end.as_str(),
            reason,
            "scheduled run did not succeed"
        );
    }
    let status = end.as_str();
    let Some(tick) = shared.state().timetable.finish(&name, end) else {
        return;
    };
    let row = JobRow {
        name,
        last_run_at: Some(tick),
        last_status: Some(status.to_owned()),
    };
    // A failed write must not stop the scheduler. Without the row, a restart runs the job once too
    // often.
    let saved = tokio::task::spawn_blocking(move || (*store).as_ref().record_job(row)).await;
    if let Ok(Err(error)) = saved {
        tracing::warn!(%error, "cannot save the last run of a job");
    }
}

async fn read_jobs<S>(store: Arc<S>) -> Vec<JobRow>
where
    S: AsRef<Store> + Send + Sync + 'static,
{
    match tokio::task::spawn_blocking(move || (*store).as_ref().jobs()).await {
        Ok(Ok(rows)) => rows,
        Ok(Err(error)) => {
            tracing::warn!(%error, "cannot read the last runs of the jobs, so all jobs are due");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
