//! A processor at work: load → link → instantiate → call.
//!
//! Loading and linking happen once for each component, instantiating and calling once for each
//! session. A store is never used again after a call: whatever a trap left behind goes with it.

mod describe;
mod redact;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Linker;

use crate::content::{ContentHash, ReadError, Snapshot};
use crate::fault::{Fault, FaultKind, printable};
use crate::limits::Limits;
use crate::manifest::{Manifest, TableSpec};
use crate::rows::TableRows;
use crate::sandbox::contract::ProcessorWithLlmPre;
use crate::sandbox::contract::session_pipeline::processor::types;
use crate::sandbox::{
    self, Compiled, Engine, HostState, LogLine, ModelGrant, SessionGrant, SessionModel,
    backtrace_of, blamed, fault_of, fuel_left, run_to_end,
};
use crate::shared::SharedRows;

pub use redact::{redacted_columns, redacted_text};

/// A component that is ready to process sessions.
pub struct Processor {
    engine: Arc<Engine>,
    pre: ProcessorWithLlmPre<HostState>,
    limits: Arc<Limits>,
    settings: Vec<(String, String)>,
    tables: Arc<[TableSpec]>,
    manifest: Manifest,
    imports: Vec<String>,
    describe_fuel: u64,
    digest: String,
}

/// The session that a guest is told of: no times, so that the same bytes give the same rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Path below the sessions root.
    pub key: String,
    /// First component of the key.
    pub directory: String,
    /// The user's e-mail where it is known, else the directory.
    pub username: String,
    /// The user's id where it is known.
    pub user_id: Option<String>,
}

/// What a processor may reach while it is at a session, besides the session itself.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// What is committed of its shared tables; `None`: nothing yet.
    pub shared: Option<Arc<dyn SharedRows>>,
    /// The way to a language model; `None`: whoever asks is told that none is within reach.
    pub model: Option<ModelGrant>,
    /// What WASI's randomness begins from; `None`: what follows from the processor and the session.
    /// Another one shows whether rows depend on chance.
    pub randomness: Option<[u8; 32]>,
}

/// What executing a session gave: all that committing needs, and nothing else.
#[derive(Debug, Serialize, Deserialize)]
pub struct Execution {
    /// The rows, or why there are none.
    pub outcome: Result<Completed, Fault>,
    /// The hash of the snapshot, where it could be read to its end.
    pub hash: Option<ContentHash>,
    /// The hash of the beginning that the snapshot was asked to hash too.
    #[serde(default)]
    pub prefix_hash: Option<ContentHash>,
    /// The file became shorter while it was read: what the guest saw is no state of it.
    pub has_shrunk: bool,
    /// What the guest said.
    pub log: Vec<LogLine>,
    /// What it took.
    pub cost: Cost,
    /// Where in the guest it was stopped: its functions by name, the innermost first. Empty where it
    /// was not, or where nobody can tell.
    pub backtrace: Vec<String>,
}

/// A session that was processed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Completed {
    /// How many items the guest says it extracted.
    pub items: u64,
    /// Its rows, one entry for each table of the manifest; of a shared table what it upserted, in
    /// that order, so that of equal keys the last one counts.
    pub tables: Vec<TableRows>,
}

/// What a session took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Fuel burned.
    pub fuel: u64,
    /// The most that all memories together reached, in bytes.
    pub peak_memory: u64,
    /// Bytes of the session.
    pub bytes: u64,
    /// CPU time of the guest and of the host's work for it, in microseconds.
    pub guest_micros: u64,
}

impl Execution {
    /// Of a session of which nothing came to be known.
    pub fn without_content(fault: Fault, log: Vec<LogLine>, cost: Cost) -> Self {
        Self {
            outcome: Err(fault),
            hash: None,
            prefix_hash: None,
            has_shrunk: false,
            log,
            cost,
            backtrace: Vec::new(),
        }
    }
}

/// Why a call did not come to its end, and where it was.
struct Stopped {
    fault: Fault,
    backtrace: Vec<String>,
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            backtrace: Vec::new(),
        }
    }
}

