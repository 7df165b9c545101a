//! What is due: the sessions on disk held against what is known of them (BEHAVIOUR.md A3 to A9).
//!
//! A plan and nothing else: no file is read and nothing is written here. The walk feeds
//! [`ScanPlan::visit`] one session at a time, so that a million stable sessions cost no list.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::clock::UtcMicros;
use crate::content::ContentHash;
use crate::fault::Fault;
use crate::quarantine::{Failures, Verdict};
use crate::sessions::{Observed, Walk};

/// The window within which the file's time may lag behind the clock (BEHAVIOUR.md 2.4). It binds
/// legacy rows only; our own rows compare for equality.
const LEGACY_WINDOW_MICROS: i64 = 50_000;

/// What the state row of a session says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownSession {
    /// The row's handle within this run.
    pub row_id: i64,
    /// Size and times at the last read; `None`: hash next time.
    pub observed: Option<Observed>,
    /// The hash of what was read.
    pub hash: Option<ContentHash>,
    /// When it was read.
    pub processed_at: Option<UtcMicros>,
    /// The number under which its rows stand; `None` in a legacy row.
    pub session_seq: Option<i64>,
    /// The component that wrote it: an index into [`KnownSessions::digests`].
    pub digest: Option<u16>,
    /// Somebody asked to process it again.
    pub is_due: bool,
    /// The file was gone at an earlier run.
    pub is_missing: bool,
}

impl KnownSession {
    fn is_legacy(&self) -> bool {
        self.session_seq.is_none() && self.digest.is_none()
    }
}

/// All state rows of one processor: about 140 bytes a session.
#[derive(Debug, Default)]
pub struct KnownSessions {
    /// All keys one after the other: one allocation instead of a million.
    keys: String,
    entries: Vec<(KeySpan, KnownSession)>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The digests that occur, each once.
    pub digests: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct KeySpan {
    start: u64,
    length: u32,
    is_seen: bool,
}

impl KnownSessions {
    /// With room for so many rows: to grow means to hash every key anew.
    pub fn with_capacity(rows: usize) -> Self {
        Self {
            entries: Vec::with_capacity(rows),
            index: HashTable::with_capacity(rows),
            ..Self::default()
        }
    }

    /// Makes room for the keys of so many rows, by those that are there.
    pub fn reserve_keys(&mut self, rows: usize) {
        if let Some(average) = self.keys.len().checked_div(self.entries.len()) {
            // A little more than they are likely to need; growing would double what is there.
            let all = (average + average / 16 + 1).saturating_mul(rows);
            self.keys.reserve_exact(all.saturating_sub(self.keys.len()));
        }
    }

    /// Adds a state row; its key must not be there yet.
    pub fn add(&mut self, key: &str, known: KnownSession) {
        let span = KeySpan {
            start: self.keys.len() as u64,
            length: u32::try_from(key.len()).unwrap_or(u32::MAX),
            is_seen: false,
        };
        self.keys.push_str(key);
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push((span, known));
        let (entries, keys, hasher) = (&self.entries, &self.keys, &self.hasher);
        self.index
            .insert_unique(hasher.hash_one(key.as_bytes()), index, |&index| {
                hasher.hash_one(key_of(keys, entries, index).as_bytes())
            });
    }

    /// The index of a digest, added where it is new.
    pub fn digest_index(&mut self, digest: &str) -> u16 {
        let position = self
            .digests
            .iter()
            .position(|known| known == digest)
            .unwrap_or_else(|| {
                self.digests.push(digest.to_owned());
                self.digests.len() - 1
            });
        u16::try_from(position).unwrap_or(u16::MAX)
    }

    /// The state row of a session.
    pub fn get(&self, key: &str) -> Option<&KnownSession> {
        self.find(key)
            .and_then(|index| self.entries.get(index as usize))
            .map(|(_, known)| known)
    }

