//! Transcripts that read like the conversation they tell, in the shape that Claude Code writes.
//!
//! Ids and times follow from the session's id and the line's place: the same calls give the same bytes.

use std::time::Duration;

use serde_json::{Map, Value, json};
use session_pipeline_host::clock::UtcMicros;

/// When conversations begin: 2026-01-05T09:00:00Z, a Monday.
pub const MONDAY_MORNING: UtcMicros = UtcMicros(1_767_603_600_000_000);

/// A transcript in the making: each call adds what the agent would write.
///
/// ```
/// use session_pipeline_harness::Session;
///
/// let session = Session::new("s1")
///     .user("fix the test")
///     .assistant(|m| m.model("claude-opus-4-5").tokens(100, 20).tool("Bash").id("msg_1"))
///     .tool_result(Err("exit code 1"))
///     .slash_command("/clear")
///     .torn("{\"type\":\"us");
/// assert_eq!(session.text().lines().count(), 5);
/// ```
#[derive(Clone, Debug)]
pub struct Transcript {
    id: String,
    cwd: String,
    git_branch: String,
    version: String,
    agent: Option<String>,
    bytes: Vec<u8>,
    entries: u64,
    now: UtcMicros,
    last_uuid: Option<String>,
    last_tool: Option<String>,
}

