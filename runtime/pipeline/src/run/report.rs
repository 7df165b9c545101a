//! What a run did, in numbers and words.

use session_pipeline_host::sessions::Note;
use session_pipeline_store::Stats;

/// The outcome of a run that came to its end.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The run's id.
    pub id: String,
    /// What it did.
    pub stats: Stats,
    /// What the walk passed over.
    pub notes: Vec<Note>,
    /// How many session files were opened: none where nothing is new.
    pub opens: u64,
}
