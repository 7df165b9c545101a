//! What the transcript of a session contains, as `usage` extracted it.
//!
//! A field is absent if the session was not processed, or if the version of `usage` that processed
//! it did not extract it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::listing::overview::SessionOverview;
use session_pipeline_pipeline::report::sessions::{SessionBackground, SubagentRun};
use utoipa::ToSchema;

use super::{SessionBody, SessionDetailsBody};

/// What people recognize a session by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionSummaryBody {
    /// The e-mail address of its user, if the first folder of its key belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_email: Option<String>,
    /// The id of the session. Several files can belong to one session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The title that the user or the agent gave it, or the first line of its first prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The repository or folder in which it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The Git branch on which it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// How the agent was started, such as `cli`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<String>,
    /// The time of the first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// The time of the last line; before it was processed, of the last change of its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<String>,
    /// Messages, each counted once over all files, with those of its sub-agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<i64>,
    /// Whether the cost is incomplete: a model has no price, an output count is not final, or a
    /// sub-agent has no transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_is_lower_bound: Option<bool>,
    /// Whether programs began all of its turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_automated: Option<bool>,
    /// The seconds in which something happened in its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_seconds: Option<i64>,
    /// The number of prompts in its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<i64>,
    /// The number of calls of tools in its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<i64>,
    /// The number of failed calls in its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_errors: Option<i64>,
    /// The tokens of all classes, each message counted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<i64>,
    /// The coding agent that wrote it, such as `claude` or `codex`. `unknown` for a file that is not
    /// a session of a supported agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Whether it is the file of a sub-agent. Its cost is in the session that started it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_subagent: bool,
}

/// What else the transcript of a session contains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionBackgroundBody {
    /// Pull requests that it was linked to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pull_requests: Vec<String>,
    /// Lines that tools added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines_added: Option<i64>,
    /// Lines that tools removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines_removed: Option<i64>,
    /// Compactions of the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compactions: Option<i64>,
    /// Requests to the API that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_errors: Option<i64>,
    /// The failed requests by class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub api_errors_by_class: BTreeMap<String, i64>,
    /// Prompts that were queued while the agent was working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_prompts: Option<i64>,
    /// The version of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// The id of the session that it continues, or whose sub-agent it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_session: Option<String>,
    /// The keys of other sessions that begin with the same line or continue it; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forks: Vec<String>,
    /// Input tokens that were neither read from nor written to the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<i64>,
    /// Output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<i64>,
    /// Whether the final output count of a message was never written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_is_lower_bound: Option<bool>,
    /// Input tokens read from the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_tokens: Option<i64>,
    /// Input tokens written to the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_creation_tokens: Option<i64>,
    /// Runs of sub-agents that it started, those with the most tokens first; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subagent_runs: Vec<SubagentRunBody>,
    /// Number of further runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted_subagent_runs: Option<u64>,
    /// Runs of sub-agents without a transcript, whose cost is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded_runs: Option<i64>,
    /// The subscription plan, if the agent recorded it. Its requests are not billed by the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Why the agent did not record the tokens of some requests, with their number: `aborted_turn`,
    /// `compaction` or `open_session`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unrecorded_reasons: BTreeMap<String, i64>,
}

/// A run of a sub-agent, as its result reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubagentRunBody {
    /// The type of the sub-agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// The tokens of its last response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<i64>,
    /// Its duration in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
}

impl From<&SessionOverview> for SessionBody {
    fn from(session: &SessionOverview) -> Self {
        let figures = session.summary.as_ref().and_then(|summary| summary.figures);
        Self {
            summary: SessionSummaryBody::from(session),
            cost_usd: figures.and_then(|figures| figures.cost_usd),
            ..Self::from(&session.listed)
        }
    }
}

impl From<&SessionOverview> for SessionSummaryBody {
    fn from(session: &SessionOverview) -> Self {
        let activity = session.last_activity().map(|at| at.to_string());
        let body = Self {
            user_email: session.user_email.as_deref().map(str::to_owned),
            last_activity_at: activity,
            is_subagent: session.is_subagent(),
            ..Self::default()
        };
        let Some(summary) = session.summary.as_deref() else {
            return body;
        };
        Self {
            session_id: Some(summary.session_id.clone()),
            title: summary.title.clone(),
            project: summary.project.clone(),
            branch: summary.branch.clone(),
            entrypoint: summary.entrypoint.clone(),
            started_at: summary.started_at.map(|at| at.to_string()),
            messages: summary.messages(),
            cost_is_lower_bound: summary.figures.map(|figures| figures.cost_is_lower_bound),
            is_automated: summary.is_automated,
            active_seconds: summary.active_seconds,
            prompts: summary.prompts,
            tool_calls: summary.tool_calls,
            tool_errors: summary.tool_errors,
            agent: summary.agent.clone(),
            tokens: summary.figures.map(|figures| figures.tokens()),
            ..body
        }
    }
}

impl SessionDetailsBody {
    /// The same with what `usage` extracted.
    #[must_use]
    pub fn with_background(self, session: &SessionOverview, background: SessionBackground) -> Self {
        let figures = session.summary.as_ref().and_then(|summary| summary.figures);
        let runs = background.agent_runs;
        let positive = |runs: i64| Some(runs).filter(|runs| *runs > 0);
        Self {
            summary: SessionSummaryBody::from(session),
            cost_usd: figures.and_then(|figures| figures.cost_usd),
            background: SessionBackgroundBody {
                pull_requests: background.pull_requests,
                lines_added: background.lines_added,
                lines_removed: background.lines_removed,
                compactions: background.compactions,
                api_errors: background.api_errors,
                api_errors_by_class: background.api_errors_by_class,
                queued_prompts: background.queued_prompts,
                agent_version: background.agent_version,
                parent_session: background.parent_session,
                forks: background.forks,
                input_tokens: figures.map(|figures| figures.input_tokens),
                output_tokens: figures.map(|figures| figures.output_tokens),
                output_is_lower_bound: figures.map(|figures| figures.output_is_lower_bound),
                cache_read_tokens: figures.map(|figures| figures.cache_read_tokens),
                cache_creation_tokens: figures.map(|figures| figures.cache_creation_tokens),
                subagent_runs: runs.into_iter().map(SubagentRunBody::from).collect(),
                omitted_subagent_runs: Some(background.omitted_agent_runs)
                    .filter(|omitted| *omitted > 0),
                unrecorded_runs: figures.and_then(|figures| positive(figures.unrecorded_runs)),
                plan: background.plan,
                unrecorded_reasons: background.unrecorded_reasons,
            },
            ..self
        }
    }
}

impl From<SubagentRun> for SubagentRunBody {
    fn from(run: SubagentRun) -> Self {
        Self {
            agent_type: run.agent_type,
            total_tokens: run.total_tokens,
            duration_ms: run.duration_ms,
        }
    }
}
