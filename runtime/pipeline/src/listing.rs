//! What the walker finds joined with what is known: how every session stands with every processor.
//!
//! It goes by the rule of [`scan::judge`], so that a listing says what the next run will do.
//! Nothing is read of the sessions themselves, and nothing is written.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::sessions::{Note, Observed, SessionsRoot, is_key};
use session_pipeline_store::retry::Verdict;
use session_pipeline_store::state_rows::FailureRow;
use session_pipeline_store::{Keys, SessionCost, SessionState, SessionStates, Store, StoreError};

use crate::config::Config;
use crate::identity::name_of;
use crate::registry::Registry;
use crate::scan::{self, Check, ScanContext, Standing};

/// Keys suggested for an unknown one.
const SUGGESTIONS_MAX: usize = 3;
/// Keys that a mistyped one is compared with: enough for a team, and done in a second.
const COMPARED_MAX: usize = 50_000;
/// Sessions read from the database at once.
pub const READ_AT_ONCE: usize = 10_000;

/// How a session stands with a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was never processed; the next run does.
    New,
    /// It was processed as it is now.
    Processed,
    /// The next run looks at it: it changed, its last attempt failed, the processor has a new
    /// version, or somebody asked for it.
    Due,
    /// Its last attempt failed, and scheduled runs wait before the next one.
    Waiting,
    /// It failed too often, and is not tried any more.
    Quarantined,
    /// Its file is gone; its rows stay.
    Missing,
}

impl State {
    /// The word for it.
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

/// A session with how it stands with each processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSession {
    /// Its key.
    pub key: String,
    /// Its file; `None` where it is gone.
    pub file: Option<Observed>,
    /// In the order of the processors' names.
    pub processors: Vec<ListedState>,
}

/// How a session stands with one processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedState {
    /// The processor's name.
    pub processor: Arc<str>,
    /// In a word.
    pub state: State,
    /// How many items were extracted, where it was processed.
    pub items: Option<i64>,
    /// When the content was read that its rows come from.
    pub processed_at: Option<UtcMicros>,
    /// Since when a run knows that its file is gone.
    pub missing_since: Option<UtcMicros>,
    /// Its last failure; boxed, since most sessions of a long list have none.
    pub failure: Option<Box<FailureRow>>,
}

/// The sessions of a data dir.
#[derive(Debug, Default)]
pub struct Listing {
    /// In the order of their keys.
    pub sessions: Vec<ListedSession>,
    /// What the walk passed over.
    pub notes: Vec<Note>,
    /// Whether there is a sessions root at all.
    pub has_root: bool,
}

/// All that is known of one session.
#[derive(Debug)]
pub struct ShownSession {
    /// As in the list.
    pub listed: ListedSession,
    /// What goes beyond it, by the name of the processor.
    pub details: BTreeMap<String, SessionDetails>,
}

/// What the database has of one session from one processor.
#[derive(Debug, Default)]
pub struct SessionDetails {
    /// Its state row.
    pub state: Option<SessionState>,
    /// The digest of the component that wrote its rows.
    pub component: Option<String>,
    /// That component's version.
    pub version: Option<u32>,
    /// What its last attempt took.
    pub cost: Option<SessionCost>,
    /// Its rows, by table.
    pub rows: Vec<(String, u64)>,
}

