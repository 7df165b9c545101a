//! The order of sessions: oldest first by their first time, if it is known.

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_host::clock::UtcMicros;

use super::{VERIFICATION, run, session_with_prompts};
use crate::database::rows;
use crate::guests;

const DAY: i64 = 24 * 3600 * 1_000_000;
/// 2026-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_767_225_600_000_000;

/// The user whose session was processed first.
fn first_user(has_usage: bool) -> Vec<String> {
    let dir = DataDir::new();
    let statement = "We never store card numbers ourselves.";
    // The file of the newer session changed first, as after a restored backup.
    for (key, day) in [("ada/new.jsonl", 60), ("bob/old.jsonl", 0)] {
        let session = session_with_prompts(key, &[]).at(UtcMicros(NEW_YEAR + day * DAY));
        dir.write(key, session.user(statement));
    }
    let pipeline = TestPipeline::open(&dir, &[guests::usage(), guests::verification()]);
    if has_usage {
        assert_eq!(pipeline.run("usage").stats.errors, 0);
    }
    assert_eq!(run(&dir, &pipeline).stats.processed, 2, "{VERIFICATION}");
    drop(pipeline);
    rows(&dir, "SELECT source_user FROM verification.items")
}

#[test]
fn a_serial_processor_gets_its_sessions_in_the_order_of_their_first_time_if_it_is_known() {
    assert_eq!(first_user(true), ["bob"]);
    assert_eq!(first_user(false), ["ada"]);
}
