//! The same conversation in the format of each coding agent, to compare the cost of reading them.

use serde_json::{Value, json};

/// A session of an agent.
#[derive(Clone, Debug)]
pub struct AgentSession {
    /// The name of the agent, as in reports.
    pub agent: &'static str,
    /// The key of the session.
    pub key: &'static str,
    /// The lines.
    pub content: String,
}

/// What happens in a turn: a prompt, an answer with a call and its tokens, and the result.
struct Turn {
    number: u64,
    time: String,
    id: String,
    prompt: String,
    answer: String,
    command: String,
    output: String,
}

impl Turn {
    fn new(number: u64) -> Self {
        let sentence = format!("Step {number} changes the function and runs its tests again. ");
        Self {
            number,
            time: format!(
                "2026-05-01T{:02}:{:02}:{:02}.000Z",
                9 + number / 3600,
                number / 60 % 60,
                number % 60
            ),
            id: format!("{number:016x}{:016x}", number * 7_919),
            prompt: sentence.repeat(2),
            answer: sentence.repeat(6),
            command: format!("cargo test step_{number} -- --nocapture"),
            output: "test result: ok. 12 passed; \"0\" failed\n".repeat(30),
        }
    }

    fn codex(&self) -> Vec<Value> {
        let Self { id, number, .. } = self;
        let line = |kind: &str, payload: Value| json!({ "timestamp": self.time, "type": kind, "payload": payload });
        let usage = |count: u64| json!({ "input_tokens": 9_000 * count, "cached_input_tokens": 8_000 * count, "output_tokens": 300 * count, "reasoning_output_tokens": 100 * count, "total_tokens": 9_300 * count });
        let arguments = json!({ "command": ["bash", "-lc", self.command] }).to_string();
        vec![
            line(
                "turn_context",
                json!({ "turn_id": id, "cwd": "/w", "model": "gpt-5.5", "effort": "high" }),
            ),
            line(
                "event_msg",
                json!({ "type": "user_message", "message": self.prompt }),
            ),
            line(
                "response_item",
                json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": self.answer }] }),
            ),
            line(
                "response_item",
                json!({ "type": "function_call", "name": "shell", "arguments": arguments, "call_id": format!("call_{id}") }),
            ),
            line(
                "event_msg",
                json!({ "type": "token_count", "info": { "total_token_usage": usage(number + 1), "last_token_usage": usage(1), "model_context_window": 258_400 } }),
            ),
            line(
                "response_item",
                json!({ "type": "function_call_output", "call_id": format!("call_{id}"), "output": self.output }),
            ),
        ]
    }

    fn copilot(&self) -> Vec<Value> {
        let Self { id, .. } = self;
        let line = |kind: &str, data: Value| json!({ "type": kind, "data": data, "id": format!("{kind}-{id}"), "timestamp": self.time, "parentId": null });
        let arguments = json!({ "command": self.command });
        vec![
            line(
                "user.message",
                json!({ "content": self.prompt, "attachments": [] }),
            ),
            line(
                "assistant.message",
                json!({ "messageId": id, "apiCallId": id, "model": "gpt-5.5", "content": self.answer, "outputTokens": 300, "toolRequests": [{ "toolCallId": format!("call_{id}"), "name": "bash", "arguments": arguments }] }),
            ),
            line(
                "tool.execution_start",
                json!({ "toolCallId": format!("call_{id}"), "toolName": "bash", "arguments": arguments }),
            ),
            line(
                "tool.execution_complete",
                json!({ "toolCallId": format!("call_{id}"), "success": true, "result": { "content": self.output } }),
            ),
        ]
    }

