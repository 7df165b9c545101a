//! One run of a processor over all its candidates, from the scan to the report.
//!
//! A run depends only on its processor, its caps and the clock. It reads the sessions on disk and
//! updates the store. Command line, HTTP and scheduler all start runs with [`Pipeline::run`], so
//! they share its lock and its audit entry.

mod attempt;
mod commit;
mod dispatch;
mod hashing;
mod pass;
mod recorded;
mod report;
mod request;
mod resume;
mod running;
mod turns;
mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_host::fault::{error_chain, printable};
use session_pipeline_host::model::LanguageModel;
use session_pipeline_host::processor::Processor;
use session_pipeline_host::sandbox::Engines;
use session_pipeline_host::sessions::SessionsRoot;
use session_pipeline_store::{DeletedRows, RunEnd, RunResult, RunStats, Store, StoreError};

use crate::config::Config;
use crate::in_flight::InFlight;
use crate::registry::{Access, Loader, Refresh, Registry, RegistryError};
use crate::retention;

pub use dispatch::Progress;
pub use report::RunReport;
pub use request::RunRequest;

/// Everything that runs share. Opened once per process.
pub struct Pipeline {
    config: Config,
    clock: Arc<dyn Clock>,
    registry: Registry,
    engines: Engines,
    store: Arc<Store>,
    permits: Arc<dispatch::Permits>,
    in_flight: InFlight,
    model: Option<Arc<dyn LanguageModel>>,
    running: running::RunningProcessors,
    is_stopping: AtomicBool,
    swept_at: Mutex<Option<UtcMicros>>,
}

/// Why a run did not start or did not complete.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The processor is already running.
    #[error("the processor `{0}` is already running; wait for it to end")]
    AlreadyRunning(String),
    /// The processor is not available.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sessions root can't be read.
    #[error("cannot read sessions root `{path}`; check the path and its permissions")]
    Sessions {
        /// The path of the sessions root.
        path: String,
        /// The I/O error.
        #[source]
        source: std::io::Error,
    },
    /// The pipeline is stopping and starts no runs.
    #[error("the pipeline is stopping and starts no runs; try again after its restart")]
    Stopping,
    /// It was stopped before it processed all its sessions.
    #[error(
        "the run was interrupted; the sessions that it processed are committed, and the next run processes the rest"
    )]
    Interrupted,
    /// An error of the language model that its operator has to resolve.
    #[error("the run stopped: {0}; the sessions that it processed are committed")]
    Halted(String),
    /// An internal error.
    #[error("the run failed with an internal error: {0}; please report it")]
    Internal(String),
}

