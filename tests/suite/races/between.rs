//! Changes to a session between the scan and the open.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::run::{Progress, RunRequest};
use session_pipeline_store::RunStats;

use crate::database::rows;
use crate::guests::{WELL_BEHAVED, lines_of, well_behaved};

/// Calls a function after the scan, before any session is opened.
struct AfterScan<F: Fn() + Sync>(F);

impl<F: Fn() + Sync> Progress for AfterScan<F> {
    fn planned(&self, _: u64, _: u64) {
        (self.0)();
    }

    fn advanced(&self, _: u64) {}
}

fn run_with(pipeline: &TestPipeline, act: impl Fn() + Sync) -> RunStats {
    let request = RunRequest::cli();
    let report = pipeline
        .pipeline()
        .run(WELL_BEHAVED, &request, &AfterScan(act));
    report.unwrap().stats
}

#[test]
fn a_session_renamed_between_scan_and_open_does_not_fail_and_is_processed_under_its_new_name() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    dir.write("ada/two.jsonl", "{}\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let stats = run_with(&pipeline, || dir.rename("ada/one.jsonl", "ada/other.jsonl"));
    assert_eq!((stats.scanned, stats.processed, stats.errors), (2, 1, 0));
    assert_eq!(pipeline.failure(WELL_BEHAVED, "ada/one.jsonl"), None);
    let stats = pipeline.run(WELL_BEHAVED).stats;
    assert_eq!((stats.scanned, stats.processed), (1, 1));
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of(WELL_BEHAVED)),
        ["ada/other.jsonl | 1 | {}", "ada/two.jsonl | 1 | {}"]
    );
}

#[test]
fn a_session_deleted_between_scan_and_open_does_not_fail() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    dir.write("ada/two.jsonl", "{}\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let stats = run_with(&pipeline, || dir.delete("ada/one.jsonl"));
    assert_eq!((stats.processed, stats.errors), (1, 0));
    assert_eq!(pipeline.state(WELL_BEHAVED, "ada/one.jsonl"), None);
}

#[test]
fn a_folder_replaced_by_a_link_between_scan_and_open_is_not_followed() {
    let (dir, outside) = (DataDir::new(), tempfile::tempdir().unwrap());
    dir.write("ada/one.jsonl", "{}\n");
    fs::write(outside.path().join("one.jsonl"), "{\"secret\":1}\n").unwrap();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let root = dir.sessions_root();
    let stats = run_with(&pipeline, || {
        fs::rename(root.join("ada"), root.join(".ada")).unwrap();
        symlink(outside.path(), root.join("ada")).unwrap();
    });
    assert_eq!((stats.processed, stats.errors), (0, 1));
    assert_eq!(stats.errors_detail[0].fault, "input");
    drop(pipeline);
    assert_eq!(rows(&dir, &lines_of(WELL_BEHAVED)), [""; 0]);
}

#[test]
fn a_session_that_grows_between_scan_and_open_is_read_as_of_the_open() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let stats = run_with(&pipeline, || dir.append("ada/one.jsonl", "[]\n"));
    assert_eq!((stats.processed, stats.errors), (1, 0));
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.scanned, 0);
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of(WELL_BEHAVED)),
        ["ada/one.jsonl | 1 | {}", "ada/one.jsonl | 2 | []"]
    );
}

#[test]
fn a_new_session_with_the_same_inode_size_and_mtime_is_detected() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    let path = dir.session_path("ada/one.jsonl");
    let before = fs::metadata(&path).unwrap();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);

    // Keep the inode alive with a hard link. A file system does not reliably reuse a free inode.
    let second_link = dir.path().join("aside");
    fs::hard_link(&path, &second_link).unwrap();
    dir.delete("ada/one.jsonl");
    fs::write(&second_link, "[]\n").unwrap();
    fs::rename(&second_link, &path).unwrap();
    fs::File::open(&path)
        .and_then(|file| file.set_modified(before.modified()?))
        .unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (after.ino(), after.len(), after.modified().unwrap()),
        (before.ino(), before.len(), before.modified().unwrap())
    );
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of(WELL_BEHAVED)),
        ["ada/one.jsonl | 1 | []"]
    );
}
