//! A process that has no descriptors left: what it can't open it says, and does later.

use std::os::fd::AsRawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use session_pipeline_harness::{DataDir, TestPipeline, isolated};
use session_pipeline_pipeline::run::RunRequest;

use crate::database::{cell, rows};
use crate::guests::{WELL_BEHAVED, lines_of, well_behaved};

/// Lets this process open no descriptor but so many.
fn leave(descriptors: u64) {
    // The next one that would be given: all below it are taken.
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
fn without_descriptors_nothing_is_lost_and_nothing_quarantined() {
    if !isolated::run_in_child(
        "races::descriptors::without_descriptors_nothing_is_lost_and_nothing_quarantined",
    ) {
        return;
    }
    let ample = getrlimit(Resource::Nofile).current.unwrap();
    let dir = DataDir::new();
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    dir.write("ada/first.jsonl", "{}\n");
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);

    let (mut broken, mut failed, mut done) = (0, 0, 0);
    for descriptors in (0..8).chain(0..8) {
        // New ones each time, in folders of their own: those hold a descriptor each.
        let key = format!("ada/{descriptors}-{broken}-{failed}-{done}/deep/one.jsonl");
        dir.write(&key, "{}\n");
        leave(descriptors);
        let ran = pipeline.try_run_as(WELL_BEHAVED, RunRequest::cli());
        set_limit(ample);
        match ran {
            Err(_) => broken += 1,
            Ok(ran) => {
                for error in &ran.stats.errors_detail {
                    assert!(
                        ["input", "host"].contains(&error.fault.as_str()),
                        "{error:?}"
                    );
                }
                assert_eq!(ran.stats.quarantined, 0);
                let is_short = ran.stats.errors > 0 || !ran.notes.is_empty();
                (failed, done) = (failed + u32::from(is_short), done + u32::from(!is_short));
            }
        }
    }
    println!("{broken} runs broke off, {failed} came short, {done} were whole");
    assert!(broken + failed > 0, "there were descriptors enough");
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
