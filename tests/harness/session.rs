//! A builder for transcripts in the format of Claude Code. The calls read like the conversation.
//!
//! Ids and times depend only on the id of the session and the position of the line, so the same
//! calls produce the same bytes.

pub mod uuid;

use std::time::Duration;

use serde_json::{Map, Value, json};
use session_pipeline_host::clock::UtcMicros;

/// The start time of conversations: 2026-01-05T09:00:00Z, a Monday.
pub const MONDAY_MORNING: UtcMicros = UtcMicros(1_767_603_600_000_000);

/// A builder for a transcript. Each call adds the entries that the agent would write.
///
/// ```
/// use session_pipeline_harness::Transcript;
///
/// let session = Transcript::new("s1")
///     .user("fix the test")
///     .assistant(|m| m.model("claude-opus-4-5").tokens(100, 20).tool("Bash").id("msg_1"))
///     .tool_result(Err("exit code 1"))
///     .slash_command("/clear")
///     .partial_line("{\"type\":\"us");
/// assert_eq!(session.text().lines().count(), 5);
/// ```
#[derive(Clone, Debug)]
pub struct Transcript {
    id: String,
    cwd: String,
    git_branch: String,
    version: String,
    agent: Option<String>,
    uuid_seed: Option<u64>,
    members: Map<String, Value>,
    bytes: Vec<u8>,
    entries: u64,
    now: UtcMicros,
    last_uuid: Option<String>,
    last_tool: Option<String>,
}

