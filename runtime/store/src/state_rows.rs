//! The recorded state of a processor's sessions, in the form that a scan uses.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::fault::Fault;
use session_pipeline_host::sessions::FileStat;

use crate::retry::FailureState;

/// The state row of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRow {
    /// The row id. Valid during this run.
    pub row_id: i64,
    /// Size and times at the last read. `None`: hash the file in the next run.
    pub observed: Option<FileStat>,
    /// The hash of the content.
    pub hash: Option<ContentHash>,
    /// The time at which the content was read.
    pub processed_at: Option<UtcMicros>,
    /// The session number of its rows. `None` in a legacy row.
    pub session_seq: Option<i64>,
    /// The component that wrote the row, as an index into [`StateRows::digests`].
    pub digest: Option<u16>,
    /// A user requested to process the session again.
    pub is_due: bool,
    /// An earlier run found the file missing.
    pub is_missing: bool,
}

impl StateRow {
    /// Whether the legacy system wrote the row.
    pub fn is_legacy(&self) -> bool {
        self.session_seq.is_none() && self.digest.is_none()
    }
}

/// All state rows of one processor. About 140 bytes per session.
#[derive(Debug, Default)]
pub struct StateRows {
    /// All keys, concatenated, to avoid an allocation per key.
    keys: String,
    entries: Vec<(KeySpan, StateRow)>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The distinct digests.
    pub digests: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct KeySpan {
    start: u64,
    length: u32,
    is_seen: bool,
}

impl StateRows {
    /// Reserves capacity for this many rows. Growing later would rehash every key.
    pub fn with_capacity(rows: usize) -> Self {
        Self {
            entries: Vec::with_capacity(rows),
            index: HashTable::with_capacity(rows),
            ..Self::default()
        }
    }

    /// Reserves capacity for the keys of `rows` rows, estimated from the keys added so far.
    pub fn reserve_keys(&mut self, rows: usize) {
        if let Some(average) = self.keys.len().checked_div(self.entries.len()) {
            // Slightly more than the estimate, because growing later would double the allocation.
            let all = (average + average / 16 + 1).saturating_mul(rows);
            self.keys.reserve_exact(all.saturating_sub(self.keys.len()));
        }
    }

    /// Adds a state row. The key must be new.
    pub fn add(&mut self, key: &str, known: StateRow) {
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

    /// The index of a digest. Adds new digests.
    pub fn digest_index(&mut self, digest: &str) -> u16 {
        digest_index(&mut self.digests, digest)
    }

    /// The state row of a session.
    pub fn get(&self, key: &str) -> Option<&StateRow> {
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

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Marks a session as seen by the walk and returns its state row.
    pub fn mark_seen(&mut self, key: &str) -> Option<StateRow> {
        let index = self.find(key)?;
        let (span, row) = self.entries.get_mut(index as usize)?;
        span.is_seen = true;
        Some(*row)
    }

    /// The state rows of sessions that the walk did not find, except for those that were missing
    /// before.
    pub fn newly_missing(&self) -> impl Iterator<Item = &StateRow> {
        let rows = self.entries.iter();
        rows.filter(|(span, row)| !span.is_seen && !row.is_missing)
            .map(|(_, row)| row)
    }
}

/// The index of a digest. Adds new digests.
pub(crate) fn digest_index(digests: &mut Vec<String>, digest: &str) -> u16 {
    let known = digests.iter().position(|known| known == digest);
    let index = known.unwrap_or_else(|| {
        digests.push(digest.to_owned());
        digests.len() - 1
    });
    u16::try_from(index).unwrap_or(u16::MAX)
}

fn key_of<'a>(keys: &'a str, entries: &[(KeySpan, StateRow)], index: u32) -> &'a str {
    entries.get(index as usize).map_or("", |(span, _)| {
        let start = usize::try_from(span.start).unwrap_or(usize::MAX);
        keys.get(start..start.saturating_add(span.length as usize))
            .unwrap_or("")
    })
}

/// The last failure of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRow {
    /// The row id. Valid during this run.
    pub row_id: i64,
    /// The hash of the content that failed, if it could be read.
    pub hash: Option<ContentHash>,
    /// Size and times at the attempt. `None`: hash the file in the next run.
    pub observed: Option<FileStat>,
    /// The component that failed.
    pub digest: Option<String>,
    /// The number of failures and the time of the next attempt.
    pub failures: FailureState,
    /// The reason for the failure.
    pub fault: Fault,
    /// The time of the last attempt.
    pub last_attempt_at: UtcMicros,
    /// An earlier run found the file missing.
    pub is_missing: bool,
}
