//! Scan: compares the sessions on disk with the stored state and decides which are due.
//!
//! This is pure planning: nothing is read from sessions, and nothing is written. The walk calls
//! [`ScanPlan::visit`] for one session at a time, so unchanged sessions use no memory.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::sessions::{FileStat, WalkReport};
use session_pipeline_store::retry::RetryDecision;
use session_pipeline_store::state_rows::{FailureRow, StateRow, StateRows};
use session_pipeline_store::{ContentChange, PresenceChanges};

/// How far a file's modification time can lag behind the clock, in microseconds. Only legacy rows
/// need it. Other rows compare observations for equality.
const LEGACY_WINDOW_MICROS: i64 = 50_000;

/// The stored state and settings for a scan.
pub struct ScanContext<'a> {
    /// Failures by session key.
    pub failures: &'a HashMap<String, FailureRow>,
    /// The digest of the current component.
    pub digest: &'a str,
    /// The version of the current component.
    pub version: u32,
    /// The versions of the components in [`StateRows::digests`], in the same order.
    pub versions: Vec<Option<u32>>,
    /// The time of the scan.
    pub now: UtcMicros,
    /// Whether a person started the run.
    pub is_started_by_person: bool,
}

/// A session that the run checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The session's key: its path below the sessions root.
    pub key: String,
    /// The observation of the walk.
    pub observed: FileStat,
    /// Its state row.
    pub known: Option<StateRow>,
    /// Its failure row.
    pub failure: Option<FailureRow>,
    /// What to check before it is tried.
    pub check: ContentCheck,
    /// Whether the current component wrote its rows.
    pub is_same_component: bool,
    /// When it was last tried.
    last_tried_at: Option<UtcMicros>,
    /// Since when the caps of runs have skipped it.
    left_since: Option<UtcMicros>,
    /// When the session began: the first time in its transcript, if it is known, or else the last
    /// change of the file. `None` if the order does not matter.
    began_at: Option<UtcMicros>,
}

impl Candidate {
    /// The length of the content that was last processed, in bytes, if it is known.
    pub fn known_bytes(&self) -> Option<u64> {
        let known = self.known?;
        known.hash?;
        let observed = known.observed.filter(|observed| !observed.is_compressed)?;
        Some(observed.size)
    }

    /// How content with these hashes differs from the content that was last processed. `prefix` is
    /// the hash of its first [`Candidate::known_bytes`] bytes.
    pub fn change(&self, hash: ContentHash, prefix: Option<ContentHash>) -> ContentChange {
        let Some(known) = self.known.filter(|known| known.hash.is_some()) else {
            return ContentChange::Unknown;
        };
        match known.observed.filter(|observed| !observed.is_compressed) {
            _ if known.hash == Some(hash) => ContentChange::Grown,
            Some(_) if prefix.is_some() && prefix == known.hash => ContentChange::Grown,
            Some(_) => ContentChange::Rewritten,
            // The same component produces all rows again that are still in the content.
            None if self.is_same_component => ContentChange::Unproven,
            None => ContentChange::Unknown,
        }
    }
}

/// What to check before a candidate is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCheck {
    /// Nothing. It is processed regardless of its hash.
    Nothing,
    /// Hash the content. If it equals the hash in the state row, the session is unchanged.
    StateHash,
    /// Hash the content. If it equals the hash of the last failure, the session keeps waiting or
    /// stays in quarantine. Otherwise it is processed.
    FailureHash {
        /// The verdict if the content is the one that failed.
        verdict: RetryDecision,
        /// Whether a hash equal to the one in the state row also means unchanged.
        or_state_hash: bool,
    },
}

/// The result of a scan.
#[derive(Debug, Default)]
pub struct ScanPlan {
    /// The candidates, in processing order after [`ScanPlan::finish`].
    pub candidates: Vec<Candidate>,
    /// Since when the caps of runs have skipped sessions, by key, at the time of the scan.
    pub waits: HashMap<String, UtcMicros>,
    /// Number of sessions that wait after a failure.
    pub waiting: u64,
    /// Number of sessions in quarantine.
    pub quarantined: u64,
    /// The rows whose file is gone or has returned.
    pub presence: PresenceChanges,
    /// Failure rows whose file the walk found.
    seen_failures: HashSet<i64>,
}

