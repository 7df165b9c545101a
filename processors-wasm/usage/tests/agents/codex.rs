//! Sessions of Codex CLI.

use crate::harness::{FileRows, Sums, check_damage, check_growth, check_laws};

const PARENT: &str = "019d9249-e0ee-7b41-98b6-271f355b5f7f";
const CHILD: &str = "019d924b-53f5-7ff7-a8f2-fc32132fced3";
const TURN: &str = "019d924a-361e-711c-8bf6-f10a0c045e01";
const LATER_TURN: &str = "019d924b-6b70-797b-90cc-aba02fb1d205";

fn line(time: &str, kind: &str, payload: &str) -> String {
    format!(r#"{{"timestamp":"2026-04-15T17:{time}Z","type":"{kind}","payload":{{{payload}}}}}"#)
}

fn header(time: &str, id: &str, more: &str) -> String {
    let payload = format!(
        r#""id":"{id}","cwd":"/w/shop","cli_version":"0.140.0","model_provider":"openai","git":{{"branch":"main"}}{more}"#
    );
    line(time, "session_meta", &payload)
}

fn turn(time: &str, id: &str, model: &str) -> String {
    let started = line(
        time,
        "event_msg",
        &format!(r#""type":"task_started","turn_id":"{id}""#),
    );
    let context = format!(r#""turn_id":"{id}","model":"{model}","effort":"high""#);
    format!("{started}\n{}", line(time, "turn_context", &context))
}

/// Tokens as `[input, cached, output, reasoning]`.
type Used = [i64; 4];

fn usage([input, cached, output, reasoning]: Used) -> String {
    format!(
        r#"{{"input_tokens":{input},"cached_input_tokens":{cached},"output_tokens":{output},"reasoning_output_tokens":{reasoning},"total_tokens":{}}}"#,
        input + output
    )
}

fn count(time: &str, total: Used, last: Used) -> String {
    let payload = format!(
        r#""type":"token_count","info":{{"total_token_usage":{},"last_token_usage":{}}},"rate_limits":{{"plan_type":"plus"}}"#,
        usage(total),
        usage(last)
    );
    line(time, "event_msg", &payload)
}

fn record(time: &str, response: &str, used: Used) -> String {
    let payload = format!(r#""response_id":"{response}","usage":{}"#, usage(used));
    line(time, "token_usage_record", &payload)
}

fn prompt(time: &str, text: &str) -> String {
    let payload = format!(r#""type":"user_message","message":"{text}""#);
    line(time, "event_msg", &payload)
}

fn call(time: &str, id: &str, name: &str) -> String {
    let payload =
        format!(r#""type":"function_call","name":"{name}","arguments":"{{}}","call_id":"{id}""#);
    line(time, "response_item", &payload)
}

fn output(time: &str, id: &str, text: &str) -> String {
    let payload = format!(r#""type":"function_call_output","call_id":"{id}","output":"{text}""#);
    line(time, "response_item", &payload)
}

/// A thread with two requests, of which the first is reported twice, and a failed call.
fn parent() -> String {
    [
        header(
            "56:48",
            PARENT,
            r#","source":"vscode","originator":"Codex Desktop""#,
        ),
        turn("57:10", TURN, "gpt-5.4"),
        prompt("57:11", "fix it"),
        count("57:20", [100, 40, 10, 4], [100, 40, 10, 4]),
        call("57:20", "call_0123456789abcdef01234567", "shell"),
        output(
            "57:21",
            "call_0123456789abcdef01234567",
            r"Exit code: 2\nno",
        ),
        count("57:21", [100, 40, 10, 4], [100, 40, 10, 4]),
        count("57:30", [250, 130, 30, 4], [150, 90, 20, 0]),
    ]
    .join("\n")
}

/// A sub-agent with the history of its parent, without calls and with new times.
fn sub_agent() -> String {
    let source = format!(
        r#","source":{{"subagent":{{"thread_spawn":{{"parent_thread_id":"{PARENT}","agent_role":"explorer"}}}}}}"#
    );
    [
        header("58:29", CHILD, &source),
        header("58:29", PARENT, ""),
        turn("58:29", TURN, "gpt-5.4"),
        prompt("58:29", "fix it"),
        count("58:29", [100, 40, 10, 4], [100, 40, 10, 4]),
        count("58:29", [250, 130, 30, 4], [150, 90, 20, 0]),
        turn("58:29", LATER_TURN, "gpt-5.4-mini"),
        prompt("58:30", "look for it"),
        count("58:40", [450, 330, 40, 4], [200, 200, 10, 0]),
    ]
    .join("\n")
}

#[test]
fn requests_count_once_with_their_own_tokens() {
    let rows = FileRows::of("ada/codex/a.jsonl", parent().as_bytes());
    let tokens: Vec<_> = rows.messages.iter().map(|row| row.tokens()).collect();
    assert_eq!(tokens, [[1, 60, 40, 0, 0, 10, 4], [1, 60, 90, 0, 0, 20, 0]]);
    assert_eq!(
        rows.messages[0].show(
            "session_id request_id model provider effort speed agent source project is_final"
        ),
        format!("{PARENT} {TURN} gpt-5.4 openai high - codex main /w/shop true"),
    );
    assert_eq!(
        rows.session.show("session_id agent agent_version plan prompts messages tool_calls tool_errors title entrypoint git_branch unrecorded_usage"),
        format!("{PARENT} codex 0.140.0 plus 1 2 1 1 fix it vscode main -"),
    );
    assert_eq!(
        rows.events[0].show("event_type tool_name error_class model duration_ms agent"),
        "tool_use shell exit_code gpt-5.4 1000 codex",
    );
}

#[test]
fn history_of_another_thread_counts_once_with_or_without_that_thread() {
    let (parent, sub_agent) = (parent(), sub_agent());
    let both = [("ada/a.jsonl", &*parent), ("ada/b.jsonl", &*sub_agent)];
    let sums = Sums::of(&both);
    assert_eq!(sums.tokens(), [3, 120, 330, 0, 0, 40, 4]);
    // A sub-agent belongs to the session that started it, and no person writes to it.
    assert_eq!((sums.sessions.len(), sums.prompts), (1, 1));
    // What the parent paid is not lost if only the copy is there.
    assert_eq!(Sums::of(&both[1..]).tokens(), sums.tokens());
    let rows = FileRows::of("ada/b.jsonl", sub_agent.as_bytes());
    let shown: Vec<_> = rows
        .messages
        .iter()
        .map(|row| row.show("model source is_own_session agent_type"))
        .collect();
    assert_eq!(
        shown,
        [
            "gpt-5.4 subagent false explorer",
            "gpt-5.4 subagent false explorer",
            "gpt-5.4-mini subagent true explorer",
        ]
    );
    check_laws(&both);
    for (key, content) in both {
        check_growth(key, content);
        check_damage(key, content);
    }
}

/// Version 0.36 has no turn ids, and starts a new file with the old history when it resumes.
#[test]
fn a_thread_that_an_old_version_resumed_repeats_its_requests_and_prompts() {
    let old = "98d96029-f7bd-43b7-8fb8-e3ed5c8c0475";
    let new = "bd096614-1646-46dc-9d41-340b65ccc34b";
    let context = |time: &str| line(time, "turn_context", r#""model":"gpt-5-codex""#);
    let first = [
        header("10:00", old, ""),
        prompt("10:05", "fix it"),
        context("10:05"),
        count("10:20", [100, 0, 10, 0], [100, 0, 10, 0]),
        line("10:30", "event_msg", r#""type":"turn_aborted""#),
    ]
    .join("\n");
    let second = [
        header("20:00", new, ""),
        header("20:06", old, ""),
        prompt("20:06.010", "fix it"),
        context("20:06.020"),
        count("20:06.030", [100, 0, 10, 0], [100, 0, 10, 0]),
        prompt("20:30", "go on"),
        context("20:30"),
        // The totals start over.
        count("20:40", [70, 0, 5, 0], [70, 0, 5, 0]),
    ]
    .join("\n");
    let files = [("ada/a.jsonl", &*first), ("ada/b.jsonl", &*second)];
    let sums = Sums::of(&files);
    assert_eq!(sums.tokens(), [2, 170, 0, 0, 0, 15, 0]);
    assert_eq!((sums.sessions.len(), sums.prompts), (2, 2));
    let rows = FileRows::of("ada/a.jsonl", first.as_bytes());
    assert_eq!(
        rows.session.show("unrecorded_usage output_is_lower_bound"),
        r#"{"aborted_turn":1} true"#
    );
    check_laws(&files);
}

#[test]
fn equal_figures_in_unrelated_threads_are_two_requests() {
    let thread = |id: &str, turn_id: &str| {
        [
            header("00:00", id, ""),
            turn("00:01", turn_id, "gpt-5.4"),
            count("00:02", [100, 0, 10, 0], [100, 0, 10, 0]),
        ]
        .join("\n")
    };
    let (one, other) = (thread(PARENT, TURN), thread(CHILD, LATER_TURN));
    let files = [("ada/a.jsonl", &*one), ("ada/b.jsonl", &*other)];
    assert_eq!(Sums::of(&files).tokens()[0], 2);
    check_laws(&files);
}

#[test]
fn a_snapshot_without_tokens_is_no_request_and_totals_alone_count_by_their_growth() {
    let zero = r#""type":"token_count","info":{"total_token_usage":{"input_tokens":100,"cached_input_tokens":0,"output_tokens":10,"reasoning_output_tokens":0,"total_tokens":900},"last_token_usage":{"input_tokens":0,"cached_input_tokens":0,"output_tokens":0,"reasoning_output_tokens":0,"total_tokens":900}}"#;
    let none = r#""type":"token_count","info":null"#;
    let only_total = format!(
        r#""type":"token_count","info":{{"total_token_usage":{}}}"#,
        usage([160, 20, 15, 0])
    );
    let file = [
        header("00:00", PARENT, ""),
        turn("00:01", TURN, "gpt-5.4"),
        count("00:02", [100, 0, 10, 0], [100, 0, 10, 0]),
        line("00:03", "event_msg", none),
        line("00:04", "compacted", r#""message":"""#),
        line("00:04", "event_msg", r#""type":"context_compacted""#),
        line("00:05", "event_msg", zero),
        line("00:06", "event_msg", &only_total),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    let tokens: Vec<_> = rows.messages.iter().map(|row| row.tokens()).collect();
    assert_eq!(tokens, [[1, 100, 0, 0, 0, 10, 0], [1, 40, 20, 0, 0, 5, 0]]);
    assert_eq!(
        rows.session.show("compactions unrecorded_usage"),
        r#"1 {"compaction":1}"#
    );
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn a_record_and_the_snapshot_next_to_it_are_one_request() {
    let file = [
        header("00:00", PARENT, "").replace("0.140.0", "0.155.0"),
        turn("00:01", TURN, "gpt-5.6-sol"),
        record("00:02", "resp_1", [100, 0, 10, 0]),
        count("00:02", [100, 0, 10, 0], [100, 0, 10, 0]),
        count("00:03", [180, 0, 15, 0], [80, 0, 5, 0]),
        record("00:03", "resp_2", [80, 0, 5, 0]),
        // The request of a compaction has no snapshot.
        record("00:04", "resp_3", [500, 0, 50, 0]),
        line("00:05", "compacted", r#""message":"""#),
        record("00:06", "resp_4", [30, 0, 3, 0]),
        count("00:06", [210, 0, 18, 0], [30, 0, 3, 0]),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    let sums = Sums::of(&[("ada/a.jsonl", &file)]);
    assert_eq!(sums.tokens(), [4, 710, 0, 0, 0, 68, 0]);
    let ids: Vec<_> = rows
        .messages
        .iter()
        .map(|row| row.text("message_id"))
        .filter(|id| !id.starts_with("codex:"))
        .collect();
    assert_eq!(ids, ["resp_3"]);
    assert_eq!(rows.session.show("compactions unrecorded_usage"), "1 -");
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn cached_and_written_tokens_are_parts_of_the_input() {
    let used = r#"{"input_tokens":100,"cached_input_tokens":60,"cache_write_input_tokens":30,"output_tokens":10,"reasoning_output_tokens":4,"total_tokens":110}"#;
    let payload = format!(
        r#""type":"token_count","info":{{"total_token_usage":{used},"last_token_usage":{used}}}"#
    );
    let fast = r#""type":"thread_settings_applied","thread_settings":{"service_tier":"priority"}"#;
    let file = [
        header("00:00", PARENT, ""),
        line("00:01", "event_msg", fast),
        line("00:02", "event_msg", &payload),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    assert_eq!(rows.messages[0].tokens(), [1, 10, 60, 30, 0, 10, 4]);
    assert_eq!(rows.messages[0].text("speed"), "fast");
}

#[test]
fn results_say_how_calls_failed() {
    for (text, class) in [
        ("done", "-"),
        (r"Exit code: 0\nOutput:", "-"),
        (r"Exit code: 127\nOutput:", "exit_code"),
        (
            r"Chunk ID: 1\nWall time: 0.1 seconds\nProcess exited with code 1\nOutput:",
            "exit_code",
        ),
        (r"a\nb\nc\nd\nProcess exited with code 1", "-"),
        (
            r#"{\"output\":\"x\",\"metadata\":{\"exit_code\":3}}"#,
            "exit_code",
        ),
        (r#"{\"output\":\"x\",\"metadata\":{\"exit_code\":0}}"#, "-"),
        ("exec command rejected by user", "rejected"),
        ("aborted by user after 3.1s", "rejected"),
        (
            r#"exec_command failed for `x`: CreateProcess { message: \"Rejected(\\\"no\\\")\" }"#,
            "rejected",
        ),
        ("exec_command failed for `x`: no such file", "tool_error"),
        ("apply_patch verification failed: no context", "tool_error"),
    ] {
        let text = text.replace(r#"Rejected(\\\"#, r#"Rejected(\"#);
        let file = [
            header("00:00", PARENT, ""),
            call("00:01", "call_0123456789abcdef01234567", "exec_command"),
            output("00:02", "call_0123456789abcdef01234567", &text),
        ]
        .join("\n");
        let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
        assert_eq!(rows.events[0].text("error_class"), class, "{text}");
    }
    let denied = r#""type":"guardian_assessment","target_item_id":"call_0123456789abcdef01234567","status":"denied""#;
    let file = [
        header("00:00", PARENT, ""),
        call("00:01", "call_0123456789abcdef01234567", "exec_command"),
        output("00:02", "call_0123456789abcdef01234567", "no"),
        line("00:02", "event_msg", denied),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    assert_eq!(rows.events[0].text("error_class"), "rejected");
}

#[test]
fn calls_of_servers_count_once_whatever_reports_them() {
    let end = |id: &str, result: &str| {
        let payload = format!(
            r#""type":"mcp_tool_call_end","call_id":"{id}","invocation":{{"server":"github","tool":"list"}},"duration":{{"secs":1,"nanos":500000000}},"result":{result}"#
        );
        line("00:03", "event_msg", &payload)
    };
    let file = [
        header("00:00", PARENT, ""),
        call(
            "00:01",
            "call_0123456789abcdef01234567",
            "mcp__github__list",
        ),
        end(
            "call_0123456789abcdef01234567",
            r#"{"Ok":{"isError":false}}"#,
        ),
        // A script of the model.
        end("exec-b9f76d1b-146d-4608", r#"{"Err":"no"}"#),
        call("00:04", "call_0123456789abcdef01234568", "spawn_agent"),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    let shown: Vec<_> = rows
        .events
        .iter()
        .map(|row| row.show("event_type tool_name mcp_server error_class duration_ms"))
        .collect();
    assert_eq!(
        shown,
        [
            "mcp_call mcp__github__list github - 1500",
            "mcp_call mcp__github__list github tool_error 1500",
            "subagent spawn_agent - - -",
        ]
    );
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn ids_that_are_counted_up_belong_to_their_thread() {
    let thread = |id: &str| {
        [
            header("00:00", id, ""),
            call("00:01", "functions.shell:0", "shell"),
            output("00:02", "functions.shell:0", "done"),
        ]
        .join("\n")
    };
    let (one, other) = (thread(PARENT), thread(CHILD));
    let files = [("ada/a.jsonl", &*one), ("ada/b.jsonl", &*other)];
    assert_eq!(Sums::of(&files).events.len(), 2);
    check_laws(&files);
}

#[test]
fn only_texts_of_a_person_are_prompts() {
    let prompts = |header_fields: &str, lines: &[String]| {
        let file = [&[header("00:00", PARENT, header_fields)], lines].concat();
        let rows = FileRows::of("ada/a.jsonl", file.join("\n").as_bytes());
        (rows.session.number("prompts"), rows.session.text("title"))
    };
    for text in [
        " ",
        "<environment_context>x",
        "<user_instructions>x",
        r"\n<turn_aborted>x",
        "# AGENTS.md instructions for /w",
    ] {
        assert_eq!(prompts("", &[prompt("00:01", text)]).0, 0, "{text}");
    }
    let editor =
        r"# Context from my IDE setup:\n## Open tabs:\n- a\n## My request for Codex:\nfix it\n";
    assert_eq!(
        prompts("", &[prompt("00:01", editor)]),
        (1, "fix it".to_owned())
    );
    for header_fields in [
        r#","source":"exec""#,
        r#","source":"mcp""#,
        r#","originator":"codex_exec""#,
        r#","source":{"subagent":"review"}"#,
        r#","source":{"subagent":{"other":"guardian"}}"#,
    ] {
        let found = prompts(header_fields, &[prompt("00:01", "fix it")]);
        assert_eq!(found.0, 0, "{header_fields}");
    }
    // Old versions have messages only.
    let message = |role: &str, text: &str| {
        let payload = format!(
            r#""type":"message","role":"{role}","content":[{{"type":"input_text","text":"{text}"}}]"#
        );
        line("00:01", "response_item", &payload)
    };
    let old = [
        message("user", "<environment_context>x"),
        message("user", "fix it"),
        message("assistant", "done"),
        message("user", "go on"),
    ];
    assert_eq!(prompts("", &old), (2, "fix it".to_owned()));
    // Newer versions also have messages, which can be texts that Codex added.
    let new = [
        message("user", "a text of an extension"),
        message("user", "fix it"),
        prompt("00:01", "fix it"),
        message("assistant", "done"),
        message("user", "another text of an extension"),
    ];
    assert_eq!(prompts("", &new), (1, "fix it".to_owned()));
}

#[test]
fn damage_costs_only_its_value_and_unknown_kinds_are_counted() {
    let broken_count = r#""type":"token_count","info":{"total_token_usage":{"input_tokens":-5,"output_tokens":10},"last_token_usage":{"input_tokens":"many","output_tokens":10}}"#;
    let file = [
        header("00:00", PARENT, ""),
        "not JSON".to_owned(),
        line("00:01", "event_msg", broken_count),
        line("00:02", "brand_new", r#""a":1"#),
        line("00:02", "event_msg", r#""type":"brand_new""#),
        line("00:02", "response_item", r#""type":"brand_new""#),
        prompt("00:03", "fix it"),
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    assert_eq!(
        rows.session
            .show("agent lines bad_lines unknown_types prompts output_is_lower_bound"),
        "codex 7 2 3 1 true"
    );
    assert_eq!(rows.messages[0].tokens(), [1, 0, 0, 0, 0, 10, 0]);
    check_laws(&[("ada/a.jsonl", &file)]);
}

#[test]
fn a_file_of_an_unsupported_agent_has_no_rows_but_its_own() {
    let history = r#"{"session_id":"a","ts":1767225600,"text":"fix it"}"#;
    let rows = FileRows::of("ada/codex/history.jsonl", history.as_bytes());
    assert_eq!(rows.session.show("agent lines bad_lines"), "unknown 1 0");
    assert_eq!((rows.messages.len(), rows.events.len()), (0, 0));
}
