//! Tests the rules by which a scan selects sessions, one by one and against a model.
//!
//! If the scan misses a change, the change is never processed. If it selects unchanged sessions,
//! runs over a large history are too slow.

mod model;
mod table;

use std::collections::HashMap;
use std::time::Duration;

use session_pipeline_harness::{DataDir, TestPipeline, clock};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::sessions::{FileStat, WalkReport};
use session_pipeline_pipeline::scan::{ContentCheck, ScanContext, ScanPlan, trusted};
use session_pipeline_store::retry::{FailedContent, FailureState, RetryDecision};
use session_pipeline_store::state_rows::{FailureRow, StateRow, StateRows};

use crate::database::execute;
use crate::guests::{WELL_BEHAVED, well_behaved};

const KEY: &str = "ada/one.jsonl";
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
/// The digest of the component under test in the pure tests.
const DIGEST: &str = "digest-of-version-3";
const VERSION: u32 = 3;
// Indexes of the digests that `scan` registers.
const OLDER: u16 = 0;
const SAME: u16 = 1;
const OTHER_BUILD: u16 = 2;

/// A file that was modified this long before the scan.
fn file(age: Duration) -> FileStat {
    FileStat {
        size: 100,
        mtime_ns: clock::START.as_nanos() - nanos(age),
        ctime_ns: 1_790_000_000_000_000_000,
        is_compressed: false,
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap()
}

fn before(age: Duration) -> UtcMicros {
    UtcMicros(clock::START.0 - nanos(age) / 1000)
}

/// The row of a session that was processed half an hour before the scan. Its file was modified an
/// hour before the scan.
fn own_row() -> StateRow {
    StateRow {
        row_id: 7,
        observed: Some(file(HOUR)),
        hash: Some(ContentHash([1; 16])),
        processed_at: Some(before(HOUR / 2)),
        session_seq: Some(1),
        digest: Some(SAME),
        is_due: false,
        is_missing: false,
    }
}

/// The row of a session that the legacy system processed.
fn legacy_row() -> StateRow {
    StateRow {
        observed: None,
        session_seq: None,
        digest: None,
        ..own_row()
    }
}

/// A failure of the current component on the current file.
fn failure(attempts: u32) -> FailureRow {
    let failures = (0..attempts).fold(FailureState::default(), |failures, _| {
        let fault = Fault::new(FaultKind::Panic, "on purpose");
        failures.after(
            &fault,
            FailedContent::Same,
            clock::START,
            Duration::from_secs(60),
        )
    });
    FailureRow {
        row_id: 9,
        hash: Some(ContentHash([2; 16])),
        observed: Some(file(HOUR)),
        digest: Some(DIGEST.to_owned()),
        failures,
        fault: Fault::new(FaultKind::Panic, "on purpose"),
        last_attempt_at: before(HOUR / 4),
        is_missing: false,
    }
}

/// Scans these files at the start time of the clock.
fn scan(
    files: &[(&str, FileStat)],
    rows: &[(&str, StateRow)],
    failures: &[(&str, FailureRow)],
    is_started_by_person: bool,
) -> ScanPlan {
    let mut known = StateRows::default();
    for digest in ["digest-of-version-2", DIGEST, "another-of-version-3"] {
        known.digest_index(digest);
    }
    for (key, row) in rows {
        known.add(key, *row);
    }
    let failures: HashMap<String, FailureRow> = failures
        .iter()
        .map(|(key, failure)| ((*key).to_owned(), failure.clone()))
        .collect();
    let context = ScanContext {
        failures: &failures,
        digest: DIGEST,
        version: VERSION,
        versions: vec![Some(2), Some(3), Some(3)],
        now: clock::START,
        is_started_by_person,
    };
    let mut plan = ScanPlan::default();
    for (key, observed) in files {
        plan.visit(key, *observed, &mut known, &context);
    }
    let walk = WalkReport {
        found: files.len() as u64,
        is_complete: true,
        ..WalkReport::default()
    };
    plan.finish(&walk, &known, &failures);
    plan
}

/// The decision of a scheduled scan about one file.
fn check(file: FileStat, row: Option<StateRow>, failure: Option<FailureRow>) -> &'static str {
    decision(&scan(
        &[(KEY, file)],
        &row.map(|row| (KEY, row)).into_iter().collect::<Vec<_>>(),
        &failure
            .map(|row| (KEY, row))
            .into_iter()
            .collect::<Vec<_>>(),
        false,
    ))
}

