//! Lines of GitHub Copilot CLI.

use crate::harness::{FileRows, check_growth, check_laws};

/// The id of the session.
pub const SESSION: &str = "8fd9f42b-498c-4c5b-8809-b987e62234da";

/// A line.
pub fn line(time: &str, id: &str, kind: &str, data: &str) -> String {
    format!(
        r#"{{"type":"{kind}","data":{{{data}}},"id":"{id}","timestamp":"2026-03-20T{time}Z","parentId":null}}"#
    )
}

/// The first line.
pub fn start(version: &str) -> String {
    let data = format!(
        r#""sessionId":"{SESSION}","copilotVersion":"{version}","context":{{"cwd":"/w/shop","branch":"main"}}"#
    );
    line("10:00:00", "e-start", "session.start", &data)
}

/// A text of a person.
pub fn prompt(time: &str, text: &str) -> String {
    let data = format!(r#""content":"{text}","attachments":[]"#);
    line(time, "e-prompt", "user.message", &data)
}

/// A message with the fields `more`.
pub fn message(time: &str, id: &str, more: &str) -> String {
    let data = format!(r#""messageId":"{id}","content":"done"{more}"#);
    line(time, "e-message", "assistant.message", &data)
}

/// A message of a known model with its output tokens.
pub fn answer(time: &str, id: &str, output: i64) -> String {
    let more = format!(r#","model":"claude-opus-4.6","outputTokens":{output},"toolRequests":[]"#);
    message(time, id, &more)
}

/// Tokens as `[input, read from the cache, written to the cache, output, reasoning]`.
pub type Used = [i64; 5];

/// The end of a leg, with the tokens of each model.
pub fn shutdown(time: &str, id: &str, models: &[(&str, Used)]) -> String {
    let models: Vec<String> = models
        .iter()
        .map(|(model, [input, read, written, output, reasoning])| {
            format!(
                r#""{model}":{{"requests":{{"count":1}},"usage":{{"inputTokens":{input},"outputTokens":{output},"cacheReadTokens":{read},"cacheWriteTokens":{written},"reasoningTokens":{reasoning}}}}}"#
            )
        })
        .collect();
    let data = format!(r#""modelMetrics":{{{}}}"#, models.join(","));
    line(time, id, "session.shutdown", &data)
}

/// The beginning of another leg.
pub fn resume(time: &str) -> String {
    let data = r#""resumeTime":"t","context":{"cwd":"/w/shop","branch":"main"}"#;
    line(time, "e-resume", "session.resume", data)
}

/// A compaction with 900 input tokens, of which 400 were cached, and 30 output tokens.
pub fn compaction(time: &str) -> String {
    let data =
        r#""success":true,"compactionTokensUsed":{"input":900,"output":30,"cachedInput":400}"#;
    line(time, "e-compaction", "session.compaction_complete", data)
}

/// The messages.
pub fn shown(rows: &FileRows) -> Vec<String> {
    let columns = "message_id model request_count input_tokens cache_read_tokens \
                   cache_creation_5m_tokens output_tokens thinking_tokens is_final";
    rows.messages.iter().map(|row| row.show(columns)).collect()
}

/// Runs `usage` on a file with these lines.
pub fn read(lines: &[String]) -> FileRows {
    FileRows::of("ada/a.jsonl", lines.join("\n").as_bytes())
}

/// Checks what must be true of every file.
pub fn check_file(lines: &[String]) {
    let content = lines.join("\n");
    check_laws(&[("ada/a.jsonl", &content)]);
    check_growth("ada/a.jsonl", &content);
}

/// A call.
pub fn call(time: &str, id: &str, name: &str, more: &str) -> String {
    let data = format!(r#""toolCallId":"{id}","toolName":"{name}"{more}"#);
    line(time, "e-call", "tool.execution_start", &data)
}

/// The result of a call.
pub fn result(time: &str, id: &str, more: &str) -> String {
    let data = format!(r#""toolCallId":"{id}"{more}"#);
    line(time, "e-result", "tool.execution_complete", &data)
}

/// The field of a line of a sub-agent.
pub const OF_AGENT: &str = r#","parentToolCallId":"toolu_0f56612bb74a6de7edda692c""#;
