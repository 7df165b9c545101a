//! The known types of entries.

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
