//! Runs a component on single sessions and stores nothing.
//!
//! It needs no data directory and no database. Tests, the conformance checks and the commands for
//! authors use it. It never panics because of a component or a file.
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::sync::Arc;

use session_pipeline_host::checkpoint::Checkpoint;
use session_pipeline_host::clock::SystemClock;
use session_pipeline_host::content::Snapshot;
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::inspect::check_header;
use session_pipeline_host::limits::{Compiler, Limits};
use session_pipeline_host::manifest::Manifest;
use session_pipeline_host::processor::{Cost, Execution, Grants, Processor, Resumed, SessionInfo};
use session_pipeline_host::sandbox::{
    self, CompileError, Compiled, Engine, ModelGrant, WorkerSlot,
};
use session_pipeline_host::shared::{MemoryRows, SharedRows};

/// The default key of a session.
pub const KEY: &str = "ada/one.jsonl";

/// A component in the sandbox.
#[derive(Debug)]
pub struct Subject {
    engine: Arc<Engine>,
    compiled: Arc<Compiled>,
    processor: Processor,
}

/// Options for processing one session.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// The committed rows of the shared tables.
    pub shared: Option<Arc<MemoryRows>>,
    /// The maximum size of a chunk of lines, in bytes. A single longer line is still returned
    /// whole.
    pub chunk_bytes_max: Option<usize>,
    /// The largest state of a checkpoint, in bytes. By default, the component cannot make one.
    pub checkpoint_bytes_max: usize,
    /// The random seed. By default, the seed depends on the processor and the session.
    pub randomness: Option<[u8; 32]>,
}

impl Subject {
    /// Compiles and loads a component with these limits.
    ///
    /// # Errors
    /// A fault of kind `component` if the component is rejected, or of kind `host` if this machine
    /// fails.
    pub fn load(
        compiler: &Compiler,
        limits: &Limits,
        settings: Vec<(String, String)>,
        component: &[u8],
    ) -> Result<Self, Fault> {
        check_header(component)?;
        let compiled = compile(compiler, limits, component)?;
        Self::from_compiled(&Arc::new(compiled), limits, settings)
    }

    /// Loads a component that was compiled with the same stack limit.
    ///
    /// # Errors
    /// See [`Subject::load`].
    pub fn from_compiled(
        compiled: &Arc<Compiled>,
        limits: &Limits,
        settings: Vec<(String, String)>,
    ) -> Result<Self, Fault> {
        let engine = Engine::new(limits, 1)
            .map_err(|error| host(format!("the sandbox can't be made: {error:#}")))?;
        Self::with_engine(&Arc::new(engine), compiled, limits, settings)
    }

    /// Loads the same component with other limits. The stack limit is compiled into the code and
    /// does not change.
    ///
    /// # Errors
    /// See [`Processor::load`].
    pub fn with_limits(&self, limits: &Limits) -> Result<Self, Fault> {
        let settings = self.processor.settings().to_vec();
        Self::with_engine(&self.engine, &self.compiled, limits, settings)
    }

    fn with_engine(
        engine: &Arc<Engine>,
        compiled: &Arc<Compiled>,
        limits: &Limits,
        settings: Vec<(String, String)>,
    ) -> Result<Self, Fault> {
        let limits = Arc::new(limits.clone());
        let digest = compiled.sha256.clone();
        Ok(Self {
            processor: Processor::load(engine, &limits, compiled, digest, settings)?,
            engine: Arc::clone(engine),
            compiled: Arc::clone(compiled),
        })
    }

    /// The loaded processor.
    pub fn processor(&self) -> &Processor {
        &self.processor
    }

    /// The manifest of the component.
    pub fn manifest(&self) -> &Manifest {
        self.processor.manifest()
    }

    /// Processes a transcript as the session [`KEY`].
    pub fn process(&self, transcript: &[u8], invocation: &Invocation) -> Execution {
        let line_bytes_max = self.processor.limits().line_bytes_max;
        match Snapshot::from_bytes(transcript, line_bytes_max) {
            Ok(snapshot) => self.process_snapshot(&session_info(KEY), snapshot, invocation),
            Err(error) => {
                let fault = host(format!("the session can't be laid down: {error}"));
                Execution::without_content(fault, Vec::new(), Cost::default())
            }
        }
    }

    /// Continues the session [`KEY`] after a checkpoint. `None` if the transcript does not begin with
    /// the lines of the checkpoint, or if this machine fails.
    pub fn resume(
        &self,
        transcript: &[u8],
        invocation: &Invocation,
        from: &Checkpoint,
    ) -> Option<Resumed> {
        let line_bytes_max = self.processor.limits().line_bytes_max;
        let snapshot = Snapshot::from_bytes(transcript, line_bytes_max).ok()?;
        let mut snapshot = self.chunked(snapshot, invocation);
        let is_same = snapshot.continue_after(&from.prefix).ok()?;
        let grants = self.grants(invocation);
        is_same.then(|| {
            let session = session_info(KEY);
            self.processor.resume(&session, snapshot, &grants, from)
        })
    }

    /// Processes a session that the caller opened.
    pub fn process_snapshot(
        &self,
        session: &SessionInfo,
        snapshot: Snapshot,
        invocation: &Invocation,
    ) -> Execution {
        let snapshot = self.chunked(snapshot, invocation);
        let grants = self.grants(invocation);
        self.processor
            .process_with_grants(session, snapshot, &grants)
    }

    fn chunked(&self, snapshot: Snapshot, invocation: &Invocation) -> Snapshot {
        let snapshot = match invocation.checkpoint_bytes_max {
            0 => snapshot,
            _ => snapshot.with_checkpoint(),
        };
        match invocation.chunk_bytes_max {
            Some(bytes_max) => snapshot.with_chunk_size(bytes_max),
            None => snapshot,
        }
    }

    fn grants(&self, invocation: &Invocation) -> Grants {
        let shared = invocation.shared.clone();
        Grants {
            shared: shared.map(|rows| rows as Arc<dyn SharedRows>),
            model: self.processor.imports_llm().then(no_model),
            randomness: invocation.randomness,
            checkpoint_bytes_max: invocation.checkpoint_bytes_max,
        }
    }
}

/// Compiles a component.
///
/// # Errors
/// See [`Subject::load`].
pub fn compile(compiler: &Compiler, limits: &Limits, component: &[u8]) -> Result<Compiled, Fault> {
    use std::error::Error as _;
    sandbox::compile(compiler, limits, component, &std::env::temp_dir()).map_err(|error| {
        let cause = error.source();
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        let kind = match error {
            CompileError::Io { .. } => FaultKind::Host,
            CompileError::TooLarge { .. } | CompileError::Rejected(_) => FaultKind::Component,
        };
        Fault::new(kind, format!("{error}{cause}"))
    })
}

/// The info of the session with this key, for callers without a user table. The user name is the
/// name of the directory.
pub fn session_info(key: &str) -> SessionInfo {
    let directory = key.split('/').next().unwrap_or_default().to_owned();
    SessionInfo {
        key: key.to_owned(),
        username: directory.clone(),
        directory,
        user_id: None,
    }
}

/// A grant without a model. A session that calls the model fails with a fault of kind `llm`.
fn no_model() -> ModelGrant {
    struct NoSlot;
    impl WorkerSlot for NoSlot {
        fn release_while(&self, wait: &mut dyn FnMut()) {
            wait();
        }
    }
    ModelGrant {
        model: None,
        clock: Arc::new(SystemClock::default()),
        slot: Arc::new(NoSlot),
        run_id: "".into(),
    }
}

fn host(detail: String) -> Fault {
    Fault::new(FaultKind::Host, detail)
}
