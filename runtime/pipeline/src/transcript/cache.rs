//! The cache of indexes: bounded in memory, and checked against the file on every use.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use session_pipeline_host::sessions::{SessionsRoot, is_key};
use session_pipeline_store::{StoreError, check_canceled};

use super::assemble::{OpenTranscript, ReadFailure};
use super::content::{ConvertedContent, FileVersion, TranscriptContent};
use super::index::LineIndex;
use super::{TranscriptError, TranscriptMarks, TranscriptPage, TranscriptPart};

/// Maximum number of cached indexes.
const INDEXES_MAX: usize = 64;
/// Maximum memory of all cached indexes, in bytes.
const WEIGHT_MAX: usize = 64 << 20;

struct CachedIndex {
    version: FileVersion,
    index: Arc<LineIndex>,
}

/// The index of one transcript. It is locked while it is built, so that it is built once.
#[derive(Default)]
struct IndexSlot(Mutex<Option<CachedIndex>>);

#[derive(Default)]
struct IndexSlots {
    by_key: HashMap<String, SlotUse>,
    uses: u64,
}

struct SlotUse {
    slot: Arc<IndexSlot>,
    last_use: u64,
    weight: usize,
}

/// The cached indexes of transcripts.
#[derive(Default)]
pub struct TranscriptIndexes {
    slots: Mutex<IndexSlots>,
    converted: ConvertedContent,
}

impl TranscriptIndexes {
    /// Reads at most `limit` lines of a transcript after the line `after`. The page ends early if
    /// its lines are very long.
    ///
    /// # Errors
    /// There is no such transcript, it cannot be read, or the request was canceled.
    pub fn page(
        &self,
        sessions_root: &Path,
        key: &str,
        after: u64,
        limit: u32,
    ) -> Result<TranscriptPage, TranscriptError> {
        self.read(sessions_root, key, |transcript| {
            transcript.page(after, limit)
        })
    }

    /// Reads the whole text of a part of a line, up to 2 MiB.
    ///
    /// # Errors
    /// As for [`Self::page`], and if there is no such part.
    pub fn part(
        &self,
        sessions_root: &Path,
        key: &str,
        line: u64,
        part: u32,
    ) -> Result<TranscriptPart, TranscriptError> {
        let found = self.read(sessions_root, key, |transcript| transcript.part(line, part))?;
        found.ok_or(TranscriptError::NoPart { line, part })
    }

    /// The lines of a transcript to jump to.
    ///
    /// # Errors
    /// As for [`Self::page`].
    pub fn marks(
        &self,
        sessions_root: &Path,
        key: &str,
    ) -> Result<TranscriptMarks, TranscriptError> {
        self.read(sessions_root, key, |transcript| Ok(transcript.marks()))
    }

