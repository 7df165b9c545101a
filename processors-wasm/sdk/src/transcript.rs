//! Typed access to transcript lines, which are untrusted.
//!
//! A transcript is JSON lines without a schema. Fields come and go with the versions of the agent,
//! and some transcripts have every oddity. Therefore, no content causes an error. Unknown fields
//! are skipped. Nulls and fields of an unexpected type are absent. Damage affects only the value
//! that contains it. [`Transcript`] counts the lines and the damaged lines.
//!
//! All values borrow from the line. Nothing is decoded or allocated before it is read, except for
//! the list of a message's blocks.

pub mod commands;
mod kind;
mod metadata;
pub mod project;
pub mod prompts;
mod queue;
mod reader;
mod usage;

use std::borrow::Cow;

pub use kind::Kind;
pub use metadata::Metadata;
pub use queue::PromptQueue;
pub(crate) use reader::readable;
pub use reader::{Tally, Transcript};
pub use usage::{Iteration, IterationKind, Tokens, Usage};

use crate::Timestamp;
use crate::json::{Json, Text};
use crate::scan::{Result, Scanner};

/// One value of a transcript: usually a line, sometimes a part of a line.
#[derive(Clone, Debug, Default)]
pub struct Entry<'a> {
    /// The value of `type`.
    pub kind: Kind,
    /// The name in `type`, if the type is unknown.
    pub unknown_kind: Option<Text<'a>>,
    /// `subtype`, of system entries.
    pub subtype: Option<Text<'a>>,
    /// `uuid`.
    pub uuid: Option<Text<'a>>,
    /// `parentUuid`.
    pub parent_uuid: Option<Text<'a>>,
    /// `sessionId`.
    pub session_id: Option<Text<'a>>,
    /// `requestId`: the request to the model's API.
    pub request_id: Option<Text<'a>>,
    /// `timestamp`, if it is valid.
    pub timestamp: Option<Timestamp>,
    /// `cwd`: the working directory of the agent.
    pub cwd: Option<Text<'a>>,
    /// `gitBranch`.
    pub git_branch: Option<Text<'a>>,
    /// `version` of the agent.
    pub version: Option<Text<'a>>,
    /// `isSidechain`: belongs to a sub-agent, not to the conversation with the user.
    pub is_sidechain: bool,
    /// `agentId`: the sub-agent that the entry belongs to.
    pub agent_id: Option<Text<'a>>,
    /// `isMeta`: written by the agent, even if it looks like the user's text.
    pub is_meta: bool,
    /// `compactMetadata.trigger`: why the agent compacted the conversation (`auto`, `manual`).
    pub compaction_trigger: Option<Text<'a>>,
    /// `isCompactSummary`: a summary that replaces the earlier conversation.
    pub is_compact_summary: bool,
    /// `promptSource`: the origin of a prompt (`typed`, `queued`, `system`, `sdk`).
    pub prompt_source: Option<Text<'a>>,
    /// `origin.kind`: who wrote a prompt.
    pub origin: Option<Text<'a>>,
    /// `turnOrigin`: who began the turn (`human`, `sdk`, `task_notification`).
    pub turn_origin: Option<Text<'a>>,
    /// `sessionKind`: `bg` in a session without a terminal.
    pub session_kind: Option<Text<'a>>,
    /// `entrypoint`: the program that runs the agent (`cli`, `sdk-cli`, `claude-desktop`).
    pub entrypoint: Option<Text<'a>>,
    /// `effort`: the effort level that was requested from the model.
    pub effort: Option<Text<'a>>,
    /// The causes to which the agent attributes the tokens of a response.
    pub attribution: Attribution<'a>,
    /// `role`, in entries that are flat messages.
    pub role: Option<Text<'a>>,
    /// `content`, in system entries and flat messages.
    pub content: Content<'a>,
    /// `message`.
    pub message: Option<Message<'a>>,
    /// `data`, in progress entries.
    pub progress: Option<Progress<'a>>,
    /// `toolUseResult`: the result of a tool in a format of the tool.
    pub tool_use_result: Option<Json<'a>>,
    /// `tool_use_id` or `toolUseId`, in results that are separate entries.
    pub tool_use_id: Option<Text<'a>>,
    /// `parentToolUseID`, in progress entries: the call that runs the tool.
    pub parent_tool_use_id: Option<Text<'a>>,
    /// `is_error`, in results that are separate entries.
    pub is_error: bool,
    /// `error`: the kind of an API error, or its details.
    pub error: Option<Json<'a>>,
    /// `apiErrorStatus`: the HTTP status of an API error.
    pub api_error_status: Option<Json<'a>>,
    /// `isApiErrorMessage`: the agent reports an API error instead of an answer.
    pub is_api_error: bool,
    /// `operation`, in entries about the prompt queue.
    pub operation: Option<Text<'a>>,
    /// `attachment`.
    pub attachment: Option<Attachment<'a>>,
    /// Fields that describe the session. Absent from the entries of the conversation.
    pub metadata: Option<Box<Metadata<'a>>>,
}

