//! Lists sessions: joins the sessions on disk with the stored state, for every processor.
//!
//! It uses [`scan::judge`], so a listing shows what the next run will do. It reads no session
//! content and writes nothing.

pub mod overview;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::sessions::{FileStat, SessionsRoot, SkippedPath, is_key};
use session_pipeline_store::retry::RetryDecision;
use session_pipeline_store::state_rows::FailureRow;
use session_pipeline_store::{
    SessionCost, SessionSelection, SessionStateRow, SessionStateRows, Store, StoreError,
};

use crate::config::Config;
use crate::identity::name_of;
use crate::registry::{Refresh, Registry};
use crate::scan::{self, ContentCheck, ScanContext, SessionStanding};

/// Keys suggested for an unknown one.
const SUGGESTIONS_MAX: usize = 3;
/// Maximum number of keys compared with a mistyped one. Enough for a team, and done within a
/// second.
const COMPARED_MAX: usize = 50_000;
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

/// The data that a processor's sessions are compared with.
struct ProcessorRule {
    failures: HashMap<String, FailureRow>,
    /// The component of the next run. `None`: the processor is no longer installed.
    component: Option<String>,
    versions: HashMap<String, u32>,
}

/// The stored state of a range of sessions.
struct StoredStates {
    states: SessionStateRows,
    rules: BTreeMap<Arc<str>, ProcessorRule>,
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

/// Shows one session in full.
///
/// # Errors
/// If the session does not exist, or the sessions root or the database can't be read.
pub fn show(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    key: &str,
    now: UtcMicros,
) -> Result<SessionWithDetails, ListingError> {
    show_in(config, registry, store, key, None, now)
}

/// Like [`show`], but as if there were only the sessions in these directories below the sessions
/// root. `None`: all.
///
/// # Errors
/// Same as [`show`].
pub fn show_in(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    key: &str,
    directories: Option<&[String]>,
    now: UtcMicros,
) -> Result<SessionWithDetails, ListingError> {
    if !is_in(directories, key) {
        return Err(unknown(config, store, key, directories));
    }
    let root = open_root(config)?;
    let file = root
        .as_ref()
        .filter(|_| is_key(key))
        .and_then(|root| root.stat(key));
    registry.refresh(config, now, Refresh::Notice(store))?;
    let known = StoredStates::read(registry, store, SessionSelection::One(key))?;
    let is_known = !known.states.rows.is_empty()
        || known
            .rules
            .values()
            .any(|rule| rule.failures.contains_key(key));
    if file.is_none() && !is_known {
        return Err(unknown(config, store, key, directories));
    }
    let own: Vec<&SessionStateRow> = known.states.rows.iter().collect();
    let listed = known.session(key, file, &own, root.is_some(), now);
    let mut details = BTreeMap::new();
    for known_state in &listed.processors {
        let processor = known_state.processor.as_ref();
        details.insert(processor.to_owned(), known.details(store, processor, key)?);
    }
    Ok(SessionWithDetails { listed, details })
}

/// Whether a key is in one of some directories. `None`: all.
fn is_in(directories: Option<&[String]>, key: &str) -> bool {
    let directory = key.split('/').next().unwrap_or_default();
    directories.is_none_or(|own| own.iter().any(|own| own == directory))
}

/// The error for an unknown key, with similar keys.
fn unknown(
    config: &Config,
    store: Option<&Store>,
    key: &str,
    directories: Option<&[String]>,
) -> ListingError {
    match nearest(config, store, key, directories) {
        Ok(nearest) => ListingError::UnknownSession {
            key: session_pipeline_host::fault::printable(key),
            nearest,
        },
        Err(error) => error,
    }
}

impl StoredStates {
    fn read(
        registry: &Registry,
        store: Option<&Store>,
        keys: SessionSelection<'_>,
    ) -> Result<Self, StoreError> {
        let mut states = SessionStateRows::default();
        let mut names = registry.names();
        if let Some(store) = store {
            states = store.session_states(keys)?;
            names.extend(
                store
                    .processor_counts()?
                    .into_iter()
                    .map(|counts| counts.processor),
            );
        }
        names.sort_unstable();
        names.dedup();
        let mut rules = BTreeMap::new();
        for name in names {
            let mut rule = ProcessorRule {
                component: registry.digest(&name),
                failures: HashMap::new(),
                versions: HashMap::new(),
            };
            if let Some(store) = store {
                rule.failures = store.failures_of(&name, keys)?;
                rule.versions = store.component_versions(&name)?;
            }
            rules.insert(name.into(), rule);
        }
        Ok(Self { states, rules })
    }

    fn session(
        &self,
        key: &str,
        file: Option<FileStat>,
        states: &[&SessionStateRow],
        is_gone_sure: bool,
        now: UtcMicros,
    ) -> ListedSession {
        let mut processors = Vec::new();
        for (name, rule) in &self.rules {
            let row = states
                .iter()
                .copied()
                .find(|state| *state.processor == **name);
            let failure = rule.failures.get(key);
            // A processor that is not installed appears only for sessions that it has state for.
            if row.is_none() && failure.is_none() && (rule.component.is_none() || file.is_none()) {
                continue;
            }
            let state = match file {
                Some(observed) => self.judge(rule, row, failure, observed, now),
                None if is_gone_sure || row.is_some_and(|row| row.known.is_missing) => {
                    ProcessingState::Missing
                }
                None => match (row, failure) {
                    (_, Some(failure)) if failure.failures.quarantined_at.is_some() => {
                        ProcessingState::Quarantined
                    }
                    (Some(row), _) if !row.known.is_due => ProcessingState::Processed,
                    _ => ProcessingState::Due,
                },
            };
            processors.push(ProcessorState {
                processor: Arc::clone(name),
                state,
                items: row.map(|row| row.items),
                processed_at: row.and_then(|row| row.known.processed_at),
                missing_since: row.and_then(|row| row.missing_since),
                failure: failure.cloned().map(Box::new),
            });
        }
        ListedSession {
            key: key.to_owned(),
            file,
            processors,
        }
    }

