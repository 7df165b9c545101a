//! The outcomes of several sessions that are committed together.

use std::sync::Arc;

use session_pipeline_host::checkpoint::NewCheckpoint;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::fault::Fault;
use session_pipeline_host::manifest::Manifest;
use session_pipeline_host::processor::Cost;
use session_pipeline_host::rows::TableRows;
use session_pipeline_host::sessions::FileStat;

use crate::requests::ReprocessRequests;
use crate::retry::FailureState;
use crate::state_rows::{FailureRow, StateRow};

/// How the content of a session differs from the content that was processed before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentChange {
    /// The previous content is a prefix. Every row is produced again.
    Grown,
    /// Part of the previous content is gone, and possibly its rows.
    Rewritten,
    /// The session has grown or was rewritten. Rows that are not produced again show which.
    Unproven,
    /// There is no previous content.
    #[default]
    Unknown,
}

/// The outcomes of some sessions of one run.
#[derive(Debug)]
pub struct CommitGroup {
    /// The processor.
    pub manifest: Arc<Manifest>,
    /// The component's SHA-256.
    pub digest: String,
    /// The id of the run.
    pub run_id: String,
    /// The time of the commit, for `recorded_at`.
    pub now: UtcMicros,
    /// Requests to process sessions again that arrived after the scan of this run.
    pub requests: Arc<ReprocessRequests>,
    /// The outcome of each session.
    pub outcomes: Vec<SessionOutcome>,
}

/// The outcome of one session.
#[derive(Debug)]
pub enum SessionOutcome {
    /// The session was processed.
    Completed(Box<CompletedSession>),
    /// The content has not changed.
    Skipped(SkippedSession),
    /// The attempt failed.
    Failed(Box<FailedSession>),
}

/// A processed session, with the data for its state row.
#[derive(Debug)]
pub struct CompletedSession {
    /// The session key.
    pub key: String,
    /// The name of the session's user.
    pub username: String,
    /// The previous state row.
    pub state_row: Option<StateRow>,
    /// The last failure. The commit deletes it.
    pub failure: Option<Box<FailureRow>>,
    /// The time just before the first byte was read.
    pub read_at: UtcMicros,
    /// Size and times, if they are reliable.
    pub observed: Option<FileStat>,
    /// The hash of the content.
    pub hash: ContentHash,
    /// The number of items that the guest reports.
    pub items: u64,
    /// The rows, one entry per table, without those that the checkpoint settles.
    pub tables: Vec<TableRows>,
    /// The settled rows after which the session was continued, by their number. `None`: the whole
    /// session was processed.
    pub resumed_from: Option<i64>,
    /// A new checkpoint, with the rows that it settles.
    pub checkpoint: Option<Box<SessionCheckpoint>>,
    /// The resources used.
    pub cost: Cost,
    /// How the content differs from the previous content.
    pub change: ContentChange,
}

/// A checkpoint to store.
#[derive(Debug)]
pub struct SessionCheckpoint {
    /// See [`ResumePoint::inputs`](crate::ResumePoint::inputs).
    pub inputs: String,
    /// The checkpoint with the rows that it settles.
    pub new: NewCheckpoint,
}

/// A session whose content has not changed.
#[derive(Debug)]
pub struct SkippedSession {
    /// The session key.
    pub key: String,
    /// The row id of its state row.
    pub row_id: i64,
    /// The row id of the failure of a version in between, if any.
    pub failure_row: Option<i64>,
    /// Size and times, if they are reliable.
    pub observed: Option<FileStat>,
}

/// A session whose attempt failed.
#[derive(Debug)]
pub struct FailedSession {
    /// The session key.
    pub key: String,
    /// The row id of the previous failure row.
    pub failure_row: Option<i64>,
    /// The hash of the content, if it could be read.
    pub hash: Option<ContentHash>,
    /// Size and times, if they are reliable.
    pub observed: Option<FileStat>,
    /// The new failure state.
    pub failures: FailureState,
    /// The new failure state if the session was released from quarantine during the run.
    pub failures_if_released: FailureState,
    /// The reason for the failure.
    pub fault: Fault,
    /// The time of the attempt.
    pub at: UtcMicros,
    /// The resources used.
    pub cost: Cost,
    /// Whether the session was attempted. If not, only its size and times are updated.
    pub is_attempt: bool,
}

impl CompletedSession {
    /// The rows of all tables, settled or not: the index of the table with its rows.
    pub fn all_rows(&self) -> impl Iterator<Item = (usize, &TableRows)> {
        let settled = self.checkpoint.as_deref();
        let settled = settled
            .into_iter()
            .flat_map(|made| made.new.tables.iter().enumerate());
        settled.chain(self.tables.iter().enumerate())
    }
}

impl CommitGroup {
    /// The value of `due` for a committed session: true if reprocessing was requested again after
    /// the scan.
    pub(crate) fn still_due(&self, key: &str) -> Option<bool> {
        self.requests.includes(key).then_some(true)
    }
}