/// The causes of a response, as the agent records them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attribution<'a> {
    /// `attributionAgent`: the type of the sub-agent.
    pub agent: Option<Text<'a>>,
    /// `attributionSkill`.
    pub skill: Option<Text<'a>>,
    /// `attributionPlugin`.
    pub plugin: Option<Text<'a>>,
    /// `attributionMcpServer`.
    pub mcp_server: Option<Text<'a>>,
}

/// An attachment of the agent to the conversation.
#[derive(Clone, Debug, Default)]
pub struct Attachment<'a> {
    /// `type`, for example `queued_command`.
    pub kind: Option<Text<'a>>,
    /// `commandMode` of queued commands. `prompt` for text that a person typed.
    pub command_mode: Option<Text<'a>>,
    /// `prompt` of queued commands.
    pub prompt: Content<'a>,
    /// `origin.kind`: who wrote it.
    pub origin: Option<Text<'a>>,
    /// `isMeta`: written by the agent.
    pub is_meta: bool,
}

/// A message from or to the model.
#[derive(Clone, Debug, Default)]
pub struct Message<'a> {
    /// `id`, assigned by the model's API. Several entries of one answer share it.
    pub id: Option<Text<'a>>,
    /// `role`.
    pub role: Option<Text<'a>>,
    /// `model`.
    pub model: Option<Text<'a>>,
    /// `stop_reason`. Absent while the answer is streaming.
    pub stop_reason: Option<Text<'a>>,
    /// `usage`, if it has a figure or is incomplete.
    pub usage: Option<Usage<'a>>,
    /// Whether a value in `usage` cannot be read exactly. The line then counts as damaged.
    pub usage_is_unreadable: bool,
    /// `content`.
    pub content: Content<'a>,
}

