//! Sessions of pi and Oh My Pi.

use crate::harness::{FileRows, Sums, check_laws};

/// 2026-05-01T09:00:00Z in milliseconds.
const NINE: u64 = 1_777_626_000_000;

fn header(id: &str, time: &str, more: &str) -> String {
    format!(
        r#"{{"type":"session","version":3,"id":"{id}","timestamp":"2026-05-01T{time}Z","cwd":"/w/shop"{more}}}"#
    )
}

/// An entry with a message. `second` counts from nine o'clock.
fn message(second: u64, fields: &str) -> String {
    let millis = NINE + second * 1_000;
    format!(
        r#"{{"type":"message","id":"e{second}","parentId":null,"timestamp":"2026-05-01T09:00:{second:02}Z","message":{{{fields},"timestamp":{millis}}}}}"#
    )
}

fn entry(second: u64, kind: &str, more: &str) -> String {
    format!(r#"{{"type":"{kind}","timestamp":"2026-05-01T09:00:{second:02}Z"{more}}}"#)
}

fn prompt(second: u64, text: &str) -> String {
    let fields = format!(r#""role":"user","content":[{{"type":"text","text":"{text}"}}]"#);
    message(second, &fields)
}

/// A response with `[input, output, cacheRead, cacheWrite]`.
fn response(second: u64, content: &str, used: [u64; 4], more: &str) -> String {
    let [input, output, cache_read, cache_write] = used;
    message(
        second,
        &format!(
            r#""role":"assistant","content":[{content}],"provider":"anthropic","model":"claude-opus-5","usage":{{"input":{input},"output":{output},"cacheRead":{cache_read},"cacheWrite":{cache_write},"cost":{{"total":0.5}}}}{more}"#
        ),
    )
}

fn call(id: &str, name: &str, arguments: &str) -> String {
    format!(r#"{{"type":"toolCall","id":"{id}","name":"{name}","arguments":{arguments}}}"#)
}

fn result(second: u64, id: &str, is_error: bool, text: &str) -> String {
    message(
        second,
        &format!(
            r#""role":"toolResult","toolCallId":"{id}","toolName":"bash","content":[{{"type":"text","text":"{text}"}}],"isError":{is_error}"#
        ),
    )
}

const STOP: &str = r#","stopReason":"stop""#;
const TOOL_USE: &str = r#","stopReason":"toolUse""#;

/// A session with two requests and a failed command.
fn original() -> String {
    [
        header("019f-a", "09:00:00", r#","thinkingLevel":"off""#),
        entry(0, "thinking_level_change", r#","thinkingLevel":"high""#),
        prompt(1, "fix it"),
        response(
            2,
            &call("toolu_01", "bash", r#"{"command":"make"}"#),
            [10, 20, 300, 40],
            TOOL_USE,
        ),
        result(4, "toolu_01", true, r"no\n\nCommand exited with code 2"),
        response(
            5,
            r#"{"type":"thinking","thinking":"hm"},{"type":"text","text":"done"}"#,
            [1, 2, 340, 0],
            STOP,
        ),
    ]
    .join("\n")
}

#[test]
fn each_response_is_a_request_with_the_tokens_side_by_side() {
    let rows = FileRows::of("ada/pi/a.jsonl", original().as_bytes());
    let tokens: Vec<_> = rows.messages.iter().map(|row| row.tokens()).collect();
    assert_eq!(
        tokens,
        [[1, 10, 300, 40, 0, 20, 0], [1, 1, 340, 0, 0, 2, 0]]
    );
    assert_eq!(
        rows.messages[0]
            .show("session_id model provider effort stop_reason agent source project is_final"),
        "019f-a claude-opus-5 anthropic high toolUse pi main /w/shop true",
    );
    assert_eq!(
        rows.session.show("session_id agent prompts messages assistant_messages tool_calls tool_errors title unrecorded_usage unknown_types"),
        "019f-a pi 1 2 1 1 1 fix it - 0",
    );
    assert_eq!(
        rows.events[0].show("event_type tool_name error_class model duration_ms"),
        "tool_use bash exit_code claude-opus-5 2000",
    );
    check_laws(&[("ada/a.jsonl", &original())]);
}

/// Oh My Pi reports the lifetime of cache writes, thinking, and requests of the provider itself.
#[test]
fn one_hour_writes_thinking_and_orchestration_are_read() {
    let usage = r#"{"input":10,"output":20,"cacheRead":30,"cacheWrite":40,"totalTokens":100,"reasoningTokens":5,"cttl":{"ephemeral1h":25},"orchestration":{"input":100,"output":200,"cacheRead":300}}"#;
    let fields = format!(
        r#""role":"assistant","content":[],"model":"claude-opus-5","stopReason":"stop","responseId":"msg_1","usage":{usage}"#
    );
    let file = [
        r#"{"type":"title","v":1,"title":"Shop","updatedAt":"2026-05-01T09:00:00Z","pad":"  "}"#
            .to_owned(),
        header("019f-a", "09:00:00", ""),
        message(1, &fields),
        entry(
            2,
            "title_change",
            r#","title":"Better shop","source":"user""#,
        ),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    // 40 written, of which 25 for an hour.
    assert_eq!(rows.messages[0].tokens(), [1, 110, 330, 15, 25, 220, 5]);
    assert_eq!(rows.messages[0].text("message_id"), "msg_1");
    assert_eq!(rows.session.show("title session_id"), "Better shop 019f-a");
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn a_branch_repeats_requests_and_calls_with_their_times() {
    let original = original();
    let copied = original.split_once('\n').map_or("", |(_, entries)| entries);
    let branch = [
        header(
            "019f-b",
            "09:30:00",
            r#","parentSession":"/home/ada/.pi/agent/sessions/--w--/2026-05-01T09-00-00-000Z_019f-a.jsonl""#,
        ),
        copied.to_owned(),
        r#"{"type":"message","timestamp":"2026-05-01T09:31:00Z","message":{"role":"assistant","content":[],"model":"claude-opus-5","stopReason":"stop","usage":{"input":7,"output":8,"cacheRead":0,"cacheWrite":0},"timestamp":1777627860000}}"#.to_owned(),
    ]
    .join("\n");
    let files = [("ada/a.jsonl", &*original), ("ada/b.jsonl", &*branch)];
    let sums = Sums::of(&files);
    // 10 + 1 + 7, 300 + 340, 40, 20 + 2 + 8.
    assert_eq!(sums.tokens(), [3, 18, 640, 40, 0, 30, 0]);
    assert_eq!((sums.events.len(), sums.sessions.len()), (1, 2));
    // What the original paid is not lost if only the branch is there.
    assert_eq!(Sums::of(&files[1..]).tokens(), sums.tokens());
    let rows = FileRows::of("ada/b.jsonl", branch.as_bytes());
    let own: Vec<_> = rows
        .messages
        .iter()
        .map(|row| row.text("is_own_session"))
        .collect();
    assert_eq!(own, ["false", "false", "true"]);
    assert_eq!(rows.session.text("parent_session"), "019f-a");
    check_laws(&files);
}

#[test]
fn an_interrupted_response_is_a_lower_bound() {
    let aborted = r#","stopReason":"aborted""#;
    let error = r#","stopReason":"error""#;
    let file = [
        header("019f-a", "09:00:00", ""),
        response(1, "", [5, 1, 0, 0], aborted),
        response(2, "", [6, 1, 0, 0], error),
        // Nothing is known of this one.
        response(3, "", [0; 4], aborted),
        // The API refused this one.
        response(4, "", [0; 4], error),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    let shown: Vec<_> = rows
        .messages
        .iter()
        .map(|row| row.show("input_tokens is_final"))
        .collect();
    assert_eq!(shown, ["5 false", "6 false"]);
    assert_eq!(
        rows.session.show("unrecorded_usage output_is_lower_bound"),
        r#"{"aborted_turn":1} true"#
    );
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn responses_at_the_same_time_are_different_unless_all_is_equal() {
    let with_id = |id: &str| format!(r#","stopReason":"stop","responseId":"{id}""#);
    let file = [
        header("019f-a", "09:00:00", ""),
        response(1, "", [5, 1, 0, 0], STOP),
        response(1, "", [5, 1, 0, 0], STOP),
        response(1, "", [5, 2, 0, 0], STOP),
        response(1, "", [5, 1, 0, 0], &with_id("msg_1")),
        response(1, "", [5, 1, 0, 0], &with_id("msg_2")),
        // A relay that gives all responses one id.
        response(2, "", [5, 1, 0, 0], &with_id("msg_2")),
    ]
    .join("\n");
    let sums = Sums::of(&[("ada/a.jsonl", &file)]);
    assert_eq!(sums.tokens()[0], 5);
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn the_cost_that_the_agent_reports_is_summed_by_model() {
    let columns = "session_id model input_tokens output_tokens cache_read_tokens \
                   cache_creation_tokens cost_usd total_cost_usd has_unknown_model_cost";
    let shown = |file: &str| {
        let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
        let totals = rows.agent_totals.iter();
        totals.map(|row| row.show(columns)).collect::<Vec<_>>()
    };
    let priced = original();
    assert_eq!(
        shown(&priced),
        ["019f-a claude-opus-5 11 22 640 40 1 1 false"]
    );
    let other = priced.lines().next_back().unwrap_or_default();
    let other = other.replace("claude-opus-5", "local");
    for (cost, unknown) in [
        ("0.25", "1 1.25 false"),
        ("-1", "1 1 true"),
        ("1e999", "1 1 true"),
    ] {
        let more = other.replace("0.5", cost).replace(":05Z", ":09Z");
        let found = shown(&format!("{priced}\n{more}"));
        assert_eq!(
            found[0],
            format!("019f-a claude-opus-5 11 22 640 40 {unknown}")
        );
        assert_eq!(found.len(), 2);
    }
    // The original has the cost of what a branch copied.
    let copied = priced.replacen(r#""cwd""#, r#""branchedFrom":"/s/1_b.jsonl","cwd""#, 1);
    let copied = copied.replacen("09:00:00", "09:30:00", 1);
    assert!(shown(&copied).is_empty());
}

#[test]
fn a_request_besides_the_conversation_counts() {
    let usage = r#","purpose":"title","provider":"anthropic","model":"claude-haiku-4-5","usage":{"input":3,"output":4,"cacheRead":0,"cacheWrite":0},"stopReason":"stop""#;
    let file = [
        header("019f-a", "09:00:00", ""),
        entry(1, "model_usage", usage),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    assert_eq!(rows.messages[0].tokens(), [1, 3, 0, 0, 0, 4, 0]);
    assert_eq!(rows.messages[0].text("model"), "claude-haiku-4-5");
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn a_sub_agent_has_no_prompts_and_belongs_to_no_conversation() {
    let file = [
        header("019f-c", "09:00:00", ""),
        entry(0, "session_init", r#","agent":"scout","task":"look""#),
        message(
            1,
            r#""role":"user","content":[{"type":"text","text":"look"}],"attribution":"agent""#,
        ),
        prompt(2, "look again"),
        response(3, r#"{"type":"text","text":"found"}"#, [5, 1, 0, 0], STOP),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    assert_eq!(
        rows.messages[0].show("source agent_id agent_type is_sidechain"),
        "subagent 019f-c scout true"
    );
    assert_eq!(rows.session.show("prompts is_sidechain"), "0 true");
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn only_texts_of_a_person_are_prompts() {
    let found = |lines: &[String]| {
        let file = [&[header("019f-a", "09:00:00", "")], lines].concat();
        let rows = FileRows::of("ada/a.jsonl", file.join("\n").as_bytes());
        rows.session.show("prompts slash_commands title")
    };
    let user = |fields: &str| message(1, &format!(r#""role":"user",{fields}"#));
    for (line, shown) in [
        (user(r#""content":"fix it""#), "1 0 fix it"),
        (
            user(r#""content":"fix it","attribution":"user""#),
            "1 0 fix it",
        ),
        (user(r#""content":"fix it","attribution":"agent""#), "0 0 -"),
        (user(r#""content":" ""#), "0 0 -"),
        (user(r#""content":[{"type":"image","data":"x"}]"#), "1 0 -"),
        // pi sends an unknown command to the model.
        (user(r#""content":"/mode""#), "1 0 /mode"),
        // pi replaces a skill by its text.
        (
            user(r#""content":"<skill name=\"pdf\" location=\"/s\">\nx\n</skill>\n\ngo""#),
            "0 1 -",
        ),
        (
            message(
                1,
                r#""role":"custom","customType":"skill-prompt","attribution":"user","content":"x","details":{"name":"pdf"}"#,
            ),
            "0 1 -",
        ),
        (
            entry(
                1,
                "custom_message",
                r#","customType":"note","content":"x","details":{"name":"pdf"}"#,
            ),
            "0 0 -",
        ),
        (message(1, r#""role":"developer","content":"x""#), "0 0 -"),
        (
            message(
                1,
                r#""role":"bashExecution","command":"ls","output":"","exitCode":1"#,
            ),
            "0 0 -",
        ),
    ] {
        assert_eq!(found(std::slice::from_ref(&line)), shown, "{line}");
    }
}

#[test]
fn results_say_how_calls_failed() {
    for (is_error, text, class) in [
        (false, "done", "-"),
        (false, "Command exited with code 1", "-"),
        (true, "Command exited with code 1", "exit_code"),
        (true, r"a\n\nCommand exited with code 127\n", "exit_code"),
        (true, r"Command exited with code 1\nmore", "tool_error"),
        (true, "Command exited with code 0", "tool_error"),
        (true, "Operation aborted", "rejected"),
        (true, "Cancelled by the user", "rejected"),
        (true, "The user rejected it", "rejected"),
        (true, "no such file", "tool_error"),
        (true, "", "tool_error"),
    ] {
        let file = [
            header("019f-a", "09:00:00", ""),
            response(1, &call("toolu_01", "bash", "{}"), [1, 1, 0, 0], TOOL_USE),
            result(2, "toolu_01", is_error, text),
        ]
        .join("\n");
        let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
        assert_eq!(rows.events[0].text("error_class"), class, "{text}");
    }
    // The words of a rejection are at the beginning.
    let late = format!("{}cancel", "é".repeat(200));
    let file = [
        response(1, &call("toolu_01", "bash", "{}"), [1, 1, 0, 0], TOOL_USE),
        result(2, "toolu_01", true, &late),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    assert_eq!(rows.events[0].text("error_class"), "tool_error");
}

#[test]
fn calls_of_servers_sub_agents_and_skills_have_their_names() {
    let content = [
        call("toolu_01", "mcp__github_list_issues", "{}"),
        call("toolu_02", "task", r#"{"agent":"scout"}"#),
        call("toolu_03", "read", r#"{"path":"skill://pdf/SKILL.md"}"#),
        call("toolu_04", "read", r#"{"path":"/w/a"}"#),
    ]
    .join(",");
    let file = [
        header("019f-a", "09:00:00", ""),
        response(1, &content, [1, 1, 0, 0], TOOL_USE),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    let shown: Vec<_> = rows
        .events
        .iter()
        .map(|row| row.show("event_type tool_name mcp_server skill_name subagent_type"))
        .collect();
    assert_eq!(
        shown,
        [
            "mcp_call mcp__github_list_issues github - -",
            "subagent task - - scout",
            "tool_use read - pdf -",
            "tool_use read - - -",
        ]
    );
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn ids_that_are_counted_up_belong_to_their_message() {
    let session = |id: &str, second: u64| {
        [
            header(id, "09:00:00", ""),
            response(
                second,
                &call("call_1", "bash", "{}"),
                [1, 1, 0, 0],
                TOOL_USE,
            ),
            result(second + 1, "call_1", false, "done"),
            response(
                second + 2,
                &call("call_1", "bash", "{}"),
                [1, 1, 0, 0],
                TOOL_USE,
            ),
            result(second + 3, "call_1", true, "no"),
        ]
        .join("\n")
    };
    let (one, other) = (session("019f-a", 1), session("019f-b", 10));
    let files = [("ada/a.jsonl", &*one), ("ada/b.jsonl", &*other)];
    let sums = Sums::of(&files);
    assert_eq!(sums.events.len(), 4);
    let failed = sums.events.values().filter(|(_, class)| class != "-");
    assert_eq!(failed.count(), 2);
    // A branch preserves the times.
    let branch = one.replacen("019f-a", "019f-c", 1);
    let copied = [("ada/a.jsonl", &*one), ("ada/c.jsonl", &*branch)];
    assert_eq!(Sums::of(&copied).events.len(), 2);
    check_laws(&files);
}

#[test]
fn summaries_are_requests_that_are_not_recorded() {
    let file = [
        header("019f-a", "09:00:00", ""),
        entry(1, "compaction", r#","summary":"s","tokensBefore":9"#),
        entry(2, "branch_summary", r#","summary":"s""#),
        // No model is asked.
        entry(3, "compaction", r#","summary":"s","method":"shake""#),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    assert_eq!(
        rows.session.show("compactions unrecorded_usage"),
        r#"2 {"compaction":2}"#
    );
}

#[test]
fn damage_costs_only_its_value_and_unknown_kinds_are_counted() {
    let broken = r#""role":"assistant","content":7,"model":null,"stopReason":"stop","usage":{"input":"many","output":10,"cacheRead":-1,"cacheWrite":1e300}"#;
    let file = [
        header("019f-a", "09:00:00", ""),
        "not JSON".to_owned(),
        message(1, broken),
        entry(2, "brand_new", ""),
        message(3, r#""role":"brand_new""#),
        r#"{"type":"message","message":7}"#.to_owned(),
        r#"{"type":7}"#.to_owned(),
        prompt(4, "fix it"),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    assert_eq!(
        rows.session
            .show("agent lines bad_lines unknown_types prompts output_is_lower_bound"),
        "pi 8 2 3 1 true"
    );
    assert_eq!(rows.messages[0].tokens(), [1, 0, 0, 0, 0, 10, 0]);
    check_laws(&[("ada/a.jsonl", &file)]);
}
