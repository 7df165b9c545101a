//! The thin driver of the [`timetable`](crate::scheduler::timetable): it sleeps, asks what is due,
//! and starts it.
//!
//! # The seam
//!
//! Whoever serves makes a [`Scheduler`] and awaits [`Scheduler::drive`], which takes three things:
//! the store, which keeps the last runs; `run`, one function from the name of a processor to how its
//! run ended; and `stop`, a future that ends when the process shall.
//! `run` is the function that the endpoint calls, too: same lock, same audit (BEHAVIOUR.md A25).
//! It is called on a task of its own, so it may take as long as it likes, but it must not block the
//! thread: runs are blocking work, which belongs behind `spawn_blocking`.
//! [`JobEnd`] says what became of it, and is made of a run's own result by `From`.
//! [`Scheduler::following`] gives it a function that tells at every tick which processors there are.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use session_pipeline_host::clock::SystemClock;
//! # use crate::run::{Pipeline, RunError, RunRequest};
//! # use crate::scheduler::timetable::JobEnd;
//! # use crate::scheduler::{Scheduler, cadences, cadences_after_look};
//! # async fn serve(pipeline: Arc<Pipeline>, request: RunRequest, stop: impl Future<Output = ()>)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Arc::new(SystemClock::default());
//! let scheduler = Scheduler::new(pipeline.config(), cadences(&pipeline), clock)?;
//! let asked = Arc::clone(&pipeline);
//! let scheduler = scheduler.following(move || cadences_after_look(&asked));
//! let watch = scheduler.watch(); // for health, and for whoever lists the jobs
//! let store = Arc::clone(&pipeline);
//! let run = move |processor: String| {
//!     let (pipeline, request) = (Arc::clone(&pipeline), request.clone());
//!     async move {
//!         let run = move || pipeline.run(&processor, &request, &());
//!         match tokio::task::spawn_blocking(run).await {
//!             Ok(result) => JobEnd::from(&result),
//!             Err(panic) => JobEnd::Failed(panic.to_string()),
//!         }
//!     }
//! };
//! scheduler.drive(store, run, stop).await;
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
use crate::registry::listing::Origin;
use crate::run::{Pipeline, RunError, RunReport};
use crate::schedule::TickTooLong;
use crate::scheduler::timetable::{Job, JobEnd, Timetable};

/// Tells which processors there are, each with its cadence.
type Processors = dyn Fn() -> Vec<(String, Option<Duration>)> + Send + Sync;

/// Starts jobs when they are due.
pub struct Scheduler {
    shared: Arc<Shared>,
    config: Config,
    /// Who is asked at every tick; `None`: the jobs are what they were at the start.
    processors: Option<Arc<Processors>>,
    clock: Arc<dyn Clock>,
    tick: Duration,
    startup_grace: Duration,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    tick: Duration,
}

#[derive(Debug, Default)]
struct State {
    timetable: Timetable,
    last_tick_at: Option<UtcMicros>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look at a scheduler, for as long as the process lives.
#[derive(Clone, Debug)]
pub struct SchedulerWatch(Arc<Shared>);

/// How a scheduler stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerStatus {
    /// How often it looks what is due.
    pub tick: Duration,
    /// When it last did; `None`: not yet.
    pub last_tick_at: Option<UtcMicros>,
    /// Its jobs.
    pub jobs: Vec<Job>,
}

impl SchedulerWatch {
    /// How it stands now.
    pub fn status(&self) -> SchedulerStatus {
        let state = self.0.state();
        SchedulerStatus {
            tick: self.0.tick,
            last_tick_at: state.last_tick_at,
            jobs: state.timetable.jobs().to_vec(),
        }
    }
}

