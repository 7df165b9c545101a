//! Sessions of Gemini CLI up to version 0.38: one object per file.

use crate::harness::{FileRows, Sums, check_damage, check_laws};
use session_pipeline_processor::json::Json;

const SESSION: &str = "08c06a07-a002-4551-a5d7-bf7b063a46f1";
const KEY: &str = "ada/tmp/shop/chats/session-2025-12-28T04-02-08c06a07.json";

const PROMPT: &str =
    r#"{"id":"u1","timestamp":"2025-12-28T04:03:50Z","type":"user","content":"fix it"}"#;
const ANSWER: &str = r#"{"id":"g1","timestamp":"2025-12-28T04:03:57Z","type":"gemini","content":"a \"}]\" {","model":"gemini-3-pro","tokens":{"input":100,"output":20,"cached":60,"thoughts":5,"tool":0,"total":125},"toolCalls":[{"id":"391d4cc0","name":"run_shell_command","args":{},"status":"success","timestamp":"2025-12-28T04:04:01Z","result":[{"functionResponse":{"response":{"output":"Output: no\nExit Code: 1"}}}]}]}"#;
const LATER: &str = r#"{"id":"g2","timestamp":"2025-12-28T04:04:04Z","type":"gemini","content":"done","model":"gemini-3-pro","tokens":{"input":150,"output":10,"cached":0,"thoughts":0,"tool":0,"total":160}}"#;

/// A document as the agent writes it, with two spaces per level. `tail` are fields behind the
/// records.
fn document(records: &[&str], tail: &str) -> String {
    let text = format!(
        r#"{{"sessionId":"{SESSION}","projectHash":"e6","startTime":"2025-12-28T04:03:32Z","messages":[{}]{tail}}}"#,
        records.join(",")
    );
    indent(&text)
}

/// Indents JSON text.
fn indent(text: &str) -> String {
    let mut shown = String::new();
    let (mut depth, mut is_in_string, mut is_escaped) = (0, false, false);
    let mut before = ' ';
    let line = |shown: &mut String, depth: usize| {
        shown.push('\n');
        shown.push_str(&"  ".repeat(depth));
    };
    for character in text.chars() {
        if is_in_string {
            shown.push(character);
            is_in_string = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
        } else {
            if matches!(before, '{' | '[') && !matches!(character, '}' | ']') {
                depth += 1;
                line(&mut shown, depth);
            } else if matches!(character, '}' | ']') && !matches!(before, '{' | '[') {
                depth -= 1;
                line(&mut shown, depth);
            }
            shown.push(character);
            match character {
                ',' => line(&mut shown, depth),
                ':' => shown.push(' '),
                _ => {}
            }
            is_in_string = character == '"';
        }
        before = character;
    }
    assert!(Json::parse(&shown).is_some(), "{shown}");
    shown
}

#[test]
fn a_document_is_read_like_lines() {
    let file = document(
        &[PROMPT, ANSWER, LATER],
        r#","summary":"Repair","kind":"main""#,
    );
    let rows = FileRows::of(KEY, file.as_bytes());
    let found: Vec<_> = rows.messages.iter().map(|row| row.tokens()).collect();
    assert_eq!(found, [[1, 40, 60, 0, 0, 25, 5], [1, 150, 0, 0, 0, 10, 0]]);
    let lines: Vec<_> = rows
        .messages
        .iter()
        .map(|row| row.show("message_id line"))
        .collect();
    let line_of = |id: &str| {
        file.lines()
            .position(|line| line.contains(id))
            .expect("a record")
    };
    assert_eq!(
        lines,
        [
            format!("g1 {}", line_of("g1")),
            format!("g2 {}", line_of("g2"))
        ]
    );
    assert_eq!(
        rows.events[0].show("event_type tool_name error_class duration_ms"),
        "tool_use run_shell_command exit_code 4000"
    );
    assert_eq!(
        rows.session
            .show("agent session_id prompts messages title bad_lines torn_tail"),
        format!("gemini {SESSION} 1 2 Repair 0 false")
    );
    assert_eq!(rows.session.number("lines"), file.lines().count() as i64);
    check_laws(&[(KEY, &file)]);
    check_damage(KEY, &file);
}