impl ScanPlan {
    /// A plan with the sessions that earlier runs skipped.
    pub fn after(waits: HashMap<String, UtcMicros>) -> Self {
        Self {
            waits,
            ..Self::default()
        }
    }

    /// Decides about one session that the walk found.
    pub fn visit(
        &mut self,
        key: &str,
        observed: FileStat,
        known: &mut StateRows,
        context: &ScanContext<'_>,
    ) {
        let row = known.mark_seen(key);
        let failure = if context.failures.is_empty() {
            None
        } else {
            context.failures.get(key)
        };
        // A file has returned even if its current content waits or fails.
        self.presence
            .returned
            .extend(row.filter(|row| row.is_missing).map(|row| row.row_id));
        if let Some(failure) = failure {
            self.seen_failures.insert(failure.row_id);
            self.presence
                .returned_failures
                .extend(failure.is_missing.then_some(failure.row_id));
        }
        let check = match judge(row.as_ref(), failure, observed, context) {
            SessionStanding::Settled => return,
            SessionStanding::Waiting => {
                self.waiting += 1;
                return;
            }
            SessionStanding::Quarantined => {
                self.quarantined += 1;
                return;
            }
            SessionStanding::Candidate(check) => check,
        };
        let last_tried_at = row
            .and_then(|row| row.processed_at)
            .max(failure.map(|failure| failure.last_attempt_at));
        let left_since = match self.waits.is_empty() {
            true => None,
            false => skipped_since(self.waits.get(key).copied(), last_tried_at),
        };
        self.candidates.push(Candidate {
            left_since,
            key: key.to_owned(),
            observed,
            known: row,
            failure: failure.cloned(),
            check,
            is_same_component: row
                .and_then(|row| known.digests.get(usize::from(row.digest?)))
                .is_some_and(|digest| digest == context.digest),
            last_tried_at,
            began_at: None,
        });
    }

    /// Ends the scan: sorts the candidates and finds missing sessions, unless the walk was
    /// incomplete or found nothing. An unmounted root does not mean that sessions were deleted.
    pub fn finish(
        &mut self,
        walk: &WalkReport,
        known: &StateRows,
        failures: &HashMap<String, FailureRow>,
    ) {
        self.sort();
        if walk.is_complete && walk.found > 0 {
            self.presence
                .missing
                .extend(known.newly_missing().map(|row| row.row_id));
            let unseen = failures.values().filter(|failure| {
                !failure.is_missing && !self.seen_failures.contains(&failure.row_id)
            });
            self.presence
                .missing_failures
                .extend(unseen.map(|failure| failure.row_id));
        }
    }
}

impl ScanPlan {
    /// Sorts the candidates by the time at which their session began. `starts` calls its argument
    /// with the key and the first time of each session for which it is known.
    ///
    /// # Errors
    /// Those of `starts`.
    pub fn sort_by_start<E>(
        &mut self,
        starts: impl FnOnce(&mut dyn FnMut(&str, UtcMicros)) -> Result<(), E>,
    ) -> Result<(), E> {
        for candidate in &mut self.candidates {
            candidate.began_at = Some(UtcMicros(candidate.observed.mtime_ns / 1_000));
        }
        let mut places: HashMap<String, usize> = HashMap::new();
        for (place, candidate) in self.candidates.iter().enumerate() {
            places.insert(candidate.key.clone(), place);
        }
        let candidates = &mut self.candidates;
        starts(&mut |key, began_at| {
            let place = places.get(key).copied();
            if let Some(candidate) = place.and_then(|place| candidates.get_mut(place)) {
                candidate.began_at = Some(began_at);
            }
        })?;
        self.sort();
        Ok(())
    }

    /// Sorts the candidates. Sessions that earlier runs skipped come first, longest wait first, so
    /// that none starves.
    fn sort(&mut self) {
        self.candidates.sort_unstable_by(|a, b| {
            let rank = |candidate: &Candidate| {
                let left_since = candidate.left_since;
                (
                    left_since.is_none(),
                    left_since,
                    candidate.began_at,
                    candidate.last_tried_at,
                    candidate.observed.mtime_ns,
                )
            };
            rank(a).cmp(&rank(b)).then_with(|| a.key.cmp(&b.key))
        });
    }
}

