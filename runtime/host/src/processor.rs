//! Runs a processor: load, link, instantiate, call.
//!
//! Loading and linking happen once per component. Instantiating and calling happen once per
//! session. A Wasmtime store is dropped after one call, and with it any state that a trap left
//! behind.

mod describe;
mod redact;
mod resume;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::component::{ComponentExportIndex, Linker};

use crate::checkpoint::{Checkpoint, NewCheckpoint};
use crate::content::{ContentHash, ReadError, Snapshot};
use crate::fault::{Fault, FaultKind, printable};
use crate::limits::Limits;
use crate::manifest::{Manifest, TableSpec};
use crate::rows::TableRows;
use crate::sandbox::contract::AnyProcessorPre;
use crate::sandbox::contract::session_pipeline::processor::types;
use crate::sandbox::{
    self, Compiled, Engine, HostState, LogLine, ModelGrant, SessionGrant, SessionModel,
    backtrace_of, blamed, fault_of, fuel_left, run_to_end,
};
use crate::shared::SharedRows;

pub use redact::{redacted_columns, redacted_text};
pub use resume::Resumed;

use resume::StartOver;

/// A component that is ready to process sessions.
pub struct Processor {
    engine: Arc<Engine>,
    pre: AnyProcessorPre<HostState>,
    /// The export `resume`, if there is one.
    resume: Option<ComponentExportIndex>,
    limits: Arc<Limits>,
    settings: Vec<(String, String)>,
    tables: Arc<[TableSpec]>,
    manifest: Manifest,
    imports: Vec<String>,
    describe_fuel: u64,
    digest: String,
}

/// The session data that a guest receives. It has no timestamps, so that the same bytes produce the
/// same rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The path relative to the sessions root.
    pub key: String,
    /// The first path component of the key.
    pub directory: String,
    /// The user's e-mail address if known, otherwise the directory.
    pub username: String,
    /// The user's id, if known.
    pub user_id: Option<String>,
}

/// What a processor can access while it processes a session, in addition to the session itself.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// The committed rows of its shared tables. `None`: the tables are empty.
    pub shared: Option<Arc<dyn SharedRows>>,
    /// Access to a language model. `None`: requests fail with `unavailable`.
    pub model: Option<ModelGrant>,
    /// The seed of WASI randomness. `None`: a seed derived from the processor and the session.
    /// Tests pass another seed to check whether rows depend on it.
    pub randomness: Option<[u8; 32]>,
    /// The largest state of a checkpoint that is stored, in bytes. 0: the processor should not make
    /// one.
    pub checkpoint_bytes_max: usize,
}

/// The result of executing a session: exactly what a commit needs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Execution {
    /// The rows, or the reason why there are none.
    pub outcome: Result<SessionOutput, Fault>,
    /// The hash of the snapshot, if it was read to its end.
    pub hash: Option<ContentHash>,
    /// The hash of the prefix, if the snapshot was asked for one.
    #[serde(default)]
    pub prefix_hash: Option<ContentHash>,
    /// Whether the file was truncated or changed while it was read. The guest then saw a state that never
    /// existed.
    pub has_changed: bool,
    /// The guest's log.
    pub log: Vec<LogLine>,
    /// The resources that the execution used.
    pub cost: Cost,
    /// The guest's call stack at the point where it was stopped, innermost function first. Empty if
    /// the guest was not stopped or its functions have no names.
    pub backtrace: Vec<String>,
}

/// The output of a successful execution.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionOutput {
    /// The number of extracted items that the guest reports.
    pub items: u64,
    /// One entry per table of the manifest. For a shared table, the upserts in order: for equal
    /// keys, the last one wins. Without the rows in `settled`.
    pub tables: Vec<TableRows>,
    /// The checkpoint that the processor made, if it was granted one.
    #[serde(default)]
    pub settled: Option<Box<NewCheckpoint>>,
}

/// Resources used by one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Fuel used.
    pub fuel: u64,
    /// Peak size of all memories together, in bytes.
    pub peak_memory: u64,
    /// Size of the session, in bytes.
    pub bytes: u64,
    /// CPU time of the guest and of host calls on its behalf, in microseconds.
    pub guest_micros: u64,
}

