//! Sessions that vanish, come back or are renamed, and roots without any.

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::run::{RunError, RunRequest};

use super::{KEY, check, dir_with, summary};
use crate::database::rows;
use crate::guests::{PANICS, POISON, WELL_BEHAVED, lines_of, panics, well_behaved};

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
        "no sessions found, although some were processed before; their rows are kept; check the path"
    );
    assert!(!pipeline.state(WELL_BEHAVED, KEY).unwrap().is_missing);

    std::fs::remove_dir_all(dir.sessions_root()).unwrap();
    let ran = pipeline.run(WELL_BEHAVED);
    assert_eq!(check(&ran), (String::new(), 0));
    assert_eq!(
        ran.notes[0].reason,
        "this folder does not exist, so there are no sessions; check the path"
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
