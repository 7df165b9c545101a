//! Damaged sessions of agents other than Claude Code.

use crate::harness::FileRows;

/// The number of damaged versions of each session.
const VERSIONS: u64 = 150;

/// Values that no agent writes.
const ODD_VALUES: [&str; 12] = [
    "null",
    "-1",
    "1e999",
    "9223372036854775807",
    "-9223372036854775808",
    "0.5",
    "[]",
    "{}",
    "[[[[{\"type\":[]}]]]]",
    r#""""#,
    r#""\ud800""#,
    "true",
];

/// A session of each agent, with every kind of line that its reader examines. The key has the name
/// of the agent.
pub const SESSIONS: [(&str, &str); 7] = [
    (
        "ada/codex.jsonl",
        r#"{"timestamp":"2026-05-01T09:00:00Z","type":"session_meta","payload":{"id":"a","cwd":"/w","git":{"branch":"main"},"source":{"subagent":{"thread_spawn":{"parent_thread_id":"p"}}}}}
{"timestamp":"2026-05-01T09:00:01Z","type":"turn_context","payload":{"turn_id":"t","model":"m"}}
{"timestamp":"2026-05-01T09:00:02Z","type":"event_msg","payload":{"type":"user_message","message":"go"}}
{"timestamp":"2026-05-01T09:00:03Z","type":"response_item","payload":{"type":"function_call","name":"shell","arguments":"{}","call_id":"call_1"}}
{"timestamp":"2026-05-01T09:00:04Z","type":"response_item","payload":{"type":"function_call_output","call_id":"call_1","output":"Exit code: 1"}}
{"timestamp":"2026-05-01T09:00:05Z","type":"event_msg","payload":{"type":"token_count","info":{"total_token_usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3},"last_token_usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}}"#,
    ),
    (
        "ada/kimi/9072/e12e/wire.jsonl",
        r#"{"type":"metadata","protocol_version":"1.3"}
{"timestamp":1777626000.5,"message":{"type":"TurnBegin","payload":{"user_input":[{"type":"text","text":"go"}]}}}
{"timestamp":1777626001.5,"message":{"type":"StepBegin","payload":{"n":1}}}
{"timestamp":1777626002.5,"message":{"type":"ToolCall","payload":{"id":"tool_1","function":{"name":"Task","arguments":"{\"subagent_name\""}}}}
{"timestamp":1777626002.6,"message":{"type":"ToolCallPart","payload":{"arguments_part":":\"coder\"}"}}}
{"timestamp":1777626003.5,"message":{"type":"SubagentEvent","payload":{"task_tool_call_id":"tool_1","event":{"type":"StatusUpdate","payload":{"token_usage":{"input_other":1,"output":2,"input_cache_read":3,"input_cache_creation":4},"message_id":"chatcmpl-a","mcp_status":{"servers":[{"name":"s","tools":["x"]}]}}}}}}
{"timestamp":1777626004.5,"message":{"type":"ApprovalRequest","payload":{"id":"r","tool_call_id":"tool_1"}}}
{"timestamp":1777626005.5,"message":{"type":"ApprovalResponse","payload":{"request_id":"r","response":"reject"}}}
{"timestamp":1777626006.5,"message":{"type":"ToolResult","payload":{"tool_call_id":"tool_1","return_value":{"is_error":true,"output":[],"message":"exit code: 1"}}}}
{"timestamp":1777626007.5,"message":{"type":"StepInterrupted","payload":{}}}"#,
    ),
    (
        "ada/pi.jsonl",
        r#"{"type":"title","v":1,"title":"t","updatedAt":"2026-05-01T09:00:00Z","pad":" "}
{"type":"session","version":3,"id":"a","timestamp":"2026-05-01T09:00:00Z","cwd":"/w","parentSession":"/s/1_b.jsonl"}
{"type":"session_init","timestamp":"2026-05-01T09:00:00Z","agent":"scout"}
{"type":"message","timestamp":"2026-05-01T09:00:01Z","message":{"role":"user","content":[{"type":"text","text":"go"}],"attribution":"user","timestamp":1777626001000}}
{"type":"message","timestamp":"2026-05-01T09:00:02Z","message":{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"toolCall","id":"call_1","name":"read","arguments":{"path":"skill://x"}}],"provider":"p","model":"m","usage":{"input":1,"output":2,"cacheRead":3,"cacheWrite":4,"reasoningTokens":1,"cttl":{"ephemeral1h":2},"orchestration":{"input":1}},"stopReason":"toolUse","timestamp":1777626002000,"responseId":"r"}}
{"type":"message","timestamp":"2026-05-01T09:00:03Z","message":{"role":"toolResult","toolCallId":"call_1","content":[{"type":"text","text":"Command exited with code 1"}],"isError":true,"timestamp":1777626003000}}
{"type":"compaction","timestamp":"2026-05-01T09:00:04Z","summary":"s","method":"soft"}"#,
    ),
    (
        "ada/qwen.jsonl",
        r#"{"uuid":"u1","sessionId":"a","timestamp":"2026-05-01T09:00:01Z","type":"user","cwd":"/w","version":"0.12.6","gitBranch":"main","message":{"role":"user","parts":[{"text":"go"}]}}
{"uuid":"u2","sessionId":"a","timestamp":"2026-05-01T09:00:02Z","type":"assistant","model":"m","message":{"role":"model","parts":[{"text":"t","thought":true},{"functionCall":{"id":"call_1","name":"skill","args":{"skill":"x"}}}]},"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":2,"thoughtsTokenCount":1,"totalTokenCount":13,"cachedContentTokenCount":5}}
{"uuid":"u3","sessionId":"a","timestamp":"2026-05-01T09:00:03Z","type":"system","subtype":"ui_telemetry","systemPayload":{"uiEvent":{"event.name":"qwen-code.api_response","response_id":"r","model":"m","input_token_count":10,"output_token_count":2,"cached_content_token_count":5,"thoughts_token_count":1,"total_token_count":12}}}
{"uuid":"u4","sessionId":"a","timestamp":"2026-05-01T09:00:04Z","type":"tool_result","message":{"parts":[{"functionResponse":{"id":"call_1","response":{"error":"no"}}}]},"toolCallResult":{"callId":"call_1","status":"error"},"forkedFrom":{"sessionId":"b"}}"#,
    ),
    (
        "ada/copilot/1/events.jsonl",
        r#"{"type":"session.start","data":{"sessionId":"a","copilotVersion":"1.0.72","selectedModel":"m","context":{"cwd":"/w","branch":"main"}},"id":"e0","timestamp":"2026-05-01T09:00:00Z","parentId":null}
{"type":"user.message","data":{"content":"go","attachments":[]},"id":"e1","timestamp":"2026-05-01T09:00:01Z","parentId":"e0"}
{"type":"assistant.message","data":{"messageId":"m1","apiCallId":"c1","model":"m","content":"a","outputTokens":7,"toolRequests":[{"toolCallId":"call_1","name":"task"}]},"id":"e2","timestamp":"2026-05-01T09:00:02Z","parentId":"e1"}
{"type":"tool.execution_start","data":{"toolCallId":"call_1","toolName":"task","arguments":{"agent_type":"x"},"mcpServerName":"s","parentToolCallId":"p"},"id":"e3","timestamp":"2026-05-01T09:00:03Z","parentId":"e2"}
{"type":"tool.execution_complete","data":{"toolCallId":"call_1","success":false,"model":"m","error":{"code":"denied"},"result":{"content":"<exited with exit code 1>"}},"id":"e4","timestamp":"2026-05-01T09:00:04Z","parentId":"e3"}
{"type":"session.usage_checkpoint","data":{"totalNanoAiu":5},"id":"e5","timestamp":"2026-05-01T09:00:05Z","parentId":"e4"}
{"type":"session.compaction_complete","data":{"success":true,"compactionTokensUsed":{"input":9,"output":3,"cachedInput":4}},"id":"e6","timestamp":"2026-05-01T09:00:06Z","parentId":"e5"}
{"type":"session.shutdown","data":{"modelMetrics":{"m":{"requests":{"count":1},"usage":{"inputTokens":90,"outputTokens":7,"cacheReadTokens":50,"cacheWriteTokens":10,"reasoningTokens":2}}},"totalNanoAiu":9},"id":"e7","timestamp":"2026-05-01T09:00:07Z","parentId":"e6"}"#,
    ),
    (
        "ada/gemini/chats/session-1.jsonl",
        r#"{"sessionId":"a","projectHash":"p","startTime":"2026-05-01T09:00:00Z","kind":"main"}
{"id":"r1","timestamp":"2026-05-01T09:00:01Z","type":"user","content":[{"text":"go"}],"displayContent":"go"}
{"id":"r2","timestamp":"2026-05-01T09:00:02Z","type":"gemini","content":"a","model":"m","thoughts":[],"tokens":{"input":100,"output":20,"cached":60,"thoughts":5,"tool":1,"total":126},"toolCalls":[{"id":"call_1","name":"run_shell_command","args":{},"status":"error","timestamp":"2026-05-01T09:00:03Z","result":[{"functionResponse":{"response":{"output":"Exit Code: 1"}}}]}]}
{"$set":{"summary":"s","messages":[{"id":"r3","timestamp":"2026-05-01T09:00:04Z","type":"gemini","model":"m","tokens":{"input":10,"output":2,"cached":0,"thoughts":0,"tool":0,"total":12}}]}}
{"$rewindTo":"r1"}"#,
    ),
    (
        "ada/gemini/chats/session-2.json",
        r#"{
  "sessionId": "b",
  "projectHash": "p",
  "messages": [
    {
      "id": "d1", "type": "user", "content": "go", "timestamp": "2026-05-01T09:00:01Z"
    },
    {
      "id": "d2", "type": "gemini", "content": "a", "model": "m", "timestamp": "2026-05-01T09:00:02Z",
      "tokens": { "input": 100, "output": 20, "cached": 60, "thoughts": 5, "tool": 1, "total": 126 },
      "toolCalls": [
        {
          "id": "call_1", "name": "read_file", "args": {}, "status": "cancelled"
        }
      ]
    }
  ]
}"#,
    ),
];

