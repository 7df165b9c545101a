//! Runs one component in the sandbox, without a database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use session_pipeline_host::fault::Fault;
use session_pipeline_host::limits::{Compiler, Limits};
use session_pipeline_host::manifest::Manifest;
use session_pipeline_host::processor::{Execution, SessionOutput};
use session_pipeline_host::sandbox::Compiled;

use crate::compiled;
use crate::data_dir::DataDir;
use crate::executions::Executions;
use crate::rows::rows_of;
use crate::subject::{self, Invocation, Subject};

/// A loaded component that processes transcripts.
///
/// ```
/// use session_pipeline_bundle::USAGE;
/// use session_pipeline_harness::{Guest, Transcript};
///
/// let usage = Guest::load(USAGE);
/// let extracted = usage.extract(Transcript::new("s1").user("hello"));
/// assert_eq!(extracted.rows("sessions", "session_id prompts"), ["s1 | 1"]);
/// ```
#[derive(Debug)]
pub struct Guest(Subject);

/// The result of a component for one transcript.
#[derive(Debug)]
pub struct Extraction {
    /// The number of extracted items that the component reported.
    pub items: u64,
    completed: SessionOutput,
    manifest: Manifest,
}

impl Guest {
    /// Loads a component with the default limits.
    pub fn load(component: &[u8]) -> Self {
        Self::try_load(component, &Limits::default())
            .unwrap_or_else(|fault| panic!("the component does not load: {fault}"))
    }

    /// Loads a component with these limits.
    ///
    /// # Errors
    /// See [`compile`](session_pipeline_host::sandbox::compile) and
    /// [`Processor::load`](session_pipeline_host::processor::Processor::load).
    pub fn try_load(component: &[u8], limits: &Limits) -> Result<Self, Fault> {
        Subject::from_compiled(&compile(component, limits)?, limits, Vec::new()).map(Self)
    }

    /// Like [`Guest::try_load`], but uses this compiler and no cache. Use this for tests that load
    /// many components.
    ///
    /// # Errors
    /// See [`Guest::try_load`].
    pub fn try_compile(
        compiler: &Compiler,
        component: &[u8],
        limits: &Limits,
    ) -> Result<Self, Fault> {
        Subject::load(compiler, limits, Vec::new(), component).map(Self)
    }

    /// Loads the same component with other limits. The stack limit is compiled into the code and
    /// does not change.
    pub fn with_limits(&self, limits: &Limits) -> Self {
        self.try_with_limits(limits)
            .unwrap_or_else(|fault| panic!("the component does not load: {fault}"))
    }

    /// Like [`Guest::with_limits`], but returns the fault.
    ///
    /// # Errors
    /// See [`Processor::load`](session_pipeline_host::processor::Processor::load).
    pub fn try_with_limits(&self, limits: &Limits) -> Result<Self, Fault> {
        self.0.with_limits(limits).map(Self)
    }

    /// The underlying subject.
    pub fn subject(&self) -> &Subject {
        &self.0
    }

    /// Processes a transcript as the session `ada/one.jsonl`.
    pub fn process(&self, transcript: impl AsRef<[u8]>) -> Execution {
        self.0.process(transcript.as_ref(), &Invocation::default())
    }

    /// Processes all sessions of a data directory.
    pub fn process_all(&self, dir: &DataDir) -> Executions {
        Executions::run(&self.0, dir)
    }

    /// Processes a transcript and returns the rows.
    ///
    /// # Panics
    /// The session fails.
    pub fn extract(&self, transcript: impl AsRef<[u8]>) -> Extraction {
        let completed = self
            .process(transcript)
            .outcome
            .unwrap_or_else(|fault| panic!("the session failed: {fault}"));
        Extraction {
            items: completed.items,
            completed,
            manifest: self.0.manifest().clone(),
        }
    }

    /// Processes a transcript and returns the fault.
    ///
    /// # Panics
    /// The session succeeds.
    pub fn expect_fault(&self, transcript: impl AsRef<[u8]>) -> Fault {
        match self.process(transcript).outcome {
            Ok(completed) => panic!("the session succeeded, with {} items", completed.items),
            Err(fault) => fault,
        }
    }
}

impl Extraction {
    /// The rows of a table. Each row is a text with the values of `columns`, joined with ` | `.
    /// Nulls are `-`.
    pub fn rows(&self, table: &str, columns: &str) -> Vec<String> {
        rows_of(&self.manifest, &self.completed, table, columns)
    }

    /// Like [`Extraction::rows`], joined to one text for a snapshot.
    pub fn text(&self, table: &str, columns: &str) -> String {
        self.rows(table, columns).join("\n")
    }
}

/// Compiles a component at most once per process, and only if it is not in the shared cache.
fn compile(component: &[u8], limits: &Limits) -> Result<Arc<Compiled>, Fault> {
    type Cache = Mutex<HashMap<(Vec<u8>, usize), Arc<Compiled>>>;
    static CACHE: OnceLock<Cache> = OnceLock::new();

    let mut cache = CACHE
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let key = (component.to_vec(), limits.stack_bytes_max);
    if let Some(compiled) = cache.get(&key) {
        return Ok(Arc::clone(compiled));
    }
    let compiled = subject::compile(&compiled::compiler(), limits, component)?;
    let compiled = Arc::new(compiled);
    cache.insert(key, Arc::clone(&compiled));
    Ok(compiled)
}
