//! The report of a run.

use session_pipeline_host::sessions::SkippedPath;
use session_pipeline_store::RunStats;

/// The result of a completed run.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The run's id.
    pub id: String,
    /// Its statistics.
    pub stats: RunStats,
    /// Files and folders that the walk skipped, with reasons.
    pub notes: Vec<SkippedPath>,
    /// Number of session files opened. 0 if nothing changed.
    pub opens: u64,
}
