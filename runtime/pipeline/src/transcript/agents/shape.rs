//! Determines the format of a transcript by the shape of its first lines.
//!
//! The processors use the same rules, in `processors-wasm/sdk/src/agent.rs`.

use super::{TranscriptFormat, json};

/// The number of lines that are examined. Blank lines do not count.
const LINES_MAX: usize = 32;
/// The number of bytes in which a document of one object has its identifying fields.
const DOCUMENT_HEAD_BYTES: usize = 4 * 1024;

/// Types of the lines of Codex.
const CODEX_TYPES: &[&str] = &[
    "session_meta",
    "response_item",
    "event_msg",
    "turn_context",
    "compacted",
    "world_state",
    "token_usage_record",
    "inter_agent_communication",
    "inter_agent_communication_metadata",
];

/// The format. `None` if no line shows it.
pub(super) fn format_of(beginning: &[u8]) -> Option<TranscriptFormat> {
    let of = |line: &[u8]| format_of_line(&String::from_utf8_lossy(line));
    let found = first_lines(beginning).find_map(of);
    found.or_else(|| is_document(beginning).then_some(TranscriptFormat::Gemini))
}

/// Whether a file of several lines is one object, as older versions of Gemini CLI wrote.
pub(super) fn is_document(beginning: &[u8]) -> bool {
    let head = beginning.get(..DOCUMENT_HEAD_BYTES).unwrap_or(beginning);
    let has = |name: &[u8]| memchr::memmem::find(head, name).is_some();
    let is_object = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        json::fields(&line, []).is_some() && line.trim() != "{}"
    };
    head.trim_ascii_start().starts_with(b"{")
        && has(b"\"sessionId\"")
        && has(b"\"projectHash\"")
        && !first_lines(beginning).any(is_object)
}

fn first_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.trim_ascii().is_empty());
    lines.take(LINES_MAX)
}

fn format_of_line(line: &str) -> Option<TranscriptFormat> {
    let [kind, payload, message, id, timestamp, session_id] = json::fields(
        line,
        ["type", "payload", "message", "id", "timestamp", "sessionId"],
    )?;
    let Some(kind) = json::nonempty(kind) else {
        return format_of_untyped_line(line, [id, timestamp, message, session_id]);
    };
    let is_object = |value: Option<&str>| value.is_some_and(|value| value.starts_with('{'));
    if CODEX_TYPES.contains(&kind.as_ref()) && is_object(payload) {
        return Some(TranscriptFormat::Codex);
    }
    let names = [
        "data",
        "protocol_version",
        "cwd",
        "v",
        "pad",
        "content",
        "isSidechain",
        "systemPayload",
        "usageMetadata",
        "leafUuid",
        "messageId",
    ];
    let [
        data,
        protocol,
        cwd,
        version,
        pad,
        content,
        is_sidechain,
        system,
        usage,
        leaf,
        message_id,
    ] = json::fields(line, names)?;
    // The parent of the first line is null.
    if kind.contains('.') && is_object(data) && line.contains("\"parentId\"") {
        return Some(TranscriptFormat::Copilot);
    }
    let has_role = || super::field(message, "role").is_some();
    match kind.as_ref() {
        "metadata" if protocol.is_some() => return Some(TranscriptFormat::Kimi),
        "session" if id.is_some() && cwd.is_some() && timestamp.is_some() => {
            return Some(TranscriptFormat::Pi);
        }
        "title" if version.is_some() && pad.is_some() => return Some(TranscriptFormat::Pi),
        "message" if has_role() => return Some(TranscriptFormat::Pi),
        "gemini" if id.is_some() && content.is_some() => return Some(TranscriptFormat::Gemini),
        "user" | "assistant" | "tool_result" | "system"
            if session_id.is_some_and(|id| id.starts_with('"'))
                && is_sidechain.is_none()
                && (system.is_some()
                    || usage.is_some()
                    || super::field(message, "parts")
                        .is_some_and(|parts| parts.starts_with('['))) =>
        {
            return Some(TranscriptFormat::Qwen);
        }
        _ => {}
    }
    let is_claude =
        session_id.is_some() || leaf.is_some() || is_sidechain.is_some() || message_id.is_some();
    is_claude.then_some(TranscriptFormat::Claude)
}

fn format_of_untyped_line(
    line: &str,
    [id, timestamp, message, session_id]: [Option<&str>; 4],
) -> Option<TranscriptFormat> {
    let [instructions, record_type, project, set, rewind] = json::fields(
        line,
        [
            "instructions",
            "record_type",
            "projectHash",
            "$set",
            "$rewindTo",
        ],
    )?;
    let is_state = json::nonempty(record_type).is_some_and(|kind| kind == "state");
    if is_state || id.is_some() && timestamp.is_some() && instructions.is_some() {
        return Some(TranscriptFormat::Codex);
    }
    let event = message.and_then(|message| json::fields(message, ["type", "payload"]));
    if timestamp.is_some_and(|time| time.parse::<f64>().is_ok())
        && matches!(event, Some([Some(_), Some(_)]))
    {
        return Some(TranscriptFormat::Kimi);
    }
    let is_gemini = session_id.is_some() && project.is_some()
        || set.is_some_and(|set| set.starts_with('{'))
        || json::nonempty(rewind).is_some();
    is_gemini.then_some(TranscriptFormat::Gemini)
}