    fn find(&self, key: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(key.as_bytes());
        self.index
            .find(hash, |&index| {
                key_of(&self.keys, &self.entries, index) == key
            })
            .copied()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn key_of<'a>(keys: &'a str, entries: &[(KeySpan, KnownSession)], index: u32) -> &'a str {
    entries.get(index as usize).map_or("", |(span, _)| {
        let start = usize::try_from(span.start).unwrap_or(usize::MAX);
        keys.get(start..start.saturating_add(span.length as usize))
            .unwrap_or("")
    })
}

/// What is recorded of a session's last failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownFailure {
    /// The row's handle within this run.
    pub row_id: i64,
    /// The content that failed, where it could be read.
    pub hash: Option<ContentHash>,
    /// Size and times at the attempt; `None`: hash next time.
    pub observed: Option<Observed>,
    /// The component that failed.
    pub digest: Option<String>,
    /// How often, and when to try again.
    pub failures: Failures,
    /// Why it failed.
    pub fault: Fault,
    /// When it was tried last.
    pub last_attempt_at: UtcMicros,
    /// The file was gone at an earlier run.
    pub is_missing: bool,
}

impl KnownFailure {
    /// Whether it waits although another content of it is in quarantine: the present one could not
    /// be read, so it was not to be told which it is.
    fn waits_unread(&self, context: &ScanContext<'_>) -> bool {
        !self.fault.is_of_own_making()
            && self
                .failures
                .waits(context.now, context.is_started_by_person)
    }
}

/// What a scan compares with.
pub struct ScanContext<'a> {
    /// Failures by session key.
    pub failures: &'a HashMap<String, KnownFailure>,
    /// The digest of the component that runs.
    pub digest: &'a str,
    /// Its version.
    pub version: u32,
    /// The versions of the digests in [`KnownSessions::digests`], in their order.
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
    pub known: Option<KnownSession>,
    /// Its failure row.
    pub failure: Option<KnownFailure>,
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

/// How the content of a session differs from the one that was processed before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// It begins with all of the content before: every row is yielded again.
    Grown,
    /// Something of the content before is gone, and the rows of it may be.
    Rewritten,
    /// It has grown or was rewritten, and the rows that are not yielded again tell.
    Unproven,
    /// There is nothing to compare with.
    #[default]
    Unknown,
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
    /// State rows whose file is gone since now.
    pub vanished: Vec<i64>,
    /// State rows whose file came back.
    pub returned: Vec<i64>,
    /// Failure rows whose file is gone since now.
    pub vanished_failures: Vec<i64>,
    /// Failure rows whose file came back.
    pub returned_failures: Vec<i64>,
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
        known: &mut KnownSessions,
        context: &ScanContext<'_>,
    ) {
        let row = known
            .find(key)
            .and_then(|index| known.entries.get_mut(index as usize))
            .map(|(span, row)| {
                span.is_seen = true;
                *row
            });
        let failure = if context.failures.is_empty() {
            None
        } else {
            context.failures.get(key)
        };
        // Back is back, also where its present content waits or fails.
        self.returned
            .extend(row.filter(|row| row.is_missing).map(|row| row.row_id));
        if let Some(failure) = failure {
            self.seen_failures.insert(failure.row_id);
            self.returned_failures
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
        known: &KnownSessions,
        failures: &HashMap<String, KnownFailure>,
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
            let unseen = known
                .entries
                .iter()
                .filter(|(span, row)| !span.is_seen && !row.is_missing);
            self.vanished.extend(unseen.map(|(_, row)| row.row_id));
            let unseen = failures.values().filter(|failure| {
                !failure.is_missing && !self.seen_failures.contains(&failure.row_id)
            });
            self.vanished_failures
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
    row: Option<&KnownSession>,
    failure: Option<&KnownFailure>,
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
        (Verdict::Quarantined, None) if failure.waits_unread(context) => Standing::Waiting,
        // Another size is other content; the same size may only have been touched.
        (_, Some(last)) if last.size != observed.size => Standing::Candidate(check),
        (verdict, _) => Standing::Candidate(Check::FailureHash {
            verdict,
            or_state_hash: check == Check::StateHash,
        }),
    }
}

/// Whether a session is due, and what has to be checked first.
fn due(row: Option<&KnownSession>, observed: Observed, context: &ScanContext<'_>) -> Option<Check> {
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
