//! What is known of a session.

use std::collections::BTreeMap;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::money::Usd;

use super::sessions::shown;

/// What `usage` extracted from a session file.
///
/// Columns that an earlier version of `usage` did not write are `None`. Texts come from transcripts
/// and contain no secrets, but possibly control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionSummary {
    /// The session's id.
    pub session_id: String,
    /// The title by the user or the agent.
    pub title: Option<String>,
    /// The repository or directory in which the session began.
    pub project: Option<String>,
    /// The first Git branch.
    pub branch: Option<String>,
    /// How the agent was started.
    pub entrypoint: Option<String>,
    /// The time of the first line.
    pub started_at: Option<UtcMicros>,
    /// The time of the last line.
    pub ended_at: Option<UtcMicros>,
    /// Whether programs began all turns.
    pub is_automated: Option<bool>,
    /// Number of messages in the file, copies included.
    pub held_messages: Option<i64>,
    /// Seconds in which something happened in the file.
    pub active_seconds: Option<i64>,
    /// Prompts in the file.
    pub prompts: Option<i64>,
    /// Calls of tools in the file.
    pub tool_calls: Option<i64>,
    /// Failed calls in the file.
    pub tool_errors: Option<i64>,
    /// The coding agent that wrote the file.
    pub agent: Option<String>,
    /// Whether the file is a sub-agent's. Its cost is in the session that started it.
    pub is_subagent: bool,
    /// Sums over the messages that first appeared in this session, with those of its sub-agents.
    /// `None`: the file is a sub-agent's, or the reports can't be read.
    pub figures: Option<SessionFigures>,
}

impl SessionFigures {
    /// Tokens of all classes.
    pub fn tokens(&self) -> i64 {
        self.input_tokens
            .saturating_add(self.output_tokens)
            .saturating_add(self.cache_read_tokens)
            .saturating_add(self.cache_creation_tokens)
    }
}

impl SessionSummary {
    /// Removes what looks like a secret from all texts, and cuts off long ones.
    pub fn remove_secrets(&mut self) {
        let texts = [
            Some(&mut self.session_id),
            self.title.as_mut(),
            self.project.as_mut(),
            self.branch.as_mut(),
            self.entrypoint.as_mut(),
            self.agent.as_mut(),
        ];
        for text in texts.into_iter().flatten() {
            *text = shown(text);
        }
    }

    /// Number of messages, each counted once.
    pub fn messages(&self) -> Option<i64> {
        let figures = self.figures.as_ref();
        figures
            .map(|figures| figures.messages)
            .or(self.held_messages)
    }
}

/// Sums over the messages of a session. Each message counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionFigures {
    /// Cost of all tokens with a price. `None` if none has one.
    pub cost_usd: Option<Usd>,
    /// Whether the cost is incomplete.
    pub cost_is_lower_bound: bool,
    /// Number of messages.
    pub messages: i64,
    /// Input tokens, without those read from or written to the cache.
    pub input_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// Whether the final output count of a message is missing.
    pub output_is_lower_bound: bool,
    /// Input tokens read from the cache.
    pub cache_read_tokens: i64,
    /// Input tokens written to the cache.
    pub cache_creation_tokens: i64,
    /// Runs of sub-agents without a transcript. Their tokens are in no other count.
    pub unrecorded_runs: i64,
    /// Requests that the agent did not record. Their tokens are in no count.
    pub unrecorded_requests: i64,
}

/// What else `usage` extracted from one session file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionBackground {
    /// The pull requests that the session was linked to.
    pub pull_requests: Vec<String>,
    /// Lines that tools added.
    pub lines_added: Option<i64>,
    /// Lines that tools removed.
    pub lines_removed: Option<i64>,
    /// Compactions of the conversation.
    pub compactions: Option<i64>,
    /// Requests to the API that failed.
    pub api_errors: Option<i64>,
    /// The failed requests by class.
    pub api_errors_by_class: BTreeMap<String, i64>,
    /// Prompts that were queued while the agent was working.
    pub queued_prompts: Option<i64>,
    /// The version of the agent.
    pub agent_version: Option<String>,
    /// The subscription plan, if the agent recorded it.
    pub plan: Option<String>,
    /// Why the agent did not record all tokens, with the number of occurrences.
    pub unrecorded_reasons: BTreeMap<String, i64>,
    /// The session that this one continues, or whose sub-agent it is.
    pub parent_session: Option<String>,
    /// The keys of other sessions that begin with the same line or continue this one.
    pub forks: Vec<String>,
    /// The runs of sub-agents that it started.
    pub agent_runs: Vec<SubagentRun>,
    /// Number of runs beyond those in the list.
    pub omitted_agent_runs: u64,
}

/// A run of a sub-agent, as its result reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubagentRun {
    /// The type of the sub-agent.
    pub agent_type: Option<String>,
    /// The tokens of its last response.
    pub total_tokens: Option<i64>,
    /// Its duration in milliseconds.
    pub duration_ms: Option<i64>,
}