/// Why sessions can't be listed or shown.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The sessions root can't be read.
    #[error("the sessions root `{path}` can't be read; check the path and its permissions")]
    Root {
        /// The root.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such session.
    #[error("there is no session `{key}`{}", suggestion(nearest))]
    UnknownSession {
        /// The key.
        key: String,
        /// Keys that are like it, fit for a terminal.
        nearest: Vec<String>,
    },
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn suggestion(nearest: &[String]) -> String {
    match nearest {
        [] => "; `sessions list` shows all there are".to_owned(),
        keys => format!("; did you mean `{}`?", keys.join("`, or `")),
    }
}

/// What a processor's sessions are held against.
struct Rule {
    failures: HashMap<String, FailureRow>,
    /// The component that the next run uses; `None`: nobody runs this processor any more.
    component: Option<String>,
    versions: HashMap<String, u32>,
}

/// All that the database says, read at once.
struct Known {
    states: SessionStates,
    rules: BTreeMap<Arc<str>, Rule>,
}

/// Lists the sessions on disk and those that are only known, with all processors that there are or
/// that left a row. Without a database all are new.
///
/// # Errors
/// When the root or the database can't be read.
pub fn list(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    now: UtcMicros,
) -> Result<Listing, ListingError> {
    let mut pages = Pages::open(config, registry, store, Part::default(), now)?;
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

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part<'a> {
    /// Only sessions after this key, in the order of keys.
    pub after: Option<&'a str>,
    /// This many at most; `None`: all.
    pub limit: Option<usize>,
}

/// The list of sessions, page by page: of all sessions, only their keys and what the file system
/// says of them are held in memory; of a limited part, no more than that part.
#[derive(Debug)]
pub struct Pages<'a> {
    registry: &'a Registry,
    store: Option<&'a Store>,
    now: UtcMicros,
    found: BTreeMap<String, Observed>,
    after: Option<String>,
    // What an incomplete walk did not see, and what is below an absent root, may well be there.
    is_gone_sure: bool,
    /// What the walk passed over.
    pub notes: Vec<Note>,
    /// Whether there is a sessions root at all.
    pub has_root: bool,
}

impl<'a> Pages<'a> {
    /// Finds the sessions on disk.
    ///
    /// # Errors
    /// When the root or the database can't be read.
    pub fn open(
        config: &Config,
        registry: &'a Registry,
        store: Option<&'a Store>,
        part: Part<'_>,
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
                // A folder may hold later keys than its own.
                let may_be_later =
                    |after: &str| key > after || (key.ends_with('/') && after.starts_with(key));
                let found = found.borrow();
                let has_room = || found.len() < limit;
                let is_smaller = || {
                    found
                        .last_key_value()
                        .is_some_and(|(last, _)| key < last.as_str())
                };
                part.after.is_none_or(may_be_later) && (has_room() || is_smaller())
            };
            let walk = root
                .walk_where(is_in_part, |key, observed| {
                    let mut found = found.borrow_mut();
                    found.insert(key.to_owned(), observed);
                    if found.len() > limit {
                        found.pop_last();
                    }
                })
                .map_err(|source| unreadable(config, source))?;
            pages.is_gone_sure = walk.is_complete && walk.found > 0;
            pages.notes = walk.notes;
        }
        registry.notice(config, store, now)?;
        Ok(pages)
    }

    /// The next sessions, in the order of their keys; none at the end.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn next(&mut self, limit: usize) -> Result<Vec<ListedSession>, ListingError> {
        let mut keys: BTreeMap<String, Option<Observed>> = BTreeMap::new();
        if let Some(store) = self.store {
            let known = store.known_keys(self.after.as_deref(), limit)?;
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
        let last = last.clone();
        let range = Keys::Range(self.after.as_deref(), &last);
        let known = Known::read(self.registry, self.store, range)?;
        let mut states = known.states.rows.iter().peekable();
        let mut sessions = Vec::with_capacity(keys.len());
        for (key, file) in &keys {
            let mut own = Vec::new();
            while let Some(state) = states.next_if(|state| state.key <= *key) {
                if state.key == *key {
                    own.push(state);
                }
            }
            self.found.remove(key);
            sessions.push(known.stand(key, *file, &own, self.is_gone_sure, self.now));
        }
        self.after = Some(last);
        Ok(sessions)
    }
}

