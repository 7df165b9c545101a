//! One run: a pass of one processor over all its candidates, from the plan to the report.
//!
//! A run takes no input but its processor, its caps and the clock: it looks at the world and brings
//! the store up to date. Command line, HTTP and scheduler all start it by [`Pipeline::run`]: same
//! lock, same audit.

mod dispatch;
mod running;
mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, UtcMicros};
use crate::config::Config;
use crate::fault::printable;
use crate::identity::Identities;
use crate::in_flight::InFlight;
use crate::kill_point::reached;
use crate::llm::LanguageModel;
use crate::processor::{Grants, Processor};
use crate::registry::{Registry, RegistryError};
use crate::retention::{self, Swept};
use crate::sandbox::{Aside, Engines, ModelGrant};
use crate::scan::{ScanContext, ScanPlan};
use crate::sessions::{Note, SessionsRoot, Walk};
use crate::store::{Actor, RunRecord, RunResult, Store, StoreError, Trigger};

pub use dispatch::Progress;

/// Errors listed in a report; the others are counted.
const ERRORS_LISTED_MAX: usize = 100;

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

/// What a run is asked for.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Through what.
    pub trigger: Trigger,
    /// Who asks, for the audit log.
    pub actor: Actor,
    /// Whether that is a person, so that no wait after a failure counts.
    pub is_started_by_person: bool,
    /// Attempts at most.
    pub max_sessions: Option<u64>,
    /// Attempts at most, of a processor that uses a language model.
    pub max_llm_sessions: Option<u64>,
    /// Time after which no further session is begun.
    pub time_budget: Option<Duration>,
}

impl RunRequest {
    /// A run from the command line: without caps.
    pub fn cli() -> Self {
        Self {
            trigger: Trigger::Cli,
            actor: Actor::cli(),
            is_started_by_person: true,
            max_sessions: None,
            max_llm_sessions: None,
            time_budget: None,
        }
    }

    /// A run within a service, by its caps (ARCHITECTURE.md §8).
    pub fn service(config: &Config, trigger: Trigger, actor: Actor) -> Self {
        Self {
            trigger,
            actor,
            is_started_by_person: false,
            max_sessions: None,
            max_llm_sessions: config.service.llm_sessions_max,
            time_budget: Some(config.service.run_time_max),
        }
    }
}

/// What a run did (BEHAVIOUR.md 2.5, A10).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// The processor.
    pub processor: String,
    /// Candidates in all, also those that the caps left for later.
    pub scanned: u64,
    /// Sessions processed.
    pub processed: u64,
    /// Candidates whose content was what it had been.
    pub skipped: u64,
    /// Candidates left for the next run by a cap.
    pub capped: u64,
    /// Sessions whose attempt failed.
    pub errors: u64,
    /// Items that the processor extracted.
    pub items_extracted: u64,
    /// The failures, at most a hundred.
    pub errors_detail: Vec<SessionError>,
    /// Sessions that wait after a failure; not in `scanned`.
    pub waiting: u64,
    /// Sessions in quarantine; not in `scanned`.
    pub quarantined: u64,
    /// Bytes of the sessions that were tried.
    pub bytes: u64,
    /// Fuel burned.
    pub fuel: u64,
    /// How long the run took.
    pub duration_ms: u64,
}

/// One failure in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionError {
    /// The session's key.
    pub session: String,
    /// The fault's word.
    pub fault: String,
    /// What happened.
    pub error: String,
}

impl Stats {
    fn add_error(&mut self, key: &str, fault: &crate::fault::Fault) {
        self.errors += 1;
        if self.errors_detail.len() < ERRORS_LISTED_MAX {
            self.errors_detail.push(SessionError {
                session: printable(key),
                fault: fault.kind.to_string(),
                error: fault.to_string(),
            });
        }
    }

    fn audit_params(&self, unhandled_error: Option<&str>) -> String {
        let mut params = serde_json::json!({
            "processor": self.processor, "scanned": self.scanned, "processed": self.processed, "skipped": self.skipped,
            "capped": self.capped, "errors": self.errors, "items_extracted": self.items_extracted,
        });
        if let (Some(error), Some(params)) = (unhandled_error, params.as_object_mut()) {
            params.insert("unhandled_error".to_owned(), error.into());
        }
        params.to_string()
    }
}

