//! Sessions of the first versions of Codex CLI.

use crate::harness::{FileRows, check_laws};

/// The first versions wrote items without an envelope.
#[test]
fn lines_without_an_envelope_are_read() {
    let file = [
        r#"{"id":"0b5c","timestamp":"2025-06-01T10:00:00Z","instructions":null,"git":{"branch":"main"}}"#,
        r#"{"record_type":"state"}"#,
        r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"fix it"}]}"#,
        r#"{"type":"function_call","name":"shell","arguments":"{}","call_id":"call_0123456789abcdef01234567"}"#,
        r#"{"type":"function_call_output","call_id":"call_0123456789abcdef01234567","output":"{\"output\":\"\",\"metadata\":{\"exit_code\":1}}"}"#,
    ]
    .join("\n");
    let rows = FileRows::of("ada/a.jsonl", file.as_bytes());
    assert_eq!(
        rows.session
            .show("agent session_id prompts tool_calls tool_errors git_branch"),
        "codex 0b5c 1 1 1 main"
    );
    check_laws(&[("ada/a.jsonl", &file)]);
}
