//! The log beside the database: cut, followed by zeros, flipped, exchanged for another.

use std::fs;

use duckdb::Connection;
use proptest::prelude::*;
use proptest::sample::Index;
use session_pipeline_harness::{cases, clock};
use session_pipeline_pipeline::config::Config;
use session_pipeline_store::{Store, StoreError};

use super::{
    DataDir, copy, database_files, is_refused_by_the_program, killed, left, log_path, refusal,
    run_through,
};
use crate::database::cell;
use crate::guests::usage_dir;

const DAMAGED: &str = "the log `[data-dir]/state/system.duckdb.wal` of the database is damaged; nothing was changed. \
     Restore a backup of the database and its log. Or move the log away and restart: ";

/// A data dir with another log.
fn with_log(log: &[u8]) -> DataDir {
    let dir = killed().lay();
    fs::write(log_path(&dir), log).unwrap();
    dir
}

/// The operator does as the message says; what was lost with the log comes again.
fn move_the_log_away(dir: &DataDir) {
    fs::rename(log_path(dir), dir.path().join("the-log-of-before")).unwrap();
    assert!(refusal(dir).is_none());
    assert_eq!(
        &left(dir),
        &killed().days[0],
        "the log is gone, and no more"
    );
    assert_eq!(&run_through(dir), killed().end());
}

/// Whether a database with this log is refused, or else what it holds is one of the days; in the
/// end all is well, either way.
fn is_refused_or_a_day(log: &[u8]) -> Result<Option<usize>, TestCaseError> {
    let dir = with_log(log);
    let before = database_files(&dir);
    match refusal(&dir) {
        Some(error) => {
            prop_assert!(
                matches!(
                    error,
                    // One bit may be of what says whose log it is.
                    StoreError::DamagedLog { .. } | StoreError::ForeignLog { .. }
                ),
                "{:?}",
                error
            );
            prop_assert!(database_files(&dir) == before, "changed by refusing");
            move_the_log_away(&dir);
            Ok(None)
        }
        None => {
            let left_over = left(&dir);
            let day = killed().days.iter().position(|day| *day == left_over);
            prop_assert!(
                day.is_some(),
                "no state that there ever was: {:?}",
                left_over
            );
            prop_assert_eq!(&run_through(&dir), killed().end());
            Ok(day)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_a_log_cut_anywhere_is_the_beginning_of_what_was_committed(at in any::<Index>()) {
        let log = killed().log();
        let at = at.index(log.len());
        let day = is_refused_or_a_day(&log[..at])?;
        prop_assert!(day.is_some(), "cut at {} and refused", at);
    }

    #[test]
    fn invariant_a_bit_flipped_in_the_log_is_never_taken_for_what_was_written(
        at in any::<Index>(),
        bit in 0_u8..8,
    ) {
        let mut log = killed().log().to_vec();
        let at = at.index(log.len());
        log[at] ^= 1 << bit;
        // A length that reaches beyond the end is the same as a log that was cut there.
        is_refused_or_a_day(&log)?;
    }
}

#[test]
fn the_whole_log_is_all_that_was_committed() {
    let dir = killed().lay();
    assert!(refusal(&dir).is_none());
    assert_eq!(&left(&dir), killed().end());
}

#[test]
fn zeros_behind_the_log_are_refused_and_nothing_is_deleted() {
    for zeros in [1, 16, 4096] {
        let mut log = killed().log().to_vec();
        log.resize(log.len() + zeros, 0);
        match refusal(&with_log(&log)) {
            // Fewer than a record begins with are a torn record.
            None => assert!(zeros < 16),
            Some(error) => assert!(matches!(error, StoreError::DamagedLog { .. }), "{error:?}"),
        }
    }
    let mut log = killed().log().to_vec();
    log.resize(log.len() + 4096, 0);
    let dir = with_log(&log);
    for command in [
        &["status"][..],
        &["run", "usage"],
        &["report", "usage"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        is_refused_by_the_program(&dir, command, DAMAGED);
    }
    move_the_log_away(&dir);
}

#[test]
fn zeros_over_the_end_of_the_log_lose_what_stood_there_and_nothing_before() {
    let mut log = killed().log().to_vec();
    let end = log.len();
    log[end - 100..].fill(0);
    let dir = with_log(&log);
    is_refused_by_the_program(&dir, &["run", "usage"], DAMAGED);
    move_the_log_away(&dir);
}

/// The log that a database has after these statements, in which they alone stand.
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

fn is_refused_as_that_of_another(log: &[u8]) {
    let dir = with_log(log);
    is_refused_by_the_program(
        &dir,
        &["run", "usage"],
        "the log `[data-dir]/state/system.duckdb.wal` does not belong to the database next to it, or not to its \
         current state; nothing was changed. Restore the two files from the same backup. Or move the log away \
         and restart: ",
    );
    move_the_log_away(&dir);
}

#[test]
fn the_log_of_another_database_is_refused() {
    // Both have the same tables, so that nothing but its name tells that it is of another one.
    let other = usage_dir();
    drop(Store::open(&other.config().store_options(), clock::START).unwrap());
    is_refused_as_that_of_another(&log_after(&other, STATEMENTS));
}

#[test]
fn a_log_is_refused_beside_a_copy_of_the_database_from_before() {
    let later = killed().lay();
    log_after(&later, STATEMENTS);
    is_refused_as_that_of_another(&log_after(&later, STATEMENTS));
}

#[test]
fn a_long_log_is_replayed_in_the_least_memory_that_may_be_set() {
    let dir = killed().lay();
    run_through(&dir);
    // As a process leaves it that was killed long after its last checkpoint.
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
    let least = Config {
        database_memory_bytes: 64 << 20,
        ..long.config()
    };
    assert!(log_bytes > least.database_memory_bytes);
    drop(Store::open(&least.store_options(), clock::START).unwrap());
    let count = "SELECT count(*) FROM session_costs WHERE processor_name = 'p'";
    assert_eq!(cell(&long, count), "200000");
    assert!(!log_path(&long).exists(), "it is brought into the file");
    assert_eq!(&run_through(&long), killed().end());
}