impl Processor {
    /// Loads and links compiled code, and asks it what it is.
    ///
    /// # Errors
    /// A fault of kind `component` when an import is not allowed, the component does not fit the
    /// contract, or its manifest is refused; another fault when describing itself ran into a limit.
    pub fn load(
        engine: &Arc<Engine>,
        limits: &Arc<Limits>,
        compiled: &Compiled,
        digest: String,
        settings: Vec<(String, String)>,
    ) -> Result<Self, Fault> {
        let refused = |detail: String| Fault::new(FaultKind::Component, detail);
        let component =
            sandbox::load(engine, compiled).map_err(|error| refused(error.to_string()))?;
        let component_type = component.component_type();
        let mut imports = Vec::new();
        for (name, _) in component_type.imports(engine.wasmtime()) {
            if !sandbox::is_allowed_import(name) {
                return Err(refused(format!(
                    "the import `{}` is not allowed; a processor may import the contract's interfaces at 1.0.0 and WASI 0.2",
                    printable(name)
                )));
            }
            imports.push(name.to_owned());
        }
        let link = || -> wasmtime::Result<ProcessorWithLlmPre<HostState>> {
            let mut linker = Linker::new(engine.wasmtime());
            sandbox::link(&mut linker)?;
            ProcessorWithLlmPre::new(linker.instantiate_pre(&component)?)
        };
        let pre = link().map_err(|error| {
            refused(format!(
                "the component does not fit the contract: {error:#}"
            ))
        })?;
        let (manifest, describe_fuel) =
            describe::describe(engine, limits, &pre, &settings, [0; 32])?;
        Ok(Self {
            engine: Arc::clone(engine),
            pre,
            limits: Arc::clone(limits),
            settings,
            tables: manifest.tables.clone().into(),
            manifest,
            imports,
            describe_fuel,
            digest,
        })
    }

    /// The names that its component imports: its capabilities, and WASI.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Whether it can ask a language model, where it is granted one.
    pub fn asks_model(&self) -> bool {
        let mut imports = self.imports.iter();
        imports.any(|name| name.starts_with("session-pipeline:processor/llm@"))
    }

    /// Fuel that it burned to describe itself.
    pub fn describe_fuel(&self) -> u64 {
        self.describe_fuel
    }

    /// Asks it once more what it is, in a fresh instance and with this randomness: it must say the
    /// same each time.
    ///
    /// # Errors
    /// As [`Processor::load`].
    pub fn describe_again(&self, randomness: [u8; 32]) -> Result<Manifest, Fault> {
        let described = describe::describe(
            &self.engine,
            &self.limits,
            &self.pre,
            &self.settings,
            randomness,
        );
        described.map(|(manifest, _)| manifest)
    }

    /// What the processor says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The SHA-256 of the component.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The operator's settings, as `describe` and `process` are handed them.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// The limits it runs under.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Processes one session in an instance of its own, by itself: no shared row is committed yet.
    /// A failure of the guest is a result.
    pub fn process(&self, session: &SessionInfo, snapshot: Snapshot) -> Execution {
        self.process_with(session, snapshot, &Grants::default())
    }