fn decision(plan: &ScanPlan) -> &'static str {
    match plan.candidates.as_slice() {
        [] if plan.waiting == 1 => "waits",
        [] if plan.quarantined == 1 => "in quarantine",
        [] => "stable",
        [candidate] => match candidate.check {
            ContentCheck::Nothing => "process",
            ContentCheck::StateHash => "hash first",
            ContentCheck::FailureHash {
                verdict: RetryDecision::Waiting,
                ..
            } => "waits if the hash is that of the failure",
            ContentCheck::FailureHash { .. } => "in quarantine if the hash is that of the failure",
        },
        _ => "more than one",
    }
}

#[test]
fn a_session_without_a_row_is_processed() {
    assert_eq!(check(file(HOUR), None, None), "process");
}

#[test]
fn a_session_with_the_size_and_times_of_its_row_is_stable() {
    assert_eq!(check(file(HOUR), Some(own_row()), None), "stable");
}

#[test]
fn a_changed_size_makes_a_session_due() {
    let grown = FileStat {
        size: 101,
        ..file(HOUR)
    };
    assert_eq!(check(grown, Some(own_row()), None), "process");
}

#[test]
fn a_file_of_the_same_size_with_another_time_is_hashed_first() {
    for observed in [
        FileStat {
            mtime_ns: file(HOUR).mtime_ns + 1,
            ..file(HOUR)
        },
        // An earlier time: the file was restored from a copy.
        FileStat {
            mtime_ns: file(HOUR).mtime_ns - 1,
            ..file(HOUR)
        },
        // The mtime was forged. The ctime cannot be forged.
        FileStat {
            ctime_ns: file(HOUR).ctime_ns + 1,
            ..file(HOUR)
        },
    ] {
        assert_eq!(check(observed, Some(own_row()), None), "hash first");
    }
}

#[test]
fn a_session_whose_row_has_no_trusted_times_is_hashed() {
    let row = StateRow {
        observed: None,
        ..own_row()
    };
    assert_eq!(check(file(1000 * HOUR), Some(row), None), "hash first");
}

#[test]
fn a_session_requested_for_reprocessing_is_processed_without_hashing() {
    for row in [own_row(), legacy_row()] {
        let row = StateRow {
            is_due: true,
            ..row
        };
        assert_eq!(check(file(HOUR), Some(row), None), "process");
    }
}

#[test]
fn a_higher_version_makes_sessions_due_but_another_build_of_it_does_not() {
    let written_by = |digest| StateRow {
        digest,
        ..own_row()
    };
    assert_eq!(
        check(file(HOUR), Some(written_by(Some(OLDER))), None),
        "process"
    );
    assert_eq!(
        check(file(HOUR), Some(written_by(Some(OTHER_BUILD))), None),
        "stable"
    );
    assert_eq!(check(file(HOUR), Some(written_by(None)), None), "stable");
}

#[test]
fn a_session_with_a_legacy_row_without_a_time_is_processed() {
    let row = StateRow {
        processed_at: None,
        ..legacy_row()
    };
    assert_eq!(check(file(HOUR), Some(row), None), "process");
}

#[test]
fn a_legacy_session_is_stable_if_its_file_is_older_than_its_processing() {
    let at = |micros_before: i64| {
        let processed_ns = legacy_row().processed_at.unwrap().as_nanos();
        let observed = FileStat {
            mtime_ns: processed_ns - micros_before * 1000,
            ..file(HOUR)
        };
        check(observed, Some(legacy_row()), None)
    };
    assert_eq!(at(30_000_000), "stable", "30 s older");
    assert_eq!(
        at(1_000_000),
        "stable",
        "1 s older, even with different content: the known gap"
    );
    assert_eq!(at(50_001), "stable", "just outside the window");
    assert_eq!(at(50_000), "hash first", "at the edge of the window");
    assert_eq!(at(10_000), "hash first", "10 ms older");
    assert_eq!(at(0), "hash first", "same time");
    assert_eq!(at(-1), "hash first", "later");
    assert_eq!(at(-1_000_000_000), "hash first", "much later");
}

#[test]
fn a_first_failure_is_retried_immediately() {
    assert_eq!(check(file(HOUR), None, Some(failure(1))), "process");
    assert_eq!(
        check(file(HOUR), Some(own_row()), Some(failure(1))),
        "stable",
        "the failure was on an intermediate content"
    );
}

#[test]
fn a_backed_off_session_is_not_read_while_its_file_is_unchanged() {
    assert_eq!(check(file(HOUR), None, Some(failure(2))), "waits");
    assert_eq!(check(file(HOUR), None, Some(failure(5))), "in quarantine");
}

