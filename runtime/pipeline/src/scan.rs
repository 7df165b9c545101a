//! What is due: the sessions on disk held against what is known of them (BEHAVIOUR.md A3 to A9).
//!
//! A plan and nothing else: no file is read and nothing is written here. The walk feeds
//! [`ScanPlan::visit`] one session at a time, so that a million stable sessions cost no list.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::sessions::{Observed, Walk};
use session_pipeline_store::retry::Verdict;
use session_pipeline_store::state_rows::{FailureRow, StateRow, StateRows};
use session_pipeline_store::{Change, PresenceChanges};

/// The window within which the file's time may lag behind the clock (BEHAVIOUR.md 2.4). It binds
/// legacy rows only; our own rows compare for equality.
const LEGACY_WINDOW_MICROS: i64 = 50_000;

/// What a scan compares with.
pub struct ScanContext<'a> {
    /// Failures by session key.
    pub failures: &'a HashMap<String, FailureRow>,
    /// The digest of the component that runs.
    pub digest: &'a str,
    /// Its version.
    pub version: u32,
    /// The versions of the digests in [`StateRows::digests`], in their order.
    pub versions: Vec<Option<u32>>,
    /// The time of the scan.
    pub now: UtcMicros,
    /// Whether a person started the run.
    pub is_started_by_person: bool,
}

/// A session to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its key.
    pub key: String,
    /// What the walk saw of it.
    pub observed: Observed,
    /// Its state row.
    pub known: Option<StateRow>,
    /// Its failure row.
    pub failure: Option<FailureRow>,
    /// What must be found out before it is tried.
    pub check: Check,
    /// Whether the component that runs is the one that wrote its rows.
    pub is_same_component: bool,
    /// When it was tried last.
    last_tried_at: Option<UtcMicros>,
    /// Since when the caps of runs have left it over.
    left_since: Option<UtcMicros>,
}

impl Candidate {
    /// The length of the content that was processed last, where it is known.
    pub fn known_bytes(&self) -> Option<u64> {
        let known = self.known?;
        known.hash?;
        Some(known.observed?.size)
    }

    /// How a content with these hashes differs from the one that was processed last.
    /// `prefix` is the hash of its beginning of [`Candidate::known_bytes`].
    pub fn change(&self, hash: ContentHash, prefix: Option<ContentHash>) -> Change {
        let Some(known) = self.known.filter(|known| known.hash.is_some()) else {
            return Change::Unknown;
        };
        match known.observed {
            _ if known.hash == Some(hash) => Change::Grown,
            Some(_) if prefix.is_some() && prefix == known.hash => Change::Grown,
            Some(_) => Change::Rewritten,
            // The same component yields every row again that is still there.
            None if self.is_same_component => Change::Unproven,
            None => Change::Unknown,
        }
    }
}

/// What must be found out of a candidate before an instance is made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Nothing: it has to be processed whatever its hash.
    Nothing,
    /// Hash it first: where the hash is that of the state row it was only touched.
    StateHash,
    /// Hash it first: where the hash is that of its last failure it still waits, or stays in
    /// quarantine; otherwise it is a session like any other.
    FailureHash {
        /// Why it would not be tried.
        verdict: Verdict,
        /// Whether it was only touched where the hash is that of the state row.
        or_state_hash: bool,
    },
}

/// The outcome of a scan.
#[derive(Debug, Default)]
pub struct ScanPlan {
    /// What is to be looked at; in the order of A8 after [`ScanPlan::finish`].
    pub candidates: Vec<Candidate>,
    /// Since when the caps of runs have left sessions over, by key, as it was at the scan.
    pub waits: HashMap<String, UtcMicros>,
    /// How many wait after a failure.
    pub waiting: u64,
    /// How many are in quarantine.
    pub quarantined: u64,
    /// The rows whose file is gone, or is back.
    pub presence: PresenceChanges,
    /// Failure rows whose file the walk found.
    seen_failures: HashSet<i64>,
}

impl ScanPlan {
    /// A plan for the run after those that left these sessions over.
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
        observed: Observed,
        known: &mut StateRows,
        context: &ScanContext<'_>,
    ) {
        let row = known.see(key);
        let failure = if context.failures.is_empty() {
            None
        } else {
            context.failures.get(key)
        };
        // Back is back, also where its present content waits or fails.
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
            Standing::Settled => return,
            Standing::Waiting => {
                self.waiting += 1;
                return;
            }
            Standing::Quarantined => {
                self.quarantined += 1;
                return;
            }
            Standing::Candidate(check) => check,
        };
        let last_tried_at = row
            .and_then(|row| row.processed_at)
            .max(failure.map(|failure| failure.last_attempt_at));
        let left_since = match self.waits.is_empty() {
            true => None,
            false => left_since(self.waits.get(key).copied(), last_tried_at),
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
        });
    }

    /// Ends the scan: puts the candidates in order, and finds the sessions that have vanished,
    /// unless the walk came short or found nothing at all (an unmounted root is no deletion).
    pub fn finish(
        &mut self,
        walk: &Walk,
        known: &StateRows,
        failures: &HashMap<String, FailureRow>,
    ) {
        // Those that earlier runs left over come first, the longest waiting before the others:
        // however many sessions are new at each run, everyone's turn comes.
        self.candidates.sort_unstable_by(|a, b| {
            let rank = |candidate: &Candidate| {
                let left_since = candidate.left_since;
                (
                    left_since.is_none(),
                    left_since,
                    candidate.last_tried_at,
                    candidate.observed.mtime_ns,
                )
            };
            rank(a).cmp(&rank(b)).then_with(|| a.key.cmp(&b.key))
        });
        if walk.is_complete && walk.found > 0 {
            self.presence
                .vanished
                .extend(known.newly_missing().map(|row| row.row_id));
            let unseen = failures.values().filter(|failure| {
                !failure.is_missing && !self.seen_failures.contains(&failure.row_id)
            });
            self.presence
                .vanished_failures
                .extend(unseen.map(|failure| failure.row_id));
        }
    }
}

