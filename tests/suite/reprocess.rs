//! Requests to reprocess sessions: which sessions are marked, and that no row is lost or
//! duplicated.

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

fn mark(
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

fn reprocess_report(sessions: u64, quarantined: u64) -> ReprocessReport {
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
fn a_mark_is_audited_and_is_not_set_if_the_audit_fails() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    mark(&pipeline, WELL_BEHAVED, Some(KEY)).unwrap();
    drop(pipeline);
    let audit_entries = "SELECT action, params FROM audit_log WHERE action = 'reprocess'";
    insta::assert_snapshot!(cell(&dir, audit_entries), @r#"reprocess | {"marked":1,"processor":"faulty-well-behaved","session":"ada/one.jsonl"}"#);

    // Occupy the next id of the audit log, so that the next entry cannot be written.
    execute(
        &dir,
        "INSERT INTO audit_log (id, timestamp, action)
            SELECT CAST(value + 1 AS VARCHAR), TIMESTAMP '2026-01-01', 'taken' FROM counters WHERE name = 'audit'",
    );
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let error = mark(&pipeline, WELL_BEHAVED, Some(OTHER)).unwrap_err();
    assert_eq!(error.to_string(), "cannot write an audit entry");
    let other = pipeline.state(WELL_BEHAVED, OTHER).unwrap();
    assert!(!other.is_due, "the session was marked");
}

#[test]
fn a_marked_session_is_processed_again_without_duplicate_rows() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    let before = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    let other = pipeline.state(WELL_BEHAVED, OTHER);
    assert_eq!(
        mark(&pipeline, WELL_BEHAVED, Some(KEY)).unwrap(),
        reprocess_report(1, 0)
    );
    let run = pipeline.run(WELL_BEHAVED);
    assert_eq!(
        (run.stats.scanned, run.stats.processed, run.opens),
        (1, 1, 1)
    );
    let after = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    assert!(after.session_seq > before.session_seq && !after.is_due);
    assert_eq!(
        pipeline.state(WELL_BEHAVED, OTHER),
        other,
        "another session"
    );
    assert_eq!(
        pipeline.run(WELL_BEHAVED).stats.scanned,
        0,
        "a mark applies to one run"
    );
    drop(pipeline);
    insta::assert_snapshot!(rows(&dir, &lines_of(WELL_BEHAVED)).join("\n"), @r"
    ada/one.jsonl | 1 | one
    ada/one.jsonl | 2 | two
    bob/two.jsonl | 1 | three
    ");
}

#[test]
fn marking_is_idempotent_and_deletes_nothing() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved(), panics()]);
    pipeline.run(WELL_BEHAVED);
    pipeline.run(PANICS);
    assert_eq!(
        mark(&pipeline, WELL_BEHAVED, None).unwrap(),
        reprocess_report(2, 0)
    );
    assert_eq!(
        mark(&pipeline, WELL_BEHAVED, None).unwrap(),
        reprocess_report(2, 0)
    );
    assert!(pipeline.state(WELL_BEHAVED, KEY).unwrap().is_due);
    assert!(
        !pipeline.state(PANICS, KEY).unwrap().is_due,
        "a session of another processor is marked"
    );
    drop(pipeline);
    assert_eq!(rows(&dir, &lines_of(WELL_BEHAVED)).len(), 3);
}

#[test]
fn a_session_that_was_never_processed_is_not_counted_as_marked() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(
        mark(&pipeline, WELL_BEHAVED, None).unwrap(),
        reprocess_report(0, 0)
    );
    assert_eq!(
        mark(&pipeline, WELL_BEHAVED, Some(KEY)).unwrap(),
        reprocess_report(0, 0)
    );
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 2);
}

#[test]
fn unknown_processors_and_sessions_are_rejected_with_suggestions() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    let rejection = |processor, key| mark(&pipeline, processor, key).unwrap_err().to_string();
    insta::assert_snapshot!(rejection("moon", None), @"unknown processor `moon`; known processors: faulty-well-behaved");
    insta::assert_snapshot!(rejection(WELL_BEHAVED, Some("ada/onw.jsonl")), @"unknown session `ada/onw.jsonl`; did you mean `ada/one.jsonl`?");
    assert!(!pipeline.state(WELL_BEHAVED, KEY).unwrap().is_due);
}

#[test]
fn a_marked_session_without_a_file_is_processed_once_the_file_returns() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    dir.rename(KEY, "ada/.aside");
    assert_eq!(
        mark(&pipeline, WELL_BEHAVED, Some(KEY)).unwrap(),
        reprocess_report(1, 0)
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
fn a_mark_does_not_release_quarantined_sessions_and_reports_their_number() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    dir.write(KEY, POISON);
    for _ in 0..5 {
        pipeline.run(PANICS);
    }
    assert_eq!(
        mark(&pipeline, PANICS, None).unwrap(),
        reprocess_report(2, 1)
    );
    assert_eq!(
        mark(&pipeline, PANICS, Some(OTHER)).unwrap(),
        reprocess_report(1, 0)
    );
    let stats = pipeline.run(PANICS).stats;
    assert_eq!(
        (stats.processed, stats.quarantined, stats.errors),
        (1, 1, 0)
    );
}

