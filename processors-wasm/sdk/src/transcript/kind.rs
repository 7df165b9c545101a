//! The known types of entries.

use crate::json::Text;
use crate::scan::{Result, Scanner};

/// The `type` of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// `assistant`: a message of the model.
    Assistant,
    /// `user`: a message to the model, including tool results.
    User,
    /// `system`: a note by the agent.
    System,
    /// `progress`: progress of a running tool.
    Progress,
    /// `tool_use_result`: a result in a separate entry.
    ToolUseResult,
    /// `attachment`: an attachment of the agent to the conversation.
    Attachment,
    /// `queue-operation`: a change of the queue of prompts that were typed while the agent was
    /// working.
    QueueOperation,
    /// `custom-title`: a title that the user gave the session.
    CustomTitle,
    /// `ai-title`: a title that the agent gave the session.
    AiTitle,
    /// `summary`: a title of the conversation, from older versions.
    Summary,
    /// `pr-link`: the session worked on a pull request.
    PullRequestLink,
    /// `worktree-state`: the session entered or left a Git worktree.
    WorktreeState,
    /// `fork-context-ref`: the session continues the context of another session.
    ForkContext,
    /// `continued-in`: the conversation continues in another session.
    ContinuedIn,
    /// `cost-state`: what the agent itself counted so far.
    CostState,
    /// `api-request` and its parts: a request to the API. Its `message` is not a response.
    ApiRequest,
    /// Any other known type.
    Other,
    /// No type, or an unknown one.
    #[default]
    Unknown,
}

impl Kind {
    /// Parses the name of a type.
    pub fn of(name: &str) -> Self {
        match name {
            "assistant" => Self::Assistant,
            "user" => Self::User,
            "system" => Self::System,
            "progress" => Self::Progress,
            "tool_use_result" => Self::ToolUseResult,
            "attachment" => Self::Attachment,
            "queue-operation" => Self::QueueOperation,
            "custom-title" => Self::CustomTitle,
            "ai-title" => Self::AiTitle,
            "summary" => Self::Summary,
            "pr-link" => Self::PullRequestLink,
            "worktree-state" => Self::WorktreeState,
            "fork-context-ref" => Self::ForkContext,
            "continued-in" => Self::ContinuedIn,
            "cost-state" => Self::CostState,
            "api-request" | "api-request-shape" | "api-request-blob" => Self::ApiRequest,
            "agent-color"
            | "agent-name"
            | "agent-setting"
            | "artifact-autoreact-ledger"
            | "artifact-comment-monitor"
            | "atis-latch"
            | "attribution-snapshot"
            | "bridge-session"
            | "content-replacement"
            | "dev-mods"
            | "ended-by-model"
            | "file-history-delta"
            | "file-history-snapshot"
            | "frame-link"
            | "history-suppression"
            | "isolation-latch"
            | "last-prompt"
            | "memory-mode"
            | "mode"
            | "observer-ref"
            | "permission-mode"
            | "relocated"
            | "speculation-accept"
            | "tag"
            | "task-summary" => Self::Other,
            // Types of a feature that adds new ones.
            _ if name.starts_with("marble-origami-") => Self::Other,
            _ => Self::Unknown,
        }
    }

    /// Reads a type. Also returns its name if it is unknown.
    pub(super) fn read<'a>(scanner: &mut Scanner<'a>) -> Result<(Self, Option<Text<'a>>)> {
        let text = scanner.maybe_text()?.filter(|text| !text.is_empty());
        let kind = text.map_or(Self::Unknown, |text| Self::of(&text.decode()));
        Ok((kind, text.filter(|_| kind == Self::Unknown)))
    }
}