impl From<&Result<RunReport, RunError>> for JobEnd {
    fn from(result: &Result<RunReport, RunError>) -> Self {
        match result {
            Ok(report) => match (report.stats.tried_nothing(), report.stats.errors) {
                (Some(reason), _) => Self::Failed(reason),
                (None, 0) => Self::Ok,
                (None, errors) => Self::Failed(format!("{errors} sessions failed")),
            },
            Err(error @ (RunError::AlreadyRunning(_) | RunError::Registry(_))) => {
                Self::Refused(error.to_string())
            }
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// The processors that have jobs, known by name or at hand, with the cadence of their manifests:
/// `None` where it can't be told, as the processor is unavailable or not installed.
///
/// Each is made ready for this the first time, which may take seconds: not for threads that answer
/// requests. New files in the folder of processors are not among them before somebody
/// [looked](Pipeline::look).
pub fn cadences(pipeline: &Pipeline) -> Vec<(String, Option<Duration>)> {
    let (registry, config) = (pipeline.registry(), pipeline.config());
    let now = pipeline.clock().now();
    if let Err(error) = registry.notice(config, Some(pipeline.store()), now) {
        tracing::warn!(%error, "the folder of processors can't be looked at");
    }
    let names = registry.known_names().into_iter();
    names
        .map(|name| {
            let cadence = match registry.cadence(&name) {
                Some(cadence) => cadence,
                None if registry.check(&name).is_err() => None,
                None => ask(pipeline, &name),
            };
            let cadence = match registry.origin(&name) {
                Origin::Shipped => cadence,
                // What others wish for does not stop a server whose tick is longer.
                Origin::Dropped => cadence.map(|cadence| cadence.max(config.scheduler.tick)),
            };
            (name, cadence)
        })
        .collect()
}

/// As [`cadences`], once what is new in the folder of processors has taken over; as long as compiling
/// takes.
pub fn cadences_after_look(pipeline: &Pipeline) -> Vec<(String, Option<Duration>)> {
    if let Err(error) = pipeline.look(true) {
        tracing::warn!(%error, "the folder of processors can't be looked at");
    }
    cadences(pipeline)
}

fn ask(pipeline: &Pipeline, name: &str) -> Option<Duration> {
    match pipeline.processor(name) {
        Ok(processor) => {
            let seconds = processor.manifest().cadence_seconds;
            Some(Duration::from_secs(seconds.into()))
        }
        Err(error) => {
            tracing::info!(processor = name, %error, "no cadence of its own");
            None
        }
    }
}

impl Scheduler {
    /// A scheduler of these processors, given with the cadences of their manifests.
    ///
    /// # Errors
    /// When the tick is longer than the interval of a job.
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
            shared: Arc::new(Shared {
                state: Mutex::new(State {
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

    /// The same scheduler, which asks at every tick which processors there are, each with its
    /// cadence. `processors` may take as long as it likes: the tick does not wait for it, and a
    /// later one goes by what it gave.
    #[must_use]
    pub fn following(
        mut self,
        processors: impl Fn() -> Vec<(String, Option<Duration>)> + Send + Sync + 'static,
    ) -> Self {
        self.processors = Some(Arc::new(processors));
        self
    }

    /// A look at it, which stays good while it drives.
    pub fn watch(&self) -> SchedulerWatch {
        SchedulerWatch(Arc::clone(&self.shared))
    }

    /// Starts what is due, tick by tick, until `stop` ends; then nothing new is started, and it
    /// returns when the runs at work have ended. Whoever can't wait that long drops it.
    ///
    /// `run` is called for different jobs at once, and never twice at once for the same.
    /// Nothing happens before the start-up grace is over, so that a server comes up in peace.
    pub async fn drive<S, R, F>(self, store: Arc<S>, run: R, stop: impl Future<Output = ()>)
    where
        S: AsRef<Store> + Send + Sync + 'static,
        R: Fn(String) -> F + Send + Sync + 'static,
        F: Future<Output = JobEnd> + Send + 'static,
    {
        let run = Arc::new(run);
        let mut stop = pin!(stop);
        let mut asked = self.ask(&store);
        if tokio::time::timeout(self.startup_grace, &mut stop)
            .await
            .is_ok()
        {
            return;
        }
        let rows = recall(Arc::clone(&store)).await;
        self.shared.state().timetable.remember(&rows);
        let mut runs = JoinSet::new();
        loop {
            let now = self.clock.now();
            match asked.as_ref().map(Receiver::try_recv) {
                Some(Err(TryRecvError::Empty)) => {}
                Some(Ok((processors, rows))) => {
                    let mut state = self.shared.state();
                    state.timetable.follow(&self.config, processors, &rows);
                    drop(state);
                    asked = self.ask(&store);
                }
                // Where it broke off, the processors are as they were.
                Some(Err(TryRecvError::Disconnected)) | None => asked = self.ask(&store),
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
            // Those that have ended are forgotten; nothing is to be learned from them.
            while runs.try_join_next().is_some() {}
            if tokio::time::timeout(self.tick, &mut stop).await.is_ok() {
                break;
            }
        }
        while runs.join_next().await.is_some() {}
    }
}

/// What there is to run now, and what is kept of all jobs.
type Asked = Receiver<(Vec<(String, Option<Duration>)>, Vec<JobRow>)>;

impl Scheduler {
    /// Begins to ask which processors there are, where it is to be asked at all: on a thread of its
    /// own, for which nobody waits who stops, as it may wait for a compiler.
    fn ask<S: AsRef<Store> + Send + Sync + 'static>(&self, store: &Arc<S>) -> Option<Asked> {
        let processors = Arc::clone(self.processors.as_ref()?);
        let store = Arc::clone(store);
        let (answer, asked) = channel();
        let ask = move || {
            let processors = processors();
            // A job that is new gets another start at the worst.
            let rows = (*store).as_ref().jobs().unwrap_or_default();
            // Whoever asked may have stopped.
            let _ = answer.send((processors, rows));
        };
        let thread = std::thread::Builder::new().name("look".to_owned());
        // Where the system gives no thread, the next tick asks again.
        thread.spawn(ask).ok().map(|_| asked)
    }
}

/// Waits for a run, and keeps the books however it ends: also where it panics.
async fn attend<S>(name: String, run: JoinHandle<JobEnd>, shared: Arc<Shared>, store: Arc<S>)
where
    S: AsRef<Store> + Send + Sync + 'static,
{
    let end = match run.await {
        Ok(end) => end,
        Err(error) => JobEnd::Failed(format!("the run broke off: {error}")),
    };
    if let Some(reason) = end.reason() {
        tracing::warn!(job = name, end = end.as_str(), reason, "a scheduled run");
    }
    let word = end.as_str();
    let Some(tick) = shared.state().timetable.ended(&name, end) else {
        return;
    };
    let row = JobRow {
        name,
        last_run_at: Some(tick),
        last_status: Some(word.to_owned()),
    };
    // Bookkeeping must not stop the work: without the row, a restart runs the job once too often.
    let kept = tokio::task::spawn_blocking(move || (*store).as_ref().keep_job(row)).await;
    if let Ok(Err(error)) = kept {
        tracing::warn!(%error, "the last run of a job can't be kept");
    }
}

async fn recall<S>(store: Arc<S>) -> Vec<JobRow>
where
    S: AsRef<Store> + Send + Sync + 'static,
{
    match tokio::task::spawn_blocking(move || (*store).as_ref().jobs()).await {
        Ok(Ok(rows)) => rows,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the last runs of the jobs can't be read; all are due");
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