/// When an old session is resumed, a new version writes its records into lines.
#[test]
fn a_document_that_was_rewritten_as_lines_counts_once() {
    let old = document(&[PROMPT, ANSWER], "");
    let header = format!(r#"{{"sessionId":"{SESSION}","projectHash":"e6","kind":"main"}}"#);
    let new = [&*header, PROMPT, ANSWER, LATER].join("\n");
    let lines_key = KEY.replace(".json", ".jsonl");
    let files = [(KEY, &*old), (&*lines_key, &*new)];
    let sums = Sums::of(&files);
    assert_eq!(sums.tokens(), [2, 190, 60, 0, 0, 35, 5]);
    assert_eq!((sums.events.len(), sums.sessions.len()), (1, 1));
    check_laws(&files);
}

/// The field that tells sub-agents apart follows the records.
#[test]
fn a_document_of_a_sub_agent_has_no_prompts() {
    let file = document(
        &[PROMPT, ANSWER],
        r#","directories":["/w/shop"],"kind":"subagent""#,
    );
    let parent = "74a20471-3da8-4770-b83b-d461d39d61fe";
    for (key, session) in [
        (format!("ada/tmp/shop/chats/{parent}/tl63m8.json"), parent),
        ("ada/upload.json".to_owned(), SESSION),
    ] {
        let rows = FileRows::of(&key, file.as_bytes());
        assert_eq!(
            rows.session.show("session_id prompts"),
            format!("{session} 0"),
            "{key}"
        );
        check_laws(&[(&key, &file)]);
    }
    // The same records in a session of a person.
    for tail in ["", r#","kind":"main""#] {
        for key in [KEY, "ada/upload.json"] {
            let rows = FileRows::of(key, document(&[PROMPT, ANSWER], tail).as_bytes());
            assert_eq!(
                rows.session.show("prompts title"),
                "1 fix it",
                "{key} {tail}"
            );
        }
    }
}

#[test]
fn documents_without_an_answer_have_no_requests() {
    let error = r#"{"id":"e1","timestamp":"2025-12-20T05:23:15Z","type":"error","content":"no"}"#;
    for records in [&[][..], &[error]] {
        let file = document(records, "");
        let rows = FileRows::of(KEY, file.as_bytes());
        assert!(rows.messages.is_empty());
        assert_eq!(
            rows.session.show("agent session_id bad_lines"),
            format!("gemini {SESSION} 0")
        );
        check_laws(&[(KEY, &file)]);
    }
}

#[test]
fn damage_costs_only_its_record_and_unknown_kinds_are_counted() {
    let unknown = r#"{"id":"x1","type":"brand_new"}"#;
    let file = document(&[PROMPT, ANSWER, unknown, LATER], "");
    for (from, to) in [
        (r#""id": "g1","#, r#""id": "g1"#),
        (r#""args": {},"#, r#""args": {"#),
        (r#""args": {},"#, r#""args": {}]}}},"#),
    ] {
        assert!(file.contains(from));
        let damaged = file.replacen(from, to, 1);
        let rows = FileRows::of(KEY, damaged.as_bytes());
        let ids: Vec<_> = rows
            .messages
            .iter()
            .map(|row| row.text("message_id"))
            .collect();
        assert!(ids.contains(&"g2".to_owned()), "{to}: {ids:?}");
        let found = rows.session.show("agent prompts unknown_types");
        assert_eq!(found, "gemini 1 1", "{to}");
        assert!(rows.session.number("bad_lines") >= 1, "{to}");
    }
    // A file that is being written has no end.
    let torn = &file[..file.find("brand_new").expect("the record")];
    let rows = FileRows::of(KEY, torn.as_bytes());
    assert_eq!(
        rows.session.show("prompts messages bad_lines torn_tail"),
        "1 1 0 true"
    );
}
