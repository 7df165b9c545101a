//! A component that is given one session after the other, and of which nothing is kept.
//!
//! It needs neither data dir nor database, so that anything can be tried on it: what tests, the
//! conformance suite and the commands for authors do stands on it.
//! Nothing that a component or a file may cause ends the process here.
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::sync::Arc;

use session_pipeline_host::clock::SystemClock;
use session_pipeline_host::content::Snapshot;
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::inspect::check_header;
use session_pipeline_host::limits::{Compiler, Limits};
use session_pipeline_host::manifest::Manifest;
use session_pipeline_host::processor::{Cost, Execution, Grants, Processor, SessionInfo};
use session_pipeline_host::sandbox::{
    self, CompileError, Compiled, Engine, ModelGrant, WorkerSlot,
};
use session_pipeline_host::shared::{MemoryRows, SharedRows};

/// The key of a session that has no other.
pub const KEY: &str = "ada/one.jsonl";

/// A component in the sandbox.
#[derive(Debug)]
pub struct Subject {
    engine: Arc<Engine>,
    compiled: Arc<Compiled>,
    processor: Processor,
}

/// How a session is given to it, where it is not the usual way.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// What is committed of its shared tables.
    pub shared: Option<Arc<MemoryRows>>,
    /// Bytes that one call for lines gives at most, besides a longer line.
    pub chunk_bytes_max: Option<usize>,
    /// Where chance begins; else it follows from processor and session.
    pub randomness: Option<[u8; 32]>,
}

impl Subject {
    /// Compiles and loads a component under these limits.
    ///
    /// # Errors
    /// A fault of kind `component` where it is refused, of kind `host` where this machine is in the
    /// way.
    pub fn load(
        compiler: &Compiler,
        limits: &Limits,
        settings: Vec<(String, String)>,
        component: &[u8],
    ) -> Result<Self, Fault> {
        check_header(component)?;
        let compiled = compile(compiler, limits, component)?;
        Self::of(&Arc::new(compiled), limits, settings)
    }

    /// Loads what was compiled under the same limits of stack.
    ///
    /// # Errors
    /// As [`Subject::load`].
    pub fn of(
        compiled: &Arc<Compiled>,
        limits: &Limits,
        settings: Vec<(String, String)>,
    ) -> Result<Self, Fault> {
        let engine = Engine::new(limits, 1)
            .map_err(|error| host(format!("the sandbox can't be made: {error:#}")))?;
        Self::on(&Arc::new(engine), compiled, limits, settings)
    }

    /// The same code under other limits, but for the stack's, which is compiled in.
    ///
    /// # Errors
    /// As [`Processor::load`].
    pub fn under(&self, limits: &Limits) -> Result<Self, Fault> {
        let settings = self.processor.settings().to_vec();
        Self::on(&self.engine, &self.compiled, limits, settings)
    }

    fn on(
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

    /// The processor that it is.
    pub fn processor(&self) -> &Processor {
        &self.processor
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        self.processor.manifest()
    }

    /// Gives it a transcript, as the session [`KEY`].
    pub fn process(&self, transcript: &[u8], circumstances: &Invocation) -> Execution {
        let line_bytes_max = self.processor.limits().line_bytes_max;
        match Snapshot::from_bytes(transcript, line_bytes_max) {
            Ok(snapshot) => self.process_snapshot(&session_of(KEY), snapshot, circumstances),
            Err(error) => {
                let fault = host(format!("the session can't be laid down: {error}"));
                Execution::without_content(fault, Vec::new(), Cost::default())
            }
        }
    }

    /// Gives it a session that somebody has opened.
    pub fn process_snapshot(
        &self,
        session: &SessionInfo,
        snapshot: Snapshot,
        circumstances: &Invocation,
    ) -> Execution {
        let snapshot = match circumstances.chunk_bytes_max {
            Some(bytes_max) => snapshot.with_chunk_size(bytes_max),
            None => snapshot,
        };
        let shared = circumstances.shared.clone();
        let grants = Grants {
            shared: shared.map(|rows| rows as Arc<dyn SharedRows>),
            model: self.processor.imports_llm().then(no_model),
            randomness: circumstances.randomness,
        };
        self.processor
            .process_with_grants(session, snapshot, &grants)
    }
}

/// Compiles a component.
///
/// # Errors
/// As [`Subject::load`].
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

/// What is told of a session that lies at this key, by somebody who knows no users.
pub fn session_of(key: &str) -> SessionInfo {
    let directory = key.split('/').next().unwrap_or_default().to_owned();
    SessionInfo {
        key: key.to_owned(),
        username: directory.clone(),
        directory,
        user_id: None,
    }
}

/// Nobody answers; so a session that fails for it is known to have failed for that.
fn no_model() -> ModelGrant {
    struct Here;
    impl WorkerSlot for Here {
        fn release_while(&self, wait: &mut dyn FnMut()) {
            wait();
        }
    }
    ModelGrant {
        model: None,
        clock: Arc::new(SystemClock::default()),
        slot: Arc::new(Here),
        run_id: "".into(),
    }
}

fn host(detail: String) -> Fault {
    Fault::new(FaultKind::Host, detail)
}