/// Since when a session has been skipped, according to `session_waits`. An entry older than the
/// last attempt is stale: the process died before removing it.
pub fn skipped_since(
    recorded: Option<UtcMicros>,
    last_tried_at: Option<UtcMicros>,
) -> Option<UtcMicros> {
    recorded.filter(|&since| last_tried_at.is_none_or(|tried| tried <= since))
}

/// The state of a session before the next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStanding {
    /// Processed with its current content.
    Settled,
    /// Failed, and waiting for a retry.
    Waiting,
    /// Not retried.
    Quarantined,
    /// The next run checks it.
    Candidate(ContentCheck),
}

/// Judges a session on disk by its stored state. Runs and listings share this rule.
pub fn judge(
    row: Option<&StateRow>,
    failure: Option<&FailureRow>,
    observed: FileStat,
    context: &ScanContext<'_>,
) -> SessionStanding {
    let Some(check) = due(row, observed, context) else {
        return SessionStanding::Settled;
    };
    let Some(failure) = failure.filter(|failure| failure.digest.as_deref() == Some(context.digest))
    else {
        return SessionStanding::Candidate(check);
    };
    let verdict = failure
        .failures
        .verdict(context.now, context.is_started_by_person);
    match (verdict, failure.observed) {
        (RetryDecision::Try, _) => SessionStanding::Candidate(check),
        (RetryDecision::Waiting, Some(last)) if last == observed => SessionStanding::Waiting,
        (RetryDecision::Quarantined, Some(last)) if last == observed => {
            SessionStanding::Quarantined
        }
        (RetryDecision::Quarantined, None) if waits_unread(failure, context) => {
            SessionStanding::Waiting
        }
        // A different size means different content. With the same size, the content can be
        // unchanged.
        (_, Some(last)) if has_other_length(last, observed) => SessionStanding::Candidate(check),
        (verdict, _) => SessionStanding::Candidate(ContentCheck::FailureHash {
            verdict,
            or_state_hash: check == ContentCheck::StateHash,
        }),
    }
}

/// Whether a session is due, and what to check first.
fn due(
    row: Option<&StateRow>,
    observed: FileStat,
    context: &ScanContext<'_>,
) -> Option<ContentCheck> {
    let Some(row) = row else {
        return Some(ContentCheck::Nothing);
    };
    if row.is_due || row.processed_at.is_none() {
        return Some(ContentCheck::Nothing);
    }
    let written_by = row
        .digest
        .and_then(|digest| context.versions.get(usize::from(digest)).copied().flatten());
    if written_by.is_some_and(|version| version < context.version) {
        return Some(ContentCheck::Nothing);
    }
    match (row.observed, row.processed_at) {
        (Some(last), _) if last == observed => None,
        (Some(last), _) if has_other_length(last, observed) => Some(ContentCheck::Nothing),
        (None, Some(processed_at)) if row.is_legacy() => {
            let age_micros = processed_at
                .0
                .saturating_sub(observed.mtime_ns.div_euclid(1000));
            (age_micros <= LEGACY_WINDOW_MICROS).then_some(ContentCheck::StateHash)
        }
        _ => Some(ContentCheck::StateHash),
    }
}

/// Whether the lengths of two versions of a file prove that their contents differ. The length of a
/// compressed file says nothing about its content.
fn has_other_length(last: FileStat, observed: FileStat) -> bool {
    last.size != observed.size && !last.is_compressed && !observed.is_compressed
}

/// The observation to store. `None` if the file changed so shortly before the read that a later
/// change could have the same timestamp.
pub fn trusted(observed: FileStat, read_at: UtcMicros, quiet_window: Duration) -> Option<FileStat> {
    let window_ns = i64::try_from(quiet_window.as_nanos()).unwrap_or(i64::MAX);
    let read_ns = read_at.as_nanos();
    // A modification time in the future is useless. The change time of the inode can't be set by
    // programs.
    let changed_ns = if observed.mtime_ns > read_ns {
        observed.ctime_ns
    } else {
        observed.mtime_ns
    };
    (changed_ns < read_ns.saturating_sub(window_ns)).then_some(observed)
}

/// Whether a session waits although other content of it is in quarantine: its current content could
/// not be read, so it is unknown which content it is.
fn waits_unread(failure: &FailureRow, context: &ScanContext<'_>) -> bool {
    let (now, is_started_by_person) = (context.now, context.is_started_by_person);
    !failure.fault.is_permanent() && failure.failures.is_in_backoff(now, is_started_by_person)
}
