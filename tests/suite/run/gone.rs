//! Sessions that are deleted, restored or renamed, and sessions roots without sessions.

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::run::{RunError, RunRequest};

use super::{KEY, dir_with, summary, summary_and_opens};
use crate::database::rows;
use crate::guests::{PANICS, POISON, WELL_BEHAVED, lines_of, panics, well_behaved};

#[test]
fn a_missing_session_keeps_its_rows_and_is_resumed_when_it_returns() {
    let dir = dir_with(&[KEY, "bob/one.jsonl"]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    let before = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    dir.rename(KEY, "ada/.aside");
    assert_eq!(
        summary_and_opens(&pipeline.run(WELL_BEHAVED)),
        (String::new(), 0)
    );
    let missing = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    assert!(missing.is_missing);
    assert_eq!(
        (missing.hash, missing.session_seq),
        (before.hash, before.session_seq)
    );

    dir.rename("ada/.aside", KEY);
    let stats = pipeline.run(WELL_BEHAVED).stats;
    assert_eq!(
        (stats.processed, stats.errors),
        (0, 0),
        "the content is unchanged"
    );
    let restored = pipeline.state(WELL_BEHAVED, KEY).unwrap();
    assert!(!restored.is_missing);
    drop(pipeline);
    assert_eq!(rows(&dir, &lines_of(WELL_BEHAVED)).len(), 2);
}

#[test]
fn a_restored_session_is_not_missing_even_if_it_fails() {
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
fn a_renamed_session_is_a_new_session_and_the_old_one_is_missing() {
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
fn an_empty_or_missing_root_is_reported_and_does_not_mark_sessions_as_missing() {
    let dir = dir_with(&[KEY]);
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).notes, []);

    dir.delete(KEY);
    let run = pipeline.run(WELL_BEHAVED);
    assert_eq!(summary_and_opens(&run), (String::new(), 0));
    assert_eq!(
        run.notes[0].reason,
        "no sessions found, although some were processed before; their rows are kept; check the path"
    );
    assert!(!pipeline.state(WELL_BEHAVED, KEY).unwrap().is_missing);

    std::fs::remove_dir_all(dir.sessions_root()).unwrap();
    let run = pipeline.run(WELL_BEHAVED);
    assert_eq!(summary_and_opens(&run), (String::new(), 0));
    assert_eq!(
        run.notes[0].reason,
        "this folder does not exist, so there are no sessions; check the path"
    );
    assert!(!pipeline.state(WELL_BEHAVED, KEY).unwrap().is_missing);
}

#[test]
fn a_new_data_directory_without_sessions_is_not_reported() {
    let dir = DataDir::new();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let run = pipeline.run(WELL_BEHAVED);
    assert_eq!(
        (summary_and_opens(&run), run.notes),
        ((String::new(), 0), Vec::new())
    );
}

#[test]
fn a_sessions_root_that_is_a_file_is_an_error() {
    let dir = DataDir::without_sessions_root();
    std::fs::write(dir.sessions_root(), "").unwrap();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let error = pipeline
        .try_run_as(WELL_BEHAVED, RunRequest::cli())
        .unwrap_err();
    assert!(matches!(error, RunError::Sessions { .. }), "{error}");
}
