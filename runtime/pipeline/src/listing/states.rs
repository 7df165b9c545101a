//! The stored state of sessions, and what the next run will do with them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::sessions::FileStat;
use session_pipeline_store::retry::RetryDecision;
use session_pipeline_store::state_rows::FailureRow;
use session_pipeline_store::{
    SessionSelection, SessionStateRow, SessionStateRows, Store, StoreError,
};

use super::{ListedSession, ProcessingState, ProcessorState, SessionDetails};
use crate::identity::name_of;
use crate::registry::Registry;
use crate::scan::{self, ContentCheck, ScanContext, SessionStanding};

/// The data that a processor's sessions are compared with.
struct ProcessorRule {
    failures: HashMap<String, FailureRow>,
    /// The component of the next run. `None`: the processor is no longer installed.
    component: Option<String>,
    versions: HashMap<String, u32>,
}

/// The stored state of a range of sessions.
pub(super) struct StoredStates {
    pub(super) states: SessionStateRows,
    rules: BTreeMap<Arc<str>, ProcessorRule>,
}

impl StoredStates {
    /// Whether something is stored about a session.
    pub(super) fn has(&self, key: &str) -> bool {
        !self.states.rows.is_empty()
            || self
                .rules
                .values()
                .any(|rule| rule.failures.contains_key(key))
    }

    pub(super) fn read(
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

    pub(super) fn session(
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

    pub(super) fn details(
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
