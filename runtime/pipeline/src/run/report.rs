//! The report of a run.

use session_pipeline_host::sessions::Note;
use session_pipeline_store::Stats;

/// The result of a completed run.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The run's id.
    pub id: String,
    /// Its statistics.
    pub stats: Stats,
    /// Files and folders that the walk skipped, with reasons.
    pub notes: Vec<Note>,
    /// Number of session files opened. 0 if nothing changed.
    pub opens: u64,
}
