//! Sessions that change: which ones are processed again.

use std::time::Duration;

use session_pipeline_harness::{DataDir, TestPipeline, Transcript};
use session_pipeline_pipeline::run::{Progress, RunRequest};

use super::{KEY, MINUTE, dir_with, summary, summary_and_opens};
use crate::database::rows;
use crate::guests::{WELL_BEHAVED, lines_of, well_behaved};

#[test]
fn an_appended_line_causes_reprocessing_and_replaces_the_rows() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.write("bob/other.jsonl", "other\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    let first = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    dir.clock().advance(MINUTE);
    dir.append(KEY, "two\n");
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        ("scanned 1, processed 1, items 2".to_owned(), 1)
    );
    let second = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    assert!(
        second.session_seq > first.session_seq,
        "the sequence number must increase"
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
fn a_partial_last_line_is_read_again_once_it_is_complete() {
    let dir = DataDir::new();
    dir.write(
        KEY,
        Transcript::new("s1")
            .user("fix it")
            .partial_line("{\"type\":\"us"),
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

/// Appends to the session after it was read, before the run ends.
struct AppendDuringRun<'d>(&'d DataDir);

impl Progress for AppendDuringRun<'_> {
    fn planned(&self, _: u64, _: u64) {}

    fn advanced(&self, _: u64) {
        self.0.append(KEY, "more\n");
    }
}

#[test]
fn lines_appended_during_a_run_are_read_by_the_next_run() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let first = pipeline
        .pipeline()
        .run(WELL_BEHAVED, &RunRequest::cli(), &AppendDuringRun(&dir))
        .unwrap();
    assert_eq!(summary(&first.stats), "scanned 1, processed 1, items 1");
    let second = pipeline.run(WELL_BEHAVED).stats;
    assert_eq!(summary(&second), "scanned 1, processed 1, items 2");
    drop(pipeline);
    assert_eq!(rows(&dir, &lines_of(WELL_BEHAVED)).len(), 2);
}

#[test]
fn a_touched_session_is_hashed_once_and_keeps_its_processing_time() {
    let dir = dir_with(&[KEY]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    let before = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    dir.clock().advance(MINUTE);
    dir.touch(KEY);
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        ("scanned 1, skipped 1".to_owned(), 1)
    );
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        (String::new(), 0)
    );
    let after = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    assert_eq!(
        (after.processed_at, after.session_seq),
        (before.processed_at, before.session_seq)
    );
}

#[test]
fn a_recently_changed_session_is_hashed_again_until_its_times_are_reliable() {
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
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        (String::new(), 0)
    );
}

#[test]
fn a_rewrite_with_the_same_size_and_mtime_is_detected() {
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
fn a_clock_moved_back_and_files_from_the_future_do_no_harm() {
    let dir = dir_with(&[KEY, "bob/one.jsonl"]);
    dir.set_ahead(KEY, 1000 * MINUTE);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 2);
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        (String::new(), 0)
    );
    let now = session_pipeline_harness::clock::START;
    dir.clock().set(session_pipeline_host::clock::UtcMicros(
        now.0 - 3_600_000_000,
    ));
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        (String::new(), 0)
    );
    dir.append(KEY, "more\n");
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
}

#[test]
fn an_empty_session_is_processed_once() {
    let dir = DataDir::new();
    dir.write(KEY, "");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        ("scanned 1, processed 1".to_owned(), 1)
    );
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        (String::new(), 0)
    );
}

#[test]
fn a_truncated_session_that_grows_again_has_only_its_new_rows() {
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