    fn gemini(&self) -> Vec<Value> {
        let Self { id, time, .. } = self;
        let call = json!({ "id": format!("call_{id}"), "name": "run_shell_command", "args": { "command": self.command }, "status": "success", "timestamp": time, "result": [{ "functionResponse": { "id": id, "response": { "output": self.output } } }] });
        vec![
            json!({ "id": format!("u-{id}"), "timestamp": time, "type": "user", "content": [{ "text": self.prompt }] }),
            json!({ "id": format!("g-{id}"), "timestamp": time, "type": "gemini", "content": self.answer, "model": "gemini-3-pro-preview", "tokens": { "input": 9_000, "output": 200, "cached": 8_000, "thoughts": 100, "tool": 0, "total": 9_300 }, "toolCalls": [call] }),
        ]
    }

    fn kimi(&self) -> Vec<Value> {
        let Self { id, number, .. } = self;
        let line = |kind: &str, payload: Value| json!({ "timestamp": 1_777_626_000.5 + *number as f64, "message": { "type": kind, "payload": payload } });
        let arguments = json!({ "command": self.command }).to_string();
        vec![
            line("TurnBegin", json!({ "user_input": self.prompt })),
            line(
                "ContentPart",
                json!({ "type": "text", "text": self.answer }),
            ),
            line(
                "ToolCall",
                json!({ "type": "function", "id": format!("tool_{id}"), "function": { "name": "Shell", "arguments": arguments } }),
            ),
            line(
                "StatusUpdate",
                json!({ "token_usage": { "input_other": 1_000, "input_cache_read": 8_000, "input_cache_creation": 0, "output": 300 }, "message_id": format!("chatcmpl-{id}") }),
            ),
            line(
                "ToolResult",
                json!({ "tool_call_id": format!("tool_{id}"), "return_value": { "is_error": false, "output": self.output, "message": "" } }),
            ),
        ]
    }

    fn pi(&self) -> Vec<Value> {
        let Self { id, number, .. } = self;
        let millis = 1_777_626_000_000_u64 + number * 1_000;
        let line = |message: Value| json!({ "type": "message", "id": id, "parentId": null, "timestamp": self.time, "message": message });
        vec![
            line(
                json!({ "role": "user", "content": [{ "type": "text", "text": self.prompt }], "timestamp": millis }),
            ),
            line(
                json!({ "role": "assistant", "content": [{ "type": "text", "text": self.answer }, { "type": "toolCall", "id": format!("toolu_{id}"), "name": "bash", "arguments": { "command": self.command } }], "provider": "anthropic", "model": "claude-opus-4-5", "usage": { "input": 1_000, "output": 300, "cacheRead": 8_000, "cacheWrite": 0, "totalTokens": 9_300, "cost": { "input": 0.005, "output": 0.0075, "total": 0.0165 } }, "stopReason": "toolUse", "timestamp": millis }),
            ),
            line(
                json!({ "role": "toolResult", "toolCallId": format!("toolu_{id}"), "toolName": "bash", "content": [{ "type": "text", "text": self.output }], "isError": false, "timestamp": millis }),
            ),
        ]
    }

