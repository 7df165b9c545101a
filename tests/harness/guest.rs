//! One component in the sandbox, without a database: what it makes of a transcript, and under which limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use session_pipeline_host::fault::Fault;
use session_pipeline_host::limits::{Compiler, Limits};
use session_pipeline_host::manifest::Manifest;
use session_pipeline_host::processor::{Execution, SessionOutput};
use session_pipeline_host::sandbox::Compiled;

use crate::compiled;
use crate::data_dir::DataDir;
use crate::over::Over;
use crate::rows::rows_of;
use crate::subject::{self, Invocation, Subject};

/// A component that is ready to be given transcripts.
///
/// ```
/// use session_pipeline_bundle::USAGE;
/// use session_pipeline_harness::{Guest, Session};
///
/// let usage = Guest::load(USAGE);
/// let extracted = usage.extract(Session::new("s1").user("hello"));
/// assert_eq!(extracted.rows("sessions", "session_id prompts"), ["s1 | 1"]);
/// ```
#[derive(Debug)]
pub struct Guest(Subject);

/// The rows that a guest gave for one transcript.
#[derive(Debug)]
pub struct Extracted {
    /// How many items the guest says it extracted.
    pub items: u64,
    completed: SessionOutput,
    manifest: Manifest,
}

impl Guest {
    /// Loads a component under the usual limits.
    pub fn load(component: &[u8]) -> Self {
        Self::try_load(component, &Limits::default())
            .unwrap_or_else(|fault| panic!("the component can't be loaded: {fault}"))
    }

    /// As [`Guest::load`], under these limits, where it may be refused.
    ///
    /// # Errors
    /// As [`compile`](session_pipeline_host::sandbox::compile) and [`Processor::load`](session_pipeline_host::processor::Processor::load).
    pub fn try_load(component: &[u8], limits: &Limits) -> Result<Self, Fault> {
        Subject::of(&compile(component, limits)?, limits, Vec::new()).map(Self)
    }

    /// As [`Guest::try_load`], compiled by this compiler and not kept for others: for components
    /// of which there are many.
    ///
    /// # Errors
    /// As [`Guest::try_load`].
    pub fn try_compile(
        compiler: &Compiler,
        component: &[u8],
        limits: &Limits,
    ) -> Result<Self, Fault> {
        Subject::load(compiler, limits, Vec::new(), component).map(Self)
    }

    /// The same code under other limits, but for the stack's, which is compiled in.
    pub fn under(&self, limits: &Limits) -> Self {
        self.try_under(limits)
            .unwrap_or_else(|fault| panic!("the component can't be loaded: {fault}"))
    }

    /// As [`Guest::under`], where it may be refused.
    ///
    /// # Errors
    /// As [`Processor::load`](session_pipeline_host::processor::Processor::load).
    pub fn try_under(&self, limits: &Limits) -> Result<Self, Fault> {
        self.0.under(limits).map(Self)
    }

    /// The component without the ways of a test.
    pub fn subject(&self) -> &Subject {
        &self.0
    }

    /// Gives it a transcript, as the session `ada/one.jsonl`.
    pub fn process(&self, transcript: impl AsRef<[u8]>) -> Execution {
        self.0.process(transcript.as_ref(), &Invocation::default())
    }

    /// Gives it every session of a data dir.
    pub fn over(&self, dir: &DataDir) -> Over {
        Over::of(&self.0, dir)
    }

    /// As [`Guest::process`], where it must succeed.
    pub fn extract(&self, transcript: impl AsRef<[u8]>) -> Extracted {
        let completed = self
            .process(transcript)
            .outcome
            .unwrap_or_else(|fault| panic!("the session failed: {fault}"));
        Extracted {
            items: completed.items,
            completed,
            manifest: self.0.manifest().clone(),
        }
    }

    /// As [`Guest::process`], where it must fail.
    pub fn fail(&self, transcript: impl AsRef<[u8]>) -> Fault {
        match self.process(transcript).outcome {
            Ok(completed) => panic!("the session succeeded, with {} items", completed.items),
            Err(fault) => fault,
        }
    }
}

impl Extracted {
    /// The rows of a table, one text each: these columns, joined with ` | `, nulls as `-`.
    pub fn rows(&self, table: &str, columns: &str) -> Vec<String> {
        rows_of(&self.manifest, &self.completed, table, columns)
    }

    /// As [`Extracted::rows`], as one text for a snapshot.
    pub fn text(&self, table: &str, columns: &str) -> String {
        self.rows(table, columns).join("\n")
    }
}

/// Compiles a component once in the life of this process, if no test did so before.
fn compile(component: &[u8], limits: &Limits) -> Result<Arc<Compiled>, Fault> {
    type Known = Mutex<HashMap<(Vec<u8>, usize), Arc<Compiled>>>;
    static KNOWN: OnceLock<Known> = OnceLock::new();

    let mut known = KNOWN
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let key = (component.to_vec(), limits.stack_bytes_max);
    if let Some(compiled) = known.get(&key) {
        return Ok(Arc::clone(compiled));
    }
    let compiled = subject::compile(&compiled::compiler(), limits, component)?;
    let compiled = Arc::new(compiled);
    known.insert(key, Arc::clone(&compiled));
    Ok(compiled)
}
