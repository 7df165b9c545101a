//! Determines which coding agent wrote a session, by the shape of its first lines.
//!
//! Names of files and folders say nothing: folders of several agents are mixed, and names are lost
//! when a file is uploaded.

use std::fmt;

use crate::json::{Json, Text};
use crate::transcript::readable;

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

/// The program that wrote a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CodingAgent {
    /// Claude Code, and programs that write its format. Also any file whose shape says nothing.
    #[default]
    Claude,
    /// Codex CLI.
    Codex,
    /// GitHub Copilot CLI.
    Copilot,
    /// Gemini CLI.
    Gemini,
    /// Kimi CLI.
    Kimi,
    /// pi and Oh My Pi.
    Pi,
    /// Qwen Code.
    Qwen,
    /// Another program, or a file of a supported agent that is not a session, such as an index.
    Unknown,
}

impl CodingAgent {
    /// Every agent, in the order of their names.
    pub const ALL: [Self; 8] = [
        Self::Claude,
        Self::Codex,
        Self::Copilot,
        Self::Gemini,
        Self::Kimi,
        Self::Pi,
        Self::Qwen,
        Self::Unknown,
    ];

    /// The name in tables and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Copilot => "copilot",
            Self::Gemini => "gemini",
            Self::Kimi => "kimi",
            Self::Pi => "pi",
            Self::Qwen => "qwen",
            Self::Unknown => "unknown",
        }
    }

    /// The agent that wrote a file that begins with these bytes. The first of 32 lines with a
    /// known shape decides. A line that is not a JSON object is skipped, because a file can begin
    /// in the middle of a line.
    pub fn of_beginning(bytes: &[u8]) -> Self {
        Self::recognize(bytes).unwrap_or_default()
    }

    /// Like [`CodingAgent::of_beginning`], but `None` if the shape says nothing.
    pub fn recognize(bytes: &[u8]) -> Option<Self> {
        for line in first_lines(bytes) {
            let (text, _) = readable(line);
            if let Some(agent) = Json::parse(&text).and_then(of_line) {
                return Some(agent);
            }
        }
        is_document(bytes).then_some(Self::Gemini)
    }
}

impl fmt::Display for CodingAgent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The agent that writes lines of this shape. `None` if several could.
fn of_line(line: Json<'_>) -> Option<CodingAgent> {
    let [kind, payload, message, id, timestamp, session_id] =
        line.fields(["type", "payload", "message", "id", "timestamp", "sessionId"]);
    let kind = kind.and_then(|kind| kind.text());
    let is_object = |value: Option<Json<'_>>| value.is_some_and(|value| value.is_object());
    let Some(kind) = kind else {
        return of_untyped_line(line, id, timestamp, message, session_id);
    };
    let is = |name: &str| kind == name;
    if CODEX_TYPES.iter().any(|known| is(known)) && is_object(payload) {
        return Some(CodingAgent::Codex);
    }
    let [data, parent_id, protocol, cwd, version, pad] =
        line.fields(["data", "parentId", "protocol_version", "cwd", "v", "pad"]);
    if kind.decode().contains('.') && is_object(data) && parent_id.is_some() {
        return Some(CodingAgent::Copilot);
    }
    if is("metadata") && protocol.is_some() {
        return Some(CodingAgent::Kimi);
    }
    let is_pi = is("session") && id.is_some() && cwd.is_some() && timestamp.is_some()
        || is("title") && version.is_some() && pad.is_some()
        || is("message") && message.is_some_and(|message| message.field("role").is_some());
    if is_pi {
        return Some(CodingAgent::Pi);
    }
    if is("gemini") && id.is_some() && line.field("content").is_some() {
        return Some(CodingAgent::Gemini);
    }
    let [is_sidechain, system, usage, leaf, message_id] = line.fields([
        "isSidechain",
        "systemPayload",
        "usageMetadata",
        "leafUuid",
        "messageId",
    ]);
    let has_session = session_id.and_then(|id| id.text()).is_some();
    let is_qwen_type = ["user", "assistant", "tool_result", "system"]
        .iter()
        .any(|known| is(known));
    let has_parts = message
        .and_then(|message| message.field("parts"))
        .is_some_and(|parts| parts.is_array());
    if is_qwen_type
        && has_session
        && is_sidechain.is_none()
        && (system.is_some() || usage.is_some() || has_parts)
    {
        return Some(CodingAgent::Qwen);
    }
    // The protocol of Kimi Code, the successor of Kimi CLI.
    if is("usage.record") {
        return Some(CodingAgent::Unknown);
    }
    let is_claude =
        session_id.is_some() || leaf.is_some() || is_sidechain.is_some() || message_id.is_some();
    is_claude.then_some(CodingAgent::Claude)
}