impl Transcript {
    /// An empty transcript of the session of this id.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            cwd: "/home/dev/project".to_owned(),
            git_branch: "main".to_owned(),
            version: "2.1.42".to_owned(),
            agent: None,
            bytes: Vec::new(),
            entries: 0,
            now: MONDAY_MORNING,
            last_uuid: None,
            last_tool: None,
        }
    }

    /// Sets the time of the next entry; every entry comes a second after the one before.
    #[must_use]
    pub fn at(mut self, now: UtcMicros) -> Self {
        self.now = now;
        self
    }

    /// Lets time pass before the next entry.
    #[must_use]
    pub fn wait(mut self, duration: Duration) -> Self {
        self.now = self.now.plus(duration);
        self
    }

    /// Sets the folder of the entries to come.
    #[must_use]
    pub fn cwd(mut self, cwd: &str) -> Self {
        cwd.clone_into(&mut self.cwd);
        self
    }

    /// Sets the branch of the entries to come.
    #[must_use]
    pub fn git_branch(mut self, git_branch: &str) -> Self {
        git_branch.clone_into(&mut self.git_branch);
        self
    }

    /// Sets the version of the agent that writes the entries to come.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// The entries to come are those of a sub-agent.
    #[must_use]
    pub fn sidechain(mut self, agent_id: &str) -> Self {
        self.agent = Some(agent_id.to_owned());
        self
    }

    /// A person types something.
    #[must_use]
    pub fn user(self, text: &str) -> Self {
        self.user_content(json!(text))
    }

    /// The agent writes something into the person's mouth, a caveat for instance.
    #[must_use]
    pub fn meta(self, text: &str) -> Self {
        let message = json!({ "role": "user", "content": text });
        self.entry("user", json!({ "message": message, "isMeta": true }))
    }

    /// A user entry of any content: a text or a list of blocks.
    #[must_use]
    pub fn user_content(self, content: Value) -> Self {
        let message = json!({ "role": "user", "content": content });
        self.entry(
            "user",
            json!({ "message": message, "userType": "external" }),
        )
    }

    /// A person runs a command, name and slash first: `/review the last commit`.
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

    /// A command that the agent answers itself, which it writes as a `system` entry.
    #[must_use]
    pub fn local_command(self, name: &str) -> Self {
        let content = format!("<command-name>{name}</command-name>");
        self.entry(
            "system",
            json!({ "subtype": "local_command", "content": content, "level": "info" }),
        )
    }

    /// The model answers: one line for each block, all with the message's id and usage.
    #[must_use]
    pub fn assistant(mut self, message: impl FnOnce(AgentMessage) -> AgentMessage) -> Self {
        let message = message(AgentMessage::new(&self));
        for line in message.lines() {
            self.last_tool = line.tool.or(self.last_tool);
            let mut extra = json!({ "message": line.message });
            if let Some(request) = &message.request {
                extra["requestId"] = json!(request);
            }
            self = self.entry("assistant", extra);
        }
        self
    }

    /// A tool answers to the last call.
    #[must_use]
    pub fn tool_result(self, result: Result<&str, &str>) -> Self {
        let tool = self.last_tool.clone().unwrap_or_default();
        self.tool_result_of(&tool, result)
    }

    /// A tool answers to the call of this id.
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
        let message = json!({ "role": "user", "content": [block] });
        self.entry(
            "user",
            json!({ "message": message, "toolUseResult": tool_use_result }),
        )
    }

    /// A sub-agent's answer, as the parent's transcript reports it while the tool runs.
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

    /// The title of an earlier conversation.
    #[must_use]
    pub fn summary(self, text: &str) -> Self {
        let leaf = self.last_uuid.clone();
        self.line(&json!({ "type": "summary", "summary": text, "leafUuid": leaf }))
    }

    /// An entry of any type, with these members beside the usual ones; `null` takes one away.
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
            panic!("the members of an entry are an object")
        };
        entry.extend(members);
        entry.retain(|_, value| !value.is_null());
        // The first entry of a conversation says that it has no parent.
        entry.insert("parentUuid".to_owned(), json!(self.last_uuid));
        self.last_uuid = Some(uuid);
        self.now = self.now.plus(Duration::from_secs(1));
        self.line(&Value::Object(entry))
    }

    /// Any value as a line.
    #[must_use]
    pub fn line(self, value: &Value) -> Self {
        let text = value.to_string();
        self.raw_line(text)
    }

    /// Any bytes as a line.
    #[must_use]
    pub fn raw_line(mut self, line: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(line.as_ref());
        self.bytes.push(b'\n');
        self.entries += 1;
        self
    }

    /// The beginning of a line that the agent is still writing; nothing should follow.
    #[must_use]
    pub fn torn(mut self, beginning: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(beginning.as_ref());
        self
    }

    /// The transcript's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The transcript as text, with what is none replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// An id that follows from session, purpose and place.
    fn uuid(&self, purpose: &str) -> String {
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

/// An answer of the model in the making.
#[derive(Clone, Debug)]
pub struct AgentMessage {
    model: String,
    id: Option<String>,
    request: Option<String>,
    usage: Value,
    stop_reason: Option<String>,
    blocks: Vec<Value>,
    tool_prefix: String,
}

/// One line of an answer, and the tool it calls.
struct MessageLine {
    message: Value,
    tool: Option<String>,
}

impl AgentMessage {
    fn new(session: &Transcript) -> Self {
        // As long as those of the API: shorter ones are no identity.
        let place = format!("{:0>16}_{}_{}", "", session.id, session.entries);
        Self {
            model: "claude-opus-4-5-20251101".to_owned(),
            id: Some(format!("msg_{place}")),
            request: Some(format!("req_{place}")),
            usage: json!({
                "input_tokens": 10, "output_tokens": 5,
                "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
                "service_tier": "standard",
            }),
            stop_reason: Some("end_turn".to_owned()),
            blocks: Vec::new(),
            tool_prefix: format!("toolu_{place}"),
        }
    }

    /// Who answers.
    #[must_use]
    pub fn model(mut self, model: &str) -> Self {
        model.clone_into(&mut self.model);
        self
    }

    /// The message's id; the same one in several lines is the same message.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Without an id, as old versions wrote.
    #[must_use]
    pub fn without_id(mut self) -> Self {
        self.id = None;
        self
    }

    /// The id of the request that it answers.
    #[must_use]
    pub fn request(mut self, request: &str) -> Self {
        self.request = Some(request.to_owned());
        self
    }

    /// Without a request id, as proxies write.
    #[must_use]
    pub fn without_request(mut self) -> Self {
        self.request = None;
        self
    }

    /// Fresh input and output.
    #[must_use]
    pub fn tokens(mut self, input: u64, output: u64) -> Self {
        self.usage["input_tokens"] = json!(input);
        self.usage["output_tokens"] = json!(output);
        self
    }

    /// Input from the cache, and input written to it for five minutes and for an hour.
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

    /// Any member of the usage.
    #[must_use]
    pub fn usage(mut self, name: &str, value: Value) -> Self {
        self.usage[name] = value;
        self
    }

    /// A line of a message that was still being streamed: no reason to stop yet, so the output
    /// count is a placeholder.
    #[must_use]
    pub fn streaming(mut self) -> Self {
        self.stop_reason = None;
        self
    }

    /// Says something.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.block(json!({ "type": "text", "text": text }))
    }

    /// Thinks.
    #[must_use]
    pub fn thinking(self, thinking: &str) -> Self {
        self.block(json!({ "type": "thinking", "thinking": thinking, "signature": "c2ln" }))
    }

    /// Calls a tool.
    #[must_use]
    pub fn tool(self, name: &str) -> Self {
        self.tool_with(name, json!({}))
    }

    /// Calls a tool with an input.
    #[must_use]
    pub fn tool_with(self, name: &str, input: Value) -> Self {
        let id = format!("{}_{}", self.tool_prefix, self.blocks.len());
        self.tool_use(&id, name, input)
    }

    /// Calls a tool under this id.
    #[must_use]
    pub fn tool_use(mut self, id: &str, name: &str, input: Value) -> Self {
        if self.stop_reason.is_some() {
            self.stop_reason = Some("tool_use".to_owned());
        }
        self.block(json!({ "type": "tool_use", "id": id, "name": name, "input": input }))
    }

    /// Any block.
    #[must_use]
    pub fn block(mut self, block: Value) -> Self {
        self.blocks.push(block);
        self
    }

    /// The agent writes one line for each block.
    fn lines(&self) -> Vec<MessageLine> {
        let said = [json!({ "type": "text", "text": "Done." })];
        let blocks = if self.blocks.is_empty() {
            said.as_slice()
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
