//! Asking for sessions to be processed again: what is marked, and that nothing is lost or doubled.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::strategies::valid_transcript;
use session_pipeline_harness::{DataDir, TestPipeline, cases};
use session_pipeline_pipeline::reprocess::{ReprocessError, ReprocessReport, reprocess};
use session_pipeline_pipeline::run::{Progress, RunRequest};
use session_pipeline_store::{Actor, AuditedAction};

use crate::database::{cell, execute, rows};
use crate::guests::{PANICS, POISON, WELL_BEHAVED, lines_of, panics, prepared_dir, well_behaved};

const KEY: &str = "ada/one.jsonl";
const OTHER: &str = "bob/two.jsonl";

fn check(
    pipeline: &TestPipeline,
    processor: &str,
    key: Option<&str>,
) -> Result<ReprocessReport, ReprocessError> {
    let pipeline = pipeline.pipeline();
    reprocess(
        pipeline.config(),
        pipeline.registry(),
        Some(pipeline.store()),
        processor,
        key,
        AuditedAction {
            action: "reprocess",
            actor: Actor::cli(),
            now: pipeline.clock().now(),
        },
    )
}

fn marked(sessions: u64, quarantined: u64) -> ReprocessReport {
    ReprocessReport {
        sessions,
        quarantined,
    }
}

fn two_sessions() -> DataDir {
    let dir = DataDir::new();
    dir.write(KEY, "one\ntwo\n");
    dir.write(OTHER, "three\n");
    dir
}

#[test]
fn marking_leaves_an_audit_row_and_what_can_not_be_audited_is_not_marked() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    check(&pipeline, WELL_BEHAVED, Some(KEY)).unwrap();
    drop(pipeline);
    let audited = "SELECT action, params FROM audit_log WHERE action = 'reprocess'";
    insta::assert_snapshot!(cell(&dir, audited), @r#"reprocess | {"marked":1,"processor":"faulty-well-behaved","session":"ada/one.jsonl"}"#);

    // The number that the next audit row would bear is taken, so that it can't be written.
    execute(
        &dir,
        "INSERT INTO audit_log (id, timestamp, action)
            SELECT CAST(value + 1 AS VARCHAR), TIMESTAMP '2026-01-01', 'taken' FROM counters WHERE name = 'audit'",
    );
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let refused = check(&pipeline, WELL_BEHAVED, Some(OTHER)).unwrap_err();
    assert_eq!(refused.to_string(), "cannot write an audit entry");
    let other = pipeline.state(WELL_BEHAVED, OTHER).unwrap();
    assert!(!other.is_due, "and nothing is marked");
}

#[test]
fn a_marked_session_is_processed_again_and_its_rows_stand_once() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    let before = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    let other = pipeline.state(WELL_BEHAVED, OTHER);
    assert_eq!(
        check(&pipeline, WELL_BEHAVED, Some(KEY)).unwrap(),
        marked(1, 0)
    );
    let ran = pipeline.run(WELL_BEHAVED);
    assert_eq!(
        (ran.stats.scanned, ran.stats.processed, ran.opens),
        (1, 1, 1)
    );
    let after = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    assert!(after.session_seq > before.session_seq && !after.is_due);
    assert_eq!(pipeline.state(WELL_BEHAVED, OTHER), other, "untouched");
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.scanned, 0, "and only once");
    drop(pipeline);
    insta::assert_snapshot!(rows(&dir, &lines_of(WELL_BEHAVED)).join("\n"), @r"
    ada/one.jsonl | 1 | one
    ada/one.jsonl | 2 | two
    bob/two.jsonl | 1 | three
    ");
}

#[test]
fn marking_deletes_nothing_and_may_be_repeated() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved(), panics()]);
    pipeline.run(WELL_BEHAVED);
    pipeline.run(PANICS);
    assert_eq!(check(&pipeline, WELL_BEHAVED, None).unwrap(), marked(2, 0));
    assert_eq!(check(&pipeline, WELL_BEHAVED, None).unwrap(), marked(2, 0));
    assert!(pipeline.state(WELL_BEHAVED, KEY).unwrap().is_due);
    assert!(
        !pipeline.state(PANICS, KEY).unwrap().is_due,
        "another processor's"
    );
    drop(pipeline);
    assert_eq!(rows(&dir, &lines_of(WELL_BEHAVED)).len(), 3);
}