#[test]
fn a_backed_off_session_is_hashed_if_only_its_times_changed() {
    let touched = file(HOUR / 2);
    assert_eq!(
        check(touched, None, Some(failure(2))),
        "waits if the hash is that of the failure"
    );
    assert_eq!(
        check(touched, None, Some(failure(5))),
        "in quarantine if the hash is that of the failure"
    );
    let grown = FileStat {
        size: 101,
        ..touched
    };
    assert_eq!(
        check(grown, None, Some(failure(5))),
        "process",
        "a different size needs no hash"
    );
}

#[test]
fn failures_of_another_component_do_not_delay_a_session() {
    for attempts in [2, 5] {
        let failure = FailureRow {
            digest: Some("another-of-version-3".to_owned()),
            ..failure(attempts)
        };
        assert_eq!(check(file(HOUR), None, Some(failure)), "process");
    }
}

#[test]
fn a_manual_run_ignores_the_back_off_but_not_the_quarantine() {
    let by_person = |attempts| {
        decision(&scan(
            &[(KEY, file(HOUR))],
            &[],
            &[(KEY, failure(attempts))],
            true,
        ))
    };
    assert_eq!(by_person(2), "process");
    assert_eq!(by_person(5), "in quarantine");
}

#[test]
fn new_sessions_come_first_oldest_first_then_those_attempted_longest_ago() {
    let changed = |age| FileStat {
        size: 200,
        ..file(age)
    };
    let tried = |age| StateRow {
        processed_at: Some(before(age)),
        ..own_row()
    };
    let failed = FailureRow {
        last_attempt_at: before(2 * HOUR),
        ..failure(1)
    };
    let plan = scan(
        &[
            ("ada/tried-lately.jsonl", changed(20 * HOUR)),
            ("ada/tried-long-ago.jsonl", changed(HOUR)),
            ("ada/failed-between.jsonl", changed(HOUR)),
            ("ada/new-and-young.jsonl", changed(HOUR)),
            ("bob/new-and-old.jsonl", changed(9 * HOUR)),
            ("ada/new-and-old.jsonl", changed(9 * HOUR)),
        ],
        &[
            ("ada/tried-lately.jsonl", tried(HOUR)),
            ("ada/tried-long-ago.jsonl", tried(3 * HOUR)),
            ("ada/failed-between.jsonl", tried(99 * HOUR)),
        ],
        &[("ada/failed-between.jsonl", failed)],
        false,
    );
    let order: Vec<&str> = plan
        .candidates
        .iter()
        .map(|candidate| candidate.key.as_str())
        .collect();
    assert_eq!(
        order,
        [
            "ada/new-and-old.jsonl",
            "bob/new-and-old.jsonl",
            "ada/new-and-young.jsonl",
            "ada/tried-long-ago.jsonl",
            "ada/failed-between.jsonl",
            "ada/tried-lately.jsonl",
        ]
    );
}

#[test]
fn a_missing_session_is_marked_once_and_its_return_is_detected() {
    let rows = [
        ("ada/gone.jsonl", own_row()),
        (
            "ada/gone-before.jsonl",
            StateRow {
                is_missing: true,
                ..own_row()
            },
        ),
        (
            KEY,
            StateRow {
                row_id: 8,
                is_missing: true,
                ..own_row()
            },
        ),
    ];
    let plan = scan(&[(KEY, file(HOUR))], &rows, &[], false);
    assert_eq!(
        (plan.presence.missing, plan.presence.returned),
        (vec![7], vec![8])
    );
}

#[test]
fn each_digest_is_stored_once() {
    let mut known = StateRows::default();
    let found = ["a", "b", "a", "c", "b"].map(|digest| known.digest_index(digest));
    assert_eq!(found, [0, 1, 0, 2, 1]);
    assert_eq!(known.digests, ["a", "b", "c"]);
}

#[test]
fn an_empty_or_incomplete_walk_marks_no_session_missing() {
    assert_eq!(
        scan(&[], &[(KEY, own_row())], &[], false).presence.missing,
        [0; 0],
        "the root might not be mounted"
    );

    let mut known = StateRows::default();
    assert!(known.is_empty());
    known.add(KEY, own_row());
    assert!(!known.is_empty());
    let mut plan = ScanPlan::default();
    let walk = WalkReport {
        found: 5,
        is_complete: false,
        ..WalkReport::default()
    };
    let failures = HashMap::from([("ada/two.jsonl".to_owned(), failure(5))]);
    plan.finish(&walk, &known, &failures);
    assert_eq!(
        plan.presence.missing, [0; 0],
        "the folder could not be read"
    );
    assert_eq!(plan.presence.missing_failures, [0; 0]);
}