    fn read<T>(
        &self,
        sessions_root: &Path,
        key: &str,
        work: impl Fn(&OpenTranscript<'_>) -> Result<T, ReadFailure>,
    ) -> Result<T, TranscriptError> {
        let io_error = |source| TranscriptError::Io {
            key: key.to_owned(),
            source,
        };
        let unknown = || TranscriptError::Unknown {
            key: key.to_owned(),
        };
        if !is_key(key) {
            return Err(unknown());
        }
        let root = SessionsRoot::open(sessions_root).map_err(io_error)?;
        let root = root.ok_or_else(unknown)?;
        let mut is_retry = false;
        loop {
            let opened = root.open_session(key);
            let (file, stat) = opened.map_err(|error| match is_missing(&error) {
                true => unknown(),
                false => io_error(error),
            })?;
            let content = self.converted.of(file, stat);
            let content = content.map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge => {
                    TranscriptError::Compressed {
                        key: key.to_owned(),
                        reason: error.to_string(),
                    }
                }
                _ => io_error(error),
            })?;
            let index = self.index(key, &content).map_err(|error| match error {
                BuildError::Io(error) => io_error(error),
                BuildError::Canceled(error) => TranscriptError::Store(error),
            })?;
            let transcript = OpenTranscript {
                root: &root,
                key,
                file: &content.file,
                index: &index,
                // The second time, the page shows what is there.
                needs_check: !is_retry,
            };
            match work(&transcript) {
                Err(ReadFailure::Outdated) => {
                    self.lock().by_key.remove(key);
                    is_retry = true;
                }
                Err(ReadFailure::Io(error)) => return Err(io_error(error)),
                Err(ReadFailure::Canceled(error)) => return Err(error.into()),
                Ok(result) => return Ok(result),
            }
        }
    }

    /// The index of the current version of a file, from the cache if possible.
    fn index(&self, key: &str, content: &TranscriptContent) -> Result<Arc<LineIndex>, BuildError> {
        let TranscriptContent {
            ref file,
            size,
            format,
            version,
        } = *content;
        let slot = self.slot(key);
        let mut cached = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cached.as_ref()
            && cached.version == version
            && cached.index.byte_count() == size
        {
            return Ok(Arc::clone(&cached.index));
        }
        let continues = |cached: &CachedIndex| {
            cached.version.can_become(&version)
                && cached.index.format() == format
                && cached.index.is_prefix_of(file, size)
        };
        let mut index = match cached.take().filter(continues) {
            Some(cached) => Arc::unwrap_or_clone(cached.index),
            None => LineIndex::new(format),
        };
        let built = index.extend(file, key, size, || {
            check_canceled().map_err(BuildError::Canceled)
        });
        // Even after an error: the next request continues where this one ended.
        let index = Arc::new(index);
        *cached = Some(CachedIndex {
            version,
            index: Arc::clone(&index),
        });
        drop(cached);
        self.evict(key, index.weight());
        built.map(|()| index)
    }

    fn slot(&self, key: &str) -> Arc<IndexSlot> {
        let mut slots = self.lock();
        slots.uses += 1;
        let last_use = slots.uses;
        let slot = slots
            .by_key
            .entry(key.to_owned())
            .or_insert_with(|| SlotUse {
                slot: Arc::default(),
                last_use,
                weight: 0,
            });
        slot.last_use = last_use;
        Arc::clone(&slot.slot)
    }

    /// Removes the indexes that were not used for longest, until the rest fits.
    fn evict(&self, key: &str, weight: usize) {
        let mut slots = self.lock();
        if let Some(slot) = slots.by_key.get_mut(key) {
            slot.weight = weight;
        }
        loop {
            let total: usize = slots.by_key.values().map(|slot| slot.weight).sum();
            if slots.by_key.len() <= INDEXES_MAX && total <= WEIGHT_MAX {
                return;
            }
            let uses = slots.by_key.iter();
            let oldest = uses.min_by_key(|(_, slot)| slot.last_use);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            slots.by_key.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, IndexSlots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for TranscriptIndexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TranscriptIndexes").finish_non_exhaustive()
    }
}

/// Why an index cannot be built.
enum BuildError {
    Io(io::Error),
    Canceled(StoreError),
}

impl From<io::Error> for BuildError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Whether there is no transcript at a path: nothing, a link, a folder or a special file.
fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    let is_special = error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error());
    is_link
        || is_special
        || matches!(
            error.kind(),
            InvalidFilename | InvalidInput | NotADirectory | NotFound
        )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_cache_is_bounded_and_drops_what_was_not_used_for_longest() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("ada")).unwrap();
        let indexes = TranscriptIndexes::default();
        for number in 0..INDEXES_MAX + 10 {
            let key = format!("ada/{number}.jsonl");
            fs::write(root.path().join(&key), "{}\n").unwrap();
            indexes.page(root.path(), &key, 0, 1).unwrap();
            indexes.page(root.path(), "ada/0.jsonl", 0, 1).unwrap();
        }
        let slots = indexes.lock();
        assert_eq!(slots.by_key.len(), INDEXES_MAX);
        assert!(slots.by_key.contains_key("ada/0.jsonl"));
        assert!(!slots.by_key.contains_key("ada/1.jsonl"));
    }
}
