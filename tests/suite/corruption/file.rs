//! The database file: a bit flipped, cut, written by a newer DuckDB.

use std::error::Error;
use std::fs;

use duckdb::Connection;
use proptest::prelude::*;
use proptest::sample::Index;
use session_pipeline_harness::{TestPipeline, cases};
use session_pipeline_pipeline::registry::RegistryError;
use session_pipeline_pipeline::run::{RunError, RunRequest};
use session_pipeline_store::StoreError;

use super::{DataDir, is_refused_by_the_program, killed, refusal, run_through, usage};

const DAMAGED: &str = "the database file `state/system.duckdb` of the data directory is damaged or is not a database. \
     Restore a backup of the file and its log. Or move both away and restart: ";

/// A data dir with another database file.
fn with_database(database: &[u8]) -> DataDir {
    let dir = killed().lay();
    fs::write(dir.database_path(), database).unwrap();
    dir
}

/// The first error on the way from opening to the end of a run.
fn first_error(dir: &DataDir) -> Option<StoreError> {
    let ran = TestPipeline::try_open_with(dir, dir.config(), &[usage()])
        .and_then(|pipeline| pipeline.try_run_as("usage", RunRequest::cli()));
    match ran {
        Ok(ran) => {
            assert_eq!(ran.stats.errors, 0, "{:?}", ran.stats);
            None
        }
        Err(RunError::Store(error) | RunError::Registry(RegistryError::Store(error))) => {
            Some(error)
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Why not all can be read that was kept of sessions.
fn unreadable(dir: &DataDir) -> Option<String> {
    let connection = Connection::open(dir.database_path()).unwrap();
    let tables = [
        "usage.messages",
        "usage.events",
        "usage.sessions",
        "session_processor_state",
        "session_failures",
    ];
    tables.iter().find_map(|table| {
        // Every value, since a block that nobody looks into is not read.
        let all = format!("SELECT sum(hash(COLUMNS(*))) FROM {table}");
        let read = connection.execute_batch(&all);
        read.err().map(|error| error.to_string())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_a_bit_flipped_in_the_database_is_told_or_no_matter(
        at in any::<Index>(),
        bit in 0_u8..8,
    ) {
        let mut database = killed().database().to_vec();
        let at = at.index(database.len());
        database[at] ^= 1 << bit;
        let dir = with_database(&database);
        match first_error(&dir) {
            // Where nothing is, or nobody has looked yet, nothing is damaged.
            None => match unreadable(&dir) {
                None => prop_assert_eq!(&run_through(&dir), killed().end()),
                Some(reason) => prop_assert!(reason.contains("Corrupt database file"), "{}", reason),
            },
            Some(error) => prop_assert!(
                matches!(error, StoreError::Damaged(_) | StoreError::Invalidated(_)),
                "{:?}", error
            ),
        }
    }
}

#[test]
fn a_damaged_database_is_named_with_what_to_do_and_a_backup_brings_all_back() {
    let mut database = killed().database().to_vec();
    // The first block behind the headers: what tables there are.
    for at in [4096, 8192, 3 * 4096 + 100] {
        database[at] ^= 4;
        let dir = with_database(&database);
        is_refused_by_the_program(&dir, &["run", "usage"], DAMAGED);
        fs::write(dir.database_path(), killed().database()).unwrap();
        assert_eq!(&run_through(&dir), killed().end());
        database[at] ^= 4;
    }
}

#[test]
fn without_a_backup_both_files_are_moved_away_and_everything_comes_again() {
    let database = killed().database();
    let dir = with_database(&database[..database.len() / 2]);
    is_refused_by_the_program(&dir, &["run", "usage"], DAMAGED);
    for file in ["system.duckdb", "system.duckdb.wal"] {
        fs::rename(dir.path().join("state").join(file), dir.path().join(file)).unwrap();
    }
    assert_eq!(&run_through(&dir), killed().end());
}

/// The sum that DuckDB keeps before each block, of a number of whole words.
fn checksum(bytes: &[u8]) -> u64 {
    let words = bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    words.fold(5381, |sum, word| {
        sum ^ word.wrapping_mul(0xbf58_476d_1ce4_e5b9)
    })
}

#[test]
fn a_file_of_a_newer_duckdb_is_refused_with_both_numbers() {
    let mut database = killed().database().to_vec();
    // The version of the format stands behind the checksum and the magic bytes.
    assert_eq!(&database[8..12], b"DUCK");
    assert_eq!(database[..8], checksum(&database[8..4096]).to_le_bytes());
    database[12..20].copy_from_slice(&70_u64.to_le_bytes());
    let sum = checksum(&database[8..4096]);
    database[..8].copy_from_slice(&sum.to_le_bytes());
    let dir = with_database(&database);
    let error = refusal(&dir).unwrap();
    let source = error.source().unwrap().to_string();
    assert!(
        source.contains("version number 70, but we can only read"),
        "{source}"
    );
    is_refused_by_the_program(
        &dir,
        &["run", "usage"],
        "the database `[data-dir]/state/system.duckdb` was written by a newer version of DuckDB; \
         use the program version that wrote it, or restore an older backup: ",
    );
    fs::write(dir.database_path(), killed().database()).unwrap();
    assert_eq!(&run_through(&dir), killed().end());
}