#[test]
fn what_was_never_processed_is_due_anyway_and_not_counted() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(check(&pipeline, WELL_BEHAVED, None).unwrap(), marked(0, 0));
    assert_eq!(
        check(&pipeline, WELL_BEHAVED, Some(KEY)).unwrap(),
        marked(0, 0)
    );
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 2);
}

#[test]
fn unknown_processors_and_sessions_are_refused_with_the_known_ones() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    let refusal = |processor, key| check(&pipeline, processor, key).unwrap_err().to_string();
    insta::assert_snapshot!(refusal("moon", None), @"Unknown processor `moon`; known processors: faulty-well-behaved, verification");
    insta::assert_snapshot!(refusal(WELL_BEHAVED, Some("ada/onw.jsonl")), @"unknown session `ada/onw.jsonl`; did you mean `ada/one.jsonl`?");
    assert!(!pipeline.state(WELL_BEHAVED, KEY).unwrap().is_due);
}

#[test]
fn a_vanished_session_that_is_marked_waits_for_its_file_and_harms_nobody() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    dir.rename(KEY, "ada/.aside");
    assert_eq!(
        check(&pipeline, WELL_BEHAVED, Some(KEY)).unwrap(),
        marked(1, 0)
    );
    for _ in 0..2 {
        let stats = pipeline.run(WELL_BEHAVED).stats;
        assert_eq!((stats.scanned, stats.errors), (0, 0));
    }
    assert!(pipeline.state(WELL_BEHAVED, KEY).unwrap().is_missing);
    dir.rename("ada/.aside", KEY);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    drop(pipeline);
    assert_eq!(rows(&dir, &lines_of(WELL_BEHAVED)).len(), 3);
}

#[test]
fn a_mark_takes_no_session_out_of_quarantine_and_says_so() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    dir.write(KEY, POISON);
    for _ in 0..5 {
        pipeline.run(PANICS);
    }
    assert_eq!(check(&pipeline, PANICS, None).unwrap(), marked(2, 1));
    assert_eq!(check(&pipeline, PANICS, Some(OTHER)).unwrap(), marked(1, 0));
    let stats = pipeline.run(PANICS).stats;
    assert_eq!(
        (stats.processed, stats.quarantined, stats.errors),
        (1, 1, 0)
    );
}

/// Asks for sessions again while a run is in progress: after its scan, or once it has committed a
/// session.
struct AsksAgain<'a> {
    pipeline: &'a TestPipeline,
    key: Option<&'a str>,
    is_after_a_commit: bool,
}

impl Progress for AsksAgain<'_> {
    fn planned(&self, _: u64, _: u64) {
        if !self.is_after_a_commit {
            check(self.pipeline, WELL_BEHAVED, self.key).unwrap();
        }
    }
    fn advanced(&self, _: u64) {
        if self.is_after_a_commit {
            check(self.pipeline, WELL_BEHAVED, self.key).unwrap();
        }
    }
}

#[test]
fn a_request_during_a_run_is_not_lost() {
    for (key, is_after_a_commit, was_marked, again) in [
        (Some(KEY), false, false, 1),
        (Some(KEY), true, false, 1),
        (None, false, false, 2),
        (None, true, false, 2),
        // Asked for once before the run, and once more during it.
        (Some(KEY), false, true, 1),
        (None, true, true, 2),
    ] {
        let dir = two_sessions();
        let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
        pipeline.run(WELL_BEHAVED);
        if was_marked {
            check(&pipeline, WELL_BEHAVED, None).unwrap();
        } else {
            dir.append(KEY, "more\n");
            dir.append(OTHER, "more\n");
        }
        let asks = AsksAgain {
            pipeline: &pipeline,
            key,
            is_after_a_commit,
        };
        let report = pipeline
            .pipeline()
            .run(WELL_BEHAVED, &RunRequest::cli(), &asks);
        assert_eq!(report.unwrap().stats.processed, 2);
        let stats = pipeline.run(WELL_BEHAVED).stats;
        assert_eq!(
            (stats.scanned, stats.processed),
            (again, again),
            "{key:?} {is_after_a_commit} {was_marked}"
        );
        assert_eq!(pipeline.run(WELL_BEHAVED).stats.scanned, 0, "and only once");
    }
}

