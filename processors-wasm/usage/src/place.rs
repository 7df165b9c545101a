//! Where and when: what a row takes from the line that it stems from.

use session_pipeline_processor::Timestamp;
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::Entry;

use crate::strings::{Span, Strings};

/// The place of an entry in its transcript, still borrowed from the line.
pub struct Place<'a> {
    /// The number of the line.
    pub line: u64,
    /// The entry's own time, or that of the entry before; `None` before the first readable one.
    pub occurred_at: Option<Timestamp>,
    /// As in [`KeptPlace`].
    is_own_session: bool,
    session_id: Option<Text<'a>>,
    cwd: Option<Text<'a>>,
    git_branch: Option<Text<'a>>,
    agent_version: Option<Text<'a>>,
}

/// A [`Place`] that is kept.
#[derive(Clone, Copy, Debug)]
pub struct KeptPlace {
    /// The number of the line.
    pub line: u64,
    /// As in [`Place`].
    pub occurred_at: Option<Timestamp>,
    /// `sessionId` of the line itself.
    pub session_id: Option<Span>,
    /// Whether no line so far was of another session.
    pub is_own_session: bool,
    /// Where the agent worked.
    pub cwd: Option<Span>,
    /// On which branch.
    pub git_branch: Option<Span>,
    /// The agent's version.
    pub agent_version: Option<Span>,
}

/// Goes along with the transcript and gives each entry its time.
///
/// Never the clock: the same bytes must give the same rows.
#[derive(Default)]
pub struct Places {
    first_time: Option<Timestamp>,
    last_time: Option<Timestamp>,
    first_session: Option<String>,
    has_other_sessions: bool,
}

impl Places {
    /// The place of the next entry.
    pub fn enter<'a>(&mut self, line: u64, entry: &Entry<'a>) -> Place<'a> {
        if let Some(time) = entry.timestamp {
            self.last_time = Some(time);
            self.first_time.get_or_insert(time);
        }
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

    /// The first readable time: that of all that stands before it.
    pub fn first_time(&self) -> Option<Timestamp> {
        self.first_time
    }
}

impl<'a> Place<'a> {
    /// `sessionId` of the line, where it is not empty.
    pub fn session_id(&self) -> Option<Text<'a>> {
        self.session_id.filter(|id| !id.is_empty())
    }

    /// The place, for longer than the line lives.
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