fn of_untyped_line(
    line: Json<'_>,
    id: Option<Json<'_>>,
    timestamp: Option<Json<'_>>,
    message: Option<Json<'_>>,
    session_id: Option<Json<'_>>,
) -> Option<CodingAgent> {
    let [instructions, record_type, project, set, rewind] = line.fields([
        "instructions",
        "record_type",
        "projectHash",
        "$set",
        "$rewindTo",
    ]);
    let is_state = text(record_type).is_some_and(|kind| kind == "state");
    if is_state || id.is_some() && timestamp.is_some() && instructions.is_some() {
        return Some(CodingAgent::Codex);
    }
    let [kind, payload] = message.map_or([None; 2], |message| message.fields(["type", "payload"]));
    if timestamp.is_some_and(|time| time.f64().is_some()) && kind.is_some() && payload.is_some() {
        return Some(CodingAgent::Kimi);
    }
    if session_id.is_some() && project.is_some()
        || set.is_some_and(|set| set.is_object())
        || text(rewind).is_some()
    {
        return Some(CodingAgent::Gemini);
    }
    is_foreign(line, session_id).then_some(CodingAgent::Unknown)
}

/// Whether a line belongs to a file that is not a session: the history or the index of sessions
/// that Codex stores, the context that Kimi stores, or a document that a tool derived from a
/// session.
fn is_foreign(line: Json<'_>, session_id: Option<Json<'_>>) -> bool {
    let [session, ts, thread_name, updated_at, role, turns, messages] = line.fields([
        "session_id",
        "ts",
        "thread_name",
        "updated_at",
        "role",
        "turns",
        "messages",
    ]);
    session.is_some() && ts.is_some()
        || thread_name.is_some() && updated_at.is_some()
        || text(role).is_some_and(|role| role.raw().starts_with('_'))
        || session_id.is_some() && turns.is_some() && messages.is_some()
}

fn text(value: Option<Json<'_>>) -> Option<Text<'_>> {
    value?.text()
}

/// Whether a file of several lines is one object, as older versions of Gemini CLI wrote. None of
/// its lines is an object with fields by itself.
pub(crate) fn is_document(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(DOCUMENT_HEAD_BYTES)];
    let has = |name: &[u8]| memchr::memmem::find(head, name).is_some();
    let is_object = |line: &[u8]| {
        let (text, _) = readable(line);
        Json::parse(&text).is_some_and(|json| json.entries().next().is_some())
    };
    head.trim_ascii_start().starts_with(b"{")
        && has(b"\"sessionId\"")
        && has(b"\"projectHash\"")
        && !first_lines(bytes).any(is_object)
}

