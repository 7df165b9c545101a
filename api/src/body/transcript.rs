//! Transcripts, page by page.

use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::transcript::{
    MarkedLines, TranscriptEntry, TranscriptMarks, TranscriptPage, TranscriptPart, TranscriptText,
};
use utoipa::ToSchema;

/// A page of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TranscriptBody {
    /// The key of the session.
    pub session: String,
    /// The length of the transcript in bytes.
    pub bytes: u64,
    /// The number of lines of the transcript.
    pub lines: u64,
    /// The entries, one per line, in the order of the file.
    pub entries: Vec<TranscriptEntry>,
    /// The last line of this page. Send it as `after` for the next page. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A text of a transcript, as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TranscriptPartBody {
    /// The key of the session.
    pub session: String,
    /// The kind of the part, such as `response` or `tool_result`. Of a `tool_call`, the text is
    /// the input.
    pub kind: String,
    /// The text. It is truncated after 2 MiB.
    #[serde(flatten)]
    pub text: TranscriptText,
}

/// The lines of a transcript to jump to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TranscriptMarksBody {
    /// The key of the session.
    pub session: String,
    /// Prompts and commands of users.
    pub prompts: MarkedLinesBody,
    /// Calls that failed or were rejected, and API errors.
    pub errors: MarkedLinesBody,
    /// Places where the agent replaced the conversation by a summary.
    pub compactions: MarkedLinesBody,
    /// Calls that started a sub-agent.
    pub sub_agents: MarkedLinesBody,
}

/// The lines of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MarkedLinesBody {
    /// The line numbers, sorted. At most 2,000.
    #[schema(max_items = 2000)]
    pub lines: Vec<u64>,
    /// The number of all lines of this kind.
    pub total: u64,
}

impl TranscriptBody {
    /// The page of the session with this key.
    pub fn new(session: String, page: TranscriptPage) -> Self {
        Self {
            session,
            bytes: page.bytes,
            lines: page.lines,
            entries: page.entries,
            next: page.next,
        }
    }
}

impl TranscriptPartBody {
    /// A part of the session with this key.
    pub fn new(session: String, part: TranscriptPart) -> Self {
        Self {
            session,
            kind: part.kind.to_owned(),
            text: part.text,
        }
    }
}

impl TranscriptMarksBody {
    /// The marks of the session with this key.
    pub fn new(session: String, marks: TranscriptMarks) -> Self {
        Self {
            session,
            prompts: marks.prompts.into(),
            errors: marks.errors.into(),
            compactions: marks.compactions.into(),
            sub_agents: marks.sub_agents.into(),
        }
    }
}

impl From<MarkedLines> for MarkedLinesBody {
    fn from(marked: MarkedLines) -> Self {
        Self {
            lines: marked.lines,
            total: marked.total,
        }
    }
}
