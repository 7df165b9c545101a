//! Transcripts, page by page, for people who read them.
//!
//! A page is found through an index of the file, which is built on first use and cached
//! ([`TranscriptIndexes`]). After that, a page reads only its own lines and the results of its
//! calls, however long the file is. All texts are redacted, and control characters in them are
//! visible. Only `agents` and `claude` know the formats of agents.
//!
//! The contents are untrusted. A line that cannot be read is an entry that says so, and no content
//! is an error.

mod agents;
mod assemble;
mod cache;
mod claude;
mod content;
mod document;
mod entry;
mod index;
mod input;
mod json;
mod lines;
mod parsed;
mod shown;

use std::io;

use session_pipeline_host::fault::printable;
use session_pipeline_store::StoreError;

pub use cache::TranscriptIndexes;
pub use entry::{
    CallOutcome, EntryPart, ModelResponse, ResponseTokens, StartedSubAgent, SubAgentReference,
    ToolCall, TranscriptEntry, TranscriptText, UnreadableReason,
};

/// Longer lines are not parsed, as by default when sessions are processed.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Number of bytes to read of a line that is not parsed.
const LONG_LINE_BYTES: usize = 64 << 10;
/// A page that has read this many bytes ends early.
const PAGE_BYTES_MAX: u64 = 16 << 20;
/// Maximum number of bytes to read for the results of a page that are not on it.
const RESULT_BYTES_MAX: u64 = 16 << 20;
/// A longer compressed transcript is not decompressed for readers, in bytes. Its bytes are in memory
/// while it is read.
const DECOMPRESSED_BYTES_MAX: u64 = 256 << 20;
/// Longer texts on a page are truncated, in characters.
const TEXT_CHARS_MAX: usize = 4000;
/// Longer texts are truncated even if they are requested alone, in bytes.
const WHOLE_TEXT_BYTES_MAX: usize = 2 << 20;

/// The name of the agent whose format readers see in a transcript with this beginning, such as
/// `codex`. `claude` for every file whose format no parser reads. Processors see the same agent, or
/// `unknown`.
pub fn agent_of(beginning: &[u8]) -> &'static str {
    agents::TranscriptFormat::of_beginning(beginning).agent()
}

/// A page of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranscriptPage {
    /// The length of the transcript in bytes.
    pub bytes: u64,
    /// The number of lines of the transcript.
    pub lines: u64,
    /// The entries, in the order of their lines.
    pub entries: Vec<TranscriptEntry>,
    /// The number of the last line on the page. `None` if it is the last line of the transcript.
    pub next: Option<u64>,
}

/// A whole text of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranscriptPart {
    /// The kind of the part, such as `response`.
    pub kind: &'static str,
    /// The text.
    pub text: TranscriptText,
}

/// The lines of a transcript that a reader jumps to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TranscriptMarks {
    /// Prompts and commands of users.
    pub prompts: MarkedLines,
    /// Failed and rejected calls, and API errors.
    pub errors: MarkedLines,
    /// Places where the conversation was replaced by a summary.
    pub compactions: MarkedLines,
    /// Calls that started a sub-agent.
    pub sub_agents: MarkedLines,
}

/// Lines of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkedLines {
    /// The numbers of the first lines, sorted. At most 2,000.
    pub lines: Vec<u64>,
    /// The number of all lines.
    pub total: u64,
}

/// Why a transcript cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TranscriptError {
    /// There is no such file.
    #[error(
        "no transcript `{}`: its file was deleted, or the key is wrong; `session-pipeline sessions list` lists all sessions",
        printable(key)
    )]
    Unknown {
        /// The session key.
        key: String,
    },
    /// The transcript has no such line, or the line has no such part.
    #[error("the transcript has no line {line} with a part {part}")]
    NoPart {
        /// The line number.
        line: u64,
        /// The number of the part.
        part: u32,
    },
    /// The compressed file is damaged or too large.
    #[error("cannot read the transcript `{}`: {reason}", printable(key))]
    Compressed {
        /// The session key.
        key: String,
        /// The reason, and what to do.
        reason: String,
    },
    /// The file cannot be read.
    #[error(
        "cannot read the transcript `{}`; check its permissions",
        printable(key)
    )]
    Io {
        /// The session key.
        key: String,
        /// The I/O error.
        #[source]
        source: io::Error,
    },
    /// The request was canceled.
    #[error(transparent)]
    Store(#[from] StoreError),
}
