//! The session that is being processed, and its operations.

use crate::activity::Activity;
use crate::host::{Host, HostRef, Level};
use crate::lines::Lines;
use crate::llm::Llm;
use crate::shared::{Filter, Lookup, SharedRow};
use crate::table::{Batch, Cells, OwnedValue, SessionRow, Value};
use crate::transcript::Transcript;

/// The session that is being processed: its properties, its transcript and its tables.
pub struct Session<'h> {
    pub(crate) host: HostRef<'h>,
    info: &'h SessionInfo,
}

/// The properties of a session that are known before it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionInfo {
    /// The path relative to the sessions root, with `/` as separator.
    pub key: String,
    /// The first component of the key, which is the folder of a user.
    pub directory: String,
    /// The user's e-mail address if the folder belongs to a known user, otherwise the name of the
    /// folder.
    pub username: String,
    /// The user's id, if the folder belongs to a known user.
    pub user_id: Option<String>,
    /// The length of the transcript in bytes.
    pub size: u64,
    /// The operator's settings for this processor.
    pub settings: Settings,
}

/// The operator's settings for a processor, as names and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// In the order of the configuration. If a name occurs several times, the last value counts.
    pub pairs: Vec<(String, String)>,
}

impl<'h> Session<'h> {
    /// Creates a session on a host, to run a processor natively. The host creates the sessions of
    /// components.
    pub fn new(host: HostRef<'h>, info: &'h SessionInfo) -> Self {
        Self { host, info }
    }

