//! Transcripts of other agents than Claude Code: conversations with joined results, without effect on
//! the page and without secrets.

use serde_json::{Value, json};
use session_pipeline::body::transcript::TranscriptBody;
use session_pipeline::dashboard::transcript as dashboard;
use session_pipeline_harness::DataDir;
use session_pipeline_pipeline::transcript::EntryPart;

use super::html::{assert_safe, attacks};
use super::{KEY, encoded, kinds, marks, part, whole};
use crate::http::TestServer;

const API_KEY: &str = "sk-ant-api03-Zk3vQm8xTt5yB2nLw9RcJ7hF4dGs6pAeUiOqXzMvNbCrDtYk-1_ePLw";

/// A conversation of each agent: a prompt, an answer, a call and its failure, with this value in
/// every place that the page shows.
pub fn conversations(value: &Value) -> Vec<(&'static str, Vec<Value>)> {
    let text = value.as_str().unwrap_or("x");
    let codex = |kind: &str, payload: Value| json!({ "timestamp": "2026-05-01T09:00:00Z", "type": kind, "payload": payload });
    let copilot = |kind: &str, data: Value| json!({ "type": kind, "data": data, "id": "e", "parentId": null });
    let kimi = |kind: &str, payload: Value| json!({ "timestamp": 1_777_626_000.5, "message": { "type": kind, "payload": payload } });
    let pi = |message: Value| json!({ "type": "message", "id": "e", "message": message });
    let qwen = |kind: &str, parts: Value| json!({ "sessionId": "s", "type": kind, "uuid": "u", "model": value, "toolCallResult": { "status": "error" }, "message": { "parts": parts } });
    let arguments = json!({ "command": value }).to_string();
    vec![
        (
            "codex",
            vec![
                codex("session_meta", json!({ "id": "a", "cwd": value })),
                codex(
                    "response_item",
                    json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": text }] }),
                ),
                codex(
                    "response_item",
                    json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": value }] }),
                ),
                codex(
                    "response_item",
                    json!({ "type": "function_call", "call_id": "c1", "name": text, "arguments": arguments }),
                ),
                codex(
                    "response_item",
                    json!({ "type": "function_call_output", "call_id": "c1", "output": format!("Exit code: 1\n{text}") }),
                ),
                codex("compacted", json!({ "message": value })),
            ],
        ),
        (
            "copilot",
            vec![
                copilot("session.start", json!({ "sessionId": value })),
                copilot("user.message", json!({ "content": text })),
                copilot(
                    "assistant.message",
                    json!({ "content": value, "model": value, "reasoningText": value }),
                ),
                copilot(
                    "tool.execution_start",
                    json!({ "toolCallId": "c1", "toolName": text, "arguments": { "command": value } }),
                ),
                copilot(
                    "tool.execution_complete",
                    json!({ "toolCallId": "c1", "success": false, "error": { "code": value, "message": value } }),
                ),
                copilot(
                    "session.compaction_complete",
                    json!({ "summaryContent": value }),
                ),
            ],
        ),
        (
            "gemini",
            vec![
                json!({ "sessionId": "s", "projectHash": "p" }),
                json!({ "id": "r1", "type": "user", "content": text }),
                json!({ "id": "r2", "type": "gemini", "content": text, "model": value, "thoughts": [{ "subject": value, "description": value }],
                    "toolCalls": [{ "id": "c1", "name": text, "args": { "command": value }, "status": "error", "result": [{ "functionResponse": { "response": { "error": value } } }] }] }),
                json!({ "id": "r3", "type": value, "content": value }),
            ],
        ),
        (
            "kimi",
            vec![
                json!({ "type": "metadata", "protocol_version": "1.3" }),
                kimi("TurnBegin", json!({ "user_input": text })),
                kimi("ContentPart", json!({ "type": "text", "text": value })),
                kimi(
                    "ToolCall",
                    json!({ "id": "c1", "function": { "name": text, "arguments": arguments } }),
                ),
                kimi(
                    "ToolResult",
                    json!({ "tool_call_id": "c1", "return_value": { "is_error": true, "output": "", "message": text } }),
                ),
                kimi(
                    "SubagentEvent",
                    json!({ "task_tool_call_id": "c1", "agent_id": value, "event": { "type": "ContentPart", "payload": { "type": "text", "text": value } } }),
                ),
            ],
        ),
        (
            "pi",
            vec![
                json!({ "type": "session", "id": "a", "timestamp": "2026-05-01T09:00:00Z", "cwd": value }),
                pi(json!({ "role": "user", "content": text })),
                pi(
                    json!({ "role": "assistant", "model": value, "content": [{ "type": "thinking", "thinking": value }, { "type": "text", "text": value }, { "type": "toolCall", "id": "c1", "name": text, "arguments": { "command": value } }] }),
                ),
                pi(
                    json!({ "role": "toolResult", "toolCallId": "c1", "isError": true, "content": [{ "type": "text", "text": value }] }),
                ),
                pi(json!({ "role": value, "content": value })),
            ],
        ),
        (
            "qwen",
            vec![
                qwen("user", json!([{ "text": text }])),
                qwen(
                    "assistant",
                    json!([{ "text": value, "thought": true }, { "text": text }, { "functionCall": { "id": "c1", "name": text, "args": { "command": value } } }]),
                ),
                qwen(
                    "tool_result",
                    json!([{ "functionResponse": { "id": "c1", "response": { "output": value } } }]),
                ),
                json!({ "sessionId": "s", "type": "system", "subtype": value, "systemPayload": { "rawCommand": value } }),
            ],
        ),
    ]
}

