//! One run: a pass of one processor over all its candidates, from the plan to the report.
//!
//! A run takes no input but its processor, its caps and the clock: it looks at the world and brings
//! the store up to date. Command line, HTTP and scheduler all start it by [`Pipeline::run`]: same
//! lock, same audit.

mod attempt;
mod commit;
mod dispatch;
mod pass;
mod report;
mod request;
mod running;
mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_host::fault::{chain, printable};
use session_pipeline_host::model::LanguageModel;
use session_pipeline_host::processor::Processor;
use session_pipeline_host::sandbox::Engines;
use session_pipeline_host::sessions::SessionsRoot;
use session_pipeline_store::{RunRecord, RunResult, Stats, Store, StoreError, Swept};

use crate::config::Config;
use crate::in_flight::InFlight;
use crate::registry::{Registry, RegistryError};
use crate::retention;

pub use dispatch::Progress;
pub use report::RunReport;
pub use request::RunRequest;

/// All that runs share: opened once in a process.
pub struct Pipeline {
    config: Config,
    clock: Arc<dyn Clock>,
    registry: Registry,
    engines: Engines,
    store: Arc<Store>,
    permits: Arc<dispatch::Permits>,
    in_flight: InFlight,
    model: Option<Arc<dyn LanguageModel>>,
    running: running::Running,
    is_stopping: AtomicBool,
    swept_at: Mutex<Option<UtcMicros>>,
}

/// Why there was no run, or why it did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The same processor is at work.
    #[error("the processor `{0}` is already running; wait for it to end")]
    AlreadyRunning(String),
    /// The processor is not at hand.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sessions root can't be read.
    #[error("the sessions root `{path}` can't be read; check the path and its permissions")]
    Sessions {
        /// The root.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No run begins any more.
    #[error("the pipeline is stopping, and begins no run; try again when it is back")]
    Stopping,
    /// It was stopped before it had dealt with all its sessions.
    #[error("the run was stopped; what it had processed stands, and the next run does the rest")]
    Interrupted,
    /// The language model does not answer until its operator has done something.
    #[error("the run stopped: {0}; what it had processed stands")]
    Halted(String),
    /// A part of the pipeline itself broke.
    #[error("the run broke off: {0}; please report it")]
    Broken(String),
}

impl Pipeline {
    /// Opens the data dir, with the components it knows.
    ///
    /// # Errors
    /// When the database can't be opened.
    pub fn open(
        config: Config,
        clock: Arc<dyn Clock>,
        registry: Registry,
    ) -> Result<Self, RunError> {
        let store = Arc::new(Store::open(&config.store_options(), clock.now())?);
        registry.tidy(&config, &store)?;
        let permits = Arc::new(dispatch::Permits::new(config.workers));
        let engines = Engines::new(config.pool_limits(), permits.sessions_max());
        let in_flight = InFlight::open(&config.state_dir());
        Ok(Self {
            config,
            clock,
            registry,
            engines,
            store,
            permits,
            in_flight,
            model: None,
            running: running::Running::default(),
            is_stopping: AtomicBool::new(false),
            swept_at: Mutex::default(),
        })
    }

    /// The same with a language model for the processors that may ask one.
    #[must_use]
    pub fn with_language_model(mut self, model: Arc<dyn LanguageModel>) -> Self {
        self.model = Some(model);
        self
    }

    /// Whether there is one.
    pub fn has_language_model(&self) -> bool {
        self.model.is_some()
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the workers are at, and what those of a dead process were at.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// The database, for whoever keeps something there beside the runs.
    pub fn shared_store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// The processors.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Makes a processor ready, for one run or many.
    ///
    /// # Errors
    /// As [`Registry::load`], and when it needs a language model and there is none.
    pub fn processor(&self, name: &str) -> Result<Processor, RegistryError> {
        let processor = self.registry.load(
            name,
            &self.config,
            &self.engines,
            &self.store,
            self.clock.now(),
        )?;
        if processor.manifest().uses_llm && !self.has_language_model() {
            return Err(RegistryError::NeedsModel {
                name: name.to_owned(),
            });
        }
        Ok(processor)
    }

    /// Looks into the folder of processors, and lets take over what is new there. As long as
    /// compiling takes, so not for threads that answer requests; `waits` says whether to wait for a
    /// look that is at work already.
    ///
    /// # Errors
    /// As [`Registry::look`].
    pub fn look(&self, waits: bool) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.registry
            .look(&self.config, &self.engines, &self.store, now, waits)
    }