    /// The properties of the session.
    pub fn info(&self) -> &'h SessionInfo {
        self.info
    }

    /// The operator's settings.
    pub fn settings(&self) -> &'h Settings {
        &self.info.settings
    }

    /// The transcript as raw lines. It can be read once, as lines or as entries.
    pub fn lines(&self) -> Lines<'h> {
        Lines::new(self.host)
    }

    /// The transcript as entries. It can be read once, as lines or as entries.
    pub fn transcript(&self) -> Transcript<'h> {
        Transcript::new(self.lines())
    }

    /// The activity in the session, in the same form for every coding agent. It can be read once,
    /// as lines, as entries or as activity.
    ///
    /// ```
    /// use session_pipeline_processor::activity::Item;
    /// use session_pipeline_processor::native::MemoryHost;
    /// use session_pipeline_processor::{
    ///     Manifest, Processor, Session, SessionInfo, Settings, Summary, Timestamp, rows,
    /// };
    ///
    /// rows! {
    ///     /// One tool call.
    ///     pub struct Call in "calls" {
    ///         line: u64,
    ///         tool: Option<String>,
    ///         called_at: Option<Timestamp>,
    ///     }
    /// }
    ///
    /// struct ToolCalls;
    ///
    /// impl Processor for ToolCalls {
    ///     fn manifest(_: &Settings) -> Result<Manifest, String> {
    ///         Ok(Manifest::new("tool-calls", 1, "Lists tool calls.").table::<Call>())
    ///     }
    ///
    ///     fn process(session: &Session<'_>) -> Result<Summary, String> {
    ///         let mut calls = session.table::<Call>();
    ///         let mut count = 0;
    ///         session.activity().for_each(|origin, item| {
    ///             if let Item::Call(call) = item {
    ///                 calls.insert(Call {
    ///                     line: origin.line,
    ///                     tool: call.name.map(|name| name.decode().into_owned()),
    ///                     called_at: origin.time,
    ///                 });
    ///                 count += 1;
    ///             }
    ///         });
    ///         Ok(Summary::items(count))
    ///     }
    /// }
    ///
    /// let of_claude = r#"{"type":"assistant","sessionId":"s","message":{"content":[
    ///     {"type":"tool_use","id":"1","name":"Bash"}]}}"#;
    /// let of_codex = r#"{"type":"response_item","payload":
    ///     {"type":"function_call","name":"shell","call_id":"1"}}"#;
    /// for file in [of_claude, of_codex] {
    ///     let one_line = file.replace('\n', "");
    ///     let host = MemoryHost::new(one_line.as_bytes());
    ///     let info = SessionInfo::new("ada/session.jsonl");
    ///     assert_eq!(host.run::<ToolCalls>(&info), Ok(Summary::items(1)));
    /// }
    /// ```
    pub fn activity(&self) -> Activity<'h> {
        Activity::new(self.lines(), &self.info.key)
    }

    /// Returns a writer for a session-owned table of the manifest.
    pub fn table<R: SessionRow>(&self) -> Batch<'h, R> {
        Batch::new(self.host)
    }

    /// Inserts rows of dynamic cells at once. If the columns are known at compile time, use
    /// [`Session::table`].
    pub fn insert(&self, table: &str, rows: &[Vec<Value<'_>>]) {
        let rows: Vec<&[Value<'_>]> = rows.iter().map(Vec::as_slice).collect();
        Host::insert(self.host, table, &rows);
    }

    /// Upserts a row of a shared table. It replaces all columns of the row with its key.
    pub fn upsert<R: SharedRow>(&self, row: R) {
        self.upsert_all([row]);
    }

    /// Like [`Session::upsert`], for many rows in one call. Of rows with equal keys, the last one
    /// wins.
    pub fn upsert_all<R: SharedRow>(&self, rows: impl IntoIterator<Item = R>) {
        let mut cells = Cells::default();
        let mut ends = Vec::new();
        for row in rows {
            row.write(&mut cells);
            ends.push(cells.count());
        }
        let values = cells.values();
        let mut start = 0;
        let row_to = |end: usize| {
            let row = &values[start..end];
            start = end;
            row
        };
        let rows: Vec<&[Value<'_>]> = ends.into_iter().map(row_to).collect();
        Host::upsert(self.host, R::TABLE, &rows);
    }

    /// Looks up rows of a shared table: committed rows, overlaid with the rows that this session
    /// has upserted.
    ///
    /// ```
    /// use session_pipeline_processor::native::MemoryHost;
    /// use session_pipeline_processor::{
    ///     Manifest, Processor, Session, SessionInfo, Settings, Summary, rows,
    /// };
    ///
    /// rows! {
    ///     /// How many lines were ever seen of a kind.
    ///     pub struct Kind in shared "kinds" by name {
    ///         name: String,
    ///         lines: u64,
    ///     }
    /// }
    ///
    /// struct Kinds;
    ///
    /// impl Processor for Kinds {
    ///     fn manifest(_: &Settings) -> Result<Manifest, String> {
    ///         Ok(Manifest::new("kinds", 1, "Counts lines by kind.").serial().table::<Kind>())
    ///     }
    ///
    ///     fn process(session: &Session<'_>) -> Result<Summary, String> {
    ///         let tally = session.transcript().for_each(|_, _| ());
    ///         let before = session.lookup::<Kind>().equal("name", "any").first()?;
    ///         let lines = before.map_or(0, |kind| kind.lines) + tally.lines;
    ///         session.upsert(Kind { name: "any".to_owned(), lines });
    ///         let most = session.lookup::<Kind>().order_by("lines").descending().limit(3).rows()?;
    ///         Ok(Summary::items(most.iter().map(|kind| kind.lines).sum()))
    ///     }
    /// }
    ///
    /// let mut host = MemoryHost::new(b"{}\n{}\n");
    /// assert_eq!(host.run::<Kinds>(&SessionInfo::new("ada/1.jsonl")), Ok(Summary::items(2)));
    /// host.next_session(b"{}\n");
    /// assert_eq!(host.run::<Kinds>(&SessionInfo::new("ada/2.jsonl")), Ok(Summary::items(3)));
    /// ```
    pub fn lookup<R: SharedRow>(&self) -> Lookup<'h, R> {
        Lookup::new(self.host)
    }

    /// Like [`Session::upsert_all`], with dynamic cells.
    pub fn upsert_values(&self, table: &str, rows: &[Vec<Value<'_>>]) {
        let rows: Vec<&[Value<'_>]> = rows.iter().map(Vec::as_slice).collect();
        Host::upsert(self.host, table, &rows);
    }

    /// Like [`Session::lookup`], with dynamic cells.
    pub fn lookup_values(
        &self,
        table: &str,
        filters: &[Filter<'_>],
        order_by: Option<&str>,
        descending: bool,
        limit: u32,
    ) -> Vec<Vec<OwnedValue>> {
        Host::lookup(self.host, table, filters, order_by, descending, limit)
    }

    /// Access to a language model.
    ///
    /// ```
    /// use session_pipeline_processor::llm::{Request, Response};
    /// use session_pipeline_processor::native::MemoryHost;
    /// use session_pipeline_processor::{
    ///     Manifest, Processor, Session, SessionInfo, Settings, Summary, rows,
    /// };
    ///
    /// rows! {
    ///     /// What a session was about.
    ///     pub struct Gist in "gists" {
    ///         text: String,
    ///     }
    /// }
    ///
    /// struct Gists;
    ///
    /// impl Processor for Gists {
    ///     fn manifest(_: &Settings) -> Result<Manifest, String> {
    ///         Ok(Manifest::new("gists", 1, "Sums sessions up.").uses_llm().table::<Gist>())
    ///     }
    ///
    ///     fn process(session: &Session<'_>) -> Result<Summary, String> {
    ///         let request = Request::new("What is this about?").max_tokens(100);
    ///         let text = session.llm().complete(&request)?.text;
    ///         session.table::<Gist>().insert(Gist { text });
    ///         Ok(Summary::items(1))
    ///     }
    /// }
    ///
    /// let host = MemoryHost::new(b"");
    /// host.answer(Ok(Response::new("A bug in a parser.")));
    /// assert_eq!(host.run::<Gists>(&SessionInfo::new("ada/1.jsonl")), Ok(Summary::items(1)));
    /// assert_eq!(host.requests()[0].max_tokens, 100);
    /// // Where there is no answer the session fails, and is tried again.
    /// assert!(host.run::<Gists>(&SessionInfo::new("ada/1.jsonl")).is_err());
    /// ```
    pub fn llm(&self) -> Llm<'h> {
        Llm::new(self.host)
    }

    /// Writes a message to the log of the run. The size of the log is limited.
    pub fn log(&self, level: Level, message: &str) {
        Host::log(self.host, level, message);
    }
}

impl SessionInfo {
    /// Creates the properties of a session with this key, in a folder without a known user.
    pub fn new(key: &str) -> Self {
        let directory = key.split('/').next().unwrap_or_default();
        Self {
            key: key.to_owned(),
            directory: directory.to_owned(),
            username: directory.to_owned(),
            ..Self::default()
        }
    }
}

impl Settings {
    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        let pair = self.pairs.iter().rev().find(|(key, _)| key == name)?;
        Some(&pair.1)
    }
}