/// The outcome of a run that came to its end.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The run's id.
    pub id: String,
    /// What it did.
    pub stats: Stats,
    /// What the walk passed over.
    pub notes: Vec<Note>,
    /// How many session files were opened: none where nothing is new.
    pub opens: u64,
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
        let store = Arc::new(Store::open(&config, clock.now())?);
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
        let id = self
            .store
            .begin_run(name, request.trigger, self.clock.now())?;
        // Outside of the pass, so that a run that breaks off still tells what it had done.
        let stats = Mutex::new(Stats {
            processor: name.to_owned(),
            ..Stats::default()
        });
        let pass = std::panic::AssertUnwindSafe(|| self.pass(name, request, &id, &stats, progress));
        let result = std::panic::catch_unwind(pass).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(RunError::Broken(printable(
                text.unwrap_or("a panic without a message"),
            )))
        });
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
        let error = result.as_ref().err().map(|error| said(error));
        let record = RunRecord {
            id: id.clone(),
            processor_name: name.to_owned(),
            actor: request.actor.clone(),
            result: match &result {
                Ok(_) if stats.errors == 0 => RunResult::Ok,
                Err(RunError::Interrupted) => RunResult::Interrupted,
                _ => RunResult::Failed,
            },
            stats: serde_json::to_string(&stats).unwrap_or_default(),
            audit_params: stats.audit_params(error.as_deref()),
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
            Err(error) => tracing::warn!("what is old could not be removed: {}", said(&error)),
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

    fn pass(
        &self,
        name: &str,
        request: &RunRequest,
        run_id: &str,
        stats: &Mutex<Stats>,
        progress: &dyn Progress,
    ) -> Result<Passed, RunError> {
        let started = self.clock.monotonic();
        let processor = &self.processor(name)?;
        let Some(root) = &self.sessions_root()? else {
            let path = printable(&self.config.sessions_root.display().to_string());
            let reason =
                "there is no such folder, so there are no sessions; check the path".to_owned();
            return Ok(Passed {
                notes: vec![Note { path, reason }],
                opens: 0,
            });
        };
        let (mut plan, walk) = self.plan(root, processor, request.is_started_by_person)?;
        reached("scan done");
        let suspects = self.put_suspects_first(processor, &mut plan);
        {
            let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
            stats.scanned = plan.candidates.len() as u64;
            (stats.waiting, stats.quarantined) = (plan.waiting, plan.quarantined);
        }
        self.store
            .mark_missing(&processor.manifest().name, &plan, self.clock.now())?;
        if let Some(days) = self.config.keep_missing_days {
            // What a run that saw little or nothing calls missing may be there all the same.
            if walk.is_complete && walk.found > 0 {
                let kept = Duration::from_secs(u64::from(days) * 24 * 3600);
                let before = self.clock.now().minus(kept);
                let forgotten = self.store.forget_vanished(processor.manifest(), before)?;
                tracing::info!(processor = %processor.manifest().name, forgotten, "sessions missing for {days} days");
            }
        }
        let bytes = plan
            .candidates
            .iter()
            .map(|candidate| candidate.observed.size)
            .sum();
        progress.planned(plan.candidates.len() as u64, bytes);
        let pass = work::Pass {
            pipeline: self,
            root,
            processor,
            suspects,
            request,
            run_id,
            started,
            identities: Identities::new(&self.store),
            grants: self.grants(processor, run_id)?,
        };
        pass.work_through(plan.candidates, stats, progress)?;
        Ok(Passed {
            notes: walk.notes,
            opens: root.opens(),
        })
    }

    /// What the sessions of a run may reach.
    fn grants(&self, processor: &Processor, run_id: &str) -> Result<Grants, RunError> {
        let model = processor.asks_model().then(|| ModelGrant {
            model: self.model.clone(),
            clock: Arc::clone(&self.clock),
            place: Arc::clone(&self.permits) as Arc<dyn Aside>,
            run_id: run_id.into(),
        });
        Ok(Grants {
            shared: self.store.shared_rows(processor.manifest())?,
            model,
            randomness: None,
        })
    }

    /// What a run would look at now.
    ///
    /// # Errors
    /// When the root or the database can't be read.
    pub fn plan(
        &self,
        root: &SessionsRoot,
        processor: &Processor,
        is_started_by_person: bool,
    ) -> Result<(ScanPlan, Walk), RunError> {
        let manifest = processor.manifest();
        let now = self.clock.now();
        let (looked, walk) = root.walk_ahead(|found| {
            let mut known = self.store.known_sessions(&manifest.name)?;
            let failures = self.store.known_failures(&manifest.name)?;
            let versions = self.store.component_versions(&manifest.name)?;
            let context = ScanContext {
                failures: &failures,
                digest: processor.digest(),
                version: manifest.version,
                versions: known
                    .digests
                    .iter()
                    .map(|digest| versions.get(digest).copied())
                    .collect(),
                now,
                is_started_by_person,
            };
            let mut plan = ScanPlan::default();
            found.each(|key, observed| plan.visit(key, observed, &mut known, &context));
            Ok::<_, StoreError>((plan, known, failures))
        });
        let (mut plan, known, failures) = looked?;
        let mut walk = walk.map_err(|source| RunError::Sessions {
            path: root.path().display().to_string(),
            source,
        })?;
        plan.finish(&walk, &known, &failures);
        if walk.found == 0 && !known.is_empty() {
            let path = printable(&root.path().display().to_string());
            let reason =
                "no session is there any more, and all that are known are kept; check the path"
                    .to_owned();
            walk.notes.push(Note { path, reason });
        }
        Ok((plan, walk))
    }

    /// The candidates that a dead process was at come first; gives how many they are.
    fn put_suspects_first(&self, processor: &Processor, plan: &mut ScanPlan) -> usize {
        let name = &processor.manifest().name;
        let candidates = &plan.candidates;
        let is_candidate = |key: &str| candidates.iter().any(|candidate| candidate.key == key);
        let suspects = self.in_flight.suspects_among(name, is_candidate);
        if !suspects.is_empty() {
            plan.candidates
                .sort_by_key(|candidate| !suspects.contains(&candidate.key));
        }
        suspects.len()
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

/// What a pass has to tell beside its numbers.
struct Passed {
    notes: Vec<Note>,
    opens: u64,
}

/// An error with its causes, each said once.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
