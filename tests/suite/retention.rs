//! Retention: data is deleted just after each limit and not before, and some data is never deleted.

use std::time::Duration;

use proptest::prelude::*;
use session_pipeline_harness::{DataDir, TestPipeline, cases, clock};
use session_pipeline_host::clock::{Clock as _, UtcMicros};
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::retention::{is_due, plan};
use session_pipeline_pipeline::token::SIGN_IN_IDLE_MAX;
use session_pipeline_store::{DeletedRows, Store};

use crate::database::{cell, execute, rows};
use crate::guests::{PANICS, POISON, WELL_BEHAVED, lines_of, panics, well_behaved};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MICRO: Duration = Duration::from_micros(1);

fn ago(days: u32) -> UtcMicros {
    clock::START.minus(days * DAY)
}

/// Returns a database with rows of every kind, just beyond and just within each limit, and open
/// runs.
fn dir_with_old_rows() -> DataDir {
    let dir = DataDir::new();
    drop(Store::open(&dir.config().store_options(), clock::START).unwrap());
    let at = |at: UtcMicros| format!("make_timestamp({})", at.0);
    let (run_old, run_recent) = (at(ago(90).minus(MICRO)), at(ago(90)));
    let (answer_old, answer_recent) = (at(ago(30).minus(MICRO)), at(ago(30)));
    let now = at(clock::START);
    let idle = clock::START.minus(SIGN_IN_IDLE_MAX);
    let (sign_in_old, sign_in_recent) = (at(idle), at(UtcMicros(idle.0 + 1)));
    execute(
        &dir,
        &format!(
            "INSERT INTO runs VALUES
                 ('8', 'usage', 'cli', {run_old}, {run_old}, 'ok', NULL, NULL),
                 ('9', 'usage', 'cli', {run_old}, NULL, NULL, NULL, NULL),
                 ('10', 'usage', 'cli', {run_old}, {run_recent}, 'failed', NULL, NULL),
                 ('11', 'usage', 'cli', {now}, {now}, 'ok', NULL, NULL),
                 ('7', 'gone', 'cli', {run_old}, {run_old}, 'ok', NULL, NULL),
                 ('6', 'gone', 'cli', {run_old}, {run_old}, 'ok', NULL, NULL);
             INSERT INTO session_costs
                 SELECT 'usage', 'ada/one.jsonl', id, 1, 2, 3, 4 FROM runs;
             INSERT INTO llm_responses VALUES ('old', '', 1, {answer_old}), ('kept', '', 1, {answer_recent});
             INSERT INTO llm_calls (id, run_id, processor_name, session_file, model, sent_at, input_tokens, output_tokens)
                 SELECT n, '1', 'usage', 'ada/one.jsonl', 'm', sent, 1, 1 FROM (VALUES (1, {run_old}), (2, {run_recent})) AS calls (n, sent);
             INSERT INTO sign_ins VALUES ('old', '1', {run_old}, {sign_in_old}), ('kept', '1', {run_old}, {sign_in_recent});
             INSERT INTO audit_log (id, timestamp, action) VALUES ('9999', make_timestamp(0), 'long ago');
             INSERT INTO session_failures
                 SELECT 'usage', key, NULL, NULL, NULL, NULL, 'c', 5, 5, 'panic', NULL, make_timestamp(0), NULL,
                     make_timestamp(0), since
                 FROM (VALUES ('old', {run_old}), ('kept', {run_recent}), ('there', NULL)) AS files (key, since);"
        ),
    );
    dir
}

fn delete_expired(dir: &DataDir) -> DeletedRows {
    let now = dir.clock().now();
    let store = Store::open(&dir.config().store_options(), now).unwrap();
    store.delete_expired(plan(now, None)).unwrap()
}

fn remaining(dir: &DataDir) -> [Vec<String>; 7] {
    [
        "SELECT id FROM runs ORDER BY CAST(id AS INTEGER)",
        "SELECT run_id FROM session_costs ORDER BY CAST(run_id AS INTEGER)",
        "SELECT id FROM llm_calls",
        "SELECT request_hash FROM llm_responses",
        "SELECT session_file FROM session_failures ORDER BY ALL",
        "SELECT action FROM audit_log WHERE action = 'long ago'",
        "SELECT sha256 FROM sign_ins",
    ]
    .map(|sql| rows(dir, sql))
}

