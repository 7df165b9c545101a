//! Runs that end early because of a cap or a time budget.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{DataDir, FinishedRun, TestPipeline, cases};
use session_pipeline_host::clock::Clock;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::run::{Progress, RunRequest};

use super::{KEY, MINUTE, capped, dir_with, summary, summary_and_opens};
use crate::database::rows;
use crate::guests::{WELL_BEHAVED, prepared_dir, well_behaved};

#[test]
fn a_capped_run_leaves_the_remaining_sessions_for_the_next_run() {
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
fn a_cap_that_is_not_reached_has_no_effect() {
    let keys: Vec<String> = (0..60)
        .map(|number| format!("ada/{number}.jsonl"))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for request in [RunRequest::cli(), capped(60), capped(1000)] {
        let dir = dir_with(&keys);
        let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
        let run = pipeline.run_as(WELL_BEHAVED, request);
        assert_eq!(summary(&run.stats), "scanned 60, processed 60, items 60");
    }
}

#[test]
fn a_run_with_a_cap_of_zero_opens_no_session() {
    let dir = dir_with(&[KEY]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let run = pipeline.run_as(WELL_BEHAVED, capped(0));
    assert_eq!(
        summary_and_opens(&run),
        ("scanned 1, capped 1".to_owned(), 0)
    );
}

#[test]
fn a_touched_session_does_not_count_toward_the_cap() {
    let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl"]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    dir.clock().advance(MINUTE);
    dir.touch("ada/1.jsonl");
    dir.append("ada/2.jsonl", "more\n");
    let run = pipeline.run_as(WELL_BEHAVED, capped(1));
    assert_eq!(
        summary(&run.stats),
        "scanned 2, processed 1, skipped 1, items 2"
    );
}

/// Runs with a time budget in seconds, on a clock that advances at each read. A single worker makes
/// the order of the reads deterministic.
fn run_with_budget(dir: &DataDir, seconds_per_read: u64, budget: Option<u64>) -> FinishedRun {
    let config = Config {
        workers: 1,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(dir, config, &[well_behaved()]);
    dir.clock()
        .advance_on_each_read(Duration::from_secs(seconds_per_read));
    let time_budget = budget.map(Duration::from_secs);
    let run = pipeline.run_as(
        WELL_BEHAVED,
        RunRequest {
            time_budget,
            ..RunRequest::cli()
        },
    );
    dir.clock().advance_on_each_read(Duration::ZERO);
    run
}

#[test]
fn a_run_that_exceeds_its_budget_keeps_its_results_and_ends_without_errors() {
    let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl", "ada/3.jsonl"]);
    // The run reads the clock at the start and before every session: at 0 s, 60 s and 120 s.
    let run = run_with_budget(&dir, 60, Some(100));
    assert_eq!(
        summary(&run.stats),
        "scanned 3, processed 1, capped 2, items 1"
    );
    let run = run_with_budget(&dir, 0, Some(100));
    assert_eq!(summary(&run.stats), "scanned 2, processed 2, items 2");
}

#[test]
fn a_budget_that_is_used_exactly_is_not_exceeded() {
    let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl"]);
    // The first session starts at 50 s, the second at 100 s.
    let run = run_with_budget(&dir, 50, Some(100));
    assert_eq!(summary(&run.stats), "scanned 2, processed 2, items 2");
}

#[test]
fn a_run_without_a_budget_has_no_time_limit() {
    let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl", "ada/3.jsonl"]);
    let run = run_with_budget(&dir, 100_000, None);
    assert_eq!(summary(&run.stats), "scanned 3, processed 3, items 3");
}

/// Advances the clock during the scan.
struct SlowScan<'a>(&'a DataDir, Duration);

impl Progress for SlowScan<'_> {
    fn planned(&self, _: u64, _: u64) {
        self.0.clock().advance(self.1);
    }
    fn advanced(&self, _: u64) {}
}

#[test]
fn the_time_budget_starts_after_the_scan() {
    let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl", "ada/3.jsonl"]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let request = RunRequest {
        time_budget: Some(Duration::from_secs(100)),
        ..RunRequest::cli()
    };
    let slow = SlowScan(&dir, Duration::from_secs(3600));
    let report = pipeline.pipeline().run(WELL_BEHAVED, &request, &slow);
    assert_eq!(
        summary(&report.unwrap().stats),
        "scanned 3, processed 3, items 3"
    );
}

#[test]
fn a_run_tries_at_least_one_session_even_without_time() {
    for workers in [1, 2] {
        let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl", "ada/3.jsonl"]);
        let config = Config {
            workers,
            ..dir.config()
        };
        let pipeline = TestPipeline::open_with(&dir, config, &[well_behaved()]);
        dir.clock().advance_on_each_read(Duration::from_secs(60));
        for remaining in [2, 1, 0] {
            let request = RunRequest {
                time_budget: Some(Duration::ZERO),
                ..RunRequest::cli()
            };
            let stats = pipeline.run_as(WELL_BEHAVED, request).stats;
            assert_eq!((stats.processed, stats.capped), (1, remaining));
        }
        dir.clock().advance_on_each_read(Duration::ZERO);
    }
}