/// Tells everything that is known of one session.
///
/// # Errors
/// When there is no such session, or the root or the database can't be read.
pub fn show(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    key: &str,
    now: UtcMicros,
) -> Result<ShownSession, ListingError> {
    let root = open_root(config)?;
    let file = root
        .as_ref()
        .filter(|_| is_key(key))
        .and_then(|root| root.observe(key));
    registry.notice(config, store, now)?;
    let known = Known::read(registry, store, Keys::One(key))?;
    let is_known = !known.states.rows.is_empty()
        || known
            .rules
            .values()
            .any(|rule| rule.failures.contains_key(key));
    if file.is_none() && !is_known {
        return Err(unknown(config, store, key));
    }
    let own: Vec<&SessionState> = known.states.rows.iter().collect();
    let listed = known.stand(key, file, &own, root.is_some(), now);
    let mut details = BTreeMap::new();
    for known_state in &listed.processors {
        let processor = known_state.processor.as_ref();
        details.insert(processor.to_owned(), known.details(store, processor, key)?);
    }
    Ok(ShownSession { listed, details })
}

/// The error for an unknown key, with the keys that are most like it.
fn unknown(config: &Config, store: Option<&Store>, key: &str) -> ListingError {
    match nearest(config, store, key) {
        Ok(nearest) => ListingError::UnknownSession {
            key: session_pipeline_host::fault::printable(key),
            nearest,
        },
        Err(error) => error,
    }
}

impl Known {
    fn read(
        registry: &Registry,
        store: Option<&Store>,
        keys: Keys<'_>,
    ) -> Result<Self, StoreError> {
        let mut states = SessionStates::default();
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
            let mut rule = Rule {
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

    fn stand(
        &self,
        key: &str,
        file: Option<Observed>,
        states: &[&SessionState],
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
            // A processor that is no longer there has nothing to do with sessions it never met.
            if row.is_none() && failure.is_none() && (rule.component.is_none() || file.is_none()) {
                continue;
            }
            let state = match file {
                Some(observed) => self.judge(rule, row, failure, observed, now),
                None if is_gone_sure || row.is_some_and(|row| row.known.is_missing) => {
                    State::Missing
                }
                None => match (row, failure) {
                    (_, Some(failure)) if failure.failures.quarantined_at.is_some() => {
                        State::Quarantined
                    }
                    (Some(row), _) if !row.known.is_due => State::Processed,
                    _ => State::Due,
                },
            };
            processors.push(ListedState {
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
        rule: &Rule,
        row: Option<&SessionState>,
        failure: Option<&FailureRow>,
        observed: Observed,
        now: UtcMicros,
    ) -> State {
        // Of a processor that is no longer there, what failed under its own component still counts.
        let failed_digest = failure.and_then(|failure| failure.digest.clone());
        let digest = rule.component.clone().or(failed_digest).unwrap_or_default();
        let digests = self.states.digests.iter();
        let context = ScanContext {
            failures: &rule.failures,
            digest: &digest,
            // A component that never ran here has not said its version yet: nothing is due by it.
            version: rule.versions.get(&digest).copied().unwrap_or(0),
            versions: digests
                .map(|digest| rule.versions.get(digest).copied())
                .collect(),
            now,
            is_started_by_person: false,
        };
        match scan::judge(row.map(|row| &row.known), failure, observed, &context) {
            Standing::Settled => State::Processed,
            Standing::Waiting => State::Waiting,
            Standing::Quarantined => State::Quarantined,
            Standing::Candidate(Check::FailureHash { verdict, .. }) => match verdict {
                Verdict::Quarantined => State::Quarantined,
                Verdict::Waiting => State::Waiting,
                Verdict::Try => State::Due,
            },
            Standing::Candidate(_) if row.is_none() && failure.is_none() => State::New,
            Standing::Candidate(_) => State::Due,
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
            // The user can be created after the session was processed.
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

/// The keys that contain the given one, or that it contains (a path was given for a key); where there
/// is none, those that are spelled most like it. No more than these are held in memory.
fn nearest(
    config: &Config,
    store: Option<&Store>,
    given: &str,
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
            if !is_folder {
                nearest.consider(key);
            }
            is_folder
        };
        root.walk_where(consider, |_, _| {})
            .map_err(|source| unreadable(config, source))?;
    }
    if let Some(store) = store {
        let mut after: Option<String> = None;
        loop {
            let keys = store.known_keys(after.as_deref(), READ_AT_ONCE)?;
            keys.iter().for_each(|key| nearest.consider(key));
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
    /// With how alike they are, the most alike first.
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
