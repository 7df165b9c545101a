//! Finds one session: by its key, or by what reports and file managers show of it.

use std::collections::{BTreeMap, BTreeSet};

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;
use session_pipeline_host::sessions::is_key;
use session_pipeline_store::{SessionSelection, SessionStateRow, Store};

use super::states::StoredStates;
use super::{ListingError, READ_AT_ONCE, SessionWithDetails, open_root, unreadable};
use crate::config::Config;
use crate::nearest::Nearest;
use crate::registry::{Refresh, Registry};
use crate::report::sessions::files_of;

/// Keys that the error for an ambiguous name lists.
const KEYS_SHOWN: usize = 10;

/// Shows one session in full: by its key, by the end of its key, by the name of its file without the
/// extension, or by its id, if that is unique. As if there were only the sessions in these directories
/// below the sessions root. `None`: all.
///
/// # Errors
/// If the session does not exist, several sessions match, or the sessions root or the database can't
/// be read.
pub fn find_in(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    given: &str,
    directories: Option<&[String]>,
    now: UtcMicros,
) -> Result<SessionWithDetails, ListingError> {
    if let Some(session) = known(config, registry, store, given, directories, now)? {
        return Ok(session);
    }
    let mut candidates = Candidates::collect(config, store, given, directories)?;
    if candidates.named.is_empty()
        && let Some(store) = store
    {
        let files = files_of(store, given)?;
        let own = files.into_iter().filter(|key| is_in(directories, key));
        candidates.named.extend(own);
    }
    let keys = match candidates.named.is_empty() {
        true => &candidates.ending,
        false => &candidates.named,
    };
    let mut first = keys.iter();
    match (first.next(), first.next()) {
        (None, _) => Err(candidates.unknown()),
        (Some(key), None) => known(config, registry, store, key, directories, now)?
            .ok_or_else(|| candidates.unknown()),
        (Some(_), Some(_)) => Err(ListingError::AmbiguousSession {
            given: printable(given),
            keys: keys
                .iter()
                .take(KEYS_SHOWN)
                .map(|key| printable(key))
                .collect(),
            count: keys.len(),
        }),
    }
}

/// The session with exactly this key. `None`: it is neither on disk nor stored.
fn known(
    config: &Config,
    registry: &Registry,
    store: Option<&Store>,
    key: &str,
    directories: Option<&[String]>,
    now: UtcMicros,
) -> Result<Option<SessionWithDetails>, ListingError> {
    if !is_in(directories, key) {
        return Ok(None);
    }
    let root = open_root(config)?;
    let file = root
        .as_ref()
        .filter(|_| is_key(key))
        .and_then(|root| root.stat(key));
    registry.refresh(config, now, Refresh::Notice(store))?;
    let known = StoredStates::read(registry, store, SessionSelection::One(key))?;
    if file.is_none() && !known.has(key) {
        return Ok(None);
    }
    let own: Vec<&SessionStateRow> = known.states.rows.iter().collect();
    let listed = known.session(key, file, &own, root.is_some(), now);
    let mut details = BTreeMap::new();
    for known_state in &listed.processors {
        let processor = known_state.processor.as_ref();
        details.insert(processor.to_owned(), known.details(store, processor, key)?);
    }
    Ok(Some(SessionWithDetails { listed, details }))
}

/// Whether a key is in one of some directories. `None`: all.
fn is_in(directories: Option<&[String]>, key: &str) -> bool {
    let directory = key.split('/').next().unwrap_or_default();
    directories.is_none_or(|own| own.iter().any(|own| own == directory))
}

/// The sessions that a text could mean.
struct Candidates<'a> {
    given: &'a str,
    /// Keys of which the text is the last part or parts, with or without the extension.
    named: BTreeSet<String>,
    /// Keys that end with the text after a character that separates words, such as the id at the
    /// end of the file name.
    ending: BTreeSet<String>,
    nearest: Nearest<'a>,
}

impl<'a> Candidates<'a> {
    /// Compares a text with the keys of all sessions.
    fn collect(
        config: &Config,
        store: Option<&Store>,
        given: &'a str,
        directories: Option<&[String]>,
    ) -> Result<Self, ListingError> {
        let mut candidates = Self {
            given,
            named: BTreeSet::new(),
            ending: BTreeSet::new(),
            nearest: Nearest::to(given),
        };
        if let Some(root) = open_root(config)? {
            let consider = |key: &str| {
                let is_folder = key.ends_with('/');
                if !is_folder && is_in(directories, key) {
                    candidates.consider(key);
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
                own.for_each(|key| candidates.consider(key));
                match keys.into_iter().next_back() {
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
        }
        Ok(candidates)
    }

    fn consider(&mut self, key: &str) {
        self.nearest.consider(key);
        let stem = without_extension(key);
        let before = [key, stem]
            .into_iter()
            .find_map(|text| text.strip_suffix(self.given))
            .filter(|_| !self.given.is_empty());
        let Some(before) = before else { return };
        if before.is_empty() || before.ends_with('/') {
            self.named.insert(key.to_owned());
        } else if !before.ends_with(char::is_alphanumeric) {
            self.ending.insert(key.to_owned());
        }
    }

    fn unknown(self) -> ListingError {
        ListingError::UnknownSession {
            key: printable(self.given),
            nearest: self.nearest.names(),
        }
    }
}

/// A key without the extension of its file.
fn without_extension(key: &str) -> &str {
    key.strip_suffix(".jsonl")
        .or_else(|| key.strip_suffix(".json"))
        .unwrap_or(key)
}