/// Marks sessions while a run is in progress, either after its scan or after its first commit.
struct MarkDuringRun<'a> {
    pipeline: &'a TestPipeline,
    key: Option<&'a str>,
    is_after_commit: bool,
}

impl Progress for MarkDuringRun<'_> {
    fn planned(&self, _: u64, _: u64) {
        if !self.is_after_commit {
            mark(self.pipeline, WELL_BEHAVED, self.key).unwrap();
        }
    }
    fn advanced(&self, _: u64) {
        if self.is_after_commit {
            mark(self.pipeline, WELL_BEHAVED, self.key).unwrap();
        }
    }
}

#[test]
fn a_mark_set_during_a_run_is_not_lost() {
    for (key, is_after_commit, was_marked, again) in [
        (Some(KEY), false, false, 1),
        (Some(KEY), true, false, 1),
        (None, false, false, 2),
        (None, true, false, 2),
        // Marked before the run, and again during it.
        (Some(KEY), false, true, 1),
        (None, true, true, 2),
    ] {
        let dir = two_sessions();
        let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
        pipeline.run(WELL_BEHAVED);
        if was_marked {
            mark(&pipeline, WELL_BEHAVED, None).unwrap();
        } else {
            dir.append(KEY, "more\n");
            dir.append(OTHER, "more\n");
        }
        let progress = MarkDuringRun {
            pipeline: &pipeline,
            key,
            is_after_commit,
        };
        let report = pipeline
            .pipeline()
            .run(WELL_BEHAVED, &RunRequest::cli(), &progress);
        assert_eq!(report.unwrap().stats.processed, 2);
        let stats = pipeline.run(WELL_BEHAVED).stats;
        assert_eq!(
            (stats.scanned, stats.processed),
            (again, again),
            "{key:?} {is_after_commit} {was_marked}"
        );
        assert_eq!(
            pipeline.run(WELL_BEHAVED).stats.scanned,
            0,
            "a mark applies to one run"
        );
    }
}

#[test]
fn a_mark_set_during_the_first_processing_of_a_session_is_not_lost() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let progress = MarkDuringRun {
        pipeline: &pipeline,
        key: Some(OTHER),
        is_after_commit: false,
    };
    let report = pipeline
        .pipeline()
        .run(WELL_BEHAVED, &RunRequest::cli(), &progress);
    assert_eq!(report.unwrap().stats.processed, 2);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.scanned, 0);
}

#[test]
fn a_mark_for_one_processor_does_not_affect_the_run_of_another() {
    let dir = two_sessions();
    let pipeline = TestPipeline::open(&dir, &[well_behaved(), panics()]);
    let progress = MarkDuringRun {
        pipeline: &pipeline,
        key: None,
        is_after_commit: false,
    };
    pipeline
        .pipeline()
        .run(PANICS, &RunRequest::cli(), &progress)
        .unwrap();
    assert_eq!(pipeline.run(PANICS).stats.scanned, 0);
}

#[test]
fn a_run_does_not_undo_a_release_from_quarantine_during_it() {
    use session_pipeline_pipeline::quarantine::release;
    use session_pipeline_store::QuarantineFilter;
    struct ReleaseDuringRun<'a>(&'a TestPipeline);
    impl Progress for ReleaseDuringRun<'_> {
        fn planned(&self, _: u64, _: u64) {
            let pipeline = self.0.pipeline();
            let filter = QuarantineFilter {
                session: Some(KEY.to_owned()),
                ..QuarantineFilter::default()
            };
            let now = pipeline.clock().now();
            let (config, registry, store) =
                (pipeline.config(), pipeline.registry(), pipeline.store());
            release(config, registry, Some(store), &filter, Actor::cli(), now).unwrap();
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
    // The session grew, so it is tried again. It cannot be read, so no changed content is recorded.
    dir.append(KEY, "more\n");
    let path = dir.session_path(KEY);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let is_root = std::fs::File::open(&path).is_ok();
    pipeline
        .pipeline()
        .run(PANICS, &RunRequest::cli(), &ReleaseDuringRun(&pipeline))
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

    /// After the next run, every session has its previous rows exactly once, and unmarked sessions
    /// are unchanged.
    #[test]
    fn invariant_reprocessing_produces_the_same_rows_and_leaves_other_sessions_unchanged(
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
            mark(&pipeline, WELL_BEHAVED, None).unwrap();
        } else {
            for index in (0..transcripts.len()).filter(|index| is_marked(*index)) {
                mark(&pipeline, WELL_BEHAVED, Some(&key(index))).unwrap();
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
