//! Hostile and odd input, through the whole pipeline: the component as it ships, and a database.
//!
//! The danger: one file that somebody sent stops the run, loses the sessions beside it, or vanishes
//! from the numbers without a word. So in every test a good session lies beside the odd one and is
//! counted, the run has no error unless it says which, and what is odd is counted or reported.
//!
//! Odd input of a single module is tested in `sessions.rs` (the walk),
//! `content.rs` (lines and limits) and `usage/lines.rs` (the guest alone).

mod contents;
mod counters;
mod csv;
mod files;
mod names;
mod terminal;

use std::thread;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use session_pipeline_harness::{DataDir, TestPipeline, Transcript};

use crate::database::rows;
use crate::guests;

/// A line with usage.
const GOOD: &str = r#"{"type":"assistant","requestId":"r","message":{"usage":{"input_tokens":1,"output_tokens":2}}}"#;

/// The key of the session that is beyond reproach.
const BESIDE: &str = "zoe/good.jsonl";

/// Puts a good session beside what is odd.
fn put_good_beside(dir: &DataDir) {
    dir.write(
        BESIDE,
        Transcript::new("good").assistant(|m| m.id("good").tokens(3, 4)),
    );
}

/// Runs `usage` without an error; the good session is counted.
fn run_well(dir: &DataDir) {
    let pipeline = TestPipeline::open(dir, &[guests::usage()]);
    let stats = pipeline.run("usage").stats;
    assert_eq!(stats.errors, 0, "{:?}", stats.errors_detail);
    let again = pipeline.run("usage");
    assert_eq!(again.opens, 0, "what is odd is done with, too");
    drop(pipeline);
    assert_is_counted(dir);
}

fn assert_is_counted(dir: &DataDir) {
    assert_eq!(
        rows(
            dir,
            &format!(
                "SELECT messages, output_tokens FROM usage.sessions WHERE session_file = '{BESIDE}'"
            )
        ),
        ["1 | 4"],
        "the session beside it is counted"
    );
}

/// How the odd sessions were counted, by their names: lines, bad lines, unknown types, lines
/// passed over, torn tail, messages.
fn counted(dir: &DataDir) -> Vec<String> {
    rows(
        dir,
        "SELECT session_file, lines, bad_lines, unknown_types, passed_over_lines, torn_tail, messages
         FROM usage.sessions WHERE NOT starts_with(session_file, 'zoe/') ORDER BY session_file",
    )
}

/// Runs it as somebody who may not read everything, as root otherwise may.
pub fn without_roots_powers(work: impl FnOnce() + Send) {
    // Powers belong to a thread and to those that it starts, so they end with this one.
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective
                .remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
            set_capabilities(None, sets).unwrap();
            work();
        });
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}
