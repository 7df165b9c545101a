//! Runs that end before all is done: by a cap, or by their time.

use std::time::Duration;

use session_pipeline_harness::{DataDir, Ran, TestPipeline};
use session_pipeline_runtime::config::Config;
use session_pipeline_runtime::run::RunRequest;

use super::{KEY, MINUTE, capped, check, dir_with, summary};
use crate::guests::{WELL_BEHAVED, well_behaved};

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
