//! The entries of a transcript, in a form that does not depend on the format of an agent.
//!
//! One entry is one line. All texts are redacted, and control characters in them are visible.

use serde::{Deserialize, Serialize};

/// A text of a transcript. It is redacted and safe to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TranscriptText {
    /// The text, or its beginning.
    pub text: String,
    /// The length of the whole text in the transcript, in bytes. Of a text that was not read, the
    /// length of its line.
    pub bytes: u64,
    /// Whether `text` is only the beginning.
    pub is_truncated: bool,
    /// The line that has the text. With `part`, it selects the whole text.
    pub line: u64,
    /// The part of the line that has the text.
    pub part: u32,
}

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TranscriptEntry {
    /// The line number, from 1.
    pub line: u64,
    /// The length of the line in bytes.
    pub bytes: u64,
    /// The id of the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The id of the entry that this one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The time of the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The sub-agent that the entry belongs to. Absent for the main conversation of the transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_agent: Option<SubAgentReference>,
    /// The response of the model that the entry is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<ModelResponse>,
    /// The parts of the entry, in their order.
    pub parts: Vec<EntryPart>,
    /// Whether the line has more parts than the maximum.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_more_parts: bool,
}

/// The sub-agent that an entry belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SubAgentReference {
    /// The id of the sub-agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The line of the tool call that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_line: Option<u64>,
}

/// The response of a model. Several entries can be parts of one response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ModelResponse {
    /// The id of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The name of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The tokens of the whole response, as known when the line was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<ResponseTokens>,
}

/// The tokens of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ResponseTokens {
    /// Input tokens that were not cached.
    pub input: u64,
    /// Input tokens that were read from the cache.
    pub cache_read: u64,
    /// Input tokens that were written to the cache.
    pub cache_write: u64,
    /// Output tokens.
    pub output: u64,
}

/// One part of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EntryPart {
    /// A text or a command that a user typed. In a sub-agent: the task of the sub-agent.
    Prompt {
        /// The name of the command with its prefix, such as `/review`. Absent for a text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<String>,
        /// The text, or the arguments of the command.
        text: TranscriptText,
    },
    /// A text of the model, in Markdown.
    Response {
        /// The text.
        text: TranscriptText,
    },
    /// Thinking of the model.
    Thinking {
        /// The text. Empty if the model did not reveal it.
        text: TranscriptText,
    },
    /// A tool call, with its result.
    ToolCall(Box<ToolCall>),
    /// The result of a tool call. If the call is in the transcript, the call has the text.
    ToolResult {
        /// The line of the call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call_line: Option<u64>,
        /// The outcome of the call.
        outcome: CallOutcome,
        /// The text of the result, if the call is not in the transcript.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<TranscriptText>,
    },
    /// The agent replaced the conversation up to here by a summary.
    Compaction {
        /// Why: `auto` or `manual`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trigger: Option<String>,
        /// The tokens of the conversation before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens_before: Option<u64>,
        /// A note, or the summary.
        text: TranscriptText,
    },
    /// A request to the model failed.
    ApiError {
        /// The HTTP status.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u64>,
        /// The error.
        text: TranscriptText,
    },
    /// A text that the agent wrote itself, such as the output of a hook.
    Notice {
        /// What kind of notice.
        name: String,
        /// The text.
        text: TranscriptText,
    },
    /// Anything else.
    Other {
        /// Its type in the transcript.
        name: String,
        /// Its JSON.
        text: TranscriptText,
    },
    /// A line that cannot be read.
    Unreadable {
        /// Why.
        reason: UnreadableReason,
        /// The beginning of the line.
        text: TranscriptText,
    },
}

/// A tool call, with its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ToolCall {
    /// The id of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The name of the tool.
    pub name: String,
    /// One line about the input, such as the command or the path. Empty if there is nothing to say.
    pub summary: String,
    /// The input, as text.
    pub input: TranscriptText,
    /// The outcome.
    pub outcome: CallOutcome,
    /// The time between the call and its result, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The text of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TranscriptText>,
    /// The sub-agent that the call started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_agent: Option<StartedSubAgent>,
}

/// A sub-agent that a tool call started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StartedSubAgent {
    /// The id of the sub-agent. Absent until its result is in the transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The type of the sub-agent, such as `Explore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// The session key of the transcript of the sub-agent, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// The outcome of a tool call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// The call succeeded.
    Ok,
    /// The call failed.
    Error,
    /// The user or a permission rule rejected the call.
    Rejected,
    /// There is no result yet.
    Pending,
}

/// Why a line cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum UnreadableReason {
    /// The line is not a JSON object.
    Invalid,
    /// The line is the last one and has no end yet. The agent can still be writing it.
    Incomplete,
    /// The line is longer than the maximum.
    TooLong,
}

impl TranscriptEntry {
    /// Every text of the entry that comes from the transcript, except for ids.
    pub(super) fn texts_mut(&mut self) -> Vec<TextField<'_>> {
        let mut texts = Vec::new();
        if let Some(response) = &mut self.response {
            texts.extend(response.model.as_mut().map(TextField::Name));
        }
        for part in &mut self.parts {
            match part {
                EntryPart::Prompt { command, text } => {
                    texts.extend(command.as_mut().map(TextField::Name));
                    texts.push(TextField::Text(text));
                }
                EntryPart::Response { text } | EntryPart::Thinking { text } => {
                    texts.push(TextField::Text(text));
                }
                EntryPart::ToolCall(call) => {
                    texts.push(TextField::Name(&mut call.name));
                    texts.push(TextField::Name(&mut call.summary));
                    texts.push(TextField::Text(&mut call.input));
                    texts.extend(call.result.as_mut().map(TextField::Text));
                    let agent = call.sub_agent.as_mut();
                    let kind = agent.and_then(|agent| agent.agent_type.as_mut());
                    texts.extend(kind.map(TextField::Name));
                }
                EntryPart::ToolResult { text, .. } => {
                    texts.extend(text.as_mut().map(TextField::Text));
                }
                EntryPart::Compaction { trigger, text, .. } => {
                    texts.extend(trigger.as_mut().map(TextField::Name));
                    texts.push(TextField::Text(text));
                }
                EntryPart::ApiError { text, .. } | EntryPart::Unreadable { text, .. } => {
                    texts.push(TextField::Text(text));
                }
                EntryPart::Notice { name, text } | EntryPart::Other { name, text } => {
                    texts.push(TextField::Name(name));
                    texts.push(TextField::Text(text));
                }
            }
        }
        texts
    }
}

/// A text of an entry.
pub(super) enum TextField<'e> {
    /// A name or a summary: one short line.
    Name(&'e mut String),
    /// A text of any length.
    Text(&'e mut TranscriptText),
}
