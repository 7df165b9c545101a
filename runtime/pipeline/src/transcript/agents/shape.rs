//! Determines the format of a transcript by the shape of its first lines.
//!
//! The processors use the same rules, in `processors-wasm/sdk/src/agent.rs`, in the same order. The
//! host cannot use the SDK, which has the bindings of guests. A test of the suite compares the two:
//! `transcript::shapes`.

use serde_json::{Map, Value};

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
    let found = first_lines(beginning).find_map(|line| {
        let line = String::from_utf8_lossy(line);
        object(&line).and_then(|_| format_of_line(&line))
    });
    found.or_else(|| is_document(beginning).then_some(TranscriptFormat::Gemini))
}

/// Whether a file of several lines is one object, as older versions of Gemini CLI wrote. None of its
/// lines is an object with fields by itself.
pub(super) fn is_document(beginning: &[u8]) -> bool {
    let head = beginning.get(..DOCUMENT_HEAD_BYTES).unwrap_or(beginning);
    let has = |name: &[u8]| memchr::memmem::find(head, name).is_some();
    let is_object = |line: &[u8]| {
        object(&String::from_utf8_lossy(line)).is_some_and(|fields| !fields.is_empty())
    };
    head.trim_ascii_start().starts_with(b"{")
        && has(b"\"sessionId\"")
        && has(b"\"projectHash\"")
        && !first_lines(beginning).any(is_object)
}

/// A line that is exactly one JSON object. The readers of this module are more tolerant, but a
/// processor does not determine the agent by damaged lines.
fn object(line: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(line).ok()
}

fn first_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.trim_ascii().is_empty());
    lines.take(LINES_MAX)
}

/// The fields of an object. A null is a value: the parent of the first line is null.
fn fields<'a, const N: usize>(
    json: Option<&'a str>,
    names: [&str; N],
) -> Option<[Option<&'a str>; N]> {
    json::fields_with_null(json?, names)
}

fn is_object(json: Option<&str>) -> bool {
    json.is_some_and(|json| json.starts_with('{'))
}

fn has_field(json: Option<&str>, name: &str) -> bool {
    fields(json, [name]).is_some_and(|[value]| value.is_some())
}

fn format_of_line(line: &str) -> Option<TranscriptFormat> {
    let [kind, payload, message, id, timestamp, session_id] = fields(
        Some(line),
        ["type", "payload", "message", "id", "timestamp", "sessionId"],
    )?;
    let Some(kind) = kind.and_then(json::text) else {
        return format_of_untyped_line(line, [id, timestamp, message, session_id]);
    };
    if CODEX_TYPES.contains(&kind.as_ref()) && is_object(payload) {
        return Some(TranscriptFormat::Codex);
    }
    let names = [
        "data",
        "parentId",
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
        parent,
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
    ] = fields(Some(line), names)?;
    if kind.contains('.') && is_object(data) && parent.is_some() {
        return Some(TranscriptFormat::Copilot);
    }
    let has_parts = || {
        let parts = fields(message, ["parts"]).and_then(|[parts]| parts);
        parts.is_some_and(|parts| parts.starts_with('['))
    };
    match kind.as_ref() {
        "metadata" if protocol.is_some() => return Some(TranscriptFormat::Kimi),
        "session" if id.is_some() && cwd.is_some() && timestamp.is_some() => {
            return Some(TranscriptFormat::Pi);
        }
        "title" if version.is_some() && pad.is_some() => return Some(TranscriptFormat::Pi),
        "message" if has_field(message, "role") => return Some(TranscriptFormat::Pi),
        "gemini" if id.is_some() && content.is_some() => return Some(TranscriptFormat::Gemini),
        "user" | "assistant" | "tool_result" | "system"
            if session_id.is_some_and(|id| id.starts_with('"'))
                && is_sidechain.is_none()
                && (system.is_some() || usage.is_some() || has_parts()) =>
        {
            return Some(TranscriptFormat::Qwen);
        }
        // The protocol of Kimi Code, the successor of Kimi CLI, which no parser reads.
        "usage.record" => return Some(TranscriptFormat::default()),
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
    let [instructions, record_type, project, set, rewind] = fields(
        Some(line),
        [
            "instructions",
            "record_type",
            "projectHash",
            "$set",
            "$rewindTo",
        ],
    )?;
    let is_state = record_type
        .and_then(json::text)
        .is_some_and(|kind| kind == "state");
    if is_state || id.is_some() && timestamp.is_some() && instructions.is_some() {
        return Some(TranscriptFormat::Codex);
    }
    let is_event = matches!(
        fields(message, ["type", "payload"]),
        Some([Some(_), Some(_)])
    );
    // A word such as `null` is not a number, although `inf` and `nan` would be.
    let is_number = |time: &str| {
        time.starts_with(|first: char| first == '-' || first.is_ascii_digit())
            && time.parse::<f64>().is_ok()
    };
    if timestamp.is_some_and(is_number) && is_event {
        return Some(TranscriptFormat::Kimi);
    }
    let is_gemini = session_id.is_some() && project.is_some()
        || is_object(set)
        || rewind.and_then(json::text).is_some();
    if is_gemini {
        return Some(TranscriptFormat::Gemini);
    }
    is_foreign(line, session_id).then_some(TranscriptFormat::default())
}

/// Whether a line belongs to a file that is not a session. No parser reads its format, but it
/// decides the format, so that later lines do not.
fn is_foreign(line: &str, session_id: Option<&str>) -> bool {
    let names = [
        "session_id",
        "ts",
        "thread_name",
        "updated_at",
        "role",
        "turns",
        "messages",
    ];
    let Some([session, ts, thread_name, updated_at, role, turns, messages]) =
        fields(Some(line), names)
    else {
        return false;
    };
    session.is_some() && ts.is_some()
        || thread_name.is_some() && updated_at.is_some()
        || role.is_some_and(|role| role.starts_with("\"_"))
        || session_id.is_some() && turns.is_some() && messages.is_some()
}
