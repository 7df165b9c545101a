//! Torn writes: a checkpoint is interrupted and leaves blocks that are half old and half new.
//!
//! When a process is killed, the kernel can stop a write between two pages. Real kills hit this
//! moment only once in thousands of attempts on a busy disk. The tests simulate it: they copy some
//! of the pages that a checkpoint wrote into the file from before the checkpoint.

use std::fs;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{cases, clock, program};
use session_pipeline_store::{Store, StoreError};

use super::{DataDir, Files, crash_image, dir_with_files, files_of, open_error, run_to_completion};

const DATABASE: &str = "state/system.duckdb";
const SAVED_BLOCKS: &str = "state/checkpoint";
const PAGE: usize = 4096;
/// DuckDB's headers are in the first three pages. Each header is written atomically.
const HEADERS: usize = 3;

/// The files before and after a checkpoint.
struct CheckpointImages {
    /// All files at the start of the checkpoint.
    before: Files,
    /// The database file after the checkpoint.
    after: Vec<u8>,
    /// The pages that the checkpoint wrote, without the headers.
    written: Vec<usize>,
    /// The written pages in blocks that the old state needs.
    needed: Vec<usize>,
}

/// Runs the processor, kills it at a point, and returns the files.
fn run_killed_at(files: &Files, point: &str) -> Files {
    let dir = dir_with_files(files);
    let record = dir.path().join("killed-at");
    let mut command = Command::new(program::path());
    let output = command
        .args(["run", "usage", "--data-dir"])
        .arg(dir.path())
        .env(
            "SESSION_PIPELINE_KILL_POINTS",
            format!("kill:{point}:{}", record.display()),
        )
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let signal = output.status.signal();
    assert_eq!(
        signal,
        Some(rustix::process::Signal::KILL.as_raw()),
        "killed at `{point}`: {output:?}"
    );
    fs::remove_file(record).unwrap();
    files_of(dir.path())
}

fn page(bytes: &[u8], number: usize) -> &[u8] {
    let end = bytes.len().min((number + 1) * PAGE);
    bytes.get(number * PAGE..end).unwrap_or_default()
}

/// Parses the saved blocks in the format of `runtime/store/src/checkpoint.rs` and returns their
/// pages.
fn saved_pages(saved: &[u8]) -> Vec<Range<usize>> {
    let number = |at: usize| {
        let bytes = saved[at..at + 8].try_into().unwrap();
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    };
    let (block_bytes, blocks) = (number(8 + 8192), number(8 + 8192 + 8));
    let pages = (0..blocks).map(|block| {
        let offset = number(8 + 8192 + 16 + block * (8 + block_bytes));
        assert_eq!(offset % PAGE, 0);
        offset / PAGE..(offset + block_bytes) / PAGE
    });
    pages.collect()
}

fn checkpoint() -> &'static CheckpointImages {
    static CHECKPOINT: OnceLock<CheckpointImages> = OnceLock::new();
    CHECKPOINT.get_or_init(|| {
        // An earlier checkpoint leaves free space in the metadata blocks.
        let dir = crash_image().to_dir();
        run_to_completion(&dir);
        dir.append(&super::key(1), super::conversation(500, 2));
        let before = run_killed_at(&files_of(dir.path()), "before checkpoint");
        let after = run_killed_at(&before, "after checkpoint")
            .remove(Path::new(DATABASE))
            .unwrap();
        let old = &before[Path::new(DATABASE)];
        let pages = after.len().div_ceil(PAGE);
        let written: Vec<usize> = (HEADERS..pages)
            .filter(|number| page(old, *number) != page(&after, *number))
            .collect();
        let saved = saved_pages(&before[Path::new(SAVED_BLOCKS)]);
        let is_needed = |number: &usize| saved.iter().any(|pages| pages.contains(number));
        let needed: Vec<usize> = written.iter().copied().filter(is_needed).collect();
        println!(
            "{} pages written, {} of them in blocks that the old state needs",
            written.len(),
            needed.len()
        );
        CheckpointImages {
            before,
            after,
            written,
            needed,
        }
    })
}

impl CheckpointImages {
    /// Returns a data directory in which only these pages were written.
    fn torn(&self, pages: impl IntoIterator<Item = usize>) -> DataDir {
        let mut files = self.before.clone();
        let database = files.get_mut(Path::new(DATABASE)).unwrap();
        for number in pages {
            let new = page(&self.after, number);
            if database.len() < number * PAGE + new.len() {
                database.resize(number * PAGE + new.len(), 0);
            }
            database[number * PAGE..][..new.len()].copy_from_slice(new);
        }
        dir_with_files(&files)
    }

    fn expected(&self) -> &'static super::SessionData {
        static EXPECTED: OnceLock<super::SessionData> = OnceLock::new();
        EXPECTED.get_or_init(|| run_to_completion(&dir_with_files(&self.before)))
    }
}

#[test]
fn a_torn_block_damages_the_database_unless_the_old_block_was_saved() {
    let checkpoint = checkpoint();
    let half = || checkpoint.needed.iter().copied().step_by(2);
    assert!(
        checkpoint.needed.len() > 1,
        "the checkpoint must overwrite needed blocks"
    );
    let dir = checkpoint.torn(half());
    fs::remove_file(dir.path().join(SAVED_BLOCKS)).unwrap();
    let error = open_error(&dir);
    assert!(matches!(error, Some(StoreError::Damaged(_))), "{error:?}");

    let dir = checkpoint.torn(half());
    assert_eq!(&run_to_completion(&dir), checkpoint.expected());
    let saved = fs::metadata(dir.path().join(SAVED_BLOCKS)).unwrap();
    assert_eq!(saved.len(), 0, "the saved blocks must be cleared");
}

#[test]
fn incompletely_saved_blocks_are_ignored() {
    let checkpoint = checkpoint();
    let saved = &checkpoint.before[Path::new(SAVED_BLOCKS)];
    for length in [0, 7, 5000, 9000, saved.len() / 2, saved.len() - 1] {
        let dir = checkpoint.torn([]);
        fs::write(dir.path().join(SAVED_BLOCKS), &saved[..length]).unwrap();
        assert_eq!(
            &run_to_completion(&dir),
            checkpoint.expected(),
            "{length} bytes"
        );
    }
}

#[test]
fn blocks_are_not_restored_after_a_completed_checkpoint() {
    let files = run_killed_at(&checkpoint().before, "after checkpoint");
    assert!(
        files[Path::new(SAVED_BLOCKS)].len() > PAGE,
        "the saved blocks must still be in the file"
    );
    assert_eq!(
        &run_to_completion(&dir_with_files(&files)),
        checkpoint().expected()
    );
}

#[test]
fn blocks_of_a_deleted_database_are_not_restored_into_the_next_one() {
    let dir = checkpoint().torn([]);
    fs::remove_file(dir.database_path()).unwrap();
    fs::remove_file(super::log_path(&dir)).unwrap();
    drop(Store::open(&dir.config().store_options(), clock::START).unwrap());
    assert_eq!(&run_to_completion(&dir), checkpoint().expected());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases().min(64)))]

    #[test]
    fn invariant_a_partial_checkpoint_is_undone(
        written in vec(any::<bool>(), 1..200),
    ) {
        let checkpoint = checkpoint();
        let pages = checkpoint.written.iter().zip(written.iter().cycle());
        let dir = checkpoint.torn(pages.filter(|(_, is_written)| **is_written).map(|(number, _)| *number));
        prop_assert_eq!(&run_to_completion(&dir), checkpoint.expected());
    }
}