/// The content of a message.
#[derive(Clone, Debug, Default)]
pub enum Content<'a> {
    /// No readable content.
    #[default]
    Absent,
    /// A single text.
    Text(Text<'a>),
    /// A list of blocks.
    Blocks(Vec<Block<'a>>),
}

/// One block of a message.
#[derive(Clone, Debug)]
pub enum Block<'a> {
    /// Text.
    Text(Text<'a>),
    /// Thinking of the model.
    Thinking(Text<'a>),
    /// A tool call.
    ToolUse(ToolUse<'a>),
    /// The result of a tool call.
    ToolResult(ToolResult<'a>),
    /// Any other block, with its type if it has one.
    Other(Option<Text<'a>>),
}

/// A tool call.
#[derive(Clone, Copy, Debug)]
pub struct ToolUse<'a> {
    /// The id that the result refers to.
    pub id: Option<Text<'a>>,
    /// The name of the tool.
    pub name: Option<Text<'a>>,
    /// The input of the tool.
    pub input: Option<Json<'a>>,
}

/// The result of a tool call.
#[derive(Clone, Copy, Debug)]
pub struct ToolResult<'a> {
    /// The id of the tool call.
    pub tool_use_id: Option<Text<'a>>,
    /// Whether the tool failed.
    pub is_error: bool,
    /// The result for the model: a string, or a list of blocks.
    pub content: Option<Json<'a>>,
}

/// Progress of a running tool.
#[derive(Clone, Debug, Default)]
pub struct Progress<'a> {
    /// `type`, for example `agent_progress`.
    pub kind: Option<Text<'a>>,
    /// `message`: an entry of a sub-agent, if this is the progress of one.
    pub entry: Option<ProgressEntry<'a>>,
}

/// An entry of a sub-agent, inside a progress entry of the parent agent.
#[derive(Clone, Debug, Default)]
pub struct ProgressEntry<'a> {
    /// `type`.
    pub kind: Kind,
    /// `agentId` of the progress that contains the entry.
    pub agent_id: Option<Text<'a>>,
    /// `uuid`.
    pub uuid: Option<Text<'a>>,
    /// `requestId`.
    pub request_id: Option<Text<'a>>,
    /// `timestamp`, if it is valid.
    pub timestamp: Option<Timestamp>,
    /// `isApiErrorMessage`, see [`Entry`].
    pub is_api_error: bool,
    /// `message`.
    pub message: Option<Message<'a>>,
    /// `data`, if the sub-agent reports progress of its own sub-agent.
    pub progress: Option<Box<Progress<'a>>>,
}

impl<'a> Entry<'a> {
    /// Parses one JSON object without damage. `None` for any other text.
    ///
    /// Use it for single values, for example in tests. Use [`Transcript`] to read lines.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        let mut entry = Self::default();
        let is_object = entry.read(&mut scanner).ok()?;
        let is_whole = scanner.peek().is_none() && !scanner.is_damaged();
        (is_object && is_whole).then_some(entry)
    }

    /// The content of the entry: the content of its message, or its own if it is flat.
    pub fn says(&self) -> &Content<'a> {
        self.message
            .as_ref()
            .map_or(&self.content, |message| &message.content)
    }

    /// The entries of sub-agents in this entry, if it reports their progress: first its own
    /// sub-agent, then that sub-agent's sub-agent, and so on.
    pub fn sub_agents(&self) -> impl Iterator<Item = &ProgressEntry<'a>> {
        let first = Progress::sub_agent(self.kind, self.progress.as_ref());
        std::iter::successors(first, |entry| {
            Progress::sub_agent(entry.kind, entry.progress.as_deref())
        })
    }

    /// Reads a value into a blank entry. Returns whether the value is an object. Works in place,
    /// because entries are too large to move.
    pub(crate) fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<bool> {
        scanner.maybe_object(|scanner, key| {
            match key {
                "type" => (self.kind, self.unknown_kind) = Kind::read(scanner)?,
                "subtype" => self.subtype = scanner.maybe_text()?,
                "uuid" => self.uuid = scanner.maybe_text()?,
                "parentUuid" => self.parent_uuid = scanner.maybe_text()?,
                "sessionId" => self.session_id = scanner.maybe_text()?,
                "requestId" => self.request_id = scanner.maybe_text()?,
                "timestamp" => self.timestamp = read_timestamp(scanner)?,
                "cwd" => self.cwd = scanner.maybe_text()?,
                "gitBranch" => self.git_branch = scanner.maybe_text()?,
                "version" => self.version = scanner.maybe_text()?,
                "isSidechain" => self.is_sidechain = read_flag(scanner)?,
                "agentId" => self.agent_id = scanner.maybe_text()?,
                "isMeta" => self.is_meta = read_flag(scanner)?,
                "compactMetadata" => self.compaction_trigger = read_part(scanner, "trigger")?,
                "isCompactSummary" => self.is_compact_summary = read_flag(scanner)?,
                "promptSource" => self.prompt_source = scanner.maybe_text()?,
                "origin" => self.origin = read_part(scanner, "kind")?,
                "role" => self.role = scanner.maybe_text()?,
                "content" => self.content.read(scanner)?,
                "message" => Message::read(&mut self.message, scanner)?,
                "data" => Progress::read(&mut self.progress, scanner)?,
                "toolUseResult" => self.tool_use_result = Some(scanner.json()?),
                "tool_use_id" | "toolUseId" => self.tool_use_id = scanner.maybe_text()?,
                "is_error" => self.is_error = read_flag(scanner)?,
                "isApiErrorMessage" => self.is_api_error = read_flag(scanner)?,
                "operation" => self.operation = scanner.maybe_text()?,
                "attachment" => self.attachment = Attachment::read(scanner)?,
                "turnOrigin" => self.turn_origin = scanner.maybe_text()?,
                "sessionKind" => self.session_kind = scanner.maybe_text()?,
                "entrypoint" => self.entrypoint = scanner.maybe_text()?,
                "effort" => self.effort = scanner.maybe_text()?,
                "attributionAgent" => self.attribution.agent = scanner.maybe_text()?,
                "attributionSkill" => self.attribution.skill = scanner.maybe_text()?,
                "attributionPlugin" => self.attribution.plugin = scanner.maybe_text()?,
                "attributionMcpServer" => self.attribution.mcp_server = scanner.maybe_text()?,
                "parentToolUseID" => self.parent_tool_use_id = scanner.maybe_text()?,
                "error" => self.error = Some(scanner.json()?),
                "apiErrorStatus" => self.api_error_status = Some(scanner.json()?),
                _ => Metadata::read_field(&mut self.metadata, scanner, key)?,
            }
            Ok(())
        })
    }
}