impl Execution {
    /// A failed execution that did not read the session.
    pub fn without_content(fault: Fault, log: Vec<LogLine>, cost: Cost) -> Self {
        Self {
            outcome: Err(fault),
            hash: None,
            prefix_hash: None,
            has_changed: false,
            log,
            cost,
            backtrace: Vec::new(),
        }
    }
}

/// A call that did not return, with the guest's call stack.
struct CallError {
    fault: Fault,
    backtrace: Vec<String>,
}

impl From<Fault> for CallError {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            backtrace: Vec::new(),
        }
    }
}

impl Processor {
    /// Loads and links compiled code, and calls `describe`.
    ///
    /// # Errors
    /// A fault of kind `component` if an import is not allowed, the component does not match the
    /// contract, or its manifest is rejected. Another fault if `describe` exceeds a limit.
    pub fn load(
        engine: &Arc<Engine>,
        limits: &Arc<Limits>,
        compiled: &Compiled,
        digest: String,
        settings: Vec<(String, String)>,
    ) -> Result<Self, Fault> {
        let rejected = |detail: String| Fault::new(FaultKind::Component, detail);
        let component =
            sandbox::load(engine, compiled).map_err(|error| rejected(error.to_string()))?;
        let component_type = component.component_type();
        let mut imports = Vec::new();
        for (name, _) in component_type.imports(engine.wasmtime()) {
            if !sandbox::is_allowed_import(name) {
                return Err(rejected(format!(
                    "import `{}` is not allowed; a processor can import the interfaces of contract 1.0.0 to 1.1.0 and of WASI 0.2",
                    printable(name)
                )));
            }
            imports.push(name.to_owned());
        }
        let link = || -> wasmtime::Result<AnyProcessorPre<HostState>> {
            let mut linker = Linker::new(engine.wasmtime());
            sandbox::link(&mut linker)?;
            AnyProcessorPre::new(linker.instantiate_pre(&component)?)
        };
        let pre = link().map_err(|error| {
            rejected(format!(
                "the component does not match the contract: {error:#}"
            ))
        })?;
        let (manifest, describe_fuel) =
            describe::describe(engine, limits, &pre, &settings, [0; 32])?;
        Ok(Self {
            engine: Arc::clone(engine),
            pre,
            resume: resume::find(&component),
            limits: Arc::clone(limits),
            settings,
            tables: manifest.tables.clone().into(),
            manifest,
            imports,
            describe_fuel,
            digest,
        })
    }

    /// The imports of the component, which are its capabilities and WASI.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Whether the component imports the `llm` interface.
    pub fn imports_llm(&self) -> bool {
        let mut imports = self.imports.iter();
        imports.any(|name| name.starts_with("session-pipeline:processor/llm@"))
    }

    /// Fuel that `describe` used.
    pub fn describe_fuel(&self) -> u64 {
        self.describe_fuel
    }

    /// Calls `describe` again, in a new instance and with this random seed. A processor must return
    /// the same manifest each time.
    ///
    /// # Errors
    /// See [`Processor::load`].
    pub fn describe(&self, randomness: [u8; 32]) -> Result<Manifest, Fault> {
        let described = describe::describe(
            &self.engine,
            &self.limits,
            &self.pre,
            &self.settings,
            randomness,
        );
        described.map(|(manifest, _)| manifest)
    }

    /// The validated manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The SHA-256 of the component, in lowercase hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The operator's settings. `describe` and `process` both receive them.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// The limits under which the processor runs.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Processes one session in its own instance, with empty shared tables and without a language
    /// model. A failure of the guest is part of the result.
    pub fn process(&self, session: &SessionInfo, snapshot: Snapshot) -> Execution {
        self.process_with_grants(session, snapshot, &Grants::default())
    }

    /// Like [`Processor::process`], with grants.
    pub fn process_with_grants(
        &self,
        session: &SessionInfo,
        snapshot: Snapshot,
        grants: &Grants,
    ) -> Execution {
        let execution = self.execute(session, snapshot, grants, None);
        execution.unwrap_or_else(|StartOver| {
            let fault = Fault::new(
                FaultKind::Host,
                "internal error: `process` asked for the whole session",
            );
            Execution::without_content(fault, Vec::new(), Cost::default())
        })
    }

