//! The session at hand, and what can be done with it.

use crate::host::{Host, HostRef, Level};
use crate::lines::Lines;
use crate::llm::Llm;
use crate::shared::{Filter, Lookup, SharedRow};
use crate::table::{Batch, Cells, OwnedValue, SessionRow, Value};
use crate::transcript::Transcript;

/// The session at hand: what is known of it, its transcript, and the way to the tables.
pub struct Session<'h> {
    host: HostRef<'h>,
    info: &'h SessionInfo,
}

/// What is known of a session before it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionInfo {
    /// The path below the sessions root, with `/`.
    pub key: String,
    /// The first component of the key: the folder of a user.
    pub directory: String,
    /// The user's e-mail where the folder could be resolved to one, else the folder's name.
    pub username: String,
    /// The user's id where the folder could be resolved.
    pub user_id: Option<String>,
    /// The length of the transcript in bytes.
    pub size: u64,
    /// The operator's settings for this processor.
    pub settings: Settings,
}

/// The operator's settings for a processor: names and values, all text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// In the order of the configuration; of equal names the last counts.
    pub pairs: Vec<(String, String)>,
}

impl<'h> Session<'h> {
    /// A session on some host. Processors are given theirs; this is for running them natively.
    pub fn new(host: HostRef<'h>, info: &'h SessionInfo) -> Self {
        Self { host, info }
    }

    /// What is known of the session.
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

    /// The way to a session-owned table of the manifest.
    pub fn table<R: SessionRow>(&self) -> Batch<'h, R> {
        Batch::new(self.host)
    }

    /// Adds rows whose cells are put together by hand, at once. [`Session::table`] is the way
    /// for rows whose columns are known when the processor is written.
    pub fn insert(&self, table: &str, rows: &[Vec<Value<'_>>]) {
        let rows: Vec<&[Value<'_>]> = rows.iter().map(Vec::as_slice).collect();
        Host::insert(self.host, table, &rows);
    }

    /// Keeps a row of a shared table: all its columns, in place of the row that had its key.
    pub fn upsert<R: SharedRow>(&self, row: R) {
        self.upsert_all([row]);
    }

    /// As [`Session::upsert`], for many rows in one call; of equal keys the last one counts.
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

    /// Asks for rows of a shared table: those that are committed, and those that this session has
    /// upserted, which replace them.
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

    /// As [`Session::upsert_all`], with cells that are put together by hand.
    pub fn upsert_values(&self, table: &str, rows: &[Vec<Value<'_>>]) {
        let rows: Vec<&[Value<'_>]> = rows.iter().map(Vec::as_slice).collect();
        Host::upsert(self.host, table, &rows);
    }

    /// As [`Session::lookup`], with cells as the host gives them.
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

    /// The way to a language model.
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

    /// Writes one message into the log of the run, which is cut at a bound.
    pub fn log(&self, level: Level, message: &str) {
        Host::log(self.host, level, message);
    }
}

impl SessionInfo {
    /// A session of that key, in a folder that is resolved to no user.
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
