//! Runs from end to end: what is processed, what is left alone, and what is recorded of it.

use std::time::Duration;

use session_pipeline_harness::strategies::valid_transcript;
use session_pipeline_harness::{DataDir, Ran, Session, TestPipeline, cases, pipeline};
use session_pipeline_runtime::config::{Config, Limits};
use session_pipeline_runtime::fault::FaultKind;
use session_pipeline_runtime::run::{Progress, RunError, RunRequest, Stats};
use session_pipeline_runtime::store::{Actor, ClientKind, Trigger};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::database::{cell, execute, rows};
use crate::guests::{PANICS, POISON, WELL_BEHAVED, lines_of, panics, prepared_dir, well_behaved};

const KEY: &str = "ada/one.jsonl";
const MINUTE: Duration = Duration::from_secs(60);

/// The stats that are not zero, as a line.
fn summary(stats: &Stats) -> String {
    let counts = [
        ("scanned", stats.scanned),
        ("processed", stats.processed),
        ("skipped", stats.skipped),
        ("capped", stats.capped),
        ("errors", stats.errors),
        ("items", stats.items_extracted),
        ("waiting", stats.waiting),
        ("quarantined", stats.quarantined),
    ];
    counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a run did, and how many sessions it opened for that.
fn check(ran: &Ran) -> (String, u64) {
    (summary(&ran.stats), ran.opens)
}

/// A data dir with these sessions, of one line each.
fn dir_with(keys: &[&str]) -> DataDir {
    let dir = DataDir::new();
    for key in keys {
        dir.write(key, format!("{{\"in\":\"{key}\"}}\n"));
    }
    dir
}

fn capped(max_sessions: u64) -> RunRequest {
    RunRequest {
        max_sessions: Some(max_sessions),
        ..RunRequest::cli()
    }
}

#[test]
fn a_run_keeps_the_rows_and_the_state_of_every_session() {
    let dir = DataDir::new();
    dir.write(KEY, "one\ntwo\n");
    dir.write("bob/b/subagents/agent-1.jsonl", "three");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(
        check(&pipeline.run(WELL_BEHAVED)),
        ("scanned 2, processed 2, items 3".to_owned(), 2)
    );
    drop(pipeline);
    insta::assert_snapshot!(rows(&dir, &lines_of(WELL_BEHAVED)).join("\n"), @r"
    ada/one.jsonl | 1 | one
    ada/one.jsonl | 2 | two
    bob/b/subagents/agent-1.jsonl | 1 | three
    ");
    let state = "SELECT session_file, username, processed_at, items_extracted, file_hash, file_size, session_seq > 0, due, missing_since
        FROM session_processor_state ORDER BY ALL";
    insta::assert_snapshot!(rows(&dir, state).join("\n"), @r"
    ada/one.jsonl | ada | 2100-01-01 00:00:00 | 2 | 2094b601daac3d68f5aed51d3c20f7cd | 8 | true | - | -
    bob/b/subagents/agent-1.jsonl | bob | 2100-01-01 00:00:00 | 1 | 35d6d33467aae9a2e3dccb4b6b027878 | 5 | true | - | -
    ");
}

#[test]
fn a_second_run_opens_no_file() {
    let dir = dir_with(&[KEY, "bob/one.jsonl"]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).opens, 2);
    assert_eq!(check(&pipeline.run(WELL_BEHAVED)), (String::new(), 0));
    drop(pipeline);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(
        check(&pipeline.run(WELL_BEHAVED)),
        (String::new(), 0),
        "nor after a restart"
    );
}

#[test]
fn a_line_more_brings_that_session_again_and_replaces_its_rows() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.write("bob/other.jsonl", "other\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    let first = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    dir.clock().advance(MINUTE);
    dir.append(KEY, "two\n");
    assert_eq!(
        check(&pipeline.run(WELL_BEHAVED)),
        ("scanned 1, processed 1, items 2".to_owned(), 1)
    );
    let second = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    assert!(
        second.session_seq > first.session_seq,
        "a new, higher number"
    );
    assert_eq!(
        second.processed_at,
        first.processed_at.map(|at| at.plus(MINUTE))
    );
    drop(pipeline);
    insta::assert_snapshot!(rows(&dir, &lines_of(WELL_BEHAVED)).join("\n"), @r"
    ada/one.jsonl | 1 | one
    ada/one.jsonl | 2 | two
    bob/other.jsonl | 1 | other
    ");
}

#[test]
fn a_torn_last_line_is_read_again_when_it_is_whole() {
    let dir = DataDir::new();
    dir.write(
        KEY,
        Session::new("s1").user("fix it").torn("{\"type\":\"us"),
    );
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.items_extracted, 2);
    dir.append(KEY, "er\"}\n");
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.items_extracted, 2);
    drop(pipeline);
    assert_eq!(
        rows(
            &dir,
            &format!("SELECT text FROM \"{WELL_BEHAVED}\".lines WHERE line = 2")
        ),
        ["{\"type\":\"user\"}"]
    );
}

/// Appends to the session once it was read, before the run is over.
struct Writer<'d>(&'d DataDir);

