//! Sessions of Kimi CLI.

use crate::harness::{FileRows, Sums, check_laws};
use session_pipeline_processor::activity::Item;
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_processor::{Session, SessionInfo};

const KEY: &str = "ada/kimi/9072/e12e/wire.jsonl";
const METADATA: &str = r#"{"type":"metadata","protocol_version":"1.3"}"#;

/// 2026-05-01T09:00:00Z in seconds.
const NINE: u64 = 1_777_626_000;

fn event(kind: &str, payload: &str) -> String {
    format!(r#"{{"type":"{kind}","payload":{{{payload}}}}}"#)
}

/// A line with an event. `second` counts from nine o'clock.
fn at(second: u64, event: &str) -> String {
    format!(r#"{{"timestamp":{}.25,"message":{event}}}"#, NINE + second)
}

/// An event of the sub-agent that a call started.
fn nested(call: &str, inner: &str) -> String {
    event(
        "SubagentEvent",
        &format!(r#""task_tool_call_id":"{call}","event":{inner}"#),
    )
}

fn turn(text: &str) -> String {
    event(
        "TurnBegin",
        &format!(r#""user_input":[{{"type":"text","text":"{text}"}}]"#),
    )
}

/// A request with `[input_other, input_cache_read, input_cache_creation, output]`.
fn status(id: &str, used: [u64; 4]) -> String {
    let [input, read, written, output] = used;
    event(
        "StatusUpdate",
        &format!(
            r#""context_usage":0.1,"token_usage":{{"input_other":{input},"output":{output},"input_cache_read":{read},"input_cache_creation":{written}}},"message_id":{id}"#
        ),
    )
}

fn call(id: &str, name: &str, arguments: &str) -> String {
    let arguments = arguments.replace('"', r#"\""#);
    event(
        "ToolCall",
        &format!(
            r#""type":"function","id":"{id}","function":{{"name":"{name}","arguments":"{arguments}"}}"#
        ),
    )
}

fn part(arguments: &str) -> String {
    let arguments = arguments.replace('"', r#"\""#);
    event(
        "ToolCallPart",
        &format!(r#""arguments_part":"{arguments}""#),
    )
}

fn result(id: &str, is_error: bool, message: &str) -> String {
    event(
        "ToolResult",
        &format!(
            r#""tool_call_id":"{id}","return_value":{{"is_error":{is_error},"output":"out","message":"{message}"}}"#
        ),
    )
}

fn file(events: &[String]) -> String {
    let lines = (1..).zip(events).map(|(second, event)| at(second, event));
    let lines: Vec<String> = lines.collect();
    format!("{METADATA}\n{}", lines.join("\n"))
}

/// A session with two requests, one of them by a sub-agent, and a failed call of the sub-agent.
fn session() -> String {
    let inner = |event: String| nested("tool_a1", &event);
    file(&[
        turn("fix it"),
        event("StepBegin", r#""n":1"#),
        event("ContentPart", r#""type":"think","think":"hm""#),
        event("ContentPart", r#""type":"text","text":"I ask""#),
        call("tool_a1", "Task", r#"{"subagent_name":"coder"}"#),
        status(r#""chatcmpl-f1""#, [10, 300, 5, 20]),
        inner(turn("look")),
        inner(event("StepBegin", r#""n":1"#)),
        inner(call("tool_b1", "Shell", r#"{"command":"make"}"#)),
        inner(status(r#""chatcmpl-f2""#, [1, 30, 0, 2])),
        inner(result("tool_b1", true, "Command failed with exit code: 2.")),
        result("tool_a1", false, ""),
        event("TurnEnd", ""),
    ])
}

#[test]
fn requests_of_sub_agents_inside_of_the_conversation_count() {
    let session = session();
    let rows = FileRows::of(KEY, session.as_bytes());
    let tokens: Vec<_> = rows.messages.iter().map(|row| row.tokens()).collect();
    assert_eq!(tokens, [[1, 10, 300, 5, 0, 20, 0], [1, 1, 30, 0, 0, 2, 0]]);
    let shown: Vec<_> = rows
        .messages
        .iter()
        .map(|row| row.show("session_id model agent source agent_id agent_type is_final"))
        .collect();
    assert_eq!(
        shown,
        [
            "e12e - kimi main - - true",
            "e12e - kimi subagent tool_a1 coder true",
        ]
    );
    let shown: Vec<_> = rows
        .events
        .iter()
        .map(|row| {
            row.show("event_type tool_name subagent_type is_sidechain error_class duration_ms")
        })
        .collect();
    assert_eq!(
        shown,
        [
            "subagent Task coder false - 7000",
            "tool_use Shell - true exit_code 2000",
        ]
    );
    // The task of a sub-agent is not a prompt.
    assert_eq!(
        rows.session.show(
            "session_id prompts messages assistant_messages is_sidechain title unrecorded_usage unknown_types project"
        ),
        "e12e 1 2 1 false fix it - 0 -",
    );
    check_laws(&[(KEY, &session)]);
}

/// Newer versions write the events of a sub-agent to a file of its own as well.
#[test]
fn a_file_of_a_sub_agent_repeats_what_the_conversation_contains() {
    let newer = |event: &str| {
        let fields = format!(
            r#""parent_tool_call_id":"tool_a1","agent_id":"a7","subagent_type":"explore","event":{event}"#
        );
        self::event("SubagentEvent", &fields)
    };
    let own = [
        turn("look"),
        call("functions.Shell:0", "Shell", "{}"),
        status(r#""chatcmpl-f2""#, [1, 30, 0, 2]),
    ];
    let nested: Vec<String> = own.iter().map(|event| newer(event)).collect();
    let parent = file(&[&[turn("fix it")][..], &nested[..]].concat());
    let sub_agent = file(&own);
    let files = [
        ("ada/9072/e12e/wire.jsonl", &*parent),
        ("ada/9072/e12e/subagents/a7/wire.jsonl", &*sub_agent),
    ];
    let sums = Sums::of(&files);
    assert_eq!(sums.tokens(), [1, 1, 30, 0, 0, 2, 0]);
    assert_eq!((sums.events.len(), sums.sessions.len()), (1, 1));
    assert_eq!(sums.prompts, 1);
    for (key, content) in files {
        let rows = FileRows::of(key, content.as_bytes());
        assert_eq!(rows.messages[0].show("source agent_id"), "subagent a7");
    }
    let rows = FileRows::of(files[0].0, parent.as_bytes());
    assert_eq!(rows.messages[0].text("agent_type"), "explore");
    check_laws(&files);
}

#[test]
fn an_update_without_tokens_is_no_request_and_one_without_an_id_is() {
    let counted = |second: u64, id: &str| at(second, &status(id, [5, 0, 0, 1]));
    let content = [
        METADATA.to_owned(),
        at(1, &event("StatusUpdate", r#""context_usage":0.2"#)),
        at(1, &status(r#""chatcmpl-f0""#, [0; 4])),
        counted(2, "null"),
        counted(3, "null"),
        // Ids that start over in each session are no ids.
        counted(4, r#""msg-1""#),
        counted(5, r#""msg-1""#),
        counted(6, r#""chatcmpl-f1""#),
        counted(7, r#""chatcmpl-f1""#),
    ]
    .join("\n");
    let sums = Sums::of(&[(KEY, &content)]);
    assert_eq!(sums.tokens(), [5, 25, 0, 0, 0, 5, 0]);
    check_laws(&[(KEY, &content)]);
}

#[test]
fn prompts_are_texts_of_a_person() {
    let found = |event: String| {
        let rows = FileRows::of(KEY, file(&[event]).as_bytes());
        rows.session.show("prompts slash_commands title")
    };
    for (event, shown) in [
        (turn("fix it"), "1 0 fix it"),
        (event("TurnBegin", r#""user_input":"fix it""#), "1 0 fix it"),
        (event("SteerInput", r#""user_input":"stop""#), "1 0 stop"),
        (turn(" "), "1 0 -"),
        (event("TurnBegin", r#""user_input":"""#), "0 0 -"),
        (turn("/compact now"), "0 1 -"),
        (turn("/skill:pdf"), "0 1 -"),
        (turn("/tmp/a is wrong"), "1 0 /tmp/a is wrong"),
        (nested("tool_a1", &turn("look")), "0 0 -"),
    ] {
        let name = event.clone();
        assert_eq!(found(event), shown, "{name}");
    }
}

#[test]
fn results_say_how_calls_failed() {
    for (is_error, message, class) in [
        (false, "Command executed successfully.", "-"),
        (true, "Command failed with exit code: 127.", "exit_code"),
        (true, "Command failed with exit code: -9.", "exit_code"),
        (true, "no exit code: 0 here", "tool_error"),
        (true, "no exit code", "tool_error"),
        (
            true,
            "The tool call is rejected by the user. User feedback: no",
            "rejected",
        ),
        (true, "no such file", "tool_error"),
        (true, "", "tool_error"),
    ] {
        let content = file(&[
            call("tool_a1", "Shell", "{}"),
            result("tool_a1", is_error, message),
        ]);
        let rows = FileRows::of(KEY, content.as_bytes());
        assert_eq!(rows.events[0].text("error_class"), class, "{message}");
    }
    let asked = event("ApprovalRequest", r#""id":"r1","tool_call_id":"tool_a1""#);
    for (decision, class) in [("reject", "rejected"), ("approve", "tool_error")] {
        let decided = format!(r#""request_id":"r1","response":"{decision}""#);
        let content = file(&[
            call("tool_a1", "Shell", "{}"),
            asked.clone(),
            event("ApprovalResponse", &decided),
            result("tool_a1", true, "no"),
        ]);
        let rows = FileRows::of(KEY, content.as_bytes());
        assert_eq!(rows.events[0].text("error_class"), class, "{decision}");
    }
}

/// The arguments of a call come in parts, even after the result of an earlier call.
#[test]
fn the_parts_of_arguments_belong_to_their_call() {
    let content = file(&[
        call("tool_a1", "Shell", ""),
        result("tool_0", false, ""),
        nested("tool_9", &part("x")),
        part(r#"{"command":"#),
        part(r#""make"}"#),
        result("tool_a1", true, "no"),
        nested("tool_9", &call("tool_b1", "Shell", r#"{"command":"#)),
        call("tool_a2", "Shell", r#"{"command":"test"}"#),
        nested("tool_9", &part(r#""lint"}"#)),
        // Nothing waits for this one.
        part("x"),
    ]);
    let host = MemoryHost::new(content.as_bytes());
    let info = SessionInfo::new(KEY);
    let mut calls = Vec::new();
    Session::new(&host, &info)
        .activity()
        .for_each(|origin, item| {
            if let Item::Call(call) = item {
                let input = call.input.map(|input| input.raw().to_owned());
                calls.push((origin.line, input.unwrap_or_default()));
            }
        });
    // With the lines on which the calls begin.
    let expected = [(2, "make"), (9, "test"), (8, "lint")];
    let expected = expected.map(|(line, command)| (line, format!(r#"{{"command":"{command}"}}"#)));
    assert_eq!(calls, expected);
    check_laws(&[(KEY, &content)]);
}

#[test]
fn a_call_without_complete_arguments_counts() {
    let content = file(&[
        call("tool_a1", "Shell", r#"{"command"#),
        nested("tool_x", &call("tool_a2", "Shell", r#"{"command"#)),
        call("tool_a3", "Shell", r#"{"command"#),
    ]);
    let rows = FileRows::of(KEY, content.as_bytes());
    assert_eq!(rows.events.len(), 3);
    check_laws(&[(KEY, &content)]);
    // More sub-agents than the reader follows at the same time, and an id that is too long.
    let mut calls: Vec<String> = (0..300)
        .map(|number| {
            let call = call(&format!("tool_c{number}x"), "Shell", "{");
            nested(&format!("agent-{number}-x"), &call)
        })
        .collect();
    calls.push(nested(&"x".repeat(2_000), &call("tool_long", "Shell", "{")));
    calls.push(call("tool_large", "Shell", "{"));
    calls.extend((0..4).map(|_| part(&"x".repeat(100 << 10))));
    let rows = FileRows::of(KEY, file(&calls).as_bytes());
    assert_eq!(rows.events.len(), 302);
}

#[test]
fn tools_of_servers_are_known_from_their_list() {
    let servers = r#""mcp_status":{"servers":[{"name":"github","status":"connected","tools":["list_issues"]}]}"#;
    let content = file(&[
        event("StatusUpdate", servers),
        call("tool_a1", "list_issues", "{}"),
        call("tool_a2", "Agent", r#"{"subagent_type":"explore"}"#),
    ]);
    let rows = FileRows::of(KEY, content.as_bytes());
    let shown: Vec<_> = rows
        .events
        .iter()
        .map(|row| row.show("event_type tool_name mcp_server subagent_type"))
        .collect();
    assert_eq!(
        shown,
        ["mcp_call list_issues github -", "subagent Agent - explore"]
    );
    check_laws(&[(KEY, &content)]);
}

#[test]
fn ids_that_are_counted_up_belong_to_their_session_and_agent() {
    let content = file(&[
        call("functions.Shell:0", "Shell", "{}"),
        result("functions.Shell:0", true, "no"),
        nested(
            "functions.Task:1",
            &call("functions.Shell:0", "Shell", "{}"),
        ),
        nested("functions.Task:1", &result("functions.Shell:0", false, "")),
    ]);
    let files = [
        ("ada/9072/e12e/wire.jsonl", &*content),
        ("ada/9072/f34f/wire.jsonl", &*content),
    ];
    let sums = Sums::of(&files);
    assert_eq!(sums.events.len(), 4);
    let failed = sums.events.values().filter(|(_, class)| class != "-");
    assert_eq!(failed.count(), 2);
    check_laws(&files);
}

#[test]
fn a_step_that_was_interrupted_before_its_tokens_is_a_lower_bound() {
    let step = || event("StepBegin", r#""n":1"#);
    let interrupted = || event("StepInterrupted", "");
    let content = file(&[
        turn("go"),
        step(),
        // Nothing is known of this request.
        interrupted(),
        step(),
        status(r#""chatcmpl-f1""#, [1, 0, 0, 1]),
        // Only the tools were interrupted.
        interrupted(),
        step(),
        status(r#""chatcmpl-f2""#, [1, 0, 0, 1]),
        nested("tool_a1", &step()),
        // The request of the sub-agent is lost.
        interrupted(),
        nested("tool_a1", &step()),
        nested("tool_a1", &interrupted()),
        event("CompactionBegin", ""),
        event("CompactionEnd", ""),
    ]);
    let rows = FileRows::of(KEY, content.as_bytes());
    assert_eq!(
        rows.session
            .show("compactions unrecorded_usage output_is_lower_bound messages"),
        r#"1 {"aborted_turn":3,"compaction":1} true 2"#
    );
    check_laws(&[(KEY, &content)]);
}

#[test]
fn damage_costs_only_its_value_and_unknown_kinds_are_counted() {
    let broken = event(
        "StatusUpdate",
        r#""token_usage":{"input_other":"many","output":10,"input_cache_read":-1},"message_id":"chatcmpl-f1""#,
    );
    let mut deep = turn("look");
    for _ in 0..20 {
        deep = nested("tool_a1", &deep);
    }
    let content = [
        file(&[broken, event("BrandNew", ""), deep]),
        r#"{"timestamp":1e300,"message":{"type":"TurnBegin","payload":7}}"#.to_owned(),
        r#"{"type":"brand_new"}"#.to_owned(),
        "not JSON".to_owned(),
        at(9, &turn("fix it")),
    ]
    .join("\n");
    let rows = FileRows::of(KEY, content.as_bytes());
    assert_eq!(
        rows.session
            .show("agent lines bad_lines unknown_types prompts output_is_lower_bound"),
        "kimi 8 3 3 1 true"
    );
    assert_eq!(rows.messages[0].tokens(), [1, 0, 0, 0, 0, 10, 0]);
    check_laws(&[(KEY, &content)]);
}

#[test]
fn a_renamed_file_is_a_session_with_the_same_requests() {
    let session = session();
    let files = [(KEY, &*session), ("ada/e12e-copy.jsonl", &*session)];
    let sums = Sums::of(&files);
    assert_eq!(sums.tokens()[0], 2);
    assert_eq!((sums.events.len(), sums.sessions.len()), (2, 2));
    check_laws(&files);
}