    fn qwen(&self) -> Vec<Value> {
        let Self { id, .. } = self;
        let line = |kind: &str, more: Value| {
            let mut line = json!({ "uuid": format!("{kind}-{id}"), "parentUuid": null, "sessionId": "s", "timestamp": self.time, "type": kind, "cwd": "/w", "version": "0.12.6", "gitBranch": "main" });
            if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
                line.extend(more);
            }
            line
        };
        vec![
            line(
                "user",
                json!({ "message": { "role": "user", "parts": [{ "text": self.prompt }] } }),
            ),
            line(
                "system",
                json!({ "subtype": "ui_telemetry", "systemPayload": { "uiEvent": { "event.name": "qwen-code.api_response", "response_id": id, "model": "coder-model", "input_token_count": 9_000, "output_token_count": 300, "cached_content_token_count": 8_000, "thoughts_token_count": 100, "total_token_count": 9_300 } } }),
            ),
            line(
                "assistant",
                json!({ "model": "coder-model", "message": { "role": "model", "parts": [{ "text": self.answer }, { "functionCall": { "id": format!("call_{id}"), "name": "run_shell_command", "args": { "command": self.command } } }] }, "usageMetadata": { "promptTokenCount": 9_000, "candidatesTokenCount": 300, "thoughtsTokenCount": 100, "totalTokenCount": 9_300, "cachedContentTokenCount": 8_000 } }),
            ),
            line(
                "tool_result",
                json!({ "message": { "role": "user", "parts": [{ "functionResponse": { "id": format!("call_{id}"), "name": "run_shell_command", "response": { "output": self.output } } }] }, "toolCallResult": { "callId": format!("call_{id}"), "status": "success" } }),
            ),
        ]
    }

    fn claude(&self) -> Vec<Value> {
        let Self { id, .. } = self;
        let line = |kind: &str, message: Value| json!({ "parentUuid": null, "isSidechain": false, "userType": "external", "cwd": "/w", "sessionId": "s", "version": "2.1.0", "gitBranch": "main", "type": kind, "message": message, "requestId": format!("req_{id}"), "uuid": format!("{kind}-{id}"), "timestamp": self.time });
        vec![
            line("user", json!({ "role": "user", "content": self.prompt })),
            line(
                "assistant",
                json!({ "id": format!("msg_{id}"), "type": "message", "role": "assistant", "model": "claude-opus-4-5", "content": [{ "type": "text", "text": self.answer }, { "type": "tool_use", "id": format!("toolu_{id}"), "name": "Bash", "input": { "command": self.command } }], "stop_reason": "tool_use", "usage": { "input_tokens": 1_000, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 8_000, "output_tokens": 300, "service_tier": "standard" } }),
            ),
            line(
                "user",
                json!({ "role": "user", "content": [{ "tool_use_id": format!("toolu_{id}"), "type": "tool_result", "content": self.output, "is_error": false }] }),
            ),
        ]
    }
}

/// The conversation with this number of turns, in the format of every agent. The first session is
/// that of Claude Code.
pub fn agent_sessions(turns: u64) -> Vec<AgentSession> {
    type Lines = fn(&Turn) -> Vec<Value>;
    let formats: [(&str, &str, Option<Value>, Lines); 7] = [
        ("claude", "ada/claude.jsonl", None, Turn::claude),
        (
            "codex",
            "ada/codex.jsonl",
            Some(
                json!({ "timestamp": "2026-05-01T09:00:00Z", "type": "session_meta", "payload": { "id": "s", "cwd": "/w", "cli_version": "0.140.0", "model_provider": "openai", "git": { "branch": "main" } } }),
            ),
            Turn::codex,
        ),
        (
            "copilot",
            "ada/copilot/s/events.jsonl",
            Some(
                json!({ "type": "session.start", "data": { "sessionId": "s", "copilotVersion": "1.0.72", "context": { "cwd": "/w", "branch": "main" } }, "id": "e", "timestamp": "2026-05-01T09:00:00Z", "parentId": null }),
            ),
            Turn::copilot,
        ),
        (
            "gemini",
            "ada/gemini/chats/session-s.jsonl",
            Some(
                json!({ "sessionId": "s", "projectHash": "p", "startTime": "2026-05-01T09:00:00Z", "kind": "main" }),
            ),
            Turn::gemini,
        ),
        (
            "kimi",
            "ada/kimi/p/s/wire.jsonl",
            Some(json!({ "type": "metadata", "protocol_version": "1.3" })),
            Turn::kimi,
        ),
        (
            "pi",
            "ada/pi.jsonl",
            Some(
                json!({ "type": "session", "version": 3, "id": "s", "timestamp": "2026-05-01T09:00:00Z", "cwd": "/w" }),
            ),
            Turn::pi,
        ),
        ("qwen", "ada/qwen.jsonl", None, Turn::qwen),
    ];
    let session = |(agent, key, header, lines): (_, _, Option<Value>, Lines)| {
        let turns = (0..turns).flat_map(|number| lines(&Turn::new(number)));
        let lines = header.into_iter().chain(turns);
        let content = lines.map(|line| format!("{line}\n")).collect();
        AgentSession {
            agent,
            key,
            content,
        }
    };
    formats.into_iter().map(session).collect()
}
