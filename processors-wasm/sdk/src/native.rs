//! A host in memory, to run a processor natively in unit tests and benchmarks.
//!
//! It implements the same functions with the same chunks as the real host, and stores the rows and
//! the log. It only enforces the line limit, and does not check rows against the manifest.
//! `session-pipeline processors verify` checks the compiled component. The module `shared`
//! implements shared tables.

mod llm;
mod shared;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::host::{Chunk, Host, Level};
use crate::llm::{LlmError, Request, Response};
use crate::processor::{Processor, Summary};
use crate::resumption::Resumable;
use crate::session::{Session, SessionInfo};
use crate::shared::Filter;
use crate::table::{OwnedValue, Table, Value};
use llm::ScriptedModel;
use shared::SharedTables;

/// The host's default line limit.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A host that reads one transcript from memory and stores rows and log in memory.
///
/// ```
/// use session_pipeline_processor::native::MemoryHost;
/// use session_pipeline_processor::{Manifest, Processor, Session, SessionInfo, Settings, Summary};
///
/// struct CountsLines;
///
/// impl Processor for CountsLines {
///     fn manifest(_: &Settings) -> Result<Manifest, String> {
///         Ok(Manifest::new("counts-lines", 1, "Counts lines."))
///     }
///
///     fn process(session: &Session<'_>) -> Result<Summary, String> {
///         let tally = session.transcript().for_each(|_, _| ());
///         Ok(Summary::items(tally.lines))
///     }
/// }
///
/// let host = MemoryHost::new(b"{\"type\":\"user\"}\n{\"type\":\"assistant\"}\n");
/// let summary = host.run::<CountsLines>(&SessionInfo::new("alice/session.jsonl"));
/// assert_eq!(summary, Ok(Summary::items(2)));
/// ```
pub struct MemoryHost<'t> {
    /// Longer lines are skipped.
    pub line_bytes_max: usize,
    /// The largest state of a checkpoint that the host stores, in bytes. 0 by default: none.
    pub state_bytes_max: u64,
    transcript: Cow<'t, [u8]>,
    at: Cell<usize>,
    line: Cell<u64>,
    rows: RefCell<TableRows>,
    /// The rows that checkpoints settled.
    settled: RefCell<TableRows>,
    checkpoint: RefCell<Option<MemoryCheckpoint>>,
    shared: RefCell<SharedTables>,
    model: RefCell<ScriptedModel>,
    log: RefCell<Vec<(Level, String)>>,
}

impl<'t> MemoryHost<'t> {
    /// Creates a host with this transcript.
    pub fn new(transcript: impl Into<Cow<'t, [u8]>>) -> Self {
        Self {
            line_bytes_max: LINE_BYTES_MAX,
            state_bytes_max: 0,
            transcript: transcript.into(),
            at: Cell::new(0),
            line: Cell::new(1),
            rows: RefCell::default(),
            settled: RefCell::default(),
            checkpoint: RefCell::default(),
            shared: RefCell::default(),
            model: RefCell::default(),
            log: RefCell::default(),
        }
    }

    /// Runs a processor over the transcript, from its beginning. If it succeeds, its upserts are
    /// committed. Otherwise, they are dropped.
    pub fn run<P: Processor>(&self, info: &SessionInfo) -> Result<Summary, String> {
        self.rewind();
        self.declare(&P::manifest(&info.settings)?.tables);
        let result = P::process(&Session::new(self, info));
        self.shared.borrow_mut().end_session(result.is_ok());
        result
    }

    /// Replaces the transcript, and continues the session after its latest checkpoint as the real host
    /// would. Returns `None` if there is no checkpoint, if lines before it changed, or if the
    /// processor asks for the whole session. All rows are then dropped, so that
    /// [`MemoryHost::run`] can process the whole transcript.
    pub fn grow<P: Resumable>(
        &mut self,
        info: &SessionInfo,
        transcript: impl Into<Cow<'t, [u8]>>,
    ) -> Result<Option<Summary>, String> {
        let before = std::mem::replace(&mut self.transcript, transcript.into());
        self.rows.borrow_mut().clear();
        let from = self.checkpoint.borrow().clone();
        let from = from.filter(|from| {
            let is_prefix = |bytes: &[u8]| bytes.get(..from.bytes) == before.get(..from.bytes);
            is_prefix(&self.transcript)
        });
        if let Some(from) = from {
            self.at.set(from.bytes);
            self.line.set(from.lines + 1);
            if let Some(summary) = P::resume(&Session::new(self, info), &from.state)? {
                return Ok(Some(summary));
            }
        }
        self.rows.borrow_mut().clear();
        self.settled.borrow_mut().clear();
        *self.checkpoint.borrow_mut() = None;
        Ok(None)
    }

    /// Declares shared tables. [`MemoryHost::run`] does this automatically.
    pub fn declare(&self, tables: &[Table]) {
        self.shared.borrow_mut().declare(tables);
    }

    /// Replaces the transcript and drops the rows of the previous session. Shared rows are kept, as
    /// between real sessions.
    pub fn next_session(&mut self, transcript: impl Into<Cow<'t, [u8]>>) {
        self.transcript = transcript.into();
        self.rows.borrow_mut().clear();
        self.settled.borrow_mut().clear();
        *self.checkpoint.borrow_mut() = None;
        self.rewind();
    }

