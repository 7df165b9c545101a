//! The log next to the database: truncated, followed by zeros, with flipped bits, or of another
//! database.

use std::fs;

use duckdb::Connection;
use proptest::prelude::*;
use proptest::sample::Index;
use session_pipeline_harness::{cases, clock};
use session_pipeline_pipeline::config::Config;
use session_pipeline_store::{Store, StoreError};

use super::{
    DataDir, assert_program_rejects, copy, crash_image, database_files, log_path, open_error,
    run_to_completion, session_data,
};
use crate::database::cell;
use crate::guests::usage_dir;

const DAMAGED: &str = "the log `[data-dir]/state/system.duckdb.wal` of the database is damaged; nothing was changed. \
     Restore a backup of the database and its log. Or move the log away and restart: ";

/// Returns the crashed data directory with this log.
fn with_log(log: &[u8]) -> DataDir {
    let dir = crash_image().to_dir();
    fs::write(log_path(&dir), log).unwrap();
    dir
}

/// Moves the log away, as the error message says. The lost sessions must be processed again.
fn move_log_away(dir: &DataDir) {
    fs::rename(log_path(dir), dir.path().join("the-log-of-before")).unwrap();
    assert!(open_error(dir).is_none());
    assert_eq!(
        &session_data(dir),
        &crash_image().days[0],
        "only the commits in the log may be lost"
    );
    assert_eq!(&run_to_completion(dir), crash_image().final_data());
}

/// Opens the database with this log and returns the day of its data, or `None` if it was rejected.
/// In both cases, all sessions must be recovered.
fn recovered_day(log: &[u8]) -> Result<Option<usize>, TestCaseError> {
    let dir = with_log(log);
    let before = database_files(&dir);
    match open_error(&dir) {
        Some(error) => {
            prop_assert!(
                matches!(
                    error,
                    // The flipped bit can be in the identity of the database.
                    StoreError::DamagedLog { .. } | StoreError::ForeignLog { .. }
                ),
                "{:?}",
                error
            );
            prop_assert!(
                database_files(&dir) == before,
                "the rejected files were changed"
            );
            move_log_away(&dir);
            Ok(None)
        }
        None => {
            let data = session_data(&dir);
            let day = crash_image().days.iter().position(|day| *day == data);
            prop_assert!(day.is_some(), "the data is not that of any day: {:?}", data);
            prop_assert_eq!(&run_to_completion(&dir), crash_image().final_data());
            Ok(day)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_a_truncated_log_recovers_a_prefix_of_the_commits(at in any::<Index>()) {
        let log = crash_image().log();
        let at = at.index(log.len());
        let day = recovered_day(&log[..at])?;
        prop_assert!(day.is_some(), "a log truncated at {} was rejected", at);
    }

    #[test]
    fn invariant_a_flipped_bit_in_the_log_never_produces_wrong_data(
        at in any::<Index>(),
        bit in 0_u8..8,
    ) {
        let mut log = crash_image().log().to_vec();
        let at = at.index(log.len());
        log[at] ^= 1 << bit;
        // A length beyond the end is treated as a log that was truncated there.
        recovered_day(&log)?;
    }
}

#[test]
fn an_intact_log_recovers_all_commits() {
    let dir = crash_image().to_dir();
    assert!(open_error(&dir).is_none());
    assert_eq!(&session_data(&dir), crash_image().final_data());
}

#[test]
fn a_log_followed_by_zeros_is_rejected_and_nothing_is_deleted() {
    for zeros in [1, 16, 4096] {
        let mut log = crash_image().log().to_vec();
        log.resize(log.len() + zeros, 0);
        match open_error(&with_log(&log)) {
            // Fewer zeros than a record header are a truncated record.
            None => assert!(zeros < 16),
            Some(error) => assert!(matches!(error, StoreError::DamagedLog { .. }), "{error:?}"),
        }
    }
    let mut log = crash_image().log().to_vec();
    log.resize(log.len() + 4096, 0);
    let dir = with_log(&log);
    for command in [
        &["status"][..],
        &["run", "usage"],
        &["report", "usage"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        assert_program_rejects(&dir, command, DAMAGED);
    }
    move_log_away(&dir);
}

#[test]
fn a_log_overwritten_with_zeros_at_the_end_is_rejected_and_sessions_are_recovered() {
    let mut log = crash_image().log().to_vec();
    let end = log.len();
    log[end - 100..].fill(0);
    let dir = with_log(&log);
    assert_program_rejects(&dir, &["run", "usage"], DAMAGED);
    move_log_away(&dir);
}

/// Runs these statements and returns the log, which contains nothing else.
fn log_after(dir: &DataDir, statements: &str) -> Vec<u8> {
    let connection = Connection::open(dir.database_path()).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA disable_checkpoint_on_shutdown; CHECKPOINT; {statements}"
        ))
        .unwrap();
    drop(connection);
    fs::read(log_path(dir)).unwrap()
}

const STATEMENTS: &str =
    "INSERT INTO session_costs (processor_name, session_file, run_id) VALUES ('p', 'strange', 'r')";

fn assert_foreign_log_is_rejected(log: &[u8]) {
    let dir = with_log(log);
    assert_program_rejects(
        &dir,
        &["run", "usage"],
        "the log `[data-dir]/state/system.duckdb.wal` does not belong to the database next to it, or not to its \
         current state; nothing was changed. Restore the two files from the same backup. Or move the log away \
         and restart: ",
    );
    move_log_away(&dir);
}

#[test]
fn the_log_of_another_database_is_rejected() {
    // Both databases have the same tables, so only the identity in the log differs.
    let other = usage_dir();
    drop(Store::open(&other.config().store_options(), clock::START).unwrap());
    assert_foreign_log_is_rejected(&log_after(&other, STATEMENTS));
}

#[test]
fn a_log_that_is_newer_than_the_database_is_rejected() {
    let later = crash_image().to_dir();
    log_after(&later, STATEMENTS);
    assert_foreign_log_is_rejected(&log_after(&later, STATEMENTS));
}

#[test]
fn a_long_log_is_replayed_within_the_minimum_memory_setting() {
    let dir = crash_image().to_dir();
    run_to_completion(&dir);
    // Create the log of a process that was killed long after its last checkpoint.
    let connection = Connection::open(dir.database_path()).unwrap();
    let lines = "INSERT INTO session_costs (processor_name, session_file, run_id) SELECT 'p', md5(i::VARCHAR), md5((i + 1)::VARCHAR) FROM range(10000) r(i)";
    let rewrite = "UPDATE session_costs SET session_file = run_id, run_id = session_file WHERE processor_name = 'p'";
    connection
        .execute_batch("PRAGMA disable_checkpoint_on_shutdown; SET checkpoint_threshold = '1TB'")
        .unwrap();
    for _ in 0..20 {
        connection.execute_batch(lines).unwrap();
        connection.execute_batch(rewrite).unwrap();
    }
    let long = copy(&dir);
    drop(connection);
    let log_bytes = fs::metadata(log_path(&long)).unwrap().len();
    println!("a log of {} MiB", log_bytes >> 20);
    let config = Config {
        database_memory_bytes: 64 << 20,
        ..long.config()
    };
    assert!(log_bytes > config.database_memory_bytes);
    drop(Store::open(&config.store_options(), clock::START).unwrap());
    let count = "SELECT count(*) FROM session_costs WHERE processor_name = 'p'";
    assert_eq!(cell(&long, count), "200000");
    assert!(!log_path(&long).exists(), "the log was not checkpointed");
    assert_eq!(&run_to_completion(&long), crash_image().final_data());
}