impl Pipeline {
    /// Opens the data directory.
    ///
    /// # Errors
    /// If the database can't be opened.
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
            running: running::RunningProcessors::default(),
            is_stopping: AtomicBool::new(false),
            swept_at: Mutex::default(),
        })
    }

    /// Adds a language model for the processors that can use one.
    #[must_use]
    pub fn with_language_model(mut self, model: Arc<dyn LanguageModel>) -> Self {
        self.model = Some(model);
        self
    }

    /// Whether a language model is configured.
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

    /// The sessions in progress, and those of a previous process that crashed.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// The database, with shared ownership.
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

    /// Loads a processor for one or more runs.
    ///
    /// # Errors
    /// Same as [`Registry::get`], and if it needs a language model and none is configured.
    pub fn processor(&self, name: &str) -> Result<Processor, RegistryError> {
        let processor = self.registry.get(name, &self.config, self.loader())?;
        if processor.manifest().uses_llm && !self.has_language_model() {
            return Err(RegistryError::NeedsModel {
                name: name.to_owned(),
            });
        }
        Ok(processor)
    }

    /// Checks the folder of processors and lets new components take over. It takes as long as
    /// compiling, so do not call it on a thread that answers requests. `waits` tells whether to
    /// wait for a check that is already running.
    ///
    /// # Errors
    /// Same as [`Registry::refresh`].
    pub fn examine_folder(&self, waits: bool) -> Result<(), StoreError> {
        let loader = self.loader();
        self.refresh(Refresh::All { loader, waits })
    }

    fn loader(&self) -> Loader<'_> {
        Loader {
            engines: &self.engines,
            access: Access::Full(&self.store, self.clock.now()),
        }
    }

    fn refresh(&self, refresh: Refresh<'_>) -> Result<(), StoreError> {
        self.registry
            .refresh(&self.config, self.clock.now(), refresh)
    }

    /// Opens the sessions root. `None`: it does not exist.
    ///
    /// # Errors
    /// If it exists but can't be read.
    pub fn sessions_root(&self) -> Result<Option<SessionsRoot>, RunError> {
        let path = &self.config.sessions_root;
        SessionsRoot::open(path).map_err(|source| RunError::Sessions {
            path: path.display().to_string(),
            source,
        })
    }

    /// Runs a processor over all its candidates. This is the only way to start a run.
    ///
    /// # Errors
    /// If the run did not start or did not complete. A failed session is not an error.
    pub fn run(
        &self,
        name: &str,
        request: &RunRequest,
        progress: &dyn Progress,
    ) -> Result<RunReport, RunError> {
        self.refresh(Refresh::Only(self.loader(), name))?;
        self.registry.check(name)?;
        let _lock = self.running.take(name)?;
        // Checked under the lock, so that a caller that stops the pipeline and waits also waits for
        // this run.
        if self.is_stopping() {
            return Err(RunError::Stopping);
        }
        let started = self.clock.monotonic();
        let loaded = match catch_panic(|| Ok(self.processor(name)?)) {
            // A processor that can't run here has no run, so none is recorded.
            Err(RunError::Registry(error)) if error.is_rejection() => return Err(error.into()),
            loaded => loaded,
        };
        let id = self
            .store
            .begin_run(name, request.trigger, self.clock.now())?;
        // Outside the pass, so that a run that fails still reports its work.
        let stats = Mutex::new(RunStats {
            processor: name.to_owned(),
            ..RunStats::default()
        });
        let pass = |processor| self.pass(&processor, request, &id, &stats, progress);
        let result = loaded.and_then(|processor| catch_panic(|| pass(processor)));
        let mut stats = stats.into_inner().unwrap_or_else(PoisonError::into_inner);
        let result = match result {
            Ok(_) if self.is_stopping() && stats.capped > 0 => Err(RunError::Interrupted),
            Ok(pass_report) => match self.halted(&id) {
                Some(reason) => Err(RunError::Halted(reason)),
                None => Ok(pass_report),
            },
            Err(error) => Err(error),
        };
        let duration = self.clock.monotonic().saturating_sub(started);
        stats.duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let error = match &result {
            Ok(_) => stats.nothing_attempted_error(),
            Err(error) => Some(error_chain(error)),
        };
        let record = RunEnd {
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
        let pass_report = result?;
        finished?;
        Ok(RunReport {
            id,
            stats,
            notes: pass_report.notes,
            opens: pass_report.opens,
        })
    }

    /// Removes data past its retention, at most once a day. Errors are logged as warnings, because
    /// maintenance must not fail a run.
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
            .delete_expired(retention::plan(now, self.config.keep_missing_days))
        {
            Ok(swept) if swept == DeletedRows::default() => {}
            Ok(swept) => tracing::info!(?swept, "removed data past its retention"),
            Err(error) => {
                tracing::warn!(
                    "cannot remove data past its retention: {}",
                    error_chain(&error)
                )
            }
        }
    }

    /// Stops the pipeline: no run starts, running ones start no further session, and requests to a
    /// language model are aborted.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        if let Some(model) = &self.model {
            model.stop();
        }
    }

    /// Why a run was halted, if only the operator of the language model can resolve it.
    fn halted(&self, run_id: &str) -> Option<String> {
        self.model.as_ref()?.halt_reason(run_id)
    }

    /// Whether [`Pipeline::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// The processors that are running, sorted.
    pub fn running(&self) -> Vec<String> {
        self.running.names()
    }

    /// Waits until no run is in progress. Returns false after the timeout.
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

/// Converts a panic in `work` to an error.
fn catch_panic<T>(work: impl FnOnce() -> Result<T, RunError>) -> Result<T, RunError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(RunError::Internal(printable(
            text.unwrap_or("a panic without a message"),
        )))
    })
}
