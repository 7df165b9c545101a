//! The data of lines that describe the session and not the conversation.

use session_pipeline_processor::transcript::{Entry, Kind, Metadata};

use crate::agent_totals::AgentTotals;
use crate::place::Place;
use crate::project::Worktrees;
use crate::pull_requests::PullRequests;
use crate::strings::{Span, Strings};

/// What a transcript says about its session.
#[derive(Default)]
pub struct SessionMetadata {
    /// The pull requests that the session was linked to.
    pub pull_requests: PullRequests,
    /// What the agent itself counted.
    pub agent_totals: AgentTotals,
    /// The worktrees that the session entered.
    pub worktrees: Worktrees,
    /// The session that this one continues.
    pub parent_session: Option<Span>,
    /// The session that continues this one.
    pub continued_in: Option<Span>,
}

impl SessionMetadata {
    /// Processes an entry.
    pub fn add(&mut self, strings: &mut Strings, place: &Place<'_>, entry: &Entry<'_>) {
        let Some(metadata) = &entry.metadata else {
            return;
        };
        match entry.kind {
            Kind::PullRequestLink => self.pull_requests.add(strings, place.line, metadata),
            Kind::CostState => self.agent_totals.add(strings, place, metadata),
            Kind::WorktreeState => {
                if let Some(worktree) = metadata.worktree {
                    self.worktrees.add(strings, worktree);
                }
            }
            Kind::ContinuedIn => {
                let session = strings.intern_text(metadata.continued_in_session_id);
                self.continued_in = session.or(self.continued_in);
            }
            _ if self.parent_session.is_none() => {
                self.parent_session = parent(strings, entry, metadata);
            }
            _ => {}
        }
    }
}

/// The session that an entry comes from, if the entry is a copy or refers to another session. A
/// sub-agent has the id of its session, which is not another one.
fn parent(strings: &mut Strings, entry: &Entry<'_>, metadata: &Metadata<'_>) -> Option<Span> {
    let parent = match entry.kind {
        Kind::ForkContext => metadata.parent_session_id?,
        _ => metadata.forked_from?.field("sessionId")?.text()?,
    };
    let own = entry.session_id.map(|id| id.decode());
    let is_other = own.is_none_or(|own| parent != *own);
    strings.intern_text(is_other.then_some(parent))
}