    /// As [`Processor::process`], with all that the processor may reach besides the session.
    pub fn process_with(
        &self,
        session: &SessionInfo,
        snapshot: Snapshot,
        grants: &Grants,
    ) -> Execution {
        let bytes = snapshot.observed().size;
        let mut cost = Cost {
            bytes,
            ..Cost::default()
        };
        if bytes > self.limits.session_bytes_max {
            let limit = self.limits.session_bytes_max;
            let fault = Fault::new(
                FaultKind::TooLarge,
                format!("the session has {bytes} bytes; {limit} are allowed"),
            );
            return Execution::without_content(fault, Vec::new(), cost);
        }
        let rows = self.tables.iter().map(TableRows::new).collect();
        let grant = SessionGrant {
            snapshot,
            tables: Arc::clone(&self.tables),
            rows,
            shared: grants.shared.clone(),
            model: grants.model.clone().map(|grant| SessionModel {
                started: grant.clock.monotonic(),
                grant,
                processor: self.manifest.name.clone(),
                session: session.key.clone(),
                unanswered: None,
            }),
        };
        let seed = grants.randomness;
        let seed = seed.unwrap_or_else(|| self.seed(&session.key));
        let mut store = match HostState::store(&self.engine, &self.limits, seed, bytes, Some(grant))
        {
            Ok(store) => store,
            Err(error) => {
                let fault = Fault::new(
                    FaultKind::Host,
                    format!("no instance could be made: {error:#}"),
                );
                return Execution::without_content(fault, Vec::new(), cost);
            }
        };
        let result = self.call(&mut store, session, bytes);
        let (outcome, backtrace) = match result {
            Ok(Ok(summary)) => (Ok(summary.items), Vec::new()),
            Ok(Err(reason)) => (Err(Fault::new(FaultKind::Rejected, reason)), Vec::new()),
            Err(stopped) => (Err(stopped.fault), stopped.backtrace),
        };
        let fuel_left = fuel_left(&mut store);
        cost.fuel = self
            .limits
            .fuel(bytes)
            .saturating_sub(*fuel_left.as_ref().unwrap_or(&0));
        let outcome = match (outcome, fuel_left) {
            (Ok(_), Err(error)) => Err(fault_of(&store, &error)),
            (outcome, _) => outcome,
        };
        cost.peak_memory = store.data().peak_memory();
        let (grant, log, guest_micros) = {
            let micros = store.data().deadline.used().as_micros();
            let (grant, log) = store.into_data().into_grant_and_log();
            (grant, log, micros)
        };
        cost.guest_micros = u64::try_from(guest_micros).unwrap_or(u64::MAX);
        let Some(mut grant) = grant else {
            let fault = Fault::new(FaultKind::Host, "the session was lost on the way");
            return Execution::without_content(fault, log, cost);
        };
        let unanswered = grant.model.take().and_then(|model| model.unanswered);
        let outcome = outcome.map_err(|fault| blamed(fault, unanswered));
        // However far the guest read, the hash is that of all it was given to read.
        let hash = grant.snapshot.finish();
        let outcome = match (&hash, outcome) {
            (Err(error), Ok(_)) => Err(Fault::new(FaultKind::Input, sandbox::read_detail(error))),
            (Err(ReadError::Shrunk), Err(_)) => {
                Err(Fault::new(FaultKind::Input, ReadError::Shrunk.to_string()))
            }
            (_, outcome) => outcome.map(|items| Completed {
                items,
                tables: match self.manifest.redacts_secrets {
                    true => redact::redacted(&self.tables, grant.rows),
                    false => grant.rows,
                },
            }),
        };
        Execution {
            outcome,
            has_shrunk: matches!(hash, Err(ReadError::Shrunk)),
            hash: hash.ok(),
            prefix_hash: grant.snapshot.prefix_hash(),
            log,
            cost,
            backtrace,
        }
    }

    fn call(
        &self,
        store: &mut wasmtime::Store<HostState>,
        session: &SessionInfo,
        bytes: u64,
    ) -> Result<Result<types::Summary, String>, Stopped> {
        let info = types::SessionInfo {
            key: session.key.clone(),
            directory: session.directory.clone(),
            username: session.username.clone(),
            user_id: session.user_id.clone(),
            size: bytes,
            settings: self.settings.clone(),
            extra: Vec::new(),
        };
        let deadline = store.data().deadline;
        let call = async {
            let instance = self.pre.instantiate_async(&mut *store).await?;
            let guest = instance.session_pipeline_processor_guest();
            guest.call_process(&mut *store, &info).await
        };
        run_to_end(deadline, call)?.map_err(|error| Stopped {
            fault: fault_of(store, &error),
            backtrace: backtrace_of(&error),
        })
    }

    /// Randomness that follows from the processor and the session alone.
    fn seed(&self, key: &str) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.manifest.name.as_bytes());
        hasher.update([0]);
        hasher.update(key.as_bytes());
        hasher.finalize().into()
    }
}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processor")
            .field("manifest", &self.manifest)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