/// A source of numbers that are the same in every run.
pub struct Numbers(pub u64);

impl Numbers {
    /// A number below the limit.
    pub fn below(&mut self, limit: usize) -> usize {
        // The constants of Knuth's MMIX.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// Replaces the value after one of the colons of a text.
fn replace_value(text: &str, numbers: &mut Numbers) -> String {
    let colons: Vec<usize> = text.match_indices("\":").map(|(at, _)| at + 2).collect();
    let start = colons[numbers.below(colons.len())];
    let rest = &text[start..];
    let length = match rest.as_bytes().first() {
        Some(b'"') => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
        Some(b'{' | b'[') => 0,
        _ => rest.find([',', '}']).unwrap_or(rest.len()),
    };
    let odd = ODD_VALUES[numbers.below(ODD_VALUES.len())];
    // Before an object or a list, an odd value makes the line invalid.
    format!("{}{odd}{}", &text[..start], &rest[length..])
}

fn damage(text: &str, numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let at = numbers.below(bytes.len());
    match numbers.below(5) {
        0 => bytes[at] = numbers.below(256) as u8,
        1 => drop(bytes.drain(at..(at + 1 + numbers.below(40)).min(text.len()))),
        2 => {
            let mut lines: Vec<&str> = text.lines().collect();
            let (one, other) = (numbers.below(lines.len()), numbers.below(lines.len()));
            lines.swap(one, other);
            lines.push(lines[one]);
            bytes = lines.join("\n").into_bytes();
        }
        _ => {
            let mut changed = replace_value(text, numbers);
            for _ in 0..numbers.below(4) {
                changed = replace_value(&changed, numbers);
            }
            bytes = changed.into_bytes();
        }
    }
    bytes
}

#[test]
fn invariant_no_damage_fails_a_session_and_every_line_is_counted() {
    for (key, text) in SESSIONS {
        let mut numbers = Numbers(7);
        let mut agents = 0;
        for version in 0..VERSIONS {
            let damaged = damage(text, &mut numbers);
            let rows = FileRows::of(key, &damaged);
            let lines = damaged.split(|byte| *byte == b'\n');
            let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
            let lines = lines.filter(|line| !line.iter().all(is_space)).count();
            let shown = || format!("{key} {version}: {}", String::from_utf8_lossy(&damaged));
            assert_eq!(rows.session.number("lines"), lines as i64, "{}", shown());
            for row in &rows.messages {
                let is_count = |count: &i64| (0..=1_000_000_000).contains(count);
                assert!(row.tokens().iter().all(is_count), "{}", shown());
            }
            let agent = rows.session.text("agent");
            agents += u64::from(key.contains(&agent));
        }
        // Most damage leaves enough to detect the agent.
        assert!(agents > VERSIONS * 9 / 10, "{key}: {agents}");
    }
}