/// Since when a session has been left over, by the row of `session_waits`. A row from before its
/// last attempt says nothing any more: the run that tried it died before it could remove the row.
pub fn left_since(
    recorded: Option<UtcMicros>,
    last_tried_at: Option<UtcMicros>,
) -> Option<UtcMicros> {
    recorded.filter(|&since| last_tried_at.is_none_or(|tried| tried <= since))
}

/// How a session stands before the next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is processed as it is.
    Settled,
    /// It failed, and waits.
    Waiting,
    /// It is not tried any more.
    Quarantined,
    /// The next run looks at it.
    Candidate(Check),
}

/// Decides how a session on disk stands, by what is known of it: the one rule for runs and listings.
pub fn judge(
    row: Option<&StateRow>,
    failure: Option<&FailureRow>,
    observed: Observed,
    context: &ScanContext<'_>,
) -> Standing {
    let Some(check) = due(row, observed, context) else {
        return Standing::Settled;
    };
    let Some(failure) = failure.filter(|failure| failure.digest.as_deref() == Some(context.digest))
    else {
        return Standing::Candidate(check);
    };
    let verdict = failure
        .failures
        .verdict(context.now, context.is_started_by_person);
    match (verdict, failure.observed) {
        (Verdict::Try, _) => Standing::Candidate(check),
        (Verdict::Waiting, Some(last)) if last == observed => Standing::Waiting,
        (Verdict::Quarantined, Some(last)) if last == observed => Standing::Quarantined,
        (Verdict::Quarantined, None) if waits_unread(failure, context) => Standing::Waiting,
        // Another size is other content; the same size may only have been touched.
        (_, Some(last)) if last.size != observed.size => Standing::Candidate(check),
        (verdict, _) => Standing::Candidate(Check::FailureHash {
            verdict,
            or_state_hash: check == Check::StateHash,
        }),
    }
}

/// Whether a session is due, and what has to be checked first.
fn due(row: Option<&StateRow>, observed: Observed, context: &ScanContext<'_>) -> Option<Check> {
    let Some(row) = row else {
        return Some(Check::Nothing);
    };
    if row.is_due || row.processed_at.is_none() {
        return Some(Check::Nothing);
    }
    let written_by = row
        .digest
        .and_then(|digest| context.versions.get(usize::from(digest)).copied().flatten());
    if written_by.is_some_and(|version| version < context.version) {
        return Some(Check::Nothing);
    }
    match (row.observed, row.processed_at) {
        (Some(last), _) if last == observed => None,
        (Some(last), _) if last.size != observed.size => Some(Check::Nothing),
        (None, Some(processed_at)) if row.is_legacy() => {
            let age_micros = processed_at
                .0
                .saturating_sub(observed.mtime_ns.div_euclid(1000));
            (age_micros <= LEGACY_WINDOW_MICROS).then_some(Check::StateHash)
        }
        _ => Some(Check::StateHash),
    }
}

/// What is stored of an observation: nothing where the file changed so shortly before the read that
/// a later change could bear the same time (BEHAVIOUR.md A3).
pub fn trusted(observed: Observed, read_at: UtcMicros, quiet_window: Duration) -> Option<Observed> {
    let window_ns = i64::try_from(quiet_window.as_nanos()).unwrap_or(i64::MAX);
    let read_ns = read_at.as_nanos();
    // A time in the future says nothing; the inode's own can't be set.
    let changed_ns = if observed.mtime_ns > read_ns {
        observed.ctime_ns
    } else {
        observed.mtime_ns
    };
    (changed_ns < read_ns.saturating_sub(window_ns)).then_some(observed)
}

/// Whether a session waits although another content of it is in quarantine: the present one could
/// not be read, so it is unknown which content it is.
fn waits_unread(failure: &FailureRow, context: &ScanContext<'_>) -> bool {
    let (now, is_started_by_person) = (context.now, context.is_started_by_person);
    !failure.fault.is_of_own_making() && failure.failures.waits(now, is_started_by_person)
}