#[test]
fn rows_just_beyond_the_limit_are_deleted_and_rows_just_within_it_are_kept() {
    let dir = dir_with_old_rows();
    let deleted = delete_expired(&dir);
    let expected = DeletedRows {
        runs: 2,
        costs: 3,
        calls: 1,
        responses: 1,
        failures: 1,
        sign_ins: 1,
    };
    assert_eq!(deleted, expected);
    // Opening the database closed the interrupted run. The last run of each processor is never
    // deleted.
    let (runs, costs) = (["7", "9", "10", "11"], ["9", "10", "11"]);
    assert_eq!(
        remaining(&dir).map(|rows| rows.join(" ")),
        [
            runs.join(" "),
            costs.join(" "),
            "2".to_owned(),
            "kept".to_owned(),
            "kept there".to_owned(),
            "long ago".to_owned(),
            "kept".to_owned()
        ]
    );
    let first = remaining(&dir);
    assert_eq!(
        delete_expired(&dir),
        DeletedRows::default(),
        "the second call deletes nothing"
    );
    assert_eq!(remaining(&dir), first);
}

#[test]
fn more_expired_runs_than_fit_in_one_transaction_are_all_deleted() {
    let dir = dir_with_old_rows();
    execute(
        &dir,
        "INSERT INTO runs SELECT CAST(n AS VARCHAR), 'usage', 'cli', make_timestamp(0), make_timestamp(0), 'ok', NULL, NULL
             FROM range(1000, 2201) AS numbers (n);
         INSERT INTO runs VALUES ('3000', 'usage', 'cli', make_timestamp(0), NULL, NULL, NULL, NULL);",
    );
    assert_eq!(delete_expired(&dir).runs, 2 + 1201);
}

#[test]
fn a_run_deletes_expired_records_but_no_rows_of_processors() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    pipeline.run(WELL_BEHAVED);
    dir.clock().advance(400 * DAY);
    pipeline.run(WELL_BEHAVED);
    drop(pipeline);
    assert_eq!(rows(&dir, "SELECT id FROM runs"), ["3"]);
    assert_eq!(cell(&dir, "SELECT count(*) FROM session_costs"), "0");
    assert_eq!(cell(&dir, "SELECT count(*) FROM audit_log"), "3");
    assert_eq!(
        cell(&dir, "SELECT count(*) FROM session_processor_state"),
        "1"
    );
    assert_eq!(rows(&dir, &lines_of(WELL_BEHAVED)).len(), 1);
}

#[test]
fn the_failure_of_a_missing_file_is_eventually_deleted() {
    for (keep_missing_days, days) in [(None, 90), (Some(3), 3), (Some(1000), 90)] {
        let dir = DataDir::new();
        dir.write("ada/poison.jsonl", POISON);
        dir.write("ada/fine.jsonl", "fine\n");
        let config = Config {
            keep_missing_days,
            ..dir.config()
        };
        let pipeline = TestPipeline::open_with(&dir, config, &[panics()]);
        pipeline.run(PANICS);
        dir.delete("ada/poison.jsonl");
        pipeline.run(PANICS);
        let is_known = || pipeline.failure(PANICS, "ada/poison.jsonl").is_some();
        dir.clock().advance(days * DAY);
        pipeline.run(PANICS);
        assert!(is_known(), "{keep_missing_days:?}: deleted too early");
        dir.clock().advance(DAY);
        pipeline.run(PANICS);
        assert!(!is_known(), "{keep_missing_days:?}");
    }
}

#[test]
fn a_failed_deletion_of_expired_rows_does_not_fail_the_run() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    drop(pipeline);
    // An id that is not a number breaks the numeric comparison.
    execute(
        &dir,
        "INSERT INTO runs VALUES ('moon', 'other', 'cli', make_timestamp(0), make_timestamp(0), 'ok', NULL, NULL)",
    );
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let now = dir.clock().now();
    assert!(
        pipeline
            .pipeline()
            .store()
            .delete_expired(plan(now, None))
            .is_err()
    );
    dir.append("ada/one.jsonl", "two\n");
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
}

#[test]
fn expired_rows_are_deleted_daily_and_immediately_after_the_clock_moves_back() {
    let now = clock::START;
    assert!(is_due(None, now), "never deleted before");
    assert!(!is_due(Some(now), now));
    assert!(!is_due(Some(now), now.plus(DAY).minus(MICRO)));
    assert!(is_due(Some(now), now.plus(DAY)));
    assert!(is_due(Some(now), now.minus(MICRO)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 8))]

    #[test]
    fn invariant_limits_advance_with_time_and_never_include_the_last_month(
        now in 0..4_102_444_800_000_000_i64,
        later in 0..100_000_000_000_i64,
        keep_missing_days in proptest::option::of(30..10_000_u32),
    ) {
        let (early, late) = (plan(UtcMicros(now), keep_missing_days), plan(UtcMicros(now + later), keep_missing_days));
        for (early, late) in [
            (early.runs_since, late.runs_since),
            (early.calls_since, late.calls_since),
            (early.responses_since, late.responses_since),
            (early.missing_failures_since, late.missing_failures_since),
        ] {
            prop_assert_eq!(late.0 - early.0, later);
            prop_assert!(early <= UtcMicros(now).minus(30 * DAY));
        }
    }
}