#[test]
fn a_run_that_tried_none_of_the_due_sessions_is_recorded_as_failed() {
    let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl"]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let run = pipeline.run_as(WELL_BEHAVED, capped(0));
    assert!(!run.stats.is_ok());
    pipeline.run(WELL_BEHAVED);
    let run = pipeline.run_as(WELL_BEHAVED, capped(0));
    assert!(run.stats.is_ok(), "no session was due");
    drop(pipeline);
    let runs = "SELECT result, error FROM runs ORDER BY CAST(id AS INTEGER)";
    insta::assert_snapshot!(rows(&dir, runs).join("\n"), @r"
    failed | no session was attempted, although 2 are due: the run ended before the first one; raise its caps, and check what it waited for
    ok | -
    ok | -
    ");
}

#[test]
fn new_sessions_that_reach_the_cap_do_not_starve_a_session_that_grew() {
    let dir = dir_with(&["ada/old.jsonl"]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    let before = pipeline.state(WELL_BEHAVED, "ada/old.jsonl").unwrap();
    // The session grows before each run, and so does another one that was never tried.
    for run in 0..3 {
        dir.clock().advance(MINUTE);
        for number in 0..2 {
            dir.write(&format!("bob/{run}-{number}.jsonl"), "new\n");
        }
        dir.clock().advance(MINUTE);
        dir.append("ada/old.jsonl", "more\n");
        dir.write("cy/young.jsonl", "more\n".repeat(run + 1));
        let stats = pipeline.run_as(WELL_BEHAVED, capped(2)).stats;
        assert_eq!(stats.processed, 2, "run {run}");
    }
    let after = pipeline.state(WELL_BEHAVED, "ada/old.jsonl").unwrap();
    assert!(after.processed_at > before.processed_at, "{after:?}");
    assert!(pipeline.state(WELL_BEHAVED, "cy/young.jsonl").is_some());
}

#[test]
fn waits_are_deleted_once_no_session_is_left_over() {
    let dir = dir_with(&["ada/1.jsonl", "ada/2.jsonl", "ada/3.jsonl"]);
    let query = "SELECT session_file, since FROM session_waits ORDER BY ALL";
    let run = |request| {
        drop(TestPipeline::open(&dir, &[well_behaved()]).run_as(WELL_BEHAVED, request));
        let waits = rows(&dir, query);
        dir.clock().advance(MINUTE);
        waits
    };
    assert_eq!(
        run(capped(1)),
        [
            "ada/2.jsonl | 2100-01-01 00:00:00",
            "ada/3.jsonl | 2100-01-01 00:00:00"
        ]
    );
    assert_eq!(run(capped(1)), ["ada/3.jsonl | 2100-01-01 00:00:00"]);
    dir.delete("ada/3.jsonl");
    assert_eq!(run(RunRequest::cli()), [""; 0]);
}

proptest! {
    // Each case opens a pipeline and makes several runs.
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(2)))]

    /// No session is tried before one that has waited since an earlier run, even if sessions are
    /// created, grow or are marked between the runs.
    #[test]
    fn invariant_the_session_that_has_waited_longest_is_tried_first(
        cap in 1_u64..4,
        runs in vec((0_usize..5, vec(any::<prop::sample::Index>(), 0..3), any::<bool>()), 2..8),
    ) {
        let dir = prepared_dir();
        let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
        let mut keys: Vec<String> = Vec::new();
        // For each waiting session, the first run that did not reach it.
        let mut waiting_since: BTreeMap<String, usize> = BTreeMap::new();
        for (number, (new, grown, is_marked)) in runs.into_iter().enumerate() {
            dir.clock().advance(MINUTE);
            for new in 0..new {
                let key = format!("bob/{number}-{new}.jsonl");
                dir.write(&key, "new\n");
                keys.push(key);
            }
            for index in grown {
                if !keys.is_empty() {
                    let key = index.get(&keys);
                    dir.append(key, "more\n");
                }
            }
            if is_marked {
                pipeline.mark_due(WELL_BEHAVED);
            }
            dir.clock().advance(MINUTE);
            let now = dir.clock().now();
            let request = RunRequest { max_sessions: Some(cap), ..RunRequest::cli() };
            let stats = pipeline.run_as(WELL_BEHAVED, request).stats;
            let waits = pipeline.pipeline().store().session_waits(WELL_BEHAVED).unwrap();
            prop_assert_eq!(waits.len() as u64, stats.capped);
            let is_processed = |key: &String| {
                let state = pipeline.state(WELL_BEHAVED, key);
                state.is_some_and(|state| state.processed_at == Some(now))
            };
            let tried: Vec<usize> = keys
                .iter()
                .filter(|key| is_processed(key))
                .map(|key| waiting_since.remove(key).unwrap_or(number))
                .collect();
            prop_assert_eq!(tried.len() as u64, stats.processed);
            for key in waits.keys() {
                let since = *waiting_since.entry(key.clone()).or_insert(number);
                prop_assert!(tried.iter().all(|tried| *tried <= since), "{} has waited since {}", key, since);
            }
            waiting_since.retain(|key, _| waits.contains_key(key));
        }
    }
}
