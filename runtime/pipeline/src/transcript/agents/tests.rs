//! The parts of a line of each agent.

use super::*;

/// Shows the parts of a line, and what the whole line says.
fn show(line: &str) -> String {
    let format = TranscriptFormat::of_beginning(line.as_bytes());
    show_as(format, line)
}

fn show_as(format: TranscriptFormat, line: &str) -> String {
    let parsed = format.parse(line, "ada/one.jsonl").unwrap();
    let mut shown: Vec<String> = parsed.parts.iter().map(show_part).collect();
    if let Some(agent) = &parsed.sub_agent {
        shown.push(format!("of {:?} {:?}", agent.agent_id, agent.call));
    }
    if let Some(response) = &parsed.response {
        let tokens = response.tokens;
        let tokens = tokens.map(|tokens| (tokens.input, tokens.cache_read, tokens.output));
        shown.push(format!("by {:?} {tokens:?}", response.model.as_deref()));
    }
    shown.join(" | ")
}

fn show_part(part: &ParsedPart<'_>) -> String {
    match part {
        ParsedPart::Prompt { command, text } => {
            format!("prompt {:?} {}", command.as_deref(), text.decode())
        }
        ParsedPart::Response(text) => format!("response {}", text.decode()),
        ParsedPart::Thinking(text) => format!("thinking {}", text.decode()),
        ParsedPart::ToolCall {
            id,
            name,
            summary,
            input,
            starts_agent,
            agent_type,
        } => format!(
            "call {:?} {name} `{summary}` {:?} {starts_agent} {agent_type:?}",
            id.as_deref(),
            input.decode()
        ),
        ParsedPart::ToolResult {
            call,
            outcome,
            text,
            ..
        } => format!("result {:?} {outcome:?} {}", call.as_deref(), text.decode()),
        ParsedPart::Compaction { text, .. } => format!("compaction {}", text.decode()),
        ParsedPart::ApiError { text, .. } => format!("error {}", text.decode()),
        ParsedPart::Notice { name, text } => format!("notice {name}: {}", text.decode()),
        ParsedPart::Other { name, .. } => format!("other {name}"),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        assert_eq!(show(line), *expected, "{line}");
    }
}

#[test]
fn lines_of_codex() {
    let item = |payload: &str| {
        let line = format!(
            r#"{{"timestamp":"2026-05-01T09:00:00Z","type":"response_item","payload":{{{payload}}}}}"#
        );
        show(&line)
    };
    for (payload, expected) in [
        (
            r#""type":"message","role":"user","content":[{"type":"input_text","text":"fix it"}]"#,
            "prompt None fix it",
        ),
        (
            r#""type":"message","role":"user","content":[{"type":"input_text","text":"<environment_context>x"}]"#,
            "notice context: <environment_context>x",
        ),
        (
            r##""type":"message","role":"user","content":[{"type":"input_text","text":"# Context from my IDE setup:\n## My request for Codex:\nfix it\n"}]"##,
            "prompt None fix it",
        ),
        (
            r#""type":"message","role":"assistant","content":[{"type":"output_text","text":"done"}]"#,
            "response done",
        ),
        (
            r#""type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]"#,
            "thinking hm",
        ),
        (
            r#""type":"reasoning","summary":[],"encrypted_content":"x""#,
            "thinking ",
        ),
        (
            r#""type":"function_call","call_id":"c1","name":"exec_command","arguments":"{\"cmd\":\"ls -l\"}""#,
            r#"call Some("c1") exec_command `ls -l` "cmd: ls -l" false None"#,
        ),
        (
            r#""type":"function_call","call_id":"c1","name":"spawn_agent","arguments":"{\"agent_type\":\"explorer\"}""#,
            r#"call Some("c1") spawn_agent `explorer` "agent_type: explorer" true Some("explorer")"#,
        ),
        (
            r#""type":"custom_tool_call","call_id":"c1","name":"apply_patch","input":"*** Begin Patch\n+a""#,
            r#"call Some("c1") apply_patch `*** Begin Patch` "*** Begin Patch\n+a" false None"#,
        ),
        (
            r#""type":"local_shell_call","call_id":"c1","action":{"command":["ls","-l"]}"#,
            r#"call Some("c1") local_shell `ls -l` "command: [\"ls\",\"-l\"]" false None"#,
        ),
        (
            r#""type":"function_call_output","call_id":"c1","output":"ok""#,
            r#"result Some("c1") Ok ok"#,
        ),
        (
            r#""type":"function_call_output","call_id":"c1","output":"Chunk\nProcess exited with code 1""#,
            "result Some(\"c1\") Error Chunk\nProcess exited with code 1",
        ),
        (
            r#""type":"function_call_output","call_id":"c1","output":"{\"output\":\"\",\"metadata\":{\"exit_code\":2}}""#,
            r#"result Some("c1") Error {"output":"","metadata":{"exit_code":2}}"#,
        ),
        (
            r#""type":"function_call_output","call_id":"c1","output":"aborted by user after 2 s""#,
            r#"result Some("c1") Rejected aborted by user after 2 s"#,
        ),
        (r#""type":"brand_new""#, "other brand_new"),
    ] {
        assert_eq!(item(payload), expected, "{payload}");
    }
    check(&[
        (
            r#"{"type":"compacted","payload":{"message":"so far"}}"#,
            "compaction so far",
        ),
        (
            r#"{"type":"event_msg","payload":{"type":"error","message":"overloaded"}}"#,
            "error overloaded",
        ),
        (
            r#"{"type":"event_msg","payload":{"type":"token_count"}}"#,
            "other event_msg: token_count",
        ),
        (
            r#"{"type":"session_meta","payload":{"id":"a"}}"#,
            "other session_meta",
        ),
        // Before version 0.3x.
        (
            r#"{"id":"a","timestamp":"t","instructions":"x"}"#,
            "other header",
        ),
    ]);
    let bare = r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"go"}]}"#;
    assert_eq!(show_as(TranscriptFormat::Codex, bare), "prompt None go");
}

