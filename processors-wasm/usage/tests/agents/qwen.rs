//! Sessions of Qwen Code.

use crate::harness::{FileRows, Sums, check_laws};

/// A line of the session `3e30`. `second` counts from nine o'clock.
fn line(second: u64, kind: &str, more: &str) -> String {
    format!(
        r#"{{"uuid":"0000-{second}-{kind}","parentUuid":null,"sessionId":"3e30","timestamp":"2026-05-01T09:00:{second:02}Z","type":"{kind}","cwd":"/w/shop","version":"0.12.6","gitBranch":"main"{more}}}"#
    )
}

fn prompt(second: u64, text: &str) -> String {
    let more = format!(r#","message":{{"role":"user","parts":[{{"text":"{text}"}}]}}"#);
    line(second, "user", &more)
}

/// Tokens as `[prompt, cached, candidates, thoughts, total]`.
type Used = [u64; 5];

fn telemetry(second: u64, id: &str, used: Used) -> String {
    let [prompt, cached, candidates, thoughts, total] = used;
    line(
        second,
        "system",
        &format!(
            r#","subtype":"ui_telemetry","systemPayload":{{"uiEvent":{{"event.name":"qwen-code.api_response","response_id":"{id}","model":"coder-model","input_token_count":{prompt},"output_token_count":{candidates},"cached_content_token_count":{cached},"thoughts_token_count":{thoughts},"tool_token_count":0,"total_token_count":{total},"auth_type":"qwen-oauth"}}}}"#
        ),
    )
}

fn response(second: u64, parts: &str, used: Used) -> String {
    let [prompt, cached, candidates, thoughts, total] = used;
    line(
        second,
        "assistant",
        &format!(
            r#","model":"coder-model","message":{{"role":"model","parts":[{parts}]}},"usageMetadata":{{"promptTokenCount":{prompt},"candidatesTokenCount":{candidates},"thoughtsTokenCount":{thoughts},"totalTokenCount":{total},"cachedContentTokenCount":{cached}}}"#
        ),
    )
}

fn call(id: &str, name: &str, arguments: &str) -> String {
    format!(r#"{{"functionCall":{{"id":"{id}","name":"{name}","args":{arguments}}}}}"#)
}

fn result(second: u64, id: &str, status: &str) -> String {
    line(
        second,
        "tool_result",
        &format!(
            r#","message":{{"role":"user","parts":[{{"functionResponse":{{"id":"{id}","response":{{"output":"x"}}}}}}]}},"toolCallResult":{{"callId":"{id}","status":"{status}"}}"#
        ),
    )
}

const SAID: &str = r#"{"text":"hm","thought":true},{"text":"done"}"#;

/// A session with three requests, of which one has no message, and a failed call.
fn session() -> String {
    [
        prompt(1, "fix it"),
        telemetry(2, "chatcmpl-f1", [100, 60, 20, 5, 120]),
        response(
            2,
            &[
                r#"{"text":"hm","thought":true}"#,
                &call(
                    "call_0123456789abcdef01234567",
                    "read_file",
                    r#"{"path":"a"}"#,
                ),
            ]
            .join(","),
            [100, 60, 20, 5, 120],
        ),
        result(4, "call_0123456789abcdef01234567", "error"),
        telemetry(5, "chatcmpl-f2", [30, 0, 3, 0, 33]),
        telemetry(6, "chatcmpl-f3", [200, 120, 10, 0, 210]),
        response(6, SAID, [200, 120, 10, 0, 210]),
    ]
    .join("\n")
}

#[test]
fn telemetry_counts_where_it_exists_because_it_has_more_requests() {
    let session = session();
    let rows = FileRows::of("ada/qwen/a.jsonl", session.as_bytes());
    let tokens: Vec<_> = rows.messages.iter().map(|row| row.tokens()).collect();
    // The cache is a part of the prompt, and thoughts are a part of the candidates.
    assert_eq!(
        tokens,
        [
            [1, 40, 60, 0, 0, 20, 5],
            [1, 30, 0, 0, 0, 3, 0],
            [1, 80, 120, 0, 0, 10, 0],
        ]
    );
    assert_eq!(
        rows.messages[0].show(
            "session_id message_id model provider agent source project git_branch agent_version is_final"
        ),
        "3e30 chatcmpl-f1 coder-model qwen-oauth qwen main /w/shop main 0.12.6 true",
    );
    assert_eq!(
        rows.session.show(
            "agent prompts messages assistant_messages tool_calls tool_errors title unrecorded_usage unknown_types"
        ),
        "qwen 1 3 1 1 1 fix it - 0",
    );
    assert_eq!(
        rows.events[0].show("event_type tool_name error_class model duration_ms"),
        "tool_use read_file tool_error coder-model 2000",
    );
    check_laws(&[("ada/a.jsonl", &session)]);
}

#[test]
fn messages_count_where_there_is_no_telemetry() {
    let session = session();
    let lines = session
        .lines()
        .filter(|line| !line.contains("ui_telemetry"));
    let without: Vec<_> = lines.collect();
    let without = without.join("\n");
    let sums = Sums::of(&[("ada/a.jsonl", &without)]);
    assert_eq!(sums.tokens(), [2, 120, 180, 0, 0, 30, 5]);
    check_laws(&[("ada/a.jsonl", &without)]);
    // A session that a version with telemetry resumed.
    let resumed = format!(
        "{without}\n{}\n{}",
        telemetry(9, "chatcmpl-f9", [300, 0, 30, 0, 330]),
        response(9, SAID, [300, 0, 30, 0, 330])
    );
    let sums = Sums::of(&[("ada/a.jsonl", &resumed)]);
    assert_eq!(sums.tokens(), [3, 420, 180, 0, 0, 60, 5]);
    check_laws(&[("ada/a.jsonl", &resumed)]);
    // Telemetry after its message.
    let late = [
        response(1, SAID, [300, 0, 30, 0, 330]),
        telemetry(2, "chatcmpl-f9", [300, 0, 30, 0, 330]),
    ]
    .join("\n");
    assert_eq!(Sums::of(&[("ada/a.jsonl", &late)]).tokens()[0], 1);
    check_laws(&[("ada/a.jsonl", &late)]);
}

#[test]
fn the_total_shows_where_thoughts_and_tools_belong() {
    let used = |prompt, cached, candidates, thoughts, tool, total| {
        let fields = format!(
            r#","model":"m","message":{{"parts":[]}},"usageMetadata":{{"promptTokenCount":{prompt},"candidatesTokenCount":{candidates},"thoughtsTokenCount":{thoughts},"toolUsePromptTokenCount":{tool},"totalTokenCount":{total},"cachedContentTokenCount":{cached}}}"#
        );
        let file = line(1, "assistant", &fields);
        let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
        rows.messages[0].tokens()
    };
    // Inside of the candidates.
    assert_eq!(used(100, 60, 20, 5, 0, 120), [1, 40, 60, 0, 0, 20, 5]);
    // In addition to the candidates.
    assert_eq!(used(100, 60, 20, 5, 0, 125), [1, 40, 60, 0, 0, 25, 5]);
    assert_eq!(used(100, 60, 20, 5, 7, 127), [1, 47, 60, 0, 0, 20, 5]);
    assert_eq!(used(100, 60, 20, 5, 7, 132), [1, 47, 60, 0, 0, 25, 5]);
    // A total that explains nothing.
    assert_eq!(used(100, 60, 20, 5, 0, 0), [1, 40, 60, 0, 0, 20, 5]);
    assert_eq!(used(100, 600, 20, 0, 0, 120), [1, 0, 600, 0, 0, 20, 0]);
}

#[test]
fn a_fork_repeats_lines_with_another_session() {
    let session = session().replace("call_0123456789abcdef01234567", "call_1");
    let fork = session.replace(
        r#""sessionId":"3e30","#,
        r#""sessionId":"4f40","forkedFrom":{"sessionId":"3e30","messageUuid":"x"},"#,
    );
    let own = telemetry(30, "chatcmpl-f30", [10, 0, 1, 0, 11]).replace("3e30", "4f40");
    let fork = format!("{fork}\n{own}");
    let files = [("ada/a.jsonl", &*session), ("ada/b.jsonl", &*fork)];
    let sums = Sums::of(&files);
    assert_eq!(sums.tokens(), [4, 160, 180, 0, 0, 34, 5]);
    assert_eq!((sums.events.len(), sums.sessions.len()), (1, 2));
    assert_eq!(Sums::of(&files[1..]).tokens(), sums.tokens());
    let rows = FileRows::of("ada/b.jsonl", fork.as_bytes());
    let is_own: Vec<_> = rows
        .messages
        .iter()
        .map(|row| row.text("is_own_session"))
        .collect();
    assert_eq!(is_own, ["false", "false", "false", "true"]);
    assert_eq!(rows.session.text("parent_session"), "3e30");
    check_laws(&files);
}

#[test]
fn equal_tokens_of_different_responses_are_different_requests() {
    let file = [
        telemetry(1, "chatcmpl-f1", [100, 0, 10, 0, 110]),
        telemetry(1, "chatcmpl-f2", [100, 0, 10, 0, 110]),
        // Ids that start over are no ids.
        telemetry(2, "resp_1", [100, 0, 10, 0, 110]),
        telemetry(3, "resp_1", [100, 0, 10, 0, 110]),
        telemetry(4, "", [100, 0, 10, 0, 110]),
        // No tokens, no request.
        telemetry(5, "chatcmpl-f5", [0; 5]),
    ]
    .join("\n");
    assert_eq!(Sums::of(&[("ada/a.jsonl", &file)]).tokens()[0], 5);
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn prompts_and_commands_are_those_of_a_person() {
    let system = |subtype: &str, payload: &str| {
        line(
            1,
            "system",
            &format!(r#","subtype":"{subtype}","systemPayload":{{{payload}}}"#),
        )
    };
    let user = |more: &str| {
        line(
            1,
            "user",
            &format!(r#","message":{{"parts":[{{"text":"expanded"}}]}}{more}"#),
        )
    };
    for (line, shown) in [
        (prompt(1, "fix it"), "1 0 fix it"),
        (prompt(1, " "), "0 0 -"),
        (prompt(1, "<session_context>x"), "0 0 -"),
        (prompt(1, r"\n<hook_context>x"), "0 0 -"),
        (
            user(r#","systemPayload":{"displayText":"fix @a"}"#),
            "1 0 fix @a",
        ),
        (
            user(r#","subtype":"mid_turn_user_message""#),
            "1 0 expanded",
        ),
        (user(r#","subtype":"cron""#), "0 0 -"),
        (user(r#","subtype":"notification""#), "0 0 -"),
        (
            system(
                "slash_command",
                r#""phase":"invocation","rawCommand":"/init now""#,
            ),
            "0 1 -",
        ),
        (
            system("slash_command", r#""phase":"result","rawCommand":"/init""#),
            "0 0 -",
        ),
        (
            system("custom_title", r#""customTitle":"Shop""#),
            "0 0 Shop",
        ),
    ] {
        // The first line shows the agent.
        let file = format!("{}\n{line}", telemetry(1, "chatcmpl-f1", [1, 0, 1, 0, 2]));
        let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
        let found = rows.session.show("prompts slash_commands title");
        assert_eq!(found, shown, "{line}");
        assert_eq!(rows.session.text("agent"), "qwen");
        check_laws(&[("ada/a.jsonl", &file)]);
    }
}

#[test]
fn a_line_of_a_sub_agent_is_not_of_the_conversation() {
    let side = prompt(2, "look").replacen(
        '{',
        r#"{"isSidechain":true,"agentId":"e-7","agentName":"Explore","#,
        1,
    );
    let asked = response(3, SAID, [10, 0, 1, 0, 11]).replacen('{', r#"{"isSidechain":true,"#, 1);
    let file = [prompt(1, "fix it"), side, asked].join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    assert_eq!(rows.session.show("agent prompts"), "qwen 1");
    assert_eq!(
        rows.messages[0].show("source agent_id agent_type"),
        "subagent e-7 Explore"
    );
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn calls_have_their_kind_and_results_their_failure() {
    let calls = [
        call("call_0123456789abcdef01234560", "mcp__github__list", "{}"),
        call(
            "call_0123456789abcdef01234561",
            "skill",
            r#"{"skill":"pdf"}"#,
        ),
        call(
            "call_0123456789abcdef01234562",
            "task",
            r#"{"subagent_type":"explore"}"#,
        ),
        call("call_0123456789abcdef01234563", "read_file", "{}"),
    ];
    let file = [
        response(1, &calls.join(","), [10, 0, 1, 0, 11]),
        result(2, "call_0123456789abcdef01234560", "success"),
        result(2, "call_0123456789abcdef01234561", "cancelled"),
        result(2, "call_0123456789abcdef01234562", "error"),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    let shown: Vec<_> = rows
        .events
        .iter()
        .map(|row| row.show("event_type mcp_server skill_name subagent_type error_class"))
        .collect();
    assert_eq!(
        shown,
        [
            "mcp_call github - - -",
            "tool_use - pdf - rejected",
            "subagent - - explore tool_error",
            "tool_use - - - -",
        ]
    );
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn ids_that_are_counted_up_belong_to_their_session() {
    let one = [
        response(1, &call("call_1", "read_file", "{}"), [10, 0, 1, 0, 11]),
        result(2, "call_1", "error"),
    ]
    .join("\n");
    let other = one.replace("3e30", "4f40");
    let files = [("ada/a.jsonl", &*one), ("ada/b.jsonl", &*other)];
    assert_eq!(Sums::of(&files).events.len(), 2);
    check_laws(&files);
}

#[test]
fn the_request_of_a_summary_is_recorded_only_in_telemetry() {
    let compression = line(
        5,
        "system",
        r#","subtype":"chat_compression","systemPayload":{"info":{}}"#,
    );
    let shown = |first: String| {
        let file = [first, compression.clone()].join("\n");
        let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
        rows.session.show("compactions unrecorded_usage")
    };
    assert_eq!(shown(telemetry(1, "chatcmpl-f1", [1, 0, 1, 0, 2])), "1 -");
    assert_eq!(
        shown(response(1, SAID, [1, 0, 1, 0, 2])),
        r#"1 {"compaction":1}"#
    );
}

#[test]
fn damage_costs_only_its_value_and_unknown_kinds_are_counted() {
    let broken = telemetry(1, "chatcmpl-f1", [1, 2, 3, 4, 5])
        .replace(r#""input_token_count":1"#, r#""input_token_count":"many""#)
        .replace(
            r#""cached_content_token_count":2"#,
            r#""cached_content_token_count":-2"#,
        )
        .replace(r#""total_token_count":5"#, r#""total_token_count":1e300"#);
    let file = [
        broken,
        "not JSON".to_owned(),
        line(2, "brand_new", ""),
        line(3, "system", r#","subtype":"brand_new""#),
        line(4, "system", r#","subtype":"ui_telemetry","systemPayload":{"uiEvent":{"event.name":"qwen-code.brand_new"}}"#),
        line(5, "assistant", r#","message":{"parts":7},"usageMetadata":7"#),
        line(6, "user", r#","message":7"#),
        prompt(7, "fix it"),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    assert_eq!(
        rows.session
            .show("agent lines bad_lines unknown_types prompts output_is_lower_bound"),
        "qwen 8 2 3 1 true"
    );
    assert_eq!(rows.messages[0].tokens(), [1, 0, 0, 0, 0, 3, 4]);
    check_laws(&[("ada/a.jsonl", &file)]);
}
