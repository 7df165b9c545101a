//! Tests hostile and malformed input through the whole pipeline, with the shipped component and a
//! database.
//!
//! One malformed file must not stop a run, lose other sessions, or be dropped silently. So every
//! test has a valid session as well, and asserts that it is counted, that the run has no
//! unexpected errors, and that the malformed input is counted or reported.
//!
//! Malformed input of single modules is tested in `sessions.rs` (the walker), `content.rs` (lines
//! and limits) and `usage/lines.rs` (the guest alone).

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

/// A valid line with token usage.
const VALID_LINE: &str = r#"{"type":"assistant","requestId":"r","message":{"usage":{"input_tokens":1,"output_tokens":2}}}"#;

/// The key of the valid session.
const VALID_KEY: &str = "zoe/good.jsonl";

/// Writes the valid session.
fn write_valid_session(dir: &DataDir) {
    dir.write(
        VALID_KEY,
        Transcript::new("good").assistant(|m| m.id("good").tokens(3, 4)),
    );
}

/// Runs `usage`, and asserts that there is no error and that the valid session is counted.
fn run_without_errors(dir: &DataDir) {
    let pipeline = TestPipeline::open(dir, &[guests::usage()]);
    let stats = pipeline.run("usage").stats;
    assert_eq!(stats.errors, 0, "{:?}", stats.errors_detail);
    let again = pipeline.run("usage");
    assert_eq!(
        again.opens, 0,
        "a second run reads a malformed session again"
    );
    drop(pipeline);
    assert_valid_session_is_counted(dir);
}

fn assert_valid_session_is_counted(dir: &DataDir) {
    assert_eq!(
        rows(
            dir,
            &format!(
                "SELECT messages, output_tokens FROM usage.sessions WHERE session_file = '{VALID_KEY}'"
            )
        ),
        ["1 | 4"],
        "the valid session is not counted"
    );
}

/// The counts of the malformed sessions: key, lines, bad lines, unknown types, skipped lines, torn
/// tail, messages.
fn malformed_counts(dir: &DataDir) -> Vec<String> {
    rows(
        dir,
        "SELECT session_file, lines, bad_lines, unknown_types, passed_over_lines, torn_tail, messages
         FROM usage.sessions WHERE NOT starts_with(session_file, 'zoe/') ORDER BY session_file",
    )
}

/// Runs `work` without the capabilities with which root can read all files.
pub fn without_root_privileges(work: impl FnOnce() + Send) {
    // Capabilities are per thread and inherited by child threads, so only this thread loses them.
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