#[test]
fn a_request_for_a_session_that_is_being_processed_for_the_first_time_is_not_lost() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let asks = AsksAgain {
        pipeline: &pipeline,
        key: Some(OTHER),
        is_after_a_commit: false,
    };
    let report = pipeline
        .pipeline()
        .run(WELL_BEHAVED, &RunRequest::cli(), &asks);
    assert_eq!(report.unwrap().stats.processed, 2);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.scanned, 0);
}

#[test]
fn a_request_for_one_processor_does_not_touch_the_run_of_another() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved(), panics()]);
    let asks = AsksAgain {
        pipeline: &pipeline,
        key: None,
        is_after_a_commit: false,
    };
    pipeline
        .pipeline()
        .run(PANICS, &RunRequest::cli(), &asks)
        .unwrap();
    assert_eq!(pipeline.run(PANICS).stats.scanned, 0);
}

#[test]
fn a_release_from_quarantine_during_a_run_is_not_undone_by_it() {
    use session_pipeline_pipeline::quarantine::release;
    use session_pipeline_store::QuarantineFilter;
    struct Releases<'a>(&'a TestPipeline);
    impl Progress for Releases<'_> {
        fn planned(&self, _: u64, _: u64) {
            let pipeline = self.0.pipeline();
            let which = QuarantineFilter {
                session: Some(KEY.to_owned()),
                ..QuarantineFilter::default()
            };
            let now = pipeline.clock().now();
            let (config, registry, store) =
                (pipeline.config(), pipeline.registry(), pipeline.store());
            release(config, registry, Some(store), &which, Actor::cli(), now).unwrap();
        }
        fn advanced(&self, _: u64) {}
    }
    let dir = two_sessions();
    dir.write(KEY, POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    for _ in 0..5 {
        pipeline.run(PANICS);
    }
    assert!(
        pipeline
            .failure(PANICS, KEY)
            .unwrap()
            .failures
            .quarantined_at
            .is_some()
    );
    // It grew, so it is tried again; but it can't be read then, which is no other content.
    dir.append(KEY, "more\n");
    let path = dir.session_path(KEY);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let is_root = std::fs::File::open(&path).is_ok();
    pipeline
        .pipeline()
        .run(PANICS, &RunRequest::cli(), &Releases(&pipeline))
        .unwrap();
    let failures = pipeline.failure(PANICS, KEY).unwrap().failures;
    assert_eq!(
        (failures.attempts, failures.quarantined_at),
        (1, None),
        "root: {is_root}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Whatever was marked: after the next run every session has the rows it had, once, and those
    /// that were not marked were not touched.
    #[test]
    fn invariant_reprocessing_gives_the_same_rows_and_touches_nothing_else(
        transcripts in vec((valid_transcript(), any::<bool>()), 1..6),
        all: bool,
    ) {
        let dir = prepared_dir();
        let key = |index: usize| format!("user{}/{index}.jsonl", index % 2);
        for (index, (transcript, _)) in transcripts.iter().enumerate() {
            dir.write(&key(index), transcript);
        }
        let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
        pipeline.run(WELL_BEHAVED);
        let states = |pipeline: &TestPipeline| -> BTreeMap<usize, _> {
            let keys = 0..transcripts.len();
            keys.map(|index| (index, pipeline.state(WELL_BEHAVED, &key(index)).unwrap())).collect()
        };
        let before = states(&pipeline);
        drop(pipeline);
        let rows_before = rows(&dir, &lines_of(WELL_BEHAVED));

        let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
        let is_marked = |index: usize| all || transcripts[index].1;
        if all {
            check(&pipeline, WELL_BEHAVED, None).unwrap();
        } else {
            for index in (0..transcripts.len()).filter(|index| is_marked(*index)) {
                check(&pipeline, WELL_BEHAVED, Some(&key(index))).unwrap();
            }
        }
        let count = (0..transcripts.len()).filter(|index| is_marked(*index)).count();
        prop_assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, count as u64);
        for (index, after) in states(&pipeline) {
            let before = before[&index];
            prop_assert!(!after.is_due);
            prop_assert_eq!(after.hash, before.hash);
            prop_assert_eq!(after.session_seq == before.session_seq, !is_marked(index));
        }
        drop(pipeline);
        prop_assert_eq!(rows(&dir, &lines_of(WELL_BEHAVED)), rows_before);
    }
}