fn write(dir: &DataDir, lines: &[Value]) {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    dir.write(KEY, lines.join("\n") + "\n");
}

fn shown(body: &TranscriptBody) -> Vec<String> {
    body.entries.iter().flat_map(kinds).collect()
}

#[test]
fn prompts_answers_and_calls_with_their_results_are_shown_for_every_agent() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    for (agent, lines) in conversations(&json!("fix it")) {
        write(&dir, &lines);
        let body = whole(&server, KEY);
        assert_eq!(body.entries.len(), lines.len(), "{agent}");
        let shown = shown(&body);
        for expected in ["prompt fix it", "response fix it", "call fix it Error"] {
            let count = shown.iter().filter(|part| *part == expected).count();
            let is_sub_agent_too = agent == "kimi" && expected.starts_with("response");
            assert_eq!(
                count,
                1 + usize::from(is_sub_agent_too),
                "{agent} {expected}: {shown:?}"
            );
        }
        // The call has the text of the result, also in the same line.
        let is_joined = |part: &String| part.starts_with("result of Some(");
        assert!(shown.iter().any(is_joined), "{agent}: {shown:?}");
        let marks = marks(&server, KEY);
        assert_eq!((marks.prompts.total, marks.errors.total), (1, 1), "{agent}");
        let calls = body.entries.iter().flat_map(|entry| &entry.parts);
        let calls = calls.filter_map(|part| match part {
            EntryPart::ToolCall(call) => Some(call),
            _ => None,
        });
        for call in calls {
            let result = call.result.as_ref().unwrap();
            assert!(result.text.contains("fix it"), "{agent}: {call:?}");
            assert_eq!(call.summary, "fix it", "{agent}");
        }
    }
}

#[test]
fn hostile_transcripts_of_other_agents_have_no_effect_on_the_page() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    for attack in attacks() {
        for (agent, lines) in conversations(&attack) {
            write(&dir, &lines);
            let body = whole(&server, KEY);
            assert_eq!(body.entries.len(), lines.len(), "{agent} {attack}");
            assert_safe(&dashboard::entries(&body, false).into_string());
            assert_safe(&dashboard::marks(&marks(&server, KEY), 0).into_string());
            for entry in &body.entries {
                for (number, _) in (0..).zip(&entry.parts) {
                    let part = part(&server, KEY, entry.line, number);
                    assert_safe(&dashboard::part(&part).into_string());
                }
            }
        }
    }
}

#[test]
fn secrets_in_the_transcripts_of_other_agents_are_removed() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    for (agent, lines) in conversations(&json!(format!("the key is {API_KEY}"))) {
        write(&dir, &lines);
        let path = format!("/api/admin/transcript?session={}&limit=100", encoded(KEY));
        let page = server.get(&path);
        assert_eq!(page.status, 200, "{agent}");
        assert!(!page.text().contains(API_KEY), "{agent}: {}", page.text());
        let body = whole(&server, KEY);
        for entry in &body.entries {
            for (number, _) in (0..).zip(&entry.parts) {
                let part = part(&server, KEY, entry.line, number);
                assert!(!part.text.text.contains(API_KEY), "{agent}: {part:?}");
            }
        }
    }
}

#[test]
fn a_document_of_gemini_has_its_records_at_their_lines() {
    let dir = DataDir::new();
    let key = "ada/gemini/tmp/p/chats/session-1.json";
    let document = json!({
        "sessionId": "s",
        "projectHash": "p",
        "messages": [
            { "id": "r1", "type": "user", "content": "fix it" },
            { "id": "r2", "type": "gemini", "content": "done {\"[" },
        ],
    });
    let text = serde_json::to_string_pretty(&document).unwrap();
    dir.write(key, &text);
    let server = TestServer::start(&dir, &[]);
    let body = whole(&server, key);
    let line_of = |text: &str| {
        let line = body.entries.iter().find(|entry| kinds(entry) == [text]);
        line.map(|entry| entry.line)
    };
    let expected = |id: &str| {
        let lines = text.lines().collect::<Vec<_>>();
        let at = lines.iter().position(|line| line.contains(id)).unwrap();
        // A record begins with its brace.
        (0..=at)
            .rev()
            .find(|at| lines[*at].trim() == "{")
            .map(|at| at as u64 + 1)
    };
    assert_eq!(line_of("prompt fix it"), expected("\"r1\""));
    assert_eq!(line_of("response done {\"["), expected("\"r2\""));
    assert_eq!(marks(&server, key).prompts.lines.len(), 1);
    // It is written again, longer.
    let longer = text.replace("done {", "longer {");
    dir.write(key, &longer);
    let shown = shown(&whole(&server, key));
    assert!(
        shown.contains(&"response longer {\"[".to_owned()),
        "{shown:?}"
    );
}
