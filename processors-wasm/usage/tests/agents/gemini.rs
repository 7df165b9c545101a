//! Sessions of Gemini CLI, as lines.

use crate::harness::{FileRows, Sums, check_damage, check_growth, check_laws};

const SESSION: &str = "6d63785e-5a97-4ed5-883a-d1e17eab91ec";

fn header(session: &str, more: &str) -> String {
    format!(
        r#"{{"sessionId":"{session}","projectHash":"61","startTime":"2026-04-25T08:46:00.000Z"{more}}}"#
    )
}

fn record(id: &str, time: &str, kind: &str, more: &str) -> String {
    format!(r#"{{"id":"{id}","timestamp":"2026-04-25T08:{time}Z","type":"{kind}"{more}}}"#)
}

fn prompt(id: &str, time: &str, text: &str) -> String {
    record(
        id,
        time,
        "user",
        &format!(r#","content":[{{"text":"{text}"}}]"#),
    )
}

/// Tokens as `[input, output, cached, thoughts, tool]`.
type Used = [i64; 5];

fn tokens([input, output, cached, thoughts, tool]: Used) -> String {
    format!(
        r#","model":"gemini-3-flash","tokens":{{"input":{input},"output":{output},"cached":{cached},"thoughts":{thoughts},"tool":{tool},"total":{}}}"#,
        input + output + thoughts + tool
    )
}

fn answer(id: &str, time: &str, used: Used, calls: &str) -> String {
    let more = format!(r#","content":"done"{}{calls}"#, tokens(used));
    record(id, time, "gemini", &more)
}

fn call(id: &str, name: &str, status: &str, more: &str) -> String {
    format!(
        r#","toolCalls":[{{"id":"{id}","name":"{name}","status":"{status}","timestamp":"2026-04-25T08:47:30Z"{more}}}]"#
    )
}

fn output(text: &str) -> String {
    format!(r#","result":[{{"functionResponse":{{"id":"c","response":{{"output":"{text}"}}}}}}]"#)
}

fn read(key: &str, lines: &[String]) -> FileRows {
    FileRows::of(key, lines.join("\n").as_bytes())
}

fn check_file(key: &str, lines: &[String]) {
    let content = lines.join("\n");
    check_laws(&[(key, &content)]);
    check_growth(key, &content);
}

const KEY: &str = "ada/tmp/shop/chats/session-2026-04-25T08-46-6d63785e.jsonl";

/// A record is written again when its calls end.
#[test]
fn a_record_that_is_written_again_counts_once() {
    let used = [100, 20, 60, 5, 3];
    let file = [
        header(SESSION, r#","kind":"main""#),
        prompt("u1", "46:45", "fix it"),
        answer("g1", "47:00", used, ""),
        r#"{"$set":{"lastUpdated":"2026-04-25T08:47:01Z"}}"#.to_owned(),
        answer(
            "g1",
            "47:00",
            used,
            &call(
                "58340951",
                "run_shell_command",
                "success",
                &output(r"Output: no\nExit Code: 1"),
            ),
        ),
        answer("g2", "48:00", [150, 10, 0, 0, 0], ""),
        r#"{"$set":{"summary":"Repair of the shop"}}"#.to_owned(),
    ];
    let rows = read(KEY, &file);
    let found: Vec<_> = rows.messages.iter().map(|row| row.tokens()).collect();
    // Cached tokens are part of the input, thoughts are not part of the output.
    assert_eq!(found, [[1, 43, 60, 0, 0, 25, 5], [1, 150, 0, 0, 0, 10, 0]]);
    assert_eq!(
        rows.messages[0].show("message_id request_id session_id model line is_final agent"),
        format!("g1 gemini {SESSION} gemini-3-flash 3 true gemini"),
    );
    let columns = "event_type tool_name error_class model duration_ms line";
    let events: Vec<_> = rows.events.iter().map(|row| row.show(columns)).collect();
    assert_eq!(
        events,
        ["tool_use run_shell_command exit_code gemini-3-flash 30000 5"]
    );
    assert_eq!(
        rows.session
            .show("agent prompts messages assistant_messages tool_results title unknown_types"),
        "gemini 1 2 2 1 Repair of the shop 0"
    );
    check_file(KEY, &file);
    check_damage(KEY, &file.join("\n"));
}

#[test]
fn a_session_in_several_files_is_one() {
    let part = |prompt_id: &str, answer_id: &str| {
        [
            header(SESSION, ""),
            prompt(prompt_id, "46:45", "fix it"),
            answer(answer_id, "47:00", [100, 20, 0, 0, 0], ""),
        ]
        .join("\n")
    };
    let (one, other) = (part("u1", "g1"), part("u2", "g2"));
    let files = [
        ("ada/chats/session-1.jsonl", &*one),
        ("ada/chats/session-2.jsonl", &*other),
    ];
    let sums = Sums::of(&files);
    assert_eq!(sums.tokens(), [2, 200, 0, 0, 0, 40, 0]);
    assert_eq!((sums.sessions.len(), sums.prompts), (1, 2));
    check_laws(&files);
}

/// Whatever the agent takes out of the conversation was paid.
#[test]
fn requests_that_were_taken_back_count() {
    let file = [
        header(SESSION, ""),
        prompt("u1", "46:45", "fix it"),
        answer("g1", "47:00", [100, 20, 0, 0, 0], ""),
        r#"{"$rewindTo":"u1"}"#.to_owned(),
        answer("g2", "48:00", [70, 5, 0, 0, 0], ""),
    ];
    let sums = Sums::of(&[(KEY, &file.join("\n"))]);
    assert_eq!(sums.tokens(), [2, 170, 0, 0, 0, 25, 0]);
    check_file(KEY, &file);
}

/// A checkpoint and a header can contain all records so far.
#[test]
fn records_of_a_checkpoint_count_once() {
    let records = [
        prompt("u1", "46:45", "fix it"),
        answer("g1", "47:00", [100, 20, 0, 0, 0], ""),
    ];
    let earlier = answer("g0", "46:50", [10, 1, 0, 0, 0], "");
    let checkpoint = [&[earlier], &records[..]].concat().join(",");
    let file = [
        vec![header(SESSION, "")],
        records.to_vec(),
        vec![format!(r#"{{"$set":{{"messages":[{checkpoint}]}}}}"#)],
    ]
    .concat();
    let rows = read(KEY, &file);
    assert_eq!(
        rows.session.show("prompts messages assistant_messages"),
        "1 2 2"
    );
    check_file(KEY, &file);
    let whole = [header(SESSION, &format!(r#","messages":[{checkpoint}]"#))];
    let rows = read(KEY, &whole);
    assert_eq!(
        rows.session.show("prompts messages assistant_messages"),
        "1 2 2"
    );
    check_file(KEY, &whole);
}

#[test]
fn files_without_an_answer_and_answers_without_tokens_have_no_requests() {
    for file in [
        vec![header(SESSION, "")],
        vec![
            header(SESSION, ""),
            record("e1", "46:45", "error", r#","content":"no""#),
        ],
        vec![
            header(SESSION, ""),
            record(
                "g1",
                "46:45",
                "gemini",
                r#","content":"","model":"gemini-3-flash""#,
            ),
            record("g2", "46:46", "gemini", r#","content":"","tokens":null"#),
            answer("g3", "46:47", [0; 5], ""),
        ],
    ] {
        let rows = read(KEY, &file);
        assert!(rows.messages.is_empty(), "{file:?}");
        assert_eq!(
            rows.session.show("agent session_id unrecorded_usage"),
            format!("gemini {SESSION} -")
        );
        check_file(KEY, &file);
    }
}

#[test]
fn a_sub_agent_belongs_to_the_session_of_its_folder() {
    let file = [
        header("tl63m8", r#","kind":"subagent","directories":["/w/shop"]"#),
        prompt("u1", "46:45", "look for it"),
        answer("g1", "47:00", [100, 20, 0, 0, 0], ""),
    ];
    for (key, session) in [
        (
            format!("ada/tmp/shop/chats/{SESSION}/tl63m8.jsonl"),
            SESSION,
        ),
        // What extracts skills has no session.
        (
            "ada/tmp/shop/chats/skill-extraction-41cb/tl63m8.jsonl".to_owned(),
            "tl63m8",
        ),
        // Where the path is lost, the file still says what it is.
        ("ada/upload.jsonl".to_owned(), "tl63m8"),
    ] {
        let rows = read(&key, &file);
        assert_eq!(
            rows.session.show("session_id prompts is_sidechain project"),
            format!("{session} 0 true /w/shop"),
            "{key}"
        );
        assert_eq!(
            rows.messages[0].show("session_id source agent_id"),
            format!("{session} subagent tl63m8"),
            "{key}"
        );
        check_file(&key, &file);
    }
    // A folder of the user can have the same name.
    let key = "ada/chats/shop/session-2026-04-25T08-46-6d63785e.jsonl";
    let main = [header(SESSION, ""), prompt("u1", "46:45", "fix it")];
    let rows = read(key, &main);
    assert_eq!(
        rows.session.show("session_id prompts"),
        format!("{SESSION} 1")
    );
}

#[test]
fn only_texts_of_a_person_are_prompts_and_commands() {
    let expanded = r#","content":[{"text":"fix @a"},{"text":"the text of a"}],"displayContent":[{"text":"fix @a"}]"#;
    let file = [
        header(SESSION, r#","kind":"main""#),
        record("u1", "46:01", "user", expanded),
        record("u2", "46:02", "user", r#","content":"go on""#),
        prompt("u3", "46:03", "/plan:new now"),
        prompt("u4", "46:04", "/home/ada/shop"),
        prompt("u5", "46:05", "?"),
        prompt("u6", "46:06", "<session_context>x"),
        prompt("u7", "46:07", r"\n<hook_context>x"),
        prompt("u8", "46:08", " "),
        record(
            "u9",
            "46:09",
            "user",
            r#","content":[{"functionResponse":{"name":"ls"}}]"#,
        ),
    ];
    let rows = read(KEY, &file);
    assert_eq!(
        rows.session.show("prompts slash_commands title"),
        "2 1 fix @a"
    );
    assert_eq!(rows.events[0].text("command_name"), "plan:new");
    check_file(KEY, &file);
}

#[test]
fn results_say_how_calls_failed() {
    let shell = "run_shell_command";
    for (name, status, more, class) in [
        (
            shell,
            "success",
            output(r"Output: ok\nExit Code: 0\nSignal: none"),
            "-",
        ),
        (
            shell,
            "success",
            output(r"Output: no\nExit Code: 2\nSignal: none"),
            "exit_code",
        ),
        // The output of the command comes before the exit code.
        (
            shell,
            "success",
            output(r"Output:\nExit Code: 2\nExit Code: 0"),
            "-",
        ),
        (
            shell,
            "success",
            output(r"Output: no\nExit Code: (none)"),
            "-",
        ),
        ("read_file", "success", output(r"a\nExit Code: 2"), "-"),
        (shell, "success", String::new(), "-"),
        (shell, "error", output("denied"), "tool_error"),
        (shell, "cancelled", String::new(), "rejected"),
        (shell, "executing", String::new(), "-"),
    ] {
        let calls = call("82f4d708", name, status, &more);
        let file = [
            header(SESSION, ""),
            answer("g1", "47:00", [9, 1, 0, 0, 0], &calls),
        ];
        let rows = read(KEY, &file);
        assert_eq!(
            rows.events[0].text("error_class"),
            class,
            "{name} {status} {more}"
        );
        check_file(KEY, &file);
    }
}

#[test]
fn servers_sub_agents_and_skills_are_recognized() {
    for (name, more, shown) in [
        (
            "list_tables",
            r#","displayName":"list_tables (postgresql MCP Server)""#,
            "mcp_call postgresql - -",
        ),
        ("mcp_postgresql_list_tables", "", "mcp_call postgresql - -"),
        ("mcp__git__list", "", "mcp_call git - -"),
        ("mcp_", "", "tool_use - - -"),
        (
            "activate_skill",
            r#","args":{"name":"docs"}"#,
            "tool_use - - docs",
        ),
        (
            "delegate_to_agent",
            r#","args":{"agent_name":"reviewer"}"#,
            "subagent - reviewer -",
        ),
        (
            "codebase_investigator",
            "",
            "subagent - codebase_investigator -",
        ),
        ("reviewer", r#","agentId":"a1""#, "subagent - reviewer -"),
        (
            "read_file",
            r#","displayName":"ReadFile""#,
            "tool_use - - -",
        ),
    ] {
        let calls = call("82f4d708", name, "success", more);
        let file = [
            header(SESSION, ""),
            answer("g1", "47:00", [9, 1, 0, 0, 0], &calls),
        ];
        let rows = read(KEY, &file);
        let found = rows.events[0].show("event_type mcp_server subagent_type skill_name");
        assert_eq!(found, shown, "{name}");
        check_file(KEY, &file);
    }
}

#[test]
fn ids_that_are_counted_up_belong_to_their_session() {
    let file = |session: &str| {
        let calls = call("call_0", "read_file", "error", "");
        [
            header(session, ""),
            answer(&format!("g-{session}"), "47:00", [9, 1, 0, 0, 0], &calls),
        ]
        .join("\n")
    };
    let (one, other) = (file("a"), file("b"));
    let files = [("ada/1.jsonl", &*one), ("ada/2.jsonl", &*other)];
    assert_eq!(Sums::of(&files).events.len(), 2);
    check_laws(&files);
    // A call without an id has that of its record.
    let calls = r#","toolCalls":[{"name":"ls","status":"error"},{"name":"ls","status":"success"}]"#;
    let record = answer("g1", "47:00", [9, 1, 0, 0, 0], calls);
    let nameless = [header(SESSION, ""), record.clone(), record];
    let rows = read(KEY, &nameless);
    let classes: Vec<_> = rows
        .events
        .iter()
        .map(|row| row.show("tool_id error_class"))
        .collect();
    assert_eq!(classes, ["g1#0 tool_error", "g1#1 -"]);
    check_file(KEY, &nameless);
}

#[test]
fn damage_costs_only_its_value_and_unknown_kinds_are_counted() {
    let file = [
        "t\":\"half a line\"}".to_owned(),
        header(SESSION, ""),
        record("x1", "46:45", "brand_new", ""),
        r#"{"$brandNew":{}}"#.to_owned(),
        // The total is not the sum.
        record(
            "g1",
            "47:00",
            "gemini",
            r#","tokens":{"input":10,"output":5,"total":99}"#,
        ),
        record(
            "g2",
            "47:01",
            "gemini",
            r#","tokens":{"input":"many","output":5,"cached":900}"#,
        ),
        // Without an id, a record is identified by its time and tokens.
        r#"{"timestamp":"2026-04-25T08:47:02Z","type":"gemini","content":"","tokens":{"input":3}}"#
            .to_owned(),
    ];
    let rows = read(KEY, &file);
    assert_eq!(
        rows.session
            .show("agent lines bad_lines unknown_types output_is_lower_bound"),
        "gemini 7 2 3 true"
    );
    let found: Vec<_> = rows.messages.iter().map(|row| row.tokens()).collect();
    assert_eq!(
        found,
        [
            [1, 10, 0, 0, 0, 5, 0],
            [1, 0, 900, 0, 0, 5, 0],
            [1, 3, 0, 0, 0, 0, 0]
        ]
    );
    check_file(KEY, &file);
}
