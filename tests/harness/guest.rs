//! One component in the sandbox, without a database: what it makes of a transcript, and under which limits.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use session_pipeline_runtime::clock::UtcMicros;
use session_pipeline_runtime::config::{Compiler, Limits};
use session_pipeline_runtime::content::Snapshot;
use session_pipeline_runtime::fault::{Fault, FaultKind};
use session_pipeline_runtime::manifest::Manifest;
use session_pipeline_runtime::processor::{Completed, Execution, Processor, SessionInfo};
use session_pipeline_runtime::rows::ColumnValues;
use session_pipeline_runtime::sandbox::{self, Compiled, Engine};
use session_pipeline_runtime::sessions::SessionsRoot;

use crate::clock;

/// A component that is ready to be given transcripts.
///
/// ```no_run
/// use session_pipeline_harness::{Guest, Session};
///
/// # const USAGE: &[u8] = &[];
/// let usage = Guest::load(USAGE);
/// let extracted = usage.extract(Session::new("s1").user("hello"));
/// assert_eq!(extracted.rows("sessions", "session_id prompts"), ["s1 | 1"]);
/// ```
#[derive(Debug)]
pub struct Guest {
    engine: Arc<Engine>,
    compiled: Arc<Compiled>,
    processor: Processor,
}

/// The rows that a guest gave for one transcript.
#[derive(Debug)]
pub struct Extracted {
    /// How many items the guest says it extracted.
    pub items: u64,
    completed: Completed,
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
    /// As [`sandbox::compile`] and [`Processor::load`].
    pub fn try_load(component: &[u8], limits: &Limits) -> Result<Self, Fault> {
        let engine = Engine::new(limits, 1).expect("the sandbox can be made");
        Self::new(Arc::new(engine), compile(component, limits)?, limits)
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
        let compiled = compile_anew(compiler, component, limits)?;
        let engine = Engine::new(limits, 1).expect("the sandbox can be made");
        Self::new(Arc::new(engine), Arc::new(compiled), limits)
    }

    /// The same code under other limits, but for the stack's, which is compiled in.
    pub fn under(&self, limits: &Limits) -> Self {
        self.try_under(limits)
            .unwrap_or_else(|fault| panic!("the component can't be loaded: {fault}"))
    }

    /// As [`Guest::under`], where it may be refused.
    ///
    /// # Errors
    /// As [`Processor::load`].
    pub fn try_under(&self, limits: &Limits) -> Result<Self, Fault> {
        Self::new(Arc::clone(&self.engine), Arc::clone(&self.compiled), limits)
    }

    fn new(engine: Arc<Engine>, compiled: Arc<Compiled>, limits: &Limits) -> Result<Self, Fault> {
        let limits = Arc::new(limits.clone());
        let digest = compiled.sha256.clone();
        let processor = Processor::load(&engine, &limits, &compiled, digest, Vec::new())?;
        Ok(Self {
            engine,
            compiled,
            processor,
        })
    }

    /// Gives it a transcript, as the session `ada/one.jsonl`.
    pub fn process(&self, transcript: impl AsRef<[u8]>) -> Execution {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let user = folder.path().join("ada");
        fs::create_dir(&user).expect("a folder can be made");
        fs::write(user.join("one.jsonl"), transcript).expect("a session can be written");
        let root = SessionsRoot::open(folder.path())
            .expect("the folder can be read")
            .expect("the folder is there");
        let line_bytes_max = self.processor.limits().line_bytes_max;
        let snapshot = Snapshot::open(&root, "ada/one.jsonl", clock::START, line_bytes_max)
            .expect("the session can be opened");
        let session = SessionInfo {
            key: "ada/one.jsonl".to_owned(),
            directory: "ada".to_owned(),
            username: "ada".to_owned(),
            user_id: None,
        };
        self.processor.process(&session, snapshot)
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
            manifest: self.processor.manifest().clone(),
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
        let place = self
            .manifest
            .tables
            .iter()
            .position(|spec| spec.name == table)
            .unwrap_or_else(|| panic!("there is no table `{table}`"));
        let (spec, kept) = (&self.manifest.tables[place], &self.completed.tables[place]);
        let columns: Vec<Vec<String>> = columns
            .split_whitespace()
            .map(|name| {
                let place = spec.columns.iter().position(|column| column.name == name);
                let place = place.unwrap_or_else(|| panic!("there is no column `{table}.{name}`"));
                cells(&kept.columns[place])
            })
            .collect();
        let row = |at: usize| {
            let cells: Vec<&str> = columns.iter().map(|column| column[at].as_str()).collect();
            cells.join(" | ")
        };
        (0..kept.rows).map(row).collect()
    }

    /// As [`Extracted::rows`], as one text for a snapshot.
    pub fn text(&self, table: &str, columns: &str) -> String {
        self.rows(table, columns).join("\n")
    }
}

fn cells(column: &ColumnValues) -> Vec<String> {
    fn text<T: ToString>(values: impl Iterator<Item = Option<T>>) -> Vec<String> {
        let cell =
            |value: Option<T>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        values.map(cell).collect()
    }
    match column {
        ColumnValues::Bool(values) => text(values.iter().copied()),
        ColumnValues::S64(values) => text(values.iter().copied()),
        ColumnValues::F64(values) => text(values.iter().copied()),
        ColumnValues::Text(values) => text(values.iter()),
        ColumnValues::Timestamp(values) => text(values.iter().map(|value| value.map(UtcMicros))),
    }
}

/// Compiles a component once in the life of this process: it takes longer than most tests.
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
    let compiled = Arc::new(compile_anew(&Compiler::InProcess, component, limits)?);
    known.insert(key, Arc::clone(&compiled));
    Ok(compiled)
}

fn compile_anew(compiler: &Compiler, component: &[u8], limits: &Limits) -> Result<Compiled, Fault> {
    let scratch = std::env::temp_dir();
    sandbox::compile(compiler, limits, component, &scratch)
        .map_err(|error| Fault::new(FaultKind::Component, error.to_string()))
}