/// The lines that are examined.
fn first_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.trim_ascii().is_empty());
    lines.take(LINES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: CodingAgent) {
        let found = CodingAgent::of_beginning(lines.join("\n").as_bytes());
        assert_eq!(found, expected, "{lines:?}");
        // A file can begin in the middle of a line.
        let cut = [&["t\":\"half a line\"}"], lines].concat().join("\n");
        if lines.first().is_none_or(|line| *line != "{") {
            assert_eq!(CodingAgent::of_beginning(cut.as_bytes()), expected, "{cut}");
        }
    }

    #[test]
    fn the_first_line_with_a_known_shape_decides() {
        use CodingAgent::*;
        for (lines, expected) in [
            (
                &[r#"{"timestamp":"t","type":"session_meta","payload":{}}"#][..],
                Codex,
            ),
            (&[r#"{"type":"world_state","payload":{}}"#], Codex),
            (
                &[r#"{"id":"a","timestamp":"t","instructions":null}"#],
                Codex,
            ),
            (&[r#"{"record_type":"state"}"#], Codex),
            (
                &[r#"{"type":"session.start","data":{},"id":"e","parentId":null}"#],
                Copilot,
            ),
            (&[r#"{"type":"metadata","protocol_version":"1.3"}"#], Kimi),
            (
                &[r#"{"timestamp":1.5,"message":{"type":"TurnBegin","payload":{}}}"#],
                Kimi,
            ),
            (
                &[r#"{"type":"session","id":"a","cwd":"/w","timestamp":"t"}"#],
                Pi,
            ),
            (&[r#"{"type":"title","v":1,"pad":"  "}"#], Pi),
            (
                &[r#"{"type":"message","id":"a","message":{"role":"user"}}"#],
                Pi,
            ),
            (&[r#"{"sessionId":"a","projectHash":"b"}"#], Gemini),
            (&[r#"{"$set":{"summary":"s"}}"#], Gemini),
            (&[r#"{"$rewindTo":"a"}"#], Gemini),
            (&[r#"{"type":"gemini","id":"a","content":""}"#], Gemini),
            (
                &[
                    "{",
                    r#"  "sessionId": "a","#,
                    r#"  "projectHash": "b","#,
                    r#"  "messages": ["#,
                ],
                Gemini,
            ),
            // An empty object on a line of its own says nothing.
            (
                &[
                    "{",
                    r#"  "sessionId": "a","#,
                    r#"  "projectHash": "b","#,
                    r#"  "messages": ["#,
                    "    {}",
                    "  ]",
                    "}",
                ],
                Gemini,
            ),
            (
                &[r#"{"type":"user","sessionId":"a","message":{"role":"user","parts":[]}}"#],
                Qwen,
            ),
            (
                &[r#"{"type":"system","sessionId":"a","systemPayload":{}}"#],
                Qwen,
            ),
            (
                &[r#"{"type":"assistant","sessionId":"a","usageMetadata":{}}"#],
                Qwen,
            ),
            (
                &[r#"{"type":"user","sessionId":"a","isSidechain":false,"message":{"parts":[]}}"#],
                Claude,
            ),
            (
                &[r#"{"type":"summary","summary":"s","leafUuid":"u"}"#],
                Claude,
            ),
            (
                &[r#"{"type":"file-history-snapshot","messageId":"m"}"#],
                Claude,
            ),
            // Blank lines and objects without a known shape are skipped.
            (
                &[
                    "",
                    r#"{"a":1}"#,
                    " ",
                    r#"{"type":"turn_context","payload":{}}"#,
                ],
                Codex,
            ),
            // The first decides.
            (
                &[
                    r#"{"type":"user","sessionId":"a"}"#,
                    r#"{"type":"event_msg","payload":{}}"#,
                ],
                Claude,
            ),
        ] {
            check(lines, expected);
        }
    }

    #[test]
    fn a_file_next_to_sessions_is_unknown() {
        for line in [
            r#"{"session_id":"a","ts":1,"text":"fix it"}"#,
            r#"{"id":"a","thread_name":"n","updated_at":"t"}"#,
            r#"{"role":"_checkpoint","id":0}"#,
            r#"{"sessionId":"a","turns":[],"messages":[]}"#,
            r#"{"type":"usage.record","id":"a"}"#,
        ] {
            check(&[line], CodingAgent::Unknown);
        }
    }

    #[test]
    fn a_file_whose_shape_says_nothing_is_read_as_a_transcript_of_claude() {
        for lines in [
            &[""][..],
            &["not JSON"],
            &["[]", "7", "null", "{}"],
            &[r#"{"type":"user","message":{"role":"user","content":"hi"}}"#],
            &[r#"{"type":"event_msg","payload":7}"#],
            &[r#"{"type":"a.b","data":7,"parentId":null}"#],
            &[r#"{"type":7,"payload":{}}"#],
        ] {
            check(lines, CodingAgent::Claude);
        }
        // Only the first lines count.
        let late = [vec!["{}"; LINES_MAX], vec![r#"{"$rewindTo":"a"}"#]].concat();
        check(&late, CodingAgent::Claude);
    }

    #[test]
    fn names_are_in_order() {
        let names = CodingAgent::ALL.map(CodingAgent::name);
        assert!(names.is_sorted());
    }
}