    /// Processes a session, or continues it after a checkpoint.
    fn execute(
        &self,
        session: &SessionInfo,
        snapshot: Snapshot,
        grants: &Grants,
        from: Option<&Checkpoint>,
    ) -> Result<Execution, StartOver> {
        let bytes = snapshot.size();
        let mut cost = Cost {
            bytes,
            ..Cost::default()
        };
        if bytes > self.limits.session_bytes_max {
            let limit = self.limits.session_bytes_max;
            let fault = Fault::new(
                FaultKind::TooLarge,
                match snapshot.observed().is_compressed {
                    false => format!("the session has {bytes} bytes; the limit is {limit}"),
                    true => format!(
                        "the session has more than {limit} bytes, decompressed; this is the limit"
                    ),
                },
            );
            return Ok(Execution::without_content(fault, Vec::new(), cost));
        }
        let rows = self.tables.iter().map(TableRows::new).collect();
        let grant = SessionGrant {
            snapshot,
            tables: Arc::clone(&self.tables),
            rows,
            checkpoint_bytes_max: match self.can_resume() {
                true => grants.checkpoint_bytes_max,
                false => 0,
            },
            settled: None,
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
                    format!("cannot create an instance: {error:#}"),
                );
                return Ok(Execution::without_content(fault, Vec::new(), cost));
            }
        };
        if let Some(from) = from {
            store.data_mut().count_recorded(from.rows, from.row_bytes);
        }
        let result = self.call(&mut store, session, bytes, from);
        let (outcome, backtrace) = match result {
            Ok(Ok(Some(summary))) => (Ok(summary.items), Vec::new()),
            Ok(Ok(None)) => return Err(StartOver),
            Ok(Err(reason)) => (Err(Fault::new(FaultKind::Rejected, reason)), Vec::new()),
            Err(error) => (Err(error.fault), error.backtrace),
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
            let fault = Fault::new(
                FaultKind::Host,
                "internal error: the call did not return the session",
            );
            return Ok(Execution::without_content(fault, log, cost));
        };
        let unanswered = grant.model.take().and_then(|model| model.unanswered);
        let outcome = outcome.map_err(|fault| blamed(fault, unanswered));
        // However much the guest read, hash everything that it could read.
        let hash = grant.snapshot.finish();
        let settled = grant.settled.take().and_then(|settled| {
            let prefix = grant.snapshot.whole_lines()?.clone();
            Some(settled.into_new_checkpoint(prefix))
        });
        let outcome = match (&hash, outcome) {
            (Err(error), Ok(_)) => Err(Fault::new(FaultKind::Input, sandbox::read_detail(error))),
            (Err(error @ (ReadError::Truncated | ReadError::Changed)), Err(_)) => {
                Err(Fault::new(FaultKind::Input, error.to_string()))
            }
            (_, outcome) => outcome.map(|items| SessionOutput {
                items,
                tables: match self.manifest.redacts_secrets {
                    true => redact::redacted(&self.tables, grant.rows),
                    false => grant.rows,
                },
                settled: settled.map(Box::new),
            }),
        };
        Ok(Execution {
            outcome,
            has_changed: matches!(hash, Err(ReadError::Truncated | ReadError::Changed)),
            hash: hash.ok(),
            prefix_hash: grant.snapshot.prefix_hash(),
            log,
            cost,
            backtrace,
        })
    }

    /// Calls `process`, or `resume` if there is a checkpoint. `resume` can return none.
    fn call(
        &self,
        store: &mut wasmtime::Store<HostState>,
        session: &SessionInfo,
        bytes: u64,
        from: Option<&Checkpoint>,
    ) -> Result<Result<Option<types::Summary>, String>, CallError> {
        let info = types::SessionInfo {
            key: session.key.clone(),
            directory: session.directory.clone(),
            username: session.username.clone(),
            user_id: session.user_id.clone(),
            size: bytes,
            settings: self.settings.clone(),
            extra: Vec::new(),
        };
        if let Some(from) = from {
            return self.call_resume(store, &info, from);
        }
        let deadline = store.data().deadline;
        let call = async {
            let instance = self.pre.instantiate_async(&mut *store).await?;
            let guest = instance.session_pipeline_processor_guest();
            let summary = guest.call_process(&mut *store, &info).await?;
            Ok(summary.map(Some))
        };
        run_to_end(deadline, call)?.map_err(|error| CallError {
            fault: fault_of(store, &error),
            backtrace: backtrace_of(&error),
        })
    }

    /// A random seed that depends only on the processor and the session.
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
