//! The place and time of a row, from the line that it comes from.

use serde::{Deserialize, Serialize};
use session_pipeline_processor::Timestamp;
use session_pipeline_processor::activity::Origin;
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::Entry;

use crate::strings::{Span, Strings};

/// The place of an entry in its transcript, borrowed from the line.
pub struct Place<'a> {
    /// The number of the line.
    pub line: u64,
    /// The timestamp of the entry, or of the previous entry. `None` before the first valid one.
    pub occurred_at: Option<Timestamp>,
    /// See [`KeptPlace`].
    is_own_session: bool,
    session_id: Option<Text<'a>>,
    cwd: Option<Text<'a>>,
    git_branch: Option<Text<'a>>,
    agent_version: Option<Text<'a>>,
}

/// An owned [`Place`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct KeptPlace {
    /// The number of the line.
    pub line: u64,
    /// See [`Place`].
    pub occurred_at: Option<Timestamp>,
    /// `sessionId` of the line.
    pub session_id: Option<Span>,
    /// Whether all lines so far belong to the session of this line.
    pub is_own_session: bool,
    /// The working directory of the agent.
    pub cwd: Option<Span>,
    /// The Git branch.
    pub git_branch: Option<Span>,
    /// The version of the agent.
    pub agent_version: Option<Span>,
}

/// Follows the transcript and assigns a time to each entry.
///
/// It never uses the clock, because the same bytes must produce the same rows.
#[derive(Default, Serialize, Deserialize)]
pub struct Places {
    first_time: Option<Timestamp>,
    last_time: Option<Timestamp>,
    first_session: Option<String>,
    has_other_sessions: bool,
}

impl Places {
    /// The place of the next item.
    pub fn enter_item<'a>(&mut self, origin: &Origin<'a>) -> Place<'a> {
        self.pass_time(origin.time);
        Place {
            line: origin.line,
            is_own_session: !origin.is_replayed,
            occurred_at: self.last_time,
            session_id: origin.session_id,
            cwd: origin.cwd,
            git_branch: origin.git_branch,
            agent_version: origin.agent_version,
        }
    }

    fn pass_time(&mut self, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.last_time = Some(time);
            self.first_time.get_or_insert(time);
        }
    }

    /// The place of the next entry.
    pub fn enter<'a>(&mut self, line: u64, entry: &Entry<'a>) -> Place<'a> {
        self.pass_time(entry.timestamp);
        if let Some(session_id) = entry.session_id.filter(|id| !id.is_empty()) {
            match &self.first_session {
                None => self.first_session = Some(session_id.decode().into_owned()),
                Some(first) => self.has_other_sessions |= session_id != first.as_str(),
            }
        }
        Place {
            line,
            is_own_session: !self.has_other_sessions,
            occurred_at: self.last_time,
            session_id: entry.session_id,
            cwd: entry.cwd,
            git_branch: entry.git_branch,
            agent_version: entry.version,
        }
    }

    /// The first valid timestamp. Used for lines before it.
    pub fn first_time(&self) -> Option<Timestamp> {
        self.first_time
    }
}

impl<'a> Place<'a> {
    /// `sessionId` of the line, if it is not empty.
    pub fn session_id(&self) -> Option<Text<'a>> {
        self.session_id.filter(|id| !id.is_empty())
    }

    /// Converts to an owned place.
    pub fn keep(&self, strings: &mut Strings) -> KeptPlace {
        KeptPlace {
            line: self.line,
            occurred_at: self.occurred_at,
            session_id: strings.intern_text(self.session_id),
            is_own_session: self.is_own_session,
            cwd: strings.intern_text(self.cwd),
            git_branch: strings.intern_text(self.git_branch),
            agent_version: strings.intern_text(self.agent_version),
        }
    }
}
