//! What misbehaviour leaves behind in the process: nothing. Each test has a process of its own,
//! since threads and memory are everybody's.

use std::time::Duration;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use session_pipeline_bundle::FAULTY;
use session_pipeline_harness::measure::Footprint;
use session_pipeline_harness::{DataDir, TestPipeline, cases, isolated};
use session_pipeline_host::limits::Limits;
use session_pipeline_pipeline::config::Config;

use super::generated::{Tried, misled, mutated, try_out};
use super::{MISBEHAVE, QUIET, small};
use crate::guests::misbehaving;

/// What allocators keep for themselves.
const SLACK_BYTES: u64 = 48 << 20;

#[track_caller]
fn assert_no_more(before: Footprint, after: Footprint) {
    println!("{before:?}\n{after:?}");
    assert_eq!(
        (after.threads, after.descriptors),
        (before.threads, before.descriptors)
    );
    assert!(
        after.resident <= before.resident + SLACK_BYTES,
        "{before:?} grew to {after:?}"
    );
}

#[test]
fn misbehaviour_leaves_neither_threads_nor_descriptors_nor_memory() {
    if !isolated::run_in_child(
        "sandbox::footprint::misbehaviour_leaves_neither_threads_nor_descriptors_nor_memory",
    ) {
        return;
    }
    let dir = DataDir::new();
    let ways: Vec<_> = FAULTY
        .iter()
        .filter(|(way, _)| !way.starts_with("describe_"))
        .map(|(way, _)| misbehaving(way))
        .collect();
    let limits = Limits {
        fuel_base: 20_000_000,
        cpu_base: Duration::from_millis(100),
        ..small()
    };
    let mut footprints = Vec::new();
    // The first round compiles and starts what is there for good.
    for round in 0..4 {
        dir.write("ada/quiet.jsonl", format!("{QUIET}{round}\n"));
        dir.write("ada/misbehaving.jsonl", format!("{MISBEHAVE}{round}\n"));
        let config = Config {
            limits: limits.clone(),
            ..dir.config()
        };
        let pipeline = TestPipeline::open_with(&dir, config, &ways);
        for (name, _) in &ways {
            let stats = pipeline.run(name).stats;
            assert_eq!(
                stats.processed + stats.errors,
                2,
                "`{name}` in round {round}"
            );
            assert!(stats.processed >= 1, "`{name}` in round {round}");
        }
        drop(pipeline);
        footprints.push(Footprint::now().unwrap());
    }
    assert_no_more(footprints[1], footprints[3]);
}

#[test]
fn components_of_chance_leave_neither_threads_nor_descriptors_nor_memory() {
    if !isolated::run_in_child(
        "sandbox::footprint::components_of_chance_leave_neither_threads_nor_descriptors_nor_memory",
    ) {
        return;
    }
    let mut runner = TestRunner::deterministic();
    let strategy = proptest::prop_oneof![mutated(), misled()];
    let mut tried = Tried::default();
    let mut round = |runner: &mut TestRunner| {
        for _ in 0..cases() * 2 {
            let component = strategy.new_tree(runner).unwrap().current();
            try_out(&component, &mut tried).unwrap();
        }
        Footprint::now().unwrap()
    };
    let (before, after) = (round(&mut runner), round(&mut runner));
    println!("{tried:?}");
    assert_no_more(before, after);
}