impl Progress for Writer<'_> {
    fn planned(&self, _: u64, _: u64) {}

    fn advanced(&self, _: u64) {
        self.0.append(KEY, "more\n");
    }
}

#[test]
fn what_is_appended_while_a_run_is_at_work_is_seen_by_the_next_one() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let first = pipeline
        .pipeline()
        .run(WELL_BEHAVED, &RunRequest::cli(), &Writer(&dir))
        .unwrap();
    assert_eq!(summary(&first.stats), "scanned 1, processed 1, items 1");
    let second = pipeline.run(WELL_BEHAVED).stats;
    assert_eq!(summary(&second), "scanned 1, processed 1, items 2");
    drop(pipeline);
    assert_eq!(rows(&dir, &lines_of(WELL_BEHAVED)).len(), 2);
}

#[test]
fn a_touched_session_is_hashed_once_and_its_processing_time_stands() {
    let dir = dir_with(&[KEY]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    let before = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    dir.clock().advance(MINUTE);
    dir.touch(KEY);
    assert_eq!(
        check(&pipeline.run(WELL_BEHAVED)),
        ("scanned 1, skipped 1".to_owned(), 1)
    );
    assert_eq!(check(&pipeline.run(WELL_BEHAVED)), (String::new(), 0));
    let after = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    assert_eq!(
        (after.processed_at, after.session_seq),
        (before.processed_at, before.session_seq)
    );
}

#[test]
fn a_session_changed_just_now_is_hashed_again_until_its_times_can_be_trusted() {
    let dir = dir_with(&[KEY]);
    dir.set_age(KEY, Duration::from_millis(10));
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    assert_eq!(pipeline.state(WELL_BEHAVED, KEY).unwrap().observed, None);
    assert_eq!(
        summary(&pipeline.run(WELL_BEHAVED).stats),
        "scanned 1, skipped 1"
    );
    dir.clock().advance(MINUTE);
    assert_eq!(
        summary(&pipeline.run(WELL_BEHAVED).stats),
        "scanned 1, skipped 1"
    );
    assert_eq!(check(&pipeline.run(WELL_BEHAVED)), (String::new(), 0));
}

#[test]
fn a_rewrite_of_the_same_size_within_the_window_is_noticed() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.set_age(KEY, Duration::ZERO);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    let mtime = std::fs::metadata(dir.session_path(KEY))
        .unwrap()
        .modified()
        .unwrap();
    dir.write(KEY, "two\n");
    std::fs::File::open(dir.session_path(KEY))
        .unwrap()
        .set_modified(mtime)
        .unwrap();
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of(WELL_BEHAVED)),
        ["ada/one.jsonl | 1 | two"]
    );
}

#[test]
fn a_clock_that_goes_back_and_files_of_the_future_harm_nobody() {
    let dir = dir_with(&[KEY, "bob/one.jsonl"]);
    dir.set_ahead(KEY, 1000 * MINUTE);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 2);
    assert_eq!(check(&pipeline.run(WELL_BEHAVED)), (String::new(), 0));
    let now = session_pipeline_harness::clock::START;
    dir.clock().set(session_pipeline_runtime::clock::UtcMicros(
        now.0 - 3_600_000_000,
    ));
    assert_eq!(check(&pipeline.run(WELL_BEHAVED)), (String::new(), 0));
    dir.append(KEY, "more\n");
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
}

#[test]
fn an_empty_session_is_processed_once() {
    let dir = DataDir::new();
    dir.write(KEY, "");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(
        check(&pipeline.run(WELL_BEHAVED)),
        ("scanned 1, processed 1".to_owned(), 1)
    );
    assert_eq!(check(&pipeline.run(WELL_BEHAVED)), (String::new(), 0));
}

#[test]
fn a_session_cut_to_nothing_and_grown_again_is_what_it_is_now() {
    let dir = DataDir::new();
    dir.write(KEY, "one\ntwo\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    dir.write(KEY, "");
    assert_eq!(
        summary(&pipeline.run(WELL_BEHAVED).stats),
        "scanned 1, processed 1"
    );
    dir.write(KEY, "three\n");
    pipeline.run(WELL_BEHAVED);
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of(WELL_BEHAVED)),
        ["ada/one.jsonl | 1 | three"]
    );
}

