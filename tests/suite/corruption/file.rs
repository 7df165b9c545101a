//! The database file: flipped bits, truncation, and a file of a newer DuckDB.

use std::error::Error;
use std::fs;

use duckdb::Connection;
use proptest::prelude::*;
use proptest::sample::Index;
use session_pipeline_harness::{TestPipeline, cases};
use session_pipeline_pipeline::registry::RegistryError;
use session_pipeline_pipeline::run::{RunError, RunRequest};
use session_pipeline_store::StoreError;

use super::{DataDir, assert_program_rejects, crash_image, open_error, run_to_completion, usage};

const DAMAGED: &str = "the database file `state/system.duckdb` of the data directory is damaged or is not a database. \
     Restore a backup of the file and its log. Or move both away and restart: ";

/// Returns the crashed data directory with this database file.
fn with_database(database: &[u8]) -> DataDir {
    let dir = crash_image().to_dir();
    fs::write(dir.database_path(), database).unwrap();
    dir
}

/// Opens the database, runs the processor, and returns the first error.
fn first_error(dir: &DataDir) -> Option<StoreError> {
    let result = TestPipeline::try_open_with(dir, dir.config(), &[usage()])
        .and_then(|pipeline| pipeline.try_run_as("usage", RunRequest::cli()));
    match result {
        Ok(run) => {
            assert_eq!(run.stats.errors, 0, "{:?}", run.stats);
            None
        }
        Err(RunError::Store(error) | RunError::Registry(RegistryError::Store(error))) => {
            Some(error)
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Reads all data of sessions and returns the error, if any.
fn read_error(dir: &DataDir) -> Option<String> {
    let connection = Connection::open(dir.database_path()).unwrap();
    let tables = [
        "usage.messages",
        "usage.events",
        "usage.sessions",
        "session_processor_state",
        "session_failures",
    ];
    tables.iter().find_map(|table| {
        // Use every value. Otherwise, DuckDB does not read all blocks.
        let all = format!("SELECT sum(hash(COLUMNS(*))) FROM {table}");
        let read = connection.execute_batch(&all);
        read.err().map(|error| error.to_string())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_a_flipped_bit_in_the_database_is_reported_or_harmless(
        at in any::<Index>(),
        bit in 0_u8..8,
    ) {
        let mut database = crash_image().database().to_vec();
        let at = at.index(database.len());
        database[at] ^= 1 << bit;
        let dir = with_database(&database);
        match first_error(&dir) {
            // The bit is in unused space, or in a block that has not been read yet.
            None => match read_error(&dir) {
                None => prop_assert_eq!(&run_to_completion(&dir), crash_image().final_data()),
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
fn a_damaged_database_is_reported_with_a_remedy_and_a_backup_restores_it() {
    let mut database = crash_image().database().to_vec();
    // The first block after the headers contains the catalog.
    for at in [4096, 8192, 3 * 4096 + 100] {
        database[at] ^= 4;
        let dir = with_database(&database);
        assert_program_rejects(&dir, &["run", "usage"], DAMAGED);
        fs::write(dir.database_path(), crash_image().database()).unwrap();
        assert_eq!(&run_to_completion(&dir), crash_image().final_data());
        database[at] ^= 4;
    }
}

#[test]
fn after_both_files_are_moved_away_all_sessions_are_processed_again() {
    let database = crash_image().database();
    let dir = with_database(&database[..database.len() / 2]);
    assert_program_rejects(&dir, &["run", "usage"], DAMAGED);
    for file in ["system.duckdb", "system.duckdb.wal"] {
        fs::rename(dir.path().join("state").join(file), dir.path().join(file)).unwrap();
    }
    assert_eq!(&run_to_completion(&dir), crash_image().final_data());
}

/// The checksum that DuckDB stores before each block. The length must be a multiple of 8 bytes.
fn checksum(bytes: &[u8]) -> u64 {
    let words = bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    words.fold(5381, |sum, word| {
        sum ^ word.wrapping_mul(0xbf58_476d_1ce4_e5b9)
    })
}

#[test]
fn a_file_of_a_newer_duckdb_is_rejected_with_both_version_numbers() {
    let mut database = crash_image().database().to_vec();
    // The format version follows the checksum and the magic bytes.
    assert_eq!(&database[8..12], b"DUCK");
    assert_eq!(database[..8], checksum(&database[8..4096]).to_le_bytes());
    database[12..20].copy_from_slice(&70_u64.to_le_bytes());
    let sum = checksum(&database[8..4096]);
    database[..8].copy_from_slice(&sum.to_le_bytes());
    let dir = with_database(&database);
    let error = open_error(&dir).unwrap();
    let source = error.source().unwrap().to_string();
    assert!(
        source.contains("version number 70, but we can only read"),
        "{source}"
    );
    assert_program_rejects(
        &dir,
        &["run", "usage"],
        "the database `[data-dir]/state/system.duckdb` was written by a newer version of DuckDB; \
         use the program version that wrote it, or restore an older backup: ",
    );
    fs::write(dir.database_path(), crash_image().database()).unwrap();
    assert_eq!(&run_to_completion(&dir), crash_image().final_data());
}
