//! The data of lines that describe the session and not the conversation.

use serde::{Deserialize, Serialize};
use session_pipeline_processor::transcript::{Entry, Kind, Metadata};

use crate::agent_totals::AgentTotals;
use crate::place::Place;
use crate::project::Worktrees;
use crate::pull_requests::PullRequests;
use crate::strings::{Span, Strings};

/// What a transcript says about its session.
#[derive(Default, Serialize, Deserialize)]
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

#[cfg(test)]
mod tests {
    use crate::sessions::SessionRow;
    use crate::testing::check;

    fn check_session(lines: &[&str], columns: &str, expected: &str) {
        check::<SessionRow<'_>>("ada/s.jsonl", lines, columns, &[expected]);
    }

    #[test]
    fn a_session_names_its_parent_and_its_continuation() {
        let columns = "parent_session continued_in first_uuid";
        check_session(&[r#"{"type":"user","sessionId":"s"}"#], columns, "- - -");
        check_session(
            &[
                r#"{"type":"mode","sessionId":"s","uuid":""}"#,
                r#"{"type":"fork-context-ref","sessionId":"s","parentSessionId":"p","agentId":"a"}"#,
                r#"{"type":"user","sessionId":"s","uuid":"u1","forkedFrom":{"sessionId":"q"}}"#,
                r#"{"type":"user","sessionId":"s","uuid":"u2"}"#,
                r#"{"type":"continued-in","sessionId":"s","continuedInSessionId":"t"}"#,
                r#"{"type":"continued-in","sessionId":"s","continuedInSessionId":7}"#,
            ],
            columns,
            "p t u1",
        );
        // A sub-agent that has the context of its own session.
        check_session(
            &[
                r#"{"type":"fork-context-ref","sessionId":"s","parentSessionId":"s"}"#,
                r#"{"type":"user","sessionId":"s","forkedFrom":{"sessionId":"q","messageUuid":"u"}}"#,
            ],
            columns,
            "q - -",
        );
    }

    #[test]
    fn a_session_belongs_to_the_directory_in_which_it_began() {
        check_session(
            &[
                r#"{"type":"worktree-state","worktreeSession":{"worktreePath":"/tmp/fix","originalCwd":"/w/shop"}}"#,
                r#"{"type":"user","cwd":"/tmp/fix/web","entrypoint":"cli"}"#,
                r#"{"type":"user","cwd":"/w/other","entrypoint":"sdk-cli"}"#,
                r#"{"type":"worktree-state","worktreeSession":null}"#,
            ],
            "project cwd entrypoint",
            "/w/shop /tmp/fix/web cli",
        );
        check_session(&[r#"{"type":"user"}"#], "project title", "- -");
    }

    #[test]
    fn a_session_counts_compactions_errors_and_queued_prompts() {
        let boundary = r#"{"type":"system","subtype":"compact_boundary","uuid":"b"}"#;
        let by_api = r#"{"message":{"id":"m","usage":{"iterations":[{"type":"compaction","input_tokens":1}]}}}"#;
        let error = r#"{"type":"assistant","isApiErrorMessage":true,"apiErrorStatus":529}"#;
        let queued = r#"{"type":"queue-operation","operation":"enqueue","content":"ship it"}"#;
        let link = r#"{"type":"pr-link","prNumber":1,"prRepository":"a/b"}"#;
        let prompt = r#"{"type":"user","turnOrigin":"sdk","message":{"content":"go"}}"#;
        check_session(
            &[
                boundary, boundary, by_api, error, queued, link, link, prompt,
            ],
            "compactions api_errors api_errors_by_class prompts queued_prompts pull_requests \
             is_automated",
            r#"2 1 {"overloaded":1} 1 1 ["a/b#1"] true"#,
        );
    }
}
