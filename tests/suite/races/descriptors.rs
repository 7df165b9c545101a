//! A process without free file descriptors reports the files that it cannot open, and retries them
//! in a later run.

use std::os::fd::AsRawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use session_pipeline_harness::{DataDir, TestPipeline, isolated};
use session_pipeline_pipeline::run::RunRequest;

use crate::database::{cell, rows};
use crate::guests::{WELL_BEHAVED, lines_of, well_behaved};

/// Limits this process to this many more descriptors.
fn limit_free_descriptors(descriptors: u64) {
    // The lowest free descriptor. All lower ones are in use.
    let next = std::fs::File::open("/dev/null").unwrap().as_raw_fd();
    set_limit(u64::try_from(next).unwrap() + descriptors);
}

fn set_limit(current: u64) {
    let limit = Rlimit {
        current: Some(current),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn without_descriptors_no_session_is_lost_or_quarantined() {
    if !isolated::run_in_child(
        "races::descriptors::without_descriptors_no_session_is_lost_or_quarantined",
    ) {
        return;
    }
    let ample = getrlimit(Resource::Nofile).current.unwrap();
    let dir = DataDir::new();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    dir.write("ada/first.jsonl", "{}\n");
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);

    let (mut aborted, mut incomplete, mut complete) = (0, 0, 0);
    for descriptors in (0..8).chain(0..8) {
        // A new session in a new folder each time, because each folder uses a descriptor.
        let key = format!("ada/{descriptors}-{aborted}-{incomplete}-{complete}/deep/one.jsonl");
        dir.write(&key, "{}\n");
        limit_free_descriptors(descriptors);
        let result = pipeline.try_run_as(WELL_BEHAVED, RunRequest::cli());
        set_limit(ample);
        match result {
            Err(_) => aborted += 1,
            Ok(run) => {
                for error in &run.stats.errors_detail {
                    assert!(
                        ["input", "host"].contains(&error.fault.as_str()),
                        "{error:?}"
                    );
                }
                assert_eq!(run.stats.quarantined, 0);
                let is_incomplete = run.stats.errors > 0 || !run.notes.is_empty();
                (incomplete, complete) = (
                    incomplete + u32::from(is_incomplete),
                    complete + u32::from(!is_incomplete),
                );
            }
        }
    }
    println!("{aborted} runs aborted, {incomplete} were incomplete, {complete} were complete");
    assert!(aborted + incomplete > 0, "the limit had no effect");
    let stats = pipeline.run(WELL_BEHAVED).stats;
    assert_eq!((stats.errors, stats.quarantined, stats.waiting), (0, 0, 0));
    drop(pipeline);
    let sessions: std::collections::BTreeSet<_> =
        rows(&dir, &lines_of(WELL_BEHAVED)).into_iter().collect();
    assert_eq!(sessions.len(), 17);
    assert_eq!(
        cell(
            &dir,
            &format!("SELECT count(*) FROM ({})", lines_of(WELL_BEHAVED))
        ),
        "17"
    );
}