#[test]
fn lines_of_copilot() {
    let line = |kind: &str, data: &str| {
        let line = format!(r#"{{"type":"{kind}","data":{{{data}}},"id":"e","parentId":null}}"#);
        show(&line)
    };
    for (kind, data, expected) in [
        (
            "user.message",
            r#""content":"fix it""#,
            "prompt None fix it",
        ),
        (
            "user.message",
            r#""content":"/init all of it""#,
            r#"prompt Some("/init") all of it"#,
        ),
        (
            "user.message",
            r#""content":"/home/ada is full""#,
            "prompt None /home/ada is full",
        ),
        (
            "user.message",
            r#""content":"x","source":"skill""#,
            "notice skill: x",
        ),
        (
            "user.message",
            r#""content":"<system_reminder>x""#,
            "notice context: <system_reminder>x",
        ),
        (
            "assistant.message",
            r#""content":"done","reasoningText":"hm","model":"m","toolRequests":[]"#,
            r#"thinking hm | response done | by Some("m") None"#,
        ),
        (
            "assistant.message",
            r#""content":"""#,
            "other assistant.message | by None None",
        ),
        (
            "tool.execution_start",
            r#""toolCallId":"t1","toolName":"task","arguments":{"agent_type":"explore","prompt":"look"}"#,
            r#"call Some("t1") task `look` "agent_type: explore\nprompt: look" true Some("explore")"#,
        ),
        (
            "tool.execution_complete",
            r#""toolCallId":"t1","success":true,"result":{"content":"ok"}"#,
            r#"result Some("t1") Ok ok"#,
        ),
        (
            "tool.execution_complete",
            r#""toolCallId":"t1","success":false,"error":{"code":"denied","message":"no"},"parentToolCallId":"t0""#,
            r#"result Some("t1") Rejected no | of None Some("t0")"#,
        ),
        (
            "session.compaction_complete",
            r#""summaryContent":"so far""#,
            "compaction so far",
        ),
        (
            "session.error",
            r#""message":"overloaded""#,
            "error overloaded",
        ),
        ("hook.start", "", "other hook.start"),
    ] {
        assert_eq!(line(kind, data), expected, "{kind} {data}");
    }
}

#[test]
fn lines_of_gemini() {
    let show = |line: &str| show_as(TranscriptFormat::Gemini, line);
    for (line, expected) in [
        (
            r#"{"id":"a","type":"user","content":"fix it"}"#,
            "prompt None fix it",
        ),
        (
            r#"{"id":"a","type":"user","content":[{"text":"x of a file"}],"displayContent":[{"text":"fix @a"}]}"#,
            "prompt None fix @a",
        ),
        (
            r#"{"id":"a","type":"user","content":"/plan:new it"}"#,
            r#"prompt Some("/plan:new") it"#,
        ),
        (
            r#"{"id":"a","type":"info","content":"x"}"#,
            "notice info: x",
        ),
        (r#"{"id":"a","type":"error","content":"x"}"#, "error x"),
        (r#"{"$set":{"lastUpdated":"t"}}"#, "other session"),
        (
            r#"{"id":"a","type":"gemini","content":"done","model":"m","thoughts":[{"subject":"Plan","description":"hm"}],"tokens":{"input":100,"cached":60,"output":5,"thoughts":2,"tool":1},"toolCalls":[{"id":"c1","name":"run_shell_command","args":{"command":"ls"},"status":"success","result":[{"functionResponse":{"response":{"output":"a.rs"}}}]},{"id":"c2","name":"read_file","args":{"absolute_path":"/a"},"status":"cancelled","result":[{"functionResponse":{"response":{"error":"no"}}}]},{"id":"c3","name":"read_file","args":{},"status":"executing"}]}"#,
            concat!(
                r#"thinking Plan: hm | response done | call Some("c1") run_shell_command `ls` "command: ls" false None"#,
                r#" | result Some("c1") Ok a.rs | call Some("c2") read_file `/a` "absolute_path: /a" false None"#,
                r#" | result Some("c2") Rejected no | call Some("c3") read_file `` "" false None"#,
                r#" | by Some("m") Some((41, 60, 7))"#
            ),
        ),
        (
            r#"{"id":"a","type":"gemini","content":""}"#,
            "other gemini | by None None",
        ),
    ] {
        assert_eq!(show(line), expected, "{line}");
    }
}

#[test]
fn lines_of_kimi() {
    let event =
        |kind: &str, payload: &str| format!(r#"{{"type":"{kind}","payload":{{{payload}}}}}"#);
    let text = |event: String| format!(r#"{{"timestamp":1777626000.5,"message":{event}}}"#);
    let line = |event: String| show(&text(event));
    for (kind, payload, expected) in [
        (
            "TurnBegin",
            r#""user_input":[{"type":"text","text":"fix it"}]"#,
            "prompt None fix it",
        ),
        ("SteerInput", r#""user_input":"stop""#, "prompt None stop"),
        (
            "ContentPart",
            r#""type":"text","text":"done""#,
            "response done",
        ),
        (
            "ContentPart",
            r#""type":"think","think":"hm""#,
            "thinking hm",
        ),
        (
            "ToolCall",
            r#""id":"t1","function":{"name":"Shell","arguments":"{\"command\":\"ls\"}"}"#,
            r#"call Some("t1") Shell `ls` "command: ls" false None"#,
        ),
        (
            "ToolResult",
            r#""tool_call_id":"t1","return_value":{"is_error":true,"output":"","message":"Command failed."}"#,
            r#"result Some("t1") Error Command failed."#,
        ),
        (
            "StatusUpdate",
            r#""token_usage":{"input_other":1,"input_cache_read":2,"output":3}"#,
            "other StatusUpdate | by None Some((1, 2, 3))",
        ),
        ("CompactionEnd", "", "compaction "),
        ("StepInterrupted", "", "notice interruption: "),
    ] {
        assert_eq!(line(event(kind, payload)), expected, "{kind} {payload}");
    }
    let nested = |inner: &str| {
        event(
            "SubagentEvent",
            &format!(r#""task_tool_call_id":"t1","event":{inner}"#),
        )
    };
    let said = event("ContentPart", r#""type":"text","text":"done""#);
    assert_eq!(line(nested(&said)), r#"response done | of None Some("t1")"#);
    let deep = (0..100).fold(said, |inner, _| nested(&inner));
    // A line as deep as this does not determine the agent of its file.
    let deep = show_as(TranscriptFormat::Kimi, &text(deep));
    assert_eq!(deep, r#"other event | of None Some("t1")"#);
}

#[test]
fn lines_of_pi() {
    let message = |fields: &str| {
        show(&format!(
            r#"{{"type":"message","id":"e","message":{{{fields}}}}}"#
        ))
    };
    for (fields, expected) in [
        (
            r#""role":"user","content":[{"type":"text","text":"fix it"}]"#,
            "prompt None fix it",
        ),
        (
            r#""role":"user","content":"x","attribution":"agent""#,
            "notice context: x",
        ),
        (
            r#""role":"assistant","model":"m","usage":{"input":1,"cacheRead":2,"output":3},"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"done"},{"type":"toolCall","id":"c1","name":"bash","arguments":{"command":"ls"}}]"#,
            r#"thinking hm | response done | call Some("c1") bash `ls` "command: ls" false None | by Some("m") Some((1, 2, 3))"#,
        ),
        (
            r#""role":"toolResult","toolCallId":"c1","content":[{"type":"text","text":"Operation aborted"}],"isError":true"#,
            r#"result Some("c1") Rejected Operation aborted"#,
        ),
        (
            r#""role":"bashExecution","content":"ls""#,
            "notice bashExecution: ls",
        ),
        (r#""role":"user""#, "other user"),
    ] {
        assert_eq!(message(fields), expected, "{fields}");
    }
    let show = |line: &str| show_as(TranscriptFormat::Pi, line);
    assert_eq!(
        show(r#"{"type":"compaction","summary":"so far"}"#),
        "compaction so far"
    );
    assert_eq!(show(r#"{"type":"model_change"}"#), "other model_change");
}

#[test]
fn lines_of_qwen() {
    let line = |kind: &str, more: &str| {
        let line = format!(r#"{{"uuid":"u","sessionId":"s","type":"{kind}"{more}}}"#);
        show_as(TranscriptFormat::Qwen, &line)
    };
    for (kind, more, expected) in [
        (
            "user",
            r#","message":{"parts":[{"text":"fix it"}]}"#,
            "prompt None fix it",
        ),
        (
            "assistant",
            r#","model":"m","message":{"parts":[{"text":"hm","thought":true},{"text":"done"},{"functionCall":{"id":"c1","name":"list_directory","args":{"path":"/a"}}}]}"#,
            r#"thinking hm | response done | call Some("c1") list_directory `/a` "path: /a" false None | by Some("m") None"#,
        ),
        (
            "tool_result",
            r#","toolCallResult":{"status":"error"},"message":{"parts":[{"functionResponse":{"id":"c1","response":{"output":"no"}}}]}"#,
            r#"result Some("c1") Error no"#,
        ),
        (
            "system",
            r#","subtype":"slash_command","systemPayload":{"phase":"invocation","rawCommand":"/init"}"#,
            r#"prompt Some("/init") "#,
        ),
        (
            "system",
            r#","subtype":"ui_telemetry","systemPayload":{}"#,
            "other system: ui_telemetry",
        ),
        ("user", "", "other user"),
    ] {
        assert_eq!(line(kind, more), expected, "{kind} {more}");
    }
    let detected = r#"{"sessionId":"s","type":"user","message":{"parts":[{"text":"fix it"}]}}"#;
    assert_eq!(show(detected), "prompt None fix it");
}

#[test]
fn values_of_unexpected_types_are_shown_and_lose_nothing_else() {
    use TranscriptFormat::*;
    for format in [Codex, Copilot, Gemini, Kimi, Pi, Qwen] {
        for line in [
            "{}",
            r#"{"type":7,"payload":[],"data":1,"message":null,"id":{},"timestamp":[]}"#,
            r#"{"type":"message","message":{"role":"assistant","content":{"a":1},"usage":[]}}"#,
            r#"{"type":"gemini","content":7,"toolCalls":{},"thoughts":"x","tokens":3}"#,
            r#"{"type":"response_item","payload":{"type":"message","role":[],"content":null}}"#,
            r#"{"type":"assistant.message","data":{"content":[1]}}"#,
            r#"{"timestamp":1e308,"message":{"type":"ToolCall","payload":{"function":[]}}}"#,
            r#"{"type":"assistant","message":{"parts":[null,7,{"functionCall":"x"}]}}"#,
        ] {
            let parsed = format.parse(line, "ada/one.jsonl").unwrap();
            assert!(!parsed.parts.is_empty(), "{format:?} {line}");
        }
        for line in ["", "[]", "7", "{", "{}{}"] {
            assert!(format.parse(line, "ada/one.jsonl").is_none(), "{line}");
        }
    }
}

#[test]
fn a_line_with_many_parts_is_cut() {
    let parts = vec![r#"{"text":"a"}"#; 2 * PARTS_MAX].join(",");
    let line = format!(r#"{{"type":"assistant","message":{{"parts":[{parts}]}}}}"#);
    let parsed = TranscriptFormat::Qwen.parse(&line, "a").unwrap();
    assert_eq!(
        (parsed.parts.len(), parsed.has_more_parts),
        (PARTS_MAX, true)
    );
    let calls = vec![r#"{"id":"c","name":"n","status":"success"}"#; 2 * PARTS_MAX].join(",");
    let line = format!(r#"{{"type":"gemini","id":"a","content":"x","toolCalls":[{calls}]}}"#);
    let parsed = TranscriptFormat::Gemini.parse(&line, "a").unwrap();
    assert_eq!(
        (parsed.parts.len(), parsed.has_more_parts),
        (PARTS_MAX, true)
    );
}
