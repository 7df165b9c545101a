//! Misbehaving guests leak no threads, descriptors or memory. Each test has its own process,
//! because these are resources of the process.

use std::time::Duration;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use session_pipeline_bundle::FAULTY;
use session_pipeline_harness::measure::Footprint;
use session_pipeline_harness::{DataDir, TestPipeline, cases, isolated};
use session_pipeline_host::limits::Limits;
use session_pipeline_pipeline::config::Config;

use super::generated::{ComponentStats, mutated_component, random_guest, run_component};
use super::{MISBEHAVE, QUIET, small};
use crate::guests::misbehaving;

/// Memory that allocators keep.
const SLACK_BYTES: u64 = 48 << 20;

#[track_caller]
fn assert_no_growth(before: Footprint, after: Footprint) {
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
fn misbehaving_guests_leak_no_threads_descriptors_or_memory() {
    if !isolated::run_in_child(
        "sandbox::footprint::misbehaving_guests_leak_no_threads_descriptors_or_memory",
    ) {
        return;
    }
    let dir = DataDir::new();
    let guests: Vec<_> = FAULTY
        .iter()
        .filter(|(variant, _)| !variant.starts_with("describe_"))
        .map(|(variant, _)| misbehaving(variant))
        .collect();
    let limits = Limits {
        fuel_base: 20_000_000,
        cpu_base: Duration::from_millis(100),
        ..small()
    };
    let mut footprints = Vec::new();
    // The first round compiles the guests and starts long-lived threads.
    for round in 0..4 {
        dir.write("ada/quiet.jsonl", format!("{QUIET}{round}\n"));
        dir.write("ada/misbehaving.jsonl", format!("{MISBEHAVE}{round}\n"));
        let config = Config {
            limits: limits.clone(),
            ..dir.config()
        };
        let pipeline = TestPipeline::open_with(&dir, config, &guests);
        for (name, _) in &guests {
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
    assert_no_growth(footprints[1], footprints[3]);
}

#[test]
fn random_components_leak_no_threads_descriptors_or_memory() {
    if !isolated::run_in_child(
        "sandbox::footprint::random_components_leak_no_threads_descriptors_or_memory",
    ) {
        return;
    }
    let mut runner = TestRunner::deterministic();
    let strategy = proptest::prop_oneof![mutated_component(), random_guest()];
    let mut stats = ComponentStats::default();
    let mut round = |runner: &mut TestRunner| {
        for _ in 0..cases() * 2 {
            let component = strategy.new_tree(runner).unwrap().current();
            run_component(&component, &mut stats).unwrap();
        }
        Footprint::now().unwrap()
    };
    let (before, after) = (round(&mut runner), round(&mut runner));
    println!("{stats:?}");
    assert_no_growth(before, after);
}
