//! Lists sessions: joins the sessions on disk with the stored state, for every processor.
//!
//! It uses [`crate::scan::judge`], so a listing shows what the next run will do. It reads no session
//! content and writes nothing.

mod find;
pub mod overview;
mod states;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::sessions::{FileStat, SessionsRoot, SkippedPath};
use session_pipeline_store::state_rows::FailureRow;
use session_pipeline_store::{SessionCost, SessionSelection, SessionStateRow, Store, StoreError};

use crate::config::Config;
use crate::registry::{Refresh, Registry};

pub use find::find_in;
use states::StoredStates;

/// Sessions per read from the database.
pub const READ_AT_ONCE: usize = 10_000;

/// The state of a session with one processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessingState {
    /// Never processed. The next run tries it.
    New,
    /// Processed with its current content.
    Processed,
    /// The next run checks it: it changed, its last attempt failed, the processor has a new
    /// version, or reprocessing was requested.
    Due,
    /// Its last attempt failed, and scheduled runs wait before the next one.
    Waiting,
    /// It failed too often and is not retried.
    Quarantined,
    /// Its file is gone. Its rows remain.
    Missing,
}

impl ProcessingState {
    /// The name in JSON and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Processed => "processed",
            Self::Due => "due",
            Self::Waiting => "waiting",
            Self::Quarantined => "quarantined",
            Self::Missing => "missing",
        }
    }
}

/// A session with its state for each processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSession {
    /// The session's key: its path below the sessions root.
    pub key: String,
    /// Its file. `None`: it is gone.
    pub file: Option<FileStat>,
    /// One entry per processor, sorted by name.
    pub processors: Vec<ProcessorState>,
}

/// The state of a session with one processor, with details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessorState {
    /// The processor's name.
    pub processor: Arc<str>,
    /// The state.
    pub state: ProcessingState,
    /// Number of items extracted, if it was processed.
    pub items: Option<i64>,
    /// When the content behind its rows was read.
    pub processed_at: Option<UtcMicros>,
    /// When a run first noticed that its file is gone.
    pub missing_since: Option<UtcMicros>,
    /// Its last failure. Boxed, because most sessions of a long list have none.
    pub failure: Option<Box<FailureRow>>,
}

/// The sessions of a data directory.
#[derive(Debug, Default)]
pub struct Listing {
    /// Sorted by key.
    pub sessions: Vec<ListedSession>,
    /// Files and folders that the walk skipped, with reasons.
    pub notes: Vec<SkippedPath>,
    /// Whether the sessions root exists.
    pub has_root: bool,
}

/// One session in full.
#[derive(Debug)]
pub struct SessionWithDetails {
    /// The entry in the list.
    pub listed: ListedSession,
    /// Details by processor name.
    pub details: BTreeMap<String, SessionDetails>,
}

/// Stored data of one session from one processor.
#[derive(Debug, Default)]
pub struct SessionDetails {
    /// Its state row.
    pub state: Option<SessionStateRow>,
    /// The digest of the component that wrote its rows.
    pub component: Option<String>,
    /// That component's version.
    pub version: Option<u32>,
    /// The cost of its last attempt.
    pub cost: Option<SessionCost>,
    /// Number of rows by table.
    pub rows: Vec<(String, u64)>,
}

/// Why sessions can't be listed or shown.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The sessions root can't be read.
    #[error("cannot read sessions root `{path}`; check the path and its permissions")]
    Root {
        /// The path of the sessions root.
        path: String,
        /// The I/O error.
        #[source]
        source: io::Error,
    },
    /// The session does not exist.
    #[error("unknown session `{key}`{}", suggestion(nearest))]
    UnknownSession {
        /// The key.
        key: String,
        /// Similar keys, escaped for a terminal.
        nearest: Vec<String>,
    },
    /// Several sessions match.
    #[error(
        "`{given}` matches {count} sessions; use one of these keys: `{}`{}",
        keys.join("`, `"),
        if *count > keys.len() { ", and others" } else { "" }
    )]
    AmbiguousSession {
        /// The text that names the session, escaped for a terminal.
        given: String,
        /// The first of their keys, escaped for a terminal.
        keys: Vec<String>,
        /// Number of sessions.
        count: usize,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn suggestion(nearest: &[String]) -> String {
    match nearest {
        [] => "; `session-pipeline sessions list` lists all sessions".to_owned(),
        keys => format!("; did you mean `{}`?", keys.join("`, or `")),
    }
}

/// Lists all sessions that are on disk or stored, with all processors that are installed or have
/// state rows. Without a database, all sessions are new.
///
/// # Errors
/// If the sessions root or the database can't be read.
pub fn list(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    now: UtcMicros,
) -> Result<Listing, ListingError> {
    let mut pages = SessionPages::open(config, registry, store, ListRange::default(), now)?;
    let mut sessions = Vec::new();
    loop {
        let mut page = pages.next(READ_AT_ONCE)?;
        if page.is_empty() {
            break;
        }
        sessions.append(&mut page);
    }
    Ok(Listing {
        sessions,
        notes: pages.notes,
        has_root: pages.has_root,
    })
}

/// A part of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListRange<'a> {
    /// Only sessions after this key.
    pub after: Option<&'a str>,
    /// Maximum number of sessions. `None`: all.
    pub limit: Option<usize>,
}