impl Transcript {
    /// Creates an empty transcript of the session with this id.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            cwd: "/home/dev/project".to_owned(),
            git_branch: "main".to_owned(),
            version: "2.1.42".to_owned(),
            agent: None,
            uuid_seed: None,
            members: Map::new(),
            bytes: Vec::new(),
            entries: 0,
            now: MONDAY_MORNING,
            last_uuid: None,
            last_tool: None,
        }
    }

    /// Sets the time of the next entry. Each entry advances the time by one second.
    #[must_use]
    pub fn at(mut self, now: UtcMicros) -> Self {
        self.now = now;
        self
    }

    /// Adds a delay before the next entry.
    #[must_use]
    pub fn wait(mut self, duration: Duration) -> Self {
        self.now = self.now.plus(duration);
        self
    }

    /// Sets the working directory of later entries.
    #[must_use]
    pub fn cwd(mut self, cwd: &str) -> Self {
        cwd.clone_into(&mut self.cwd);
        self
    }

    /// Sets the git branch of later entries.
    #[must_use]
    pub fn git_branch(mut self, git_branch: &str) -> Self {
        git_branch.clone_into(&mut self.git_branch);
        self
    }

    /// Sets the agent version of later entries.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Sets a member of all later entries, for example `entrypoint`. A `null` removes it.
    #[must_use]
    pub fn member(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// Gives later entries ids that look random, as the agent writes them. The default ids depend
    /// on 32 bits of the id of the session, so they are easy to read, but among thousands of
    /// sessions, two can be equal.
    #[must_use]
    pub fn random_uuids(mut self, seed: u64) -> Self {
        self.uuid_seed = Some(seed);
        self
    }

    /// The time of the next entry.
    pub fn now(&self) -> UtcMicros {
        self.now
    }

    /// Makes later entries those of a sub-agent.
    #[must_use]
    pub fn sidechain(mut self, agent_id: &str) -> Self {
        self.agent = Some(agent_id.to_owned());
        self
    }

    /// Adds a prompt that the user types.
    #[must_use]
    pub fn user(self, text: &str) -> Self {
        self.user_content(json!(text))
    }

    /// Adds a user entry that the agent generates, for example a caveat.
    #[must_use]
    pub fn meta(self, text: &str) -> Self {
        let message = json!({ "role": "user", "content": text });
        self.entry("user", json!({ "message": message, "isMeta": true }))
    }

    /// Adds a user entry with any content: a text or a list of blocks.
    #[must_use]
    pub fn user_content(self, content: Value) -> Self {
        let message = json!({ "role": "user", "content": content });
        self.entry(
            "user",
            json!({ "message": message, "userType": "external" }),
        )
    }

    /// Adds a slash command with its arguments, for example `/review the last commit`.
    #[must_use]
    pub fn slash_command(self, command: &str) -> Self {
        let (name, arguments) = command.split_once(' ').unwrap_or((command, ""));
        self.user(&format!(
            "<command-name>{name}</command-name>\n            \
             <command-message>{}</command-message>\n            \
             <command-args>{arguments}</command-args>",
            name.trim_start_matches('/'),
        ))
    }

    /// Adds a command that the agent runs locally. The agent writes it as a `system` entry.
    #[must_use]
    pub fn local_command(self, name: &str) -> Self {
        let content = format!("<command-name>{name}</command-name>");
        self.entry(
            "system",
            json!({ "subtype": "local_command", "content": content, "level": "info" }),
        )
    }

    /// Adds an answer of the model. Each block is one line, and all lines have the id and usage of
    /// the message.
    #[must_use]
    pub fn assistant(mut self, message: impl FnOnce(AgentMessage) -> AgentMessage) -> Self {
        let message = message(AgentMessage::new(&self));
        for line in message.lines() {
            self.last_tool = line.tool.or(self.last_tool);
            let mut extra = json!({ "message": line.message });
            for (name, value) in &message.members {
                extra[name] = value.clone();
            }
            if let Some(request) = &message.request {
                extra["requestId"] = json!(request);
            }
            self = self.entry("assistant", extra);
        }
        self
    }

    /// Adds the result of the last tool call.
    #[must_use]
    pub fn tool_result(self, result: Result<&str, &str>) -> Self {
        let tool = self.last_tool.clone().unwrap_or_default();
        self.tool_result_of(&tool, result)
    }

    /// Adds the result of the tool call with this id.
    #[must_use]
    pub fn tool_result_of(self, tool_id: &str, result: Result<&str, &str>) -> Self {
        let (text, is_error) = match result {
            Ok(text) => (text, false),
            Err(text) => (text, true),
        };
        let mut block = json!({ "type": "tool_result", "tool_use_id": tool_id, "content": text });
        let mut tool_use_result = json!({ "stdout": text, "stderr": "", "interrupted": false });
        if is_error {
            block["is_error"] = json!(true);
            tool_use_result = json!(format!("Error: {text}"));
        }
        self.tool_result_block(block, tool_use_result)
    }

    /// Adds a result with any block for the model, and any details in the format of the tool.
    #[must_use]
    pub fn tool_result_block(self, block: Value, details: Value) -> Self {
        let message = json!({ "role": "user", "content": [block] });
        self.entry(
            "user",
            json!({ "message": message, "toolUseResult": details }),
        )
    }

    /// Adds an answer of a sub-agent, as the transcript of the parent reports it while the tool
    /// runs.
    #[must_use]
    pub fn progress(mut self, message: impl FnOnce(AgentMessage) -> AgentMessage) -> Self {
        let message = message(AgentMessage::new(&self));
        let parent = self.last_tool.clone().unwrap_or_default();
        for line in message.lines() {
            let inner = json!({
                "type": "assistant",
                "uuid": self.uuid("inner"),
                "timestamp": self.now.to_string(),
                "requestId": message.request,
                "message": line.message,
            });
            let data = json!({
                "type": "agent_progress", "agentId": "a1", "prompt": "", "message": inner,
            });
            self = self.entry(
                "progress",
                json!({ "data": data, "toolUseID": "agent_msg", "parentToolUseID": parent }),
            );
        }
        self
    }

    /// Adds the title of an earlier conversation.
    #[must_use]
    pub fn summary(self, text: &str) -> Self {
        let leaf = self.last_uuid.clone();
        self.line(&json!({ "type": "summary", "summary": text, "leafUuid": leaf }))
    }

    /// Adds an entry of any type. `members` extend and replace the usual members. A `null` removes
    /// a member.
    ///
    /// # Panics
    /// `members` is not an object.
    #[must_use]
    pub fn entry(mut self, kind: &str, members: Value) -> Self {
        let uuid = self.uuid("entry");
        let mut entry = Map::new();
        for (name, value) in [
            ("type", json!(kind)),
            ("uuid", json!(uuid)),
            ("sessionId", json!(self.id)),
            ("timestamp", json!(self.now.to_string())),
            ("cwd", json!(self.cwd)),
            ("version", json!(self.version)),
            ("gitBranch", json!(self.git_branch)),
            ("isSidechain", json!(self.agent.is_some())),
        ] {
            entry.insert(name.to_owned(), value);
        }
        if let Some(agent) = &self.agent {
            entry.insert("agentId".to_owned(), json!(agent));
        }
        let Value::Object(members) = members else {
            panic!("`members` must be an object")
        };
        entry.extend(self.members.clone());
        entry.extend(members);
        entry.retain(|_, value| !value.is_null());
        // The first entry of a conversation has `"parentUuid": null`.
        entry.insert("parentUuid".to_owned(), json!(self.last_uuid));
        self.last_uuid = Some(uuid);
        self.now = self.now.plus(Duration::from_secs(1));
        self.line(&Value::Object(entry))
    }

    /// Adds a line with any JSON value.
    #[must_use]
    pub fn line(self, value: &Value) -> Self {
        let text = value.to_string();
        self.raw_line(text)
    }

    /// Adds a line with any bytes.
    #[must_use]
    pub fn raw_line(mut self, line: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(line.as_ref());
        self.bytes.push(b'\n');
        self.entries += 1;
        self
    }

    /// Adds the beginning of a line that the agent is still writing. Call it last.
    #[must_use]
    pub fn partial_line(mut self, beginning: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(beginning.as_ref());
        self
    }

    /// The bytes of the transcript.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The transcript as text. Invalid UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// An id that depends on the session, the purpose and the position.
    fn uuid(&self, purpose: &str) -> String {
        if let Some(seed) = self.uuid_seed {
            // Entries and the entries inside them have different ids.
            let position = self.entries * 256 + purpose.len() as u64;
            return uuid::random(seed, position);
        }
        let bytes = self.id.bytes().chain(purpose.bytes());
        let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        format!("{hash:08x}-0000-4000-8000-{:012x}", self.entries)
    }
}

