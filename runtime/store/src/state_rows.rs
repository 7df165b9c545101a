//! What the database records of the sessions of one processor, as a scan compares with it.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::fault::Fault;
use session_pipeline_host::sessions::Observed;

use crate::retry::Failures;

/// What the state row of a session says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRow {
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
    /// The component that wrote it: an index into [`StateRows::digests`].
    pub digest: Option<u16>,
    /// Somebody asked to process it again.
    pub is_due: bool,
    /// The file was gone at an earlier run.
    pub is_missing: bool,
}

impl StateRow {
    /// Whether an older system wrote it.
    pub fn is_legacy(&self) -> bool {
        self.session_seq.is_none() && self.digest.is_none()
    }
}

/// All state rows of one processor: about 140 bytes a session.
#[derive(Debug, Default)]
pub struct StateRows {
    /// All keys one after the other: one allocation instead of a million.
    keys: String,
    entries: Vec<(KeySpan, StateRow)>,
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

impl StateRows {
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

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The state row of a session that the walk found, which counts as seen from now on.
    pub fn see(&mut self, key: &str) -> Option<StateRow> {
        let index = self.find(key)?;
        let (span, row) = self.entries.get_mut(index as usize)?;
        span.is_seen = true;
        Some(*row)
    }

    /// The state rows of sessions that the walk did not find, without those known to be missing.
    pub fn newly_missing(&self) -> impl Iterator<Item = &StateRow> {
        let rows = self.entries.iter();
        rows.filter(|(span, row)| !span.is_seen && !row.is_missing)
            .map(|(_, row)| row)
    }
}

fn key_of<'a>(keys: &'a str, entries: &[(KeySpan, StateRow)], index: u32) -> &'a str {
    entries.get(index as usize).map_or("", |(span, _)| {
        let start = usize::try_from(span.start).unwrap_or(usize::MAX);
        keys.get(start..start.saturating_add(span.length as usize))
            .unwrap_or("")
    })
}

/// What is recorded of a session's last failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRow {
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