    /// Opens the sessions root; `None` where there is none.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn sessions_root(&self) -> Result<Option<SessionsRoot>, RunError> {
        let path = &self.config.sessions_root;
        SessionsRoot::open(path).map_err(|source| RunError::Sessions {
            path: path.display().to_string(),
            source,
        })
    }

    /// Runs a processor over all its candidates: the one way to start a run, whoever asks.
    ///
    /// # Errors
    /// When there was no run, or it did not come to its end. A session's failure is no error.
    pub fn run(
        &self,
        name: &str,
        request: &RunRequest,
        progress: &dyn Progress,
    ) -> Result<RunReport, RunError> {
        let now = self.clock.now();
        self.registry
            .look_for(name, &self.config, &self.engines, &self.store, now)?;
        self.registry.check(name)?;
        let _lock = self.running.take(name)?;
        // Asked under the lock, so that whoever stops the pipeline and then waits waits for this one.
        if self.is_stopping() {
            return Err(RunError::Stopping);
        }
        let started = self.clock.monotonic();
        let loaded = match caught(|| Ok(self.processor(name)?)) {
            // A processor that can't run here has no run, so nothing is recorded of one.
            Err(RunError::Registry(error)) if error.is_refusal() => return Err(error.into()),
            loaded => loaded,
        };
        let id = self
            .store
            .begin_run(name, request.trigger, self.clock.now())?;
        // Outside of the pass, so that a run that breaks off still tells what it had done.
        let stats = Mutex::new(Stats {
            processor: name.to_owned(),
            ..Stats::default()
        });
        let pass = |processor| self.pass(&processor, request, &id, &stats, progress);
        let result = loaded.and_then(|processor| caught(|| pass(processor)));
        let mut stats = stats.into_inner().unwrap_or_else(PoisonError::into_inner);
        let result = match result {
            Ok(_) if self.is_stopping() && stats.capped > 0 => Err(RunError::Interrupted),
            Ok(passed) => match self.halted(&id) {
                Some(reason) => Err(RunError::Halted(reason)),
                None => Ok(passed),
            },
            Err(error) => Err(error),
        };
        let duration = self.clock.monotonic().saturating_sub(started);
        stats.duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let error = match &result {
            Ok(_) => stats.tried_nothing(),
            Err(error) => Some(chain(error)),
        };
        let record = RunRecord {
            id: id.clone(),
            processor_name: name.to_owned(),
            actor: request.actor.clone(),
            result: match &result {
                Ok(_) if stats.is_ok() => RunResult::Ok,
                Err(RunError::Interrupted) => RunResult::Interrupted,
                _ => RunResult::Failed,
            },
            stats: serde_json::to_string(&stats).unwrap_or_default(),
            audit_params: stats.audit_params(result.as_ref().err().and(error.as_deref())),
            error,
            finished_at: self.clock.now(),
            duration,
        };
        let finished = self.store.finish_run(record);
        self.sweep();
        let passed = result?;
        finished?;
        Ok(RunReport {
            id,
            stats,
            notes: passed.notes,
            opens: passed.opens,
        })
    }

    /// Removes what is kept for a time only, unless that was done within the last day. Upkeep must
    /// not break the work: where it fails, that is a warning.
    pub fn sweep(&self) {
        let now = self.clock.now();
        {
            let mut swept_at = self.swept_at.lock().unwrap_or_else(PoisonError::into_inner);
            if !retention::is_due(*swept_at, now) {
                return;
            }
            *swept_at = Some(now);
        }
        match self
            .store
            .sweep(retention::plan(now, self.config.keep_missing_days))
        {
            Ok(swept) if swept == Swept::default() => {}
            Ok(swept) => tracing::info!(?swept, "removed what is kept for a time only"),
            Err(error) => tracing::warn!("what is old could not be removed: {}", chain(&error)),
        }
    }

    /// From now on no run begins, and those at work begin no further session; requests to a
    /// language model are broken off.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        if let Some(model) = &self.model {
            model.stop();
        }
    }

    /// Why a run goes no further, where only the operator of the language model can help.
    fn halted(&self, run_id: &str) -> Option<String> {
        self.model.as_ref()?.halted(run_id)
    }

    /// Whether [`Pipeline::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// The processors that are at work, sorted.
    pub fn running(&self) -> Vec<String> {
        self.running.names()
    }

    /// Waits until no run is at work; `false` if one still is when the time is over.
    pub fn wait_until_idle(&self, at_most: Duration) -> bool {
        self.running.wait_until_idle(at_most)
    }

    fn now(&self) -> UtcMicros {
        self.clock.now()
    }
}

impl AsRef<Store> for Pipeline {
    fn as_ref(&self) -> &Store {
        &self.store
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A panic in `work` as an error.
fn caught<T>(work: impl FnOnce() -> Result<T, RunError>) -> Result<T, RunError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(RunError::Broken(printable(
            text.unwrap_or("a panic without a message"),
        )))
    })
}
