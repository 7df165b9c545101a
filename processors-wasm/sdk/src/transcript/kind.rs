//! The types of entries that agents are known to write.

use crate::scan::{Result, Scanner};

/// What an entry calls itself in `type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// `assistant`: a message of the model.
    Assistant,
    /// `user`: a message to the model, a result of a tool included.
    User,
    /// `system`: a note of the agent.
    System,
    /// `progress`: what happens while a tool runs.
    Progress,
    /// `tool_use_result`: a result that is an entry of its own.
    ToolUseResult,
    /// `attachment`: what the agent attached to the conversation.
    Attachment,
    /// `queue-operation`: a change to the queue of prompts typed while the agent works.
    QueueOperation,
    /// Any other type that agents are known to write.
    Other,
    /// No type, or one that nobody here has heard of.
    #[default]
    Unknown,
}

impl Kind {
    /// The kind of that name.
    pub fn of(name: &str) -> Self {
        match name {
            "assistant" => Self::Assistant,
            "user" => Self::User,
            "system" => Self::System,
            "progress" => Self::Progress,
            "tool_use_result" => Self::ToolUseResult,
            "attachment" => Self::Attachment,
            "queue-operation" => Self::QueueOperation,
            "agent-color"
            | "agent-name"
            | "agent-setting"
            | "ai-title"
            | "atis-latch"
            | "attribution-snapshot"
            | "content-replacement"
            | "custom-title"
            | "file-history-snapshot"
            | "last-prompt"
            | "mode"
            | "permission-mode"
            | "pr-link"
            | "speculation-accept"
            | "summary"
            | "tag"
            | "task-summary"
            | "worktree-state" => Self::Other,
            _ => Self::Unknown,
        }
    }

    pub(super) fn read(scanner: &mut Scanner<'_>) -> Result<Self> {
        let text = scanner.maybe_text()?;
        Ok(text.map_or(Self::Unknown, |text| Self::of(&text.decode())))
    }
}