#[test]
fn failures_of_missing_and_returned_files_are_marked_once() {
    let missing = FailureRow {
        row_id: 8,
        is_missing: true,
        ..failure(5)
    };
    let still_missing = FailureRow {
        row_id: 7,
        ..missing.clone()
    };
    let failures = [
        ("ada/gone.jsonl", failure(5)),
        ("ada/back.jsonl", missing),
        ("ada/gone-before.jsonl", still_missing),
    ];
    let plan = scan(&[("ada/back.jsonl", file(HOUR))], &[], &failures, false);
    assert_eq!(
        (
            plan.presence.missing_failures,
            plan.presence.returned_failures
        ),
        (vec![9], vec![8])
    );
}

#[test]
fn an_unreadable_session_in_quarantine_is_hashed_after_its_back_off() {
    let unread = FailureRow {
        fault: Fault::new(FaultKind::Input, "it can't be read"),
        observed: None,
        ..failure(5)
    };
    assert_eq!(check(file(HOUR), None, Some(unread.clone())), "waits");
    let expired = FailureRow {
        failures: FailureState {
            next_attempt_at: Some(clock::START),
            ..unread.failures
        },
        ..unread
    };
    let hashed = "in quarantine if the hash is that of the failure";
    assert_eq!(check(file(HOUR), None, Some(expired)), hashed);
    let untrusted = FailureRow {
        observed: None,
        ..failure(5)
    };
    assert_eq!(check(file(HOUR), None, Some(untrusted)), hashed);
}

#[test]
fn recent_times_are_not_trusted_because_a_later_change_could_have_them() {
    let window = Duration::from_millis(50);
    let is_trusted = |observed| trusted(observed, clock::START, window) == Some(observed);
    assert!(is_trusted(file(HOUR)));
    assert!(is_trusted(file(window + Duration::from_nanos(1))));
    assert!(!is_trusted(file(window)), "at the edge of the window");
    assert!(!is_trusted(file(MILLISECOND)));
    assert!(!is_trusted(file(Duration::ZERO)));
}

#[test]
fn for_an_mtime_in_the_future_the_ctime_decides() {
    let window = Duration::from_millis(50);
    let future = |changed: Duration| FileStat {
        size: 100,
        mtime_ns: clock::START.as_nanos() + 1,
        ctime_ns: clock::START.as_nanos() - nanos(changed),
        is_compressed: false,
    };
    let is_trusted = |observed| trusted(observed, clock::START, window) == Some(observed);
    assert!(is_trusted(future(HOUR)));
    assert!(!is_trusted(future(window)));
    assert!(!is_trusted(future(Duration::ZERO)));
}

/// Runs over a file with a legacy row from half an hour before the start time of the clock. Returns
/// the numbers of processed and skipped sessions.
fn check_legacy(age_before_processing: Option<i64>, is_same_content: bool) -> (u64, u64) {
    let dir = DataDir::new();
    dir.write(KEY, "{}\n");
    let processed_at = before(HOUR / 2);
    if let Some(millis) = age_before_processing {
        dir.set_mtime(KEY, UtcMicros(processed_at.0 - millis * 1000));
    }
    drop(TestPipeline::open(&dir, &[]));
    let hash = if is_same_content {
        "8a80554c91d9fca8acb82f023de02f11"
    } else {
        "00000000000000000000000000000000"
    };
    execute(
        &dir,
        &format!(
            "INSERT INTO session_processor_state (processor_name, session_file, username, processed_at, items_extracted, file_hash)
             VALUES ('{WELL_BEHAVED}', '{KEY}', 'ada', make_timestamp({}), 3, '{hash}')",
            processed_at.0
        ),
    );
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let stats = pipeline.run(WELL_BEHAVED).stats;
    assert_eq!(stats.scanned, stats.processed + stats.skipped);
    let again = pipeline.run(WELL_BEHAVED);
    assert_eq!(
        (again.stats.scanned, again.opens),
        (0, 0),
        "a second run does not read the session again"
    );
    (stats.processed, stats.skipped)
}

#[test]
fn a_run_applies_the_rule_of_the_legacy_system_to_legacy_rows() {
    assert_eq!(check_legacy(Some(30_000), true), (0, 0), "30 s older");
    assert_eq!(
        check_legacy(Some(1000), false),
        (0, 0),
        "1 s older, different content: the known gap"
    );
    assert_eq!(
        check_legacy(Some(10), false),
        (1, 0),
        "10 ms older, different content"
    );
    assert_eq!(
        check_legacy(Some(10), true),
        (0, 1),
        "10 ms older, same content"
    );
    assert_eq!(
        check_legacy(Some(0), false),
        (1, 0),
        "same time, different content"
    );
    assert_eq!(
        check_legacy(Some(0), true),
        (0, 1),
        "same time, same content"
    );
    assert_eq!(check_legacy(Some(-5000), false), (1, 0), "later");
}
