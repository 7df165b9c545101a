//! The session at hand, and what can be done with it.

use crate::host::{Host, Level};
use crate::lines::Lines;
use crate::table::{Batch, Row, Value};
use crate::transcript::Transcript;

/// The session at hand: what is known of it, its transcript, and the way to the tables.
pub struct Session<'h> {
    host: &'h dyn Host,
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
    pub fn new(host: &'h dyn Host, info: &'h SessionInfo) -> Self {
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

    /// The way to a table of the manifest.
    pub fn table<R: Row>(&self) -> Batch<'h, R> {
        Batch::new(self.host)
    }

    /// Adds rows whose cells are put together by hand, at once. [`Session::table`] is the way
    /// for rows whose columns are known when the processor is written.
    pub fn insert(&self, table: &str, rows: &[Vec<Value<'_>>]) {
        let rows: Vec<&[Value<'_>]> = rows.iter().map(Vec::as_slice).collect();
        self.host.insert(table, &rows);
    }

    /// Writes one message into the log of the run, which is cut at a bound.
    pub fn log(&self, level: Level, message: &str) {
        self.host.log(level, message);
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