impl AsRef<[u8]> for Transcript {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A builder for an answer of the model.
#[derive(Clone, Debug)]
pub struct AgentMessage {
    model: String,
    id: Option<String>,
    request: Option<String>,
    usage: Value,
    stop_reason: Option<String>,
    blocks: Vec<Value>,
    members: Map<String, Value>,
    tool_prefix: String,
}

/// One line of an answer, and the id of its tool call.
struct MessageLine {
    message: Value,
    tool: Option<String>,
}

impl AgentMessage {
    fn new(session: &Transcript) -> Self {
        // The ids are as long as those of the API. Shorter ids are not unique.
        let position = format!("{:0>16}_{}_{}", "", session.id, session.entries);
        Self {
            model: "claude-opus-4-5-20251101".to_owned(),
            id: Some(format!("msg_{position}")),
            request: Some(format!("req_{position}")),
            usage: json!({
                "input_tokens": 10, "output_tokens": 5,
                "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
                "service_tier": "standard",
            }),
            stop_reason: Some("end_turn".to_owned()),
            blocks: Vec::new(),
            members: Map::new(),
            tool_prefix: format!("toolu_{position}"),
        }
    }

    /// Sets the name of the model.
    #[must_use]
    pub fn model(mut self, model: &str) -> Self {
        model.clone_into(&mut self.model);
        self
    }

