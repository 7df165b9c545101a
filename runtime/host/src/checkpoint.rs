//! Checkpoints: where the processing of a session can continue when it has grown.

use serde::{Deserialize, Serialize};

use crate::content::HashedPrefix;
use crate::rows::TableRows;

/// A point in a session from which its processing can continue.
///
/// The rows recorded before it are *settled*: they stay when the session grows. The rows recorded
/// after it are the *tail*, which the next processing replaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The lines that it covers.
    pub prefix: HashedPrefix,
    /// Rows recorded for these lines so far, which count towards the limit of the session.
    pub rows: u64,
    /// Bytes of these rows, which count towards the limit of the session.
    pub row_bytes: u64,
    /// The state of the processor.
    pub state: Vec<u8>,
}

/// A checkpoint that a processor made, with the rows that it settled since the previous one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct NewCheckpoint {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The settled rows, one entry per table of the manifest.
    pub tables: Vec<TableRows>,
}