#[test]
fn a_cap_leaves_the_rest_for_the_next_run() {
    let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl", "ada/3.jsonl"]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let first = pipeline.run_as(WELL_BEHAVED, capped(2));
    assert_eq!(
        summary(&first.stats),
        "scanned 3, processed 2, capped 1, items 2"
    );
    let second = pipeline.run_as(WELL_BEHAVED, capped(2));
    assert_eq!(summary(&second.stats), "scanned 1, processed 1, items 1");
}

#[test]
fn no_cap_and_a_cap_that_is_not_reached_are_the_same() {
    let keys: Vec<String> = (0..60)
        .map(|number| format!("ada/{number}.jsonl"))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for request in [RunRequest::cli(), capped(60), capped(1000)] {
        let dir = dir_with(&keys);
        let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
        let ran = pipeline.run_as(WELL_BEHAVED, request);
        assert_eq!(summary(&ran.stats), "scanned 60, processed 60, items 60");
    }
}

#[test]
fn a_cap_of_nothing_does_nothing() {
    let dir = dir_with(&[KEY]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let ran = pipeline.run_as(WELL_BEHAVED, capped(0));
    assert_eq!(check(&ran), ("scanned 1, capped 1".to_owned(), 0));
}

#[test]
fn a_touched_session_does_not_use_up_the_cap() {
    let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl"]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    dir.clock().advance(MINUTE);
    dir.touch("ada/1.jsonl");
    dir.append("ada/2.jsonl", "more\n");
    let ran = pipeline.run_as(WELL_BEHAVED, capped(1));
    assert_eq!(
        summary(&ran.stats),
        "scanned 2, processed 1, skipped 1, items 2"
    );
}

/// A run with a budget of 100 s, on a clock that moves by so much at each look at it. One worker,
/// so that the looks come one after the other.
fn run_with_budget(dir: &DataDir, seconds_per_look: u64, budget: Option<u64>) -> Ran {
    let config = Config {
        workers: 1,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(dir, config, &[well_behaved()]);
    dir.clock()
        .advance_at_each_look(Duration::from_secs(seconds_per_look));
    let time_budget = budget.map(Duration::from_secs);
    let ran = pipeline.run_as(
        WELL_BEHAVED,
        RunRequest {
            time_budget,
            ..RunRequest::cli()
        },
    );
    dir.clock().advance_at_each_look(Duration::ZERO);
    ran
}

#[test]
fn a_run_out_of_time_keeps_what_it_did_and_leaves_the_rest_without_an_error() {
    let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl", "ada/3.jsonl"]);
    // The run looks when it begins and before every session: at 0 s, 60 s, 120 s.
    let ran = run_with_budget(&dir, 60, Some(100));
    assert_eq!(
        summary(&ran.stats),
        "scanned 3, processed 1, capped 2, items 1"
    );
    let ran = run_with_budget(&dir, 0, Some(100));
    assert_eq!(summary(&ran.stats), "scanned 2, processed 2, items 2");
}

#[test]
fn a_budget_that_is_just_used_up_is_not_exceeded() {
    let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl"]);
    // At 50 s the first, at 100 s the second.
    let ran = run_with_budget(&dir, 50, Some(100));
    assert_eq!(summary(&ran.stats), "scanned 2, processed 2, items 2");
}

#[test]
fn without_a_budget_a_run_takes_the_time_it_needs() {
    let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl", "ada/3.jsonl"]);
    let ran = run_with_budget(&dir, 100_000, None);
    assert_eq!(summary(&ran.stats), "scanned 3, processed 3, items 3");
}

#[test]
fn a_poison_session_costs_one_attempt_and_the_others_are_processed() {
    let dir = dir_with(&["ada/1.jsonl", "ada/3.jsonl"]);
    dir.write("ada/2.jsonl", format!("fine\n{POISON}\n"));
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    let ran = pipeline.run(PANICS);
    assert_eq!(
        summary(&ran.stats),
        "scanned 3, processed 2, errors 1, items 2"
    );
    let error = &ran.stats.errors_detail[0];
    assert_eq!(
        (error.session.as_str(), error.fault.as_str()),
        ("ada/2.jsonl", "panic")
    );
    assert!(
        error.error.contains("the guest panicked on purpose"),
        "{}",
        error.error
    );

    let failure = pipeline.failure(PANICS, "ada/2.jsonl").unwrap();
    assert_eq!(failure.fault.kind, FaultKind::Panic);
    assert_eq!(failure.failures.attempts, 1);
    assert_eq!(pipeline.state(PANICS, "ada/2.jsonl"), None);
    drop(pipeline);
    assert_eq!(
        rows(
            &dir,
            &format!("SELECT DISTINCT session_file FROM \"{PANICS}\".lines ORDER BY 1")
        ),
        ["ada/1.jsonl", "ada/3.jsonl"],
        "what it recorded before it failed is not kept"
    );
}

#[test]
fn a_failed_attempt_uses_up_the_cap_and_the_next_run_begins_with_others() {
    let dir = DataDir::new();
    dir.write("ada/1.jsonl", POISON);
    dir.write("ada/2.jsonl", "fine\n");
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    let first = pipeline.run_as(PANICS, capped(1));
    assert_eq!(summary(&first.stats), "scanned 2, capped 1, errors 1");
    dir.clock().advance(MINUTE);
    let second = pipeline.run_as(PANICS, capped(1));
    assert_eq!(
        summary(&second.stats),
        "scanned 2, processed 1, capped 1, items 1"
    );
}

#[test]
fn what_an_earlier_content_wrote_stays_while_the_present_one_fails() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    let before = pipeline.state(PANICS, KEY);
    dir.append(KEY, format!("{POISON}\n"));
    assert_eq!(summary(&pipeline.run(PANICS).stats), "scanned 1, errors 1");
    assert_eq!(pipeline.state(PANICS, KEY), before);
    drop(pipeline);
    assert_eq!(rows(&dir, &lines_of(PANICS)), ["ada/one.jsonl | 1 | one"]);
}

#[test]
fn a_failing_session_waits_longer_each_time_and_ends_in_quarantine() {
    let dir = DataDir::new();
    dir.write(KEY, POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    let mut story = Vec::new();
    for minutes in [0, 10, 10, 10, 20, 20, 40, 80, 10_000] {
        dir.clock().advance(minutes * MINUTE);
        let ran = pipeline.run_scheduled(PANICS);
        story.push(format!(
            "{minutes:>5} minutes later: {}",
            summary(&ran.stats)
        ));
    }
    insta::assert_snapshot!(story.join("\n"), @r"
        0 minutes later: scanned 1, errors 1
       10 minutes later: scanned 1, errors 1
       10 minutes later: waiting 1
       10 minutes later: scanned 1, errors 1
       20 minutes later: waiting 1
       20 minutes later: scanned 1, errors 1
       40 minutes later: waiting 1
       80 minutes later: scanned 1, errors 1
    10000 minutes later: quarantined 1
    ");
    let ran = pipeline.run(PANICS);
    assert_eq!(
        check(&ran),
        ("quarantined 1".to_owned(), 0),
        "a person neither"
    );
}

/// A session that failed until it was put in quarantine.
fn quarantined() -> (DataDir, TestPipeline) {
    let dir = DataDir::new();
    dir.write(KEY, format!("{POISON}\n"));
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    for attempt in 1..=5 {
        assert_eq!(
            summary(&pipeline.run(PANICS).stats),
            "scanned 1, errors 1",
            "attempt {attempt}"
        );
    }
    (dir, pipeline)
}

#[test]
fn a_touch_does_not_lead_out_of_quarantine_and_is_looked_at_once() {
    let (dir, pipeline) = quarantined();
    dir.clock().advance(MINUTE);
    dir.touch(KEY);
    assert_eq!(
        check(&pipeline.run(PANICS)),
        ("quarantined 1".to_owned(), 1)
    );
    assert_eq!(
        check(&pipeline.run(PANICS)),
        ("quarantined 1".to_owned(), 0)
    );
    assert_eq!(pipeline.failure(PANICS, KEY).unwrap().failures.attempts, 5);
    drop(pipeline);
    assert_eq!(
        cell(&dir, "SELECT count(*) FROM session_costs"),
        "5",
        "what is not tried costs nothing"
    );
}

#[test]
fn another_content_leads_out_of_quarantine_and_success_forgets_the_failures() {
    let (dir, pipeline) = quarantined();
    // Of the same size, so only the hash tells.
    dir.write(KEY, "misbehavf\n");
    assert_eq!(
        summary(&pipeline.run(PANICS).stats),
        "scanned 1, processed 1, items 1"
    );
    assert_eq!(pipeline.failure(PANICS, KEY), None);
    dir.write(KEY, format!("{POISON}\n"));
    assert_eq!(summary(&pipeline.run(PANICS).stats), "scanned 1, errors 1");
    assert_eq!(
        pipeline.failure(PANICS, KEY).unwrap().failures.attempts,
        1,
        "a new count"
    );
}

#[test]
fn a_content_that_is_back_is_not_processed_again_and_the_failure_in_between_is_over() {
    let dir = DataDir::new();
    dir.write(KEY, "misbehavf\n");
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    // Two failures in between, so that the session waits.
    dir.write(KEY, format!("{POISON}\n"));
    pipeline.run(PANICS);
    pipeline.run(PANICS);
    dir.write(KEY, "misbehavf\n");
    assert_eq!(
        summary(&pipeline.run_scheduled(PANICS).stats),
        "scanned 1, skipped 1"
    );
    assert_eq!(pipeline.failure(PANICS, KEY), None);
    assert_eq!(check(&pipeline.run(PANICS)), (String::new(), 0));
}

#[test]
fn a_session_too_large_is_refused_by_its_length_and_never_quarantined() {
    let dir = DataDir::new();
    dir.write(KEY, "0123456789\n");
    dir.write("bob/small.jsonl", "0\n");
    let limits = Limits {
        session_bytes_max: 10,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &[well_behaved()]);
    for _ in 0..7 {
        let stats = pipeline.run(WELL_BEHAVED).stats;
        assert_eq!((stats.errors, stats.quarantined), (1, 0));
        assert_eq!(
            stats.errors_detail[0].error,
            "too-large: the session has 11 bytes; 10 are allowed"
        );
    }
    assert!(pipeline.state(WELL_BEHAVED, "bob/small.jsonl").is_some());
}

#[test]
fn a_vanished_session_keeps_its_rows_and_goes_on_when_it_is_back() {
    let dir = dir_with(&[KEY, "bob/one.jsonl"]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    let before = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    dir.rename(KEY, "ada/.aside");
    assert_eq!(check(&pipeline.run(WELL_BEHAVED)), (String::new(), 0));
    let gone = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    assert!(gone.is_missing);
    assert_eq!(
        (gone.hash, gone.session_seq),
        (before.hash, before.session_seq)
    );

    dir.rename("ada/.aside", KEY);
    let back = pipeline.run(WELL_BEHAVED).stats;
    assert_eq!(
        (back.processed, back.errors),
        (0, 0),
        "its content is known"
    );
    let again = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    assert!(!again.is_missing);
    drop(pipeline);
    assert_eq!(rows(&dir, &lines_of(WELL_BEHAVED)).len(), 2);
}

#[test]
fn a_session_that_is_back_is_not_missing_even_if_it_fails_now() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.write("bob/one.jsonl", "one\n");
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    dir.delete(KEY);
    pipeline.run(PANICS);
    assert!(pipeline.state(PANICS, KEY).unwrap().is_missing);
    dir.write(KEY, POISON);
    assert_eq!(summary(&pipeline.run(PANICS).stats), "scanned 1, errors 1");
    assert!(!pipeline.state(PANICS, KEY).unwrap().is_missing);
}

#[test]
fn a_renamed_session_is_a_new_one_beside_the_old_one() {
    let dir = dir_with(&[KEY]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    dir.rename(KEY, "ada/two.jsonl");
    assert_eq!(
        summary(&pipeline.run(WELL_BEHAVED).stats),
        "scanned 1, processed 1, items 1"
    );
    assert!(pipeline.state(WELL_BEHAVED, KEY).unwrap().is_missing);
    assert!(
        !pipeline
            .state(WELL_BEHAVED, "ada/two.jsonl")
            .unwrap()
            .is_missing
    );
}

#[test]
fn an_empty_or_absent_root_is_reported_and_is_no_deletion() {
    let dir = dir_with(&[KEY]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).notes, []);

    dir.delete(KEY);
    let ran = pipeline.run(WELL_BEHAVED);
    assert_eq!(check(&ran), (String::new(), 0));
    assert_eq!(
        ran.notes[0].reason,
        "no session is there any more, and all that are known are kept; check the path"
    );
    assert!(!pipeline.state(WELL_BEHAVED, KEY).unwrap().is_missing);

    std::fs::remove_dir_all(dir.sessions_root()).unwrap();
    let ran = pipeline.run(WELL_BEHAVED);
    assert_eq!(check(&ran), (String::new(), 0));
    assert_eq!(
        ran.notes[0].reason,
        "there is no such folder, so there are no sessions; check the path"
    );
    assert!(!pipeline.state(WELL_BEHAVED, KEY).unwrap().is_missing);
}

#[test]
fn a_new_data_dir_without_sessions_is_nothing_to_complain_about() {
    let dir = DataDir::new();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let ran = pipeline.run(WELL_BEHAVED);
    assert_eq!((check(&ran), ran.notes), ((String::new(), 0), Vec::new()));
}

#[test]
fn a_file_where_the_root_should_be_is_an_error_and_the_run_is_not_recorded_as_done() {
    let dir = DataDir::without_sessions_root();
    std::fs::write(dir.sessions_root(), "").unwrap();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let error = pipeline
        .try_run_as(WELL_BEHAVED, RunRequest::cli())
        .unwrap_err();
    assert!(matches!(error, RunError::Sessions { .. }), "{error}");
}

#[test]
fn a_legacy_row_has_its_rows_replaced_by_the_name_of_the_file() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    drop(TestPipeline::open(&dir, &[well_behaved()]).run(WELL_BEHAVED));
    // As if another program had put row and state in: no number joins them.
    execute(
        &dir,
        "UPDATE session_processor_state SET session_seq = NULL, component_digest = NULL, file_size = NULL,
             file_mtime_ns = NULL, file_ctime_ns = NULL, processed_at = TIMESTAMP '2026-01-01 00:00:00'",
    );
    dir.write(KEY, "two\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of(WELL_BEHAVED)),
        ["ada/one.jsonl | 1 | two"]
    );
}

#[test]
fn a_higher_version_processes_every_session_again_once() {
    let dir = dir_with(&[KEY, "bob/one.jsonl"]);
    drop(TestPipeline::open(&dir, &[well_behaved()]).run(WELL_BEHAVED));
    // As if a component of a lower version had written them.
    execute(
        &dir,
        &format!(
            "INSERT INTO components VALUES ('earlier', '{WELL_BEHAVED}', 0, NULL, TIMESTAMP '2026-01-01 00:00:00');
             UPDATE session_processor_state SET component_digest = 'earlier'"
        ),
    );
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 2);
    assert_eq!(check(&pipeline.run(WELL_BEHAVED)), (String::new(), 0));
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of(WELL_BEHAVED)).len(),
        2,
        "replaced, not appended"
    );
}