    /// Sets the id of the message. Lines with the same id belong to the same message.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Removes the id, as in transcripts of old versions.
    #[must_use]
    pub fn without_id(mut self) -> Self {
        self.id = None;
        self
    }

    /// Sets a member of the entries of this answer, for example `attributionSkill`.
    #[must_use]
    pub fn member(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// Sets the id of the request.
    #[must_use]
    pub fn request(mut self, request: &str) -> Self {
        self.request = Some(request.to_owned());
        self
    }

    /// Removes the request id, as in transcripts of sessions that use a proxy.
    #[must_use]
    pub fn without_request(mut self) -> Self {
        self.request = None;
        self
    }

    /// Sets the input tokens that are not cached, and the output tokens.
    #[must_use]
    pub fn tokens(mut self, input: u64, output: u64) -> Self {
        self.usage["input_tokens"] = json!(input);
        self.usage["output_tokens"] = json!(output);
        self
    }

    /// Sets the tokens that are read from the cache, and those that are written to it for five
    /// minutes and for one hour.
    #[must_use]
    pub fn cache(mut self, read: u64, written_5m: u64, written_1h: u64) -> Self {
        self.usage["cache_read_input_tokens"] = json!(read);
        self.usage["cache_creation_input_tokens"] = json!(written_5m + written_1h);
        self.usage["cache_creation"] = json!({
            "ephemeral_5m_input_tokens": written_5m,
            "ephemeral_1h_input_tokens": written_1h,
        });
        self
    }

    /// Sets any member of the usage.
    #[must_use]
    pub fn usage(mut self, name: &str, value: Value) -> Self {
        self.usage[name] = value;
        self
    }

    /// Makes this a message that is still streaming. It has no stop reason yet, and its output
    /// count is a placeholder.
    #[must_use]
    pub fn streaming(mut self) -> Self {
        self.stop_reason = None;
        self
    }

    /// Adds a text block.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.block(json!({ "type": "text", "text": text }))
    }

    /// Adds a thinking block.
    #[must_use]
    pub fn thinking(self, thinking: &str) -> Self {
        self.block(json!({ "type": "thinking", "thinking": thinking, "signature": "c2ln" }))
    }

    /// Adds a tool call without input.
    #[must_use]
    pub fn tool(self, name: &str) -> Self {
        self.tool_with(name, json!({}))
    }

    /// Adds a tool call.
    #[must_use]
    pub fn tool_with(self, name: &str, input: Value) -> Self {
        let id = format!("{}_{}", self.tool_prefix, self.blocks.len());
        self.tool_use(&id, name, input)
    }

    /// Adds a tool call with this id.
    #[must_use]
    pub fn tool_use(mut self, id: &str, name: &str, input: Value) -> Self {
        if self.stop_reason.is_some() {
            self.stop_reason = Some("tool_use".to_owned());
        }
        self.block(json!({ "type": "tool_use", "id": id, "name": name, "input": input }))
    }

    /// Adds any block.
    #[must_use]
    pub fn block(mut self, block: Value) -> Self {
        self.blocks.push(block);
        self
    }

    /// The lines of the message. The agent writes one line per block.
    fn lines(&self) -> Vec<MessageLine> {
        let default = [json!({ "type": "text", "text": "Done." })];
        let blocks = if self.blocks.is_empty() {
            default.as_slice()
        } else {
            &self.blocks
        };
        let line = |block: &Value| {
            let mut message = json!({
                "type": "message", "role": "assistant", "model": self.model, "content": [block],
                "stop_reason": self.stop_reason, "stop_sequence": null, "usage": self.usage,
            });
            if let Some(id) = &self.id {
                message["id"] = json!(id);
            }
            let is_call = block["type"] == "tool_use";
            let tool = block["id"]
                .as_str()
                .filter(|_| is_call)
                .map(ToOwned::to_owned);
            MessageLine { message, tool }
        };
        blocks.iter().map(line).collect()
    }
}