/// The list of sessions, page by page. Memory holds only keys and file metadata: of all sessions,
/// or of the limited part.
#[derive(Debug)]
pub struct SessionPages<'a> {
    registry: &'a Registry,
    store: Option<&'a Store>,
    now: UtcMicros,
    found: BTreeMap<String, FileStat>,
    after: Option<String>,
    // Missing files do not count as gone after an incomplete walk, or without a sessions root.
    is_gone_sure: bool,
    /// Files and folders that the walk skipped, with reasons.
    pub notes: Vec<SkippedPath>,
    /// Whether the sessions root exists.
    pub has_root: bool,
}

impl<'a> SessionPages<'a> {
    /// Walks over the sessions on disk.
    ///
    /// # Errors
    /// If the sessions root or the database can't be read.
    pub fn open(
        config: &Config,
        registry: &'a Registry,
        store: Option<&'a Store>,
        part: ListRange<'_>,
        now: UtcMicros,
    ) -> Result<Self, ListingError> {
        let root = open_root(config)?;
        let mut pages = Self {
            registry,
            store,
            now,
            found: BTreeMap::new(),
            after: part.after.map(str::to_owned),
            is_gone_sure: false,
            notes: Vec::new(),
            has_root: root.is_some(),
        };
        if let Some(root) = &root {
            let limit = part.limit.unwrap_or(usize::MAX);
            let found = RefCell::new(&mut pages.found);
            let is_in_part = |key: &str| {
                // A folder can contain keys that sort after the folder's own path.
                let may_be_later =
                    |after: &str| key > after || (key.ends_with('/') && after.starts_with(key));
                let found = found.borrow();
                let has_space = || found.len() < limit;
                let is_smaller = || {
                    found
                        .last_key_value()
                        .is_some_and(|(last, _)| key < last.as_str())
                };
                part.after.is_none_or(may_be_later) && (has_space() || is_smaller())
            };
            let walk = root
                .walk_filtered(is_in_part, |key, observed| {
                    let mut found = found.borrow_mut();
                    found.insert(key.to_owned(), observed);
                    if found.len() > limit {
                        found.pop_last();
                    }
                })
                .map_err(|source| unreadable(config, source))?;
            pages.is_gone_sure = walk.is_complete && walk.found > 0;
            pages.notes = walk.skipped;
        }
        registry.refresh(config, now, Refresh::Notice(store))?;
        Ok(pages)
    }

    /// The next sessions, sorted by key. Empty at the end.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn next(&mut self, limit: usize) -> Result<Vec<ListedSession>, ListingError> {
        let after = self.after.clone();
        let mut sessions = self.next_without_states(limit)?;
        if let Some(last) = sessions.last().map(|session| session.key.clone()) {
            let range = SessionSelection::Range(after.as_deref(), &last);
            self.add_states(sessions.iter_mut(), range)?;
        }
        Ok(sessions)
    }

    /// Like [`SessionPages::next`], but without the states of the sessions.
    fn next_without_states(&mut self, limit: usize) -> Result<Vec<ListedSession>, ListingError> {
        let mut keys: BTreeMap<String, Option<FileStat>> = BTreeMap::new();
        if let Some(store) = self.store {
            let known = store.session_keys(self.after.as_deref(), limit)?;
            keys.extend(known.into_iter().map(|key| (key, None)));
        }
        let found = self.found.iter().take(limit);
        keys.extend(found.map(|(key, observed)| (key.clone(), Some(*observed))));
        while keys.len() > limit {
            keys.pop_last();
        }
        let Some((last, _)) = keys.last_key_value() else {
            return Ok(Vec::new());
        };
        self.after = Some(last.clone());
        let sessions = keys.into_iter().map(|(key, file)| {
            self.found.remove(&key);
            ListedSession {
                key,
                file,
                processors: Vec::new(),
            }
        });
        Ok(sessions.collect())
    }

    /// Reads the states of sessions in the order of their keys. `selection` includes them.
    fn add_states<'s>(
        &self,
        sessions: impl Iterator<Item = &'s mut ListedSession>,
        selection: SessionSelection<'_>,
    ) -> Result<(), ListingError> {
        let known = StoredStates::read(self.registry, self.store, selection)?;
        let mut states = known.states.rows.iter().peekable();
        for session in sessions {
            let mut own = Vec::new();
            while let Some(state) = states.next_if(|state| state.key <= session.key) {
                if state.key == session.key {
                    own.push(state);
                }
            }
            *session = known.session(
                &session.key,
                session.file,
                &own,
                self.is_gone_sure,
                self.now,
            );
        }
        Ok(())
    }
}

fn open_root(config: &Config) -> Result<Option<SessionsRoot>, ListingError> {
    SessionsRoot::open(&config.sessions_root).map_err(|source| unreadable(config, source))
}

fn unreadable(config: &Config, source: io::Error) -> ListingError {
    ListingError::Root {
        path: session_pipeline_host::fault::printable(&config.sessions_root.display().to_string()),
        source,
    }
}