#[test]
fn a_lower_version_than_the_one_before_is_refused() {
    let dir = dir_with(&[KEY]);
    drop(TestPipeline::open(&dir, &[well_behaved()]).run(WELL_BEHAVED));
    execute(
        &dir,
        &format!(
            "INSERT INTO components VALUES ('later', '{WELL_BEHAVED}', 2, NULL, TIMESTAMP '2026-01-01 00:00:00')"
        ),
    );
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let error = pipeline
        .try_run_as(WELL_BEHAVED, RunRequest::cli())
        .unwrap_err();
    insta::assert_snapshot!(error, @"the processor `faulty-well-behaved` is unavailable: component: its version 1 is lower than 2, which ran here before; use the newer component, or set `allow_lower_version = true` in `[processors.faulty-well-behaved]`");
}

#[test]
fn an_unknown_processor_is_named_with_those_that_are_known() {
    let dir = DataDir::new();
    let pipeline = TestPipeline::open(&dir, &[well_behaved(), panics()]);
    let error = pipeline
        .try_run_as("nobody", RunRequest::cli())
        .unwrap_err();
    insta::assert_snapshot!(error, @"Unknown processor `nobody`; known are: faulty-panics, faulty-well-behaved, verification");
    drop(pipeline);
    assert_eq!(cell(&dir, "SELECT count(*) FROM runs"), "0");
    assert_eq!(cell(&dir, "SELECT count(*) FROM audit_log"), "0");
}

