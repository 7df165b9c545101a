//! The state of a checkpoint: everything that was collected from the lines so far.
//!
//! All rows are computed from the collected data, after the last line. So a session that is continued
//! from this state has the same rows as if it were read from its first line, and no row is settled.

use serde::{Deserialize, Serialize};
use session_pipeline_processor::transcript::Tally;

use crate::Gathered;

/// The counts of lines. A line with a newline is never a torn tail.
#[derive(Serialize, Deserialize)]
struct LineCounts {
    lines: u64,
    bad_lines: u64,
    unknown_types: u64,
    passed_over_lines: u64,
}

/// Stores the data that was collected from lines with these counts.
pub fn encode(gathered: &Gathered, tally: Tally) -> Vec<u8> {
    let counts = LineCounts {
        lines: tally.lines,
        bad_lines: tally.bad_lines,
        unknown_types: tally.unknown_types,
        passed_over_lines: tally.passed_over_lines,
    };
    // Cannot fail: all lengths are known, and the memory of a guest is the limit. An empty state
    // makes the host process the whole session.
    postcard::to_allocvec(&(counts, gathered)).unwrap_or_default()
}

/// Loads a state. `None` if it is damaged.
pub fn decode(state: &[u8]) -> Option<(Gathered, Tally)> {
    let (counts, mut gathered): (LineCounts, Gathered) = postcard::from_bytes(state).ok()?;
    gathered.rebuild_indexes();
    let tally = Tally {
        lines: counts.lines,
        bad_lines: counts.bad_lines,
        unknown_types: counts.unknown_types,
        passed_over_lines: counts.passed_over_lines,
        torn_tail: false,
    };
    Some((gathered, tally))
}