impl<'a> Attachment<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Option<Self>> {
        let mut attachment = Self::default();
        let is_object = scanner.maybe_object(|scanner, key| {
            match key {
                "type" => attachment.kind = scanner.maybe_text()?,
                "commandMode" => attachment.command_mode = scanner.maybe_text()?,
                "prompt" => attachment.prompt.read(scanner)?,
                "origin" => attachment.origin = read_part(scanner, "kind")?,
                "isMeta" => attachment.is_meta = read_flag(scanner)?,
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        Ok(is_object.then_some(attachment))
    }
}

impl<'a> Message<'a> {
    fn read(place: &mut Option<Self>, scanner: &mut Scanner<'a>) -> Result<()> {
        let message = place.insert(Self::default());
        let is_object = scanner.maybe_object(|scanner, key| {
            match key {
                "id" => message.id = scanner.maybe_text()?,
                "role" => message.role = scanner.maybe_text()?,
                "model" => message.model = scanner.maybe_text()?,
                "stop_reason" => message.stop_reason = scanner.maybe_text()?,
                "usage" => {
                    message.usage_is_unreadable = Usage::read(&mut message.usage, scanner)?;
                }
                "content" => message.content.read(scanner)?,
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        if !is_object {
            *place = None;
        }
        Ok(())
    }
}

impl<'a> Content<'a> {
    /// The blocks, if the content is a list of blocks.
    pub fn blocks(&self) -> &[Block<'a>] {
        match self {
            Content::Blocks(blocks) => blocks,
            Content::Absent | Content::Text(_) => &[],
        }
    }

    /// The texts: the content itself, or its text blocks.
    pub fn texts(&self) -> impl Iterator<Item = Text<'a>> + '_ {
        let whole = match self {
            Content::Text(text) => Some(*text),
            Content::Absent | Content::Blocks(_) => None,
        };
        let parts = self.blocks().iter().filter_map(|block| match block {
            Block::Text(text) => Some(*text),
            _ => None,
        });
        whole.into_iter().chain(parts)
    }

    /// The tool calls.
    pub fn tool_uses(&self) -> impl Iterator<Item = &ToolUse<'a>> {
        self.blocks().iter().filter_map(|block| match block {
            Block::ToolUse(tool_use) => Some(tool_use),
            _ => None,
        })
    }

    /// The results of tool calls.
    pub fn tool_results(&self) -> impl Iterator<Item = &ToolResult<'a>> {
        self.blocks().iter().filter_map(|block| match block {
            Block::ToolResult(result) => Some(result),
            _ => None,
        })
    }

    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<()> {
        *self = Content::Absent;
        match scanner.peek() {
            Some(b'"') => *self = scanner.maybe_text()?.map_or(Content::Absent, Content::Text),
            Some(b'[') => {
                let mut blocks = Vec::new();
                scanner.array(|scanner| {
                    blocks.push(Block::read(scanner)?);
                    Ok(())
                })?;
                *self = Content::Blocks(blocks);
            }
            _ => scanner.skip()?,
        }
        Ok(())
    }
}

impl<'a> Block<'a> {
    /// Reads a block. The type can come after the other fields, so the fields are collected first.
    fn read(scanner: &mut Scanner<'a>) -> Result<Self> {
        if scanner.peek() == Some(b'"') {
            let text = scanner.maybe_text()?;
            return Ok(text.map_or(Block::Other(None), Block::Text));
        }
        let mut kind = None;
        let mut text = None;
        let mut thinking = None;
        let mut content = None;
        let (mut id, mut name, mut input) = (None, None, None);
        let (mut tool_use_id, mut is_error) = (None, false);
        scanner.maybe_object(|scanner, key| {
            match key {
                "type" => kind = scanner.maybe_text()?,
                "text" => text = scanner.maybe_text()?,
                "thinking" => thinking = scanner.maybe_text()?,
                "content" => content = Some(scanner.json()?),
                "id" => id = scanner.maybe_text()?,
                "name" => name = scanner.maybe_text()?,
                "input" => input = Some(scanner.json()?),
                "tool_use_id" => tool_use_id = scanner.maybe_text()?,
                "is_error" => is_error = read_flag(scanner)?,
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        let Some(known) = kind else {
            return Ok(Block::Other(None));
        };
        Ok(match (&*known.decode(), text, thinking) {
            ("text", Some(text), _) => Block::Text(text),
            ("thinking", _, Some(thinking)) => Block::Thinking(thinking),
            ("tool_use", ..) => Block::ToolUse(ToolUse { id, name, input }),
            ("tool_result", ..) => Block::ToolResult(ToolResult {
                tool_use_id,
                is_error,
                content,
            }),
            _ => Block::Other(kind),
        })
    }
}

impl<'a> ToolUse<'a> {
    /// A field of the input, if it is a non-empty string.
    pub fn input_text(&self, field: &str) -> Option<Cow<'a, str>> {
        let text = self.input?.field(field)?.text()?;
        (!text.is_empty()).then(|| text.decode())
    }
}

impl<'a> ToolResult<'a> {
    /// The result as text: the content, or its first text block.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let content = self.content?;
        let text = content.text().or_else(|| {
            content.elements().find_map(|block| {
                let is_text = block.field("type")?.text()? == "text";
                is_text.then(|| block.field("text")?.text()).flatten()
            })
        })?;
        Some(text.decode())
    }
}

impl<'a> Progress<'a> {
    /// The entry of a sub-agent in an entry of this type, if there is one.
    fn sub_agent(kind: Kind, progress: Option<&Self>) -> Option<&ProgressEntry<'a>> {
        let progress = progress?;
        let is_agent = kind == Kind::Progress && progress.kind? == "agent_progress";
        is_agent.then_some(progress.entry.as_ref()).flatten()
    }

    fn read(place: &mut Option<Self>, scanner: &mut Scanner<'a>) -> Result<()> {
        let progress = place.insert(Self::default());
        let mut agent_id = None;
        let is_object = scanner.maybe_object(|scanner, key| {
            match key {
                "type" => progress.kind = scanner.maybe_text()?,
                "message" => ProgressEntry::read(&mut progress.entry, scanner)?,
                "agentId" => agent_id = scanner.maybe_text()?,
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        if let Some(entry) = &mut progress.entry {
            entry.agent_id = agent_id;
        }
        if !is_object {
            *place = None;
        }
        Ok(())
    }
}

impl<'a> ProgressEntry<'a> {
    fn read(place: &mut Option<Self>, scanner: &mut Scanner<'a>) -> Result<()> {
        let entry = place.insert(Self::default());
        let is_object = scanner.maybe_object(|scanner, key| {
            match key {
                "type" => entry.kind = Kind::read(scanner)?.0,
                "uuid" => entry.uuid = scanner.maybe_text()?,
                "requestId" => entry.request_id = scanner.maybe_text()?,
                "timestamp" => entry.timestamp = read_timestamp(scanner)?,
                "isApiErrorMessage" => entry.is_api_error = read_flag(scanner)?,
                "message" => Message::read(&mut entry.message, scanner)?,
                "data" => {
                    let mut progress = None;
                    Progress::read(&mut progress, scanner)?;
                    entry.progress = progress.map(Box::new);
                }
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        if !is_object {
            *place = None;
        }
        Ok(())
    }
}

fn read_flag(scanner: &mut Scanner<'_>) -> Result<bool> {
    Ok(scanner.maybe_bool()? == Some(true))
}

fn read_timestamp(scanner: &mut Scanner<'_>) -> Result<Option<Timestamp>> {
    let text = scanner.maybe_text()?;
    Ok(text.and_then(|text| Timestamp::parse(&text.decode())))
}

/// Reads a text field of an object, and nothing else of the object.
fn read_part<'a>(scanner: &mut Scanner<'a>, name: &str) -> Result<Option<Text<'a>>> {
    let mut part = None;
    scanner.maybe_object(|scanner, key| {
        if key == name {
            part = scanner.maybe_text()?;
            return Ok(());
        }
        scanner.skip()
    })?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_another_type_is_absent_and_drops_nothing() {
        let entry = Entry::parse(
            r#"{"type":"assistant","uuid":7,"cwd":null,"isSidechain":"yes","timestamp":12,
                "message":{"id":{"x":1},"model":"m","content":[null,3,"plain",
                {"type":"tool_use","id":null,"name":"Bash","input":{"a":null}},{"no":"type"}],
                "usage":{"input_tokens":1,"output_tokens":null}},"data":[1,2]}"#,
        )
        .unwrap();
        assert_eq!(entry.kind, Kind::Assistant);
        assert!(entry.uuid.is_none() && entry.cwd.is_none() && entry.timestamp.is_none());
        assert!(!entry.is_sidechain && entry.progress.is_none());
        let message = entry.message.unwrap();
        assert!(message.id.is_none() && !message.usage_is_unreadable);
        assert_eq!(message.model.unwrap(), "m");
        assert_eq!(message.usage.unwrap().tokens.input, Some(1));
        assert_eq!(message.content.blocks().len(), 5);
        assert_eq!(message.content.tool_uses().count(), 1);
        assert_eq!(message.content.texts().count(), 1);
    }

    #[test]
    fn the_agent_of_an_entry_is_that_of_its_line_or_its_progress() {
        let entry = Entry::parse(
            r#"{"type":"progress","agentId":"a0","data":{"type":"agent_progress","message":{"data":
                {"agentId":"a2","type":"agent_progress","message":{}},"type":"progress"},"agentId":"a1"}}"#,
        )
        .unwrap();
        assert_eq!(entry.agent_id.unwrap(), "a0");
        let agents: Vec<_> = entry
            .sub_agents()
            .map(|sub| sub.agent_id.unwrap())
            .collect();
        assert_eq!(agents.len(), 2);
        assert!(agents[0] == "a1" && agents[1] == "a2");
        let entry =
            Entry::parse(r#"{"agentId":7,"compactMetadata":{"preTokens":1,"trigger":"auto"}}"#);
        let entry = entry.unwrap();
        assert!(entry.agent_id.is_none());
        assert_eq!(entry.compaction_trigger.unwrap(), "auto");
    }

    #[test]
    fn keys_and_types_may_be_escaped_and_the_last_of_equal_keys_counts() {
        let entry = Entry::parse(r#"{"\u0074ype":"us\u0065r","cwd":"/a","cwd":"/b\\c"}"#).unwrap();
        assert_eq!(entry.kind, Kind::User);
        assert_eq!(entry.cwd.unwrap(), r"/b\c");
    }

    #[test]
    fn the_text_of_a_result_is_its_string_or_its_first_text_block() {
        for content in [
            r#""broken\n""#,
            r#"[{"type":"image"},{"type":"text","text":"broken\n"},{"type":"text","text":"x"}]"#,
        ] {
            let line = format!(
                r#"{{"message":{{"content":[{{"type":"tool_result","content":{content}}}]}}}}"#
            );
            let message = Entry::parse(&line).unwrap().message.unwrap();
            let result = message.content.tool_results().next().unwrap();
            assert_eq!(result.text().unwrap(), "broken\n");
        }
    }

    #[test]
    fn only_objects_are_entries() {
        for text in ["1", "[]", "\"x\"", "null", "", "{", "{}{}"] {
            assert!(Entry::parse(text).is_none(), "{text}");
        }
        assert!(Entry::parse(" {} ").is_some());
    }
}