    fn judge(
        &self,
        rule: &ProcessorRule,
        row: Option<&SessionStateRow>,
        failure: Option<&FailureRow>,
        observed: FileStat,
        now: UtcMicros,
    ) -> ProcessingState {
        // Without an installed component, failures of the last component still count.
        let failed_digest = failure.and_then(|failure| failure.digest.clone());
        let digest = rule.component.clone().or(failed_digest).unwrap_or_default();
        let digests = self.states.digests.iter();
        let context = ScanContext {
            failures: &rule.failures,
            digest: &digest,
            // A component that never ran here has no recorded version, so it makes no session due.
            version: rule.versions.get(&digest).copied().unwrap_or(0),
            versions: digests
                .map(|digest| rule.versions.get(digest).copied())
                .collect(),
            now,
            is_started_by_person: false,
        };
        match scan::judge(row.map(|row| &row.known), failure, observed, &context) {
            SessionStanding::Settled => ProcessingState::Processed,
            SessionStanding::Waiting => ProcessingState::Waiting,
            SessionStanding::Quarantined => ProcessingState::Quarantined,
            SessionStanding::Candidate(ContentCheck::FailureHash { verdict, .. }) => {
                match verdict {
                    RetryDecision::Quarantined => ProcessingState::Quarantined,
                    RetryDecision::Waiting => ProcessingState::Waiting,
                    RetryDecision::Try => ProcessingState::Due,
                }
            }
            SessionStanding::Candidate(_) if row.is_none() && failure.is_none() => {
                ProcessingState::New
            }
            SessionStanding::Candidate(_) => ProcessingState::Due,
        }
    }

    fn details(
        &self,
        store: Option<&Store>,
        processor: &str,
        key: &str,
    ) -> Result<SessionDetails, StoreError> {
        let Some(store) = store else {
            return Ok(SessionDetails::default());
        };
        let mut states = self.states.rows.iter();
        let mut state = states.find(|state| state.processor == processor).cloned();
        if let Some(state) = &mut state {
            // The user could have been created after the session was processed.
            let directory = key.split('/').next().unwrap_or_default();
            state.username = name_of(&store.users()?, directory);
        }
        let component = state
            .as_ref()
            .and_then(|state| self.states.digests.get(usize::from(state.known.digest?)))
            .cloned();
        let version = component.as_ref().and_then(|digest| {
            let rule = self.rules.get(processor)?;
            rule.versions.get(digest).copied()
        });
        let rows = match &state {
            Some(state) => store.session_row_counts(processor, state)?,
            None => Vec::new(),
        };
        Ok(SessionDetails {
            state,
            component,
            version,
            cost: store.session_cost(processor, key)?,
            rows,
        })
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

/// Suggestions: keys that contain the given one or are contained in it (such as a path given as a
/// key), else the keys with the most similar spelling. At most [`SUGGESTIONS_MAX`] are held in
/// memory.
fn nearest(
    config: &Config,
    store: Option<&Store>,
    given: &str,
    directories: Option<&[String]>,
) -> Result<Vec<String>, ListingError> {
    let mut nearest = Nearest {
        given,
        hits: BTreeSet::new(),
        alike: Vec::new(),
        compared: 0,
    };
    if let Some(root) = open_root(config)? {
        let consider = |key: &str| {
            let is_folder = key.ends_with('/');
            if !is_folder && is_in(directories, key) {
                nearest.consider(key);
            }
            is_folder && is_in(directories, key)
        };
        root.walk_filtered(consider, |_, _| {})
            .map_err(|source| unreadable(config, source))?;
    }
    if let Some(store) = store {
        let mut after: Option<String> = None;
        loop {
            let keys = store.session_keys(after.as_deref(), READ_AT_ONCE)?;
            let own = keys.iter().filter(|key| is_in(directories, key));
            own.for_each(|key| nearest.consider(key));
            match keys.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => break,
            }
        }
    }
    Ok(nearest.keys())
}

struct Nearest<'a> {
    given: &'a str,
    hits: BTreeSet<String>,
    /// With their similarity, highest first.
    alike: Vec<(f64, String)>,
    compared: usize,
}

impl Nearest<'_> {
    fn consider(&mut self, key: &str) {
        let given = self.given;
        if !given.is_empty() && (key.contains(given) || given.ends_with(key)) {
            self.hits.insert(key.to_owned());
            if self.hits.len() > SUGGESTIONS_MAX {
                self.hits.pop_last();
            }
        }
        if self.compared == COMPARED_MAX || !self.hits.is_empty() {
            return;
        }
        self.compared += 1;
        let likeness = strsim::jaro_winkler(given, key);
        if likeness > 0.8 && self.alike.iter().all(|(_, known)| known != key) {
            self.alike.push((likeness, key.to_owned()));
            self.alike
                .sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            self.alike.truncate(SUGGESTIONS_MAX);
        }
    }

    fn keys(self) -> Vec<String> {
        let alike = self.alike.into_iter().map(|(_, key)| key);
        let keys: Vec<String> = match self.hits.is_empty() {
            true => alike.collect(),
            false => self.hits.into_iter().collect(),
        };
        keys.iter()
            .map(|key| session_pipeline_host::fault::printable(key))
            .collect()
    }
}
