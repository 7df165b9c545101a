//! A checkpoint that was cut off within a write: blocks that are half old and half new.
//!
//! The kernel gives a write up between two pages when its process is killed. To hit that moment takes
//! thousands of kills on a busy disk, so here it is made: the pages that a checkpoint wrote, any of
//! them, in the file of before it.

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

use super::{DataDir, Files, files_of, killed, lay, refusal, run_through};

const DATABASE: &str = "state/system.duckdb";
const KEPT: &str = "state/checkpoint";
const PAGE: usize = 4096;
/// DuckDB's headers stand in the first three pages; each is written at once.
const HEADERS: usize = 3;

/// A checkpoint, in pictures.
struct Checkpoint {
    /// All files as it began.
    before: Files,
    /// The database when it had ended.
    after: Vec<u8>,
    /// The pages that it wrote, but for the headers.
    written: Vec<usize>,
    /// Those among them that stand in blocks which the old state needs.
    needed: Vec<usize>,
}

/// The files of a run that is killed at a point.
fn killed_at(files: &Files, point: &str) -> Files {
    let dir = lay(files);
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

/// The pages of the blocks that were kept, as `runtime/store/src/checkpoint.rs` writes them.
fn pages_kept(kept: &[u8]) -> Vec<Range<usize>> {
    let number = |at: usize| {
        let bytes = kept[at..at + 8].try_into().unwrap();
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

fn checkpoint() -> &'static Checkpoint {
    static CHECKPOINT: OnceLock<Checkpoint> = OnceLock::new();
    CHECKPOINT.get_or_init(|| {
        // The one before leaves room in the blocks of metadata.
        let dir = killed().lay();
        run_through(&dir);
        dir.append(&super::key(1), super::conversation(500, 2));
        let before = killed_at(&files_of(dir.path()), "before checkpoint");
        let after = killed_at(&before, "after checkpoint")
            .remove(Path::new(DATABASE))
            .unwrap();
        let old = &before[Path::new(DATABASE)];
        let pages = after.len().div_ceil(PAGE);
        let written: Vec<usize> = (HEADERS..pages)
            .filter(|number| page(old, *number) != page(&after, *number))
            .collect();
        let kept = pages_kept(&before[Path::new(KEPT)]);
        let is_needed = |number: &usize| kept.iter().any(|pages| pages.contains(number));
        let needed: Vec<usize> = written.iter().copied().filter(is_needed).collect();
        println!(
            "{} pages written, {} of them in blocks that are needed",
            written.len(),
            needed.len()
        );
        Checkpoint {
            before,
            after,
            written,
            needed,
        }
    })
}

impl Checkpoint {
    /// A data dir in which only these pages were written.
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
        lay(&files)
    }

    fn end(&self) -> &'static super::Left {
        static END: OnceLock<super::Left> = OnceLock::new();
        END.get_or_init(|| run_through(&lay(&self.before)))
    }
}

#[test]
fn a_block_that_is_half_written_damages_the_database_unless_the_old_one_was_kept() {
    let checkpoint = checkpoint();
    let half = || checkpoint.needed.iter().copied().step_by(2);
    assert!(checkpoint.needed.len() > 1, "it writes over what is needed");
    let dir = checkpoint.torn(half());
    fs::remove_file(dir.path().join(KEPT)).unwrap();
    let refused = refusal(&dir);
    assert!(
        matches!(refused, Some(StoreError::Damaged(_))),
        "{refused:?}"
    );

    let dir = checkpoint.torn(half());
    assert_eq!(&run_through(&dir), checkpoint.end());
    let kept = fs::metadata(dir.path().join(KEPT)).unwrap();
    assert_eq!(kept.len(), 0, "nothing is to be put back twice");
}

#[test]
fn blocks_that_were_not_kept_to_the_end_are_of_no_checkpoint() {
    let checkpoint = checkpoint();
    let kept = &checkpoint.before[Path::new(KEPT)];
    for length in [0, 7, 5000, 9000, kept.len() / 2, kept.len() - 1] {
        let dir = checkpoint.torn([]);
        fs::write(dir.path().join(KEPT), &kept[..length]).unwrap();
        assert_eq!(&run_through(&dir), checkpoint.end(), "{length} bytes");
    }
}

#[test]
fn blocks_of_a_checkpoint_that_was_made_are_not_put_back() {
    let files = killed_at(&checkpoint().before, "after checkpoint");
    assert!(
        files[Path::new(KEPT)].len() > PAGE,
        "it died before they were forgotten"
    );
    assert_eq!(&run_through(&lay(&files)), checkpoint().end());
}

#[test]
fn blocks_of_a_database_that_is_gone_do_not_come_into_the_next_one() {
    let dir = checkpoint().torn([]);
    fs::remove_file(dir.database_path()).unwrap();
    fs::remove_file(super::log_path(&dir)).unwrap();
    drop(Store::open(&dir.config().store_options(), clock::START).unwrap());
    assert_eq!(&run_through(&dir), checkpoint().end());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases().min(64)))]

    #[test]
    fn invariant_whatever_a_checkpoint_had_written_it_is_undone(
        written in vec(any::<bool>(), 1..200),
    ) {
        let checkpoint = checkpoint();
        let pages = checkpoint.written.iter().zip(written.iter().cycle());
        let dir = checkpoint.torn(pages.filter(|(_, is)| **is).map(|(number, _)| *number));
        prop_assert_eq!(&run_through(&dir), checkpoint.end());
    }
}
