//! The outcomes of several sessions, which are committed together.

use std::sync::Arc;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::fault::Fault;
use session_pipeline_host::manifest::Manifest;
use session_pipeline_host::processor::Cost;
use session_pipeline_host::rows::TableRows;
use session_pipeline_host::sessions::Observed;

use crate::requests::ReprocessRequests;
use crate::retry::Failures;
use crate::state_rows::{FailureRow, StateRow};

/// How the content of a session differs from the one that was processed before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// It begins with all of the content before: every row is yielded again.
    Grown,
    /// Something of the content before is gone, and the rows of it may be.
    Rewritten,
    /// It has grown or was rewritten, and the rows that are not yielded again tell.
    Unproven,
    /// There is nothing to compare with.
    #[default]
    Unknown,
}

/// What some sessions of one run came to.
#[derive(Debug)]
pub struct Group {
    /// The processor.
    pub manifest: Arc<Manifest>,
    /// The component's digest.
    pub digest: String,
    /// The run.
    pub run_id: String,
    /// The time of the commit, for `recorded_at`.
    pub now: UtcMicros,
    /// The requests to process sessions again since the scan of the run.
    pub requests: Arc<ReprocessRequests>,
    /// The sessions.
    pub entries: Vec<Entry>,
}

/// What one session came to.
#[derive(Debug)]
pub enum Entry {
    /// It was processed.
    Completed(Box<CompletedSession>),
    /// Its content is what it was.
    Skipped(SkippedSession),
    /// The attempt failed.
    Failed(Box<FailedSession>),
}

/// A session that was processed, with all that its state row says.
#[derive(Debug)]
pub struct CompletedSession {
    /// Its key.
    pub key: String,
    /// Whose it is.
    pub username: String,
    /// Its state row so far.
    pub known: Option<StateRow>,
    /// Its last failure, which is over once it is committed.
    pub failure: Option<Box<FailureRow>>,
    /// The time just before its first byte was read.
    pub read_at: UtcMicros,
    /// Size and times, where they can be trusted.
    pub observed: Option<Observed>,
    /// The hash of what was read.
    pub hash: ContentHash,
    /// The count of the guest.
    pub items: u64,
    /// Its rows.
    pub tables: Vec<TableRows>,
    /// What it took.
    pub cost: Cost,
    /// How its content differs from the one before.
    pub change: Change,
}

/// A session whose content turned out to be what it was.
#[derive(Debug)]
pub struct SkippedSession {
    /// Its key.
    pub key: String,
    /// Its state row.
    pub row_id: i64,
    /// The failure row of some content in between.
    pub failure_row: Option<i64>,
    /// Size and times, where they can be trusted.
    pub observed: Option<Observed>,
}

/// A session whose attempt failed.
#[derive(Debug)]
pub struct FailedSession {
    /// Its key.
    pub key: String,
    /// Its failure row so far.
    pub failure_row: Option<i64>,
    /// The content that failed, where it could be read.
    pub hash: Option<ContentHash>,
    /// Size and times, where they can be trusted.
    pub observed: Option<Observed>,
    /// How it goes on.
    pub failures: Failures,
    /// How it goes on if it was released from its earlier failures during the run.
    pub failures_if_released: Failures,
    /// Why it failed.
    pub fault: Fault,
    /// When.
    pub at: UtcMicros,
    /// What it took.
    pub cost: Cost,
    /// Whether it was tried; otherwise only what was observed of it changes.
    pub is_attempt: bool,
}

impl Group {
    /// The mark of a session that is committed: set if it was asked for again since the scan.
    pub(crate) fn still_due(&self, key: &str) -> Option<bool> {
        self.requests.includes(key).then_some(true)
    }
}