    /// Queues the answer to the next request. Requests without an answer fail with `unavailable`.
    pub fn answer(&self, answer: Result<Response, LlmError>) {
        self.model.borrow_mut().answers.push_back(answer);
    }

    /// The requests to the language model so far.
    pub fn requests(&self) -> Vec<Request> {
        self.model.borrow().requests.clone()
    }

    /// The rows of a shared table, ordered by key.
    pub fn shared_rows(&self, table: &str) -> BTreeMap<String, Vec<OwnedValue>> {
        self.shared.borrow().rows(table)
    }

    /// Returns to the beginning of the transcript. Keeps rows and log.
    pub fn rewind(&self) {
        self.at.set(0);
        self.line.set(1);
    }

    /// The rows of a table so far.
    pub fn rows(&self, table: &str) -> Vec<Vec<OwnedValue>> {
        let parts = [&self.settled, &self.rows];
        let rows = |part: &RefCell<TableRows>| part.borrow().get(table).cloned();
        parts.into_iter().filter_map(rows).flatten().collect()
    }

    /// All rows so far, by table.
    pub fn into_rows(self) -> BTreeMap<String, Vec<Vec<OwnedValue>>> {
        let mut all = self.settled.into_inner();
        for (table, rows) in self.rows.into_inner() {
            all.entry(table).or_default().extend(rows);
        }
        all
    }

    /// The log so far.
    pub fn log_messages(&self) -> Vec<(Level, String)> {
        self.log.borrow().clone()
    }

    /// The length of the line at `at`, including its newline.
    fn line_length(&self, at: usize) -> usize {
        let rest = &self.transcript[at..];
        memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1)
    }
}

impl Host for MemoryHost<'_> {
    fn read_lines(&self, max_bytes: u32) -> Chunk {
        let mut passed_over = 0;
        let mut start = self.at.get();
        while start < self.transcript.len() {
            let length = self.line_length(start);
            if length <= self.line_bytes_max {
                break;
            }
            passed_over += 1;
            start += length;
        }
        let first_line = self.line.get() + u64::from(passed_over);
        let mut end = start;
        let mut lines = 0;
        while end < self.transcript.len() {
            let length = self.line_length(end);
            let is_full = lines > 0 && end + length - start > max_bytes as usize;
            if is_full || length > self.line_bytes_max {
                break;
            }
            end += length;
            lines += 1;
        }
        self.at.set(end);
        self.line.set(first_line + lines);
        Chunk {
            bytes: self.transcript[start..end].to_vec(),
            first_line,
            passed_over,
        }
    }

    fn insert(&self, table: &str, rows: &[&[Value<'_>]]) {
        let mut tables = self.rows.borrow_mut();
        let kept = tables.entry(table.to_owned()).or_default();
        kept.extend(rows.iter().map(|row| row.iter().map(keep).collect()));
    }

    fn upsert(&self, table: &str, rows: &[&[Value<'_>]]) {
        self.shared.borrow_mut().upsert(table, rows);
    }

    fn lookup(
        &self,
        table: &str,
        filters: &[Filter<'_>],
        order_by: Option<&str>,
        descending: bool,
        limit: u32,
    ) -> Vec<Vec<OwnedValue>> {
        let shared = self.shared.borrow();
        shared.lookup(table, filters, order_by, descending, limit)
    }

    fn complete(&self, request: &Request) -> Result<Response, LlmError> {
        self.model.borrow_mut().complete(request)
    }

    fn log(&self, level: Level, message: &str) {
        self.log.borrow_mut().push((level, message.to_owned()));
    }

    fn state_bytes_max(&self) -> u64 {
        self.state_bytes_max
    }

    fn checkpoint(&self, state: &[u8]) {
        let is_read = self.at.get() == self.transcript.len();
        assert!(
            is_read,
            "the checkpoint comes before the end of the transcript"
        );
        let Some(newline) = memchr::memrchr(b'\n', &self.transcript) else {
            return;
        };
        let covered = &self.transcript[..=newline];
        let is_too_long = self.transcript.len() - covered.len() > self.line_bytes_max;
        if is_too_long || state.len() as u64 > self.state_bytes_max {
            return;
        }
        let mut settled = self.settled.borrow_mut();
        for (table, rows) in std::mem::take(&mut *self.rows.borrow_mut()) {
            settled.entry(table).or_default().extend(rows);
        }
        *self.checkpoint.borrow_mut() = Some(MemoryCheckpoint {
            bytes: covered.len(),
            lines: memchr::memchr_iter(b'\n', covered).count() as u64,
            state: state.to_vec(),
        });
    }
}

/// The rows of a session, by table.
type TableRows = BTreeMap<String, Vec<Vec<OwnedValue>>>;

/// A checkpoint of the session.
#[derive(Clone)]
struct MemoryCheckpoint {
    /// The bytes and lines that it covers.
    bytes: usize,
    lines: u64,
    state: Vec<u8>,
}

/// Copies a value.
fn keep(value: &Value<'_>) -> OwnedValue {
    match *value {
        Value::Null => OwnedValue::Null,
        Value::Bool(flag) => OwnedValue::Bool(flag),
        Value::S64(number) => OwnedValue::S64(number),
        Value::F64(number) => OwnedValue::F64(number),
        Value::Text(text) => OwnedValue::Text(text.to_owned()),
        Value::Timestamp(micros) => OwnedValue::Timestamp(micros),
        Value::Json(text) => OwnedValue::Json(text.to_owned()),
    }
}