#[test]
fn two_processors_do_not_see_each_other() {
    let dir = dir_with(&[KEY]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved(), panics()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    assert_eq!(pipeline.state(PANICS, KEY), None);
    assert_eq!(pipeline.run(PANICS).stats.processed, 1);
    dir.write(KEY, POISON);
    assert_eq!(summary(&pipeline.run(PANICS).stats), "scanned 1, errors 1");
    assert_eq!(pipeline.failure(WELL_BEHAVED, KEY), None);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
}

#[test]
fn every_run_leaves_a_row_and_an_audit_row() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.write("ada/two.jsonl", POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    dir.clock().advance_at_each_look(Duration::from_millis(250));
    pipeline.run(PANICS);
    dir.clock().advance_at_each_look(Duration::ZERO);
    dir.clock().advance(MINUTE);
    dir.delete("ada/two.jsonl");
    pipeline.run_scheduled(PANICS);
    let http = RunRequest {
        is_started_by_person: true,
        ..RunRequest::service(
            pipeline.pipeline().config(),
            Trigger::Http,
            Actor {
                user_id: Some("user-1".to_owned()),
                client_kind: ClientKind::Web,
                client_ip: None,
            },
        )
    };
    pipeline.run_as(PANICS, http);
    drop(pipeline);
    let runs = "SELECT id, processor_name, trigger, started_at, finished_at, result, error FROM runs ORDER BY CAST(id AS INTEGER)";
    insta::assert_snapshot!(rows(&dir, runs).join("\n"), @r"
    1 | faulty-panics | cli | 2100-01-01 00:00:00 | 2100-01-01 00:00:00 | failed | -
    2 | faulty-panics | scheduler | 2100-01-01 00:01:00 | 2100-01-01 00:01:00 | ok | -
    3 | faulty-panics | http | 2100-01-01 00:01:00 | 2100-01-01 00:01:00 | ok | -
    ");
    let audit = "SELECT action, resource, result, client_kind, correlation_id, user_id, params FROM audit_log ORDER BY CAST(id AS INTEGER)";
    insta::assert_snapshot!(rows(&dir, audit).join("\n"), @r#"
    run_session_processor:faulty-panics | job:session-processor:faulty-panics | failed | cli | 1 | - | {"capped":0,"errors":1,"items_extracted":1,"processed":1,"processor":"faulty-panics","scanned":2,"skipped":0}
    run_session_processor:faulty-panics | job:session-processor:faulty-panics | ok | scheduler | 2 | - | {"capped":0,"errors":0,"items_extracted":0,"processed":0,"processor":"faulty-panics","scanned":0,"skipped":0}
    run_session_processor:faulty-panics | job:session-processor:faulty-panics | ok | web | 3 | user-1 | {"capped":0,"errors":0,"items_extracted":0,"processed":0,"processor":"faulty-panics","scanned":0,"skipped":0}
    "#);
    let durations = rows(
        &dir,
        "SELECT duration_ms FROM audit_log ORDER BY CAST(id AS INTEGER)",
    );
    assert_ne!(durations[0], "0");
    assert_eq!(durations[1..], ["0", "0"]);
}

#[test]
fn a_run_with_nothing_new_changes_no_row_but_its_own() {
    let dir = dir_with(&[KEY, "bob/one.jsonl"]);
    dir.write("ada/poison.jsonl", POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    for _ in 0..5 {
        pipeline.run(PANICS);
    }
    drop(pipeline);
    let everything = |dir: &DataDir| {
        let tables = [
            "session_processor_state",
            "session_failures",
            "session_costs",
            "components",
            "\"faulty-panics\".lines",
        ];
        tables.map(|table| rows(dir, &format!("SELECT * FROM {table} ORDER BY ALL")))
    };
    let before = everything(&dir);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    dir.clock().advance(100 * MINUTE);
    assert_eq!(
        check(&pipeline.run(PANICS)),
        ("quarantined 1".to_owned(), 0)
    );
    drop(pipeline);
    assert_eq!(everything(&dir), before);
}

#[test]
fn runs_that_a_dead_process_left_open_are_closed_as_interrupted() {
    let dir = DataDir::new();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let store = pipeline.pipeline().store();
    let now = session_pipeline_harness::clock::START;
    store
        .begin_run(WELL_BEHAVED, Trigger::Scheduler, now)
        .unwrap();
    store.begin_run("usage", Trigger::Cli, now).unwrap();
    drop(pipeline);
    dir.clock().advance(MINUTE);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.pipeline().store().opened().interrupted_runs, 2);
    pipeline.run(WELL_BEHAVED);
    drop(pipeline);
    let runs = "SELECT id, processor_name, result, finished_at, error FROM runs ORDER BY CAST(id AS INTEGER)";
    insta::assert_snapshot!(rows(&dir, runs).join("\n"), @r"
    1 | faulty-well-behaved | interrupted | 2100-01-01 00:01:00 | the process ended before the run did
    2 | usage | interrupted | 2100-01-01 00:01:00 | the process ended before the run did
    3 | faulty-well-behaved | ok | 2100-01-01 00:01:00 | -
    ");
    let audit =
        "SELECT result, client_kind, correlation_id FROM audit_log ORDER BY CAST(id AS INTEGER)";
    assert_eq!(
        rows(&dir, audit),
        [
            "interrupted | scheduler | 1",
            "interrupted | cli | 2",
            "ok | cli | 3"
        ]
    );
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(
        pipeline.pipeline().store().opened().interrupted_runs,
        0,
        "they are closed once"
    );
}

#[test]
fn fuel_memory_and_bytes_are_kept_for_every_attempt() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.write("ada/two.jsonl", POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    let stats = pipeline.run(PANICS).stats;
    assert_eq!(stats.bytes, 4 + POISON.len() as u64);
    assert!(stats.fuel > 0);
    drop(pipeline);
    let costs = "SELECT session_file, run_id, bytes, fuel > 0, peak_memory > 0 FROM session_costs ORDER BY ALL";
    assert_eq!(
        rows(&dir, costs),
        [
            "ada/one.jsonl | 1 | 4 | true | true",
            "ada/two.jsonl | 1 | 9 | true | true"
        ]
    );
    assert_eq!(
        cell(&dir, "SELECT sum(fuel) FROM session_costs"),
        stats.fuel.to_string()
    );
}

#[test]
fn errors_beyond_a_hundred_are_counted_and_not_listed() {
    let dir = DataDir::new();
    for number in 0..101 {
        dir.write(&format!("ada/{number}.jsonl"), POISON);
    }
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    let stats = pipeline.run(PANICS).stats;
    assert_eq!((stats.errors, stats.errors_detail.len()), (101, 100));
}

#[test]
fn a_processor_runs_once_at_a_time_and_the_lock_is_given_back() {
    use session_pipeline_runtime::run::Progress;
    /// Starts the same run from within a run.
    struct Impatient<'a>(&'a TestPipeline, std::sync::Mutex<Option<RunError>>);
    impl Progress for Impatient<'_> {
        fn planned(&self, _: u64, _: u64) {
            let again = self.0.try_run_as(WELL_BEHAVED, RunRequest::cli());
            *self.1.lock().unwrap() = again.err();
        }
        fn advanced(&self, _: u64) {}
    }
    let dir = dir_with(&[KEY]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let impatient = Impatient(&pipeline, std::sync::Mutex::default());
    pipeline
        .pipeline()
        .run(WELL_BEHAVED, &RunRequest::cli(), &impatient)
        .unwrap();
    let refused = impatient.1.into_inner().unwrap().unwrap();
    insta::assert_snapshot!(refused, @"the processor `faulty-well-behaved` is already running; wait for it to end");
    pipeline.run(WELL_BEHAVED);
    drop(pipeline);
    assert_eq!(
        cell(&dir, "SELECT count(*) FROM runs"),
        "2",
        "the refused one leaves no row"
    );
}

#[test]
fn the_scheduler_and_the_command_line_see_the_same_candidates_but_for_those_that_wait() {
    let dir = DataDir::new();
    dir.write(KEY, POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    pipeline.run(PANICS);
    assert_eq!(
        check(&pipeline.run_scheduled(PANICS)),
        ("waiting 1".to_owned(), 0)
    );
    assert_eq!(
        summary(&pipeline.run_as(PANICS, pipeline::scheduled()).stats),
        "waiting 1"
    );
    assert_eq!(summary(&pipeline.run(PANICS).stats), "scanned 1, errors 1");
}

/// All that a run leaves but the numbers that the order gives.
fn left_behind(dir: &DataDir) -> Vec<Vec<String>> {
    let state = "SELECT session_file, username, processed_at, items_extracted, file_hash, file_size, file_mtime_ns
        FROM session_processor_state ORDER BY ALL";
    let failures = "SELECT session_file, file_hash, attempts, fault, detail FROM session_failures ORDER BY ALL";
    let costs = "SELECT session_file, bytes, fuel, peak_memory FROM session_costs ORDER BY ALL";
    vec![
        rows(dir, &lines_of(PANICS)),
        rows(dir, state),
        rows(dir, failures),
        rows(dir, costs),
    ]
}

proptest! {
    // Each case is two pipelines of several sessions.
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(2)))]

    #[test]
    fn invariant_the_order_of_independent_sessions_does_not_matter(
        sessions in vec((valid_transcript(), any::<bool>()), 1..8),
    ) {
        let run = |workers, sessions_max| {
            let dir = prepared_dir();
            for (number, (bytes, is_poison)) in sessions.iter().enumerate() {
                let key = format!("user-{}/{number}.jsonl", number % 3);
                dir.write(&key, bytes);
                if *is_poison {
                    dir.append(&key, POISON);
                }
            }
            let mut config = Config { workers, ..dir.config() };
            config.group.sessions_max = sessions_max;
            let pipeline = TestPipeline::open_with(&dir, config, &[panics()]);
            let stats = pipeline.run(PANICS).stats;
            drop(pipeline);
            (summary(&stats), left_behind(&dir))
        };
        let alone = run(1, 1);
        let together = run(2, 100);
        prop_assert_eq!(alone, together);
    }
}
