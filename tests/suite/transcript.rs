//! Transcripts: real files through the real routes, and their rendering as HTML.

pub mod agents;
mod files;
mod growth;
mod html;
mod secrets;
mod shapes;

use serde_json::{Value, json};
use session_pipeline::body::transcript::{TranscriptBody, TranscriptMarksBody, TranscriptPartBody};
use session_pipeline_harness::DataDir;
use session_pipeline_harness::session::Transcript;
use session_pipeline_pipeline::transcript::{
    CallOutcome, EntryPart, ToolCall, TranscriptEntry, UnreadableReason,
};

use crate::http::TestServer;

const KEY: &str = "ada/one.jsonl";

/// Percent-encodes a value of a query.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn fetch(server: &TestServer, path: &str) -> Vec<u8> {
    let response = server.get(path);
    assert_eq!(response.status, 200, "{path}: {response:?}");
    response.body
}

fn page(server: &TestServer, key: &str, after: u64, limit: u32) -> TranscriptBody {
    let key = encoded(key);
    let path = format!("/api/admin/transcript?session={key}&after={after}&limit={limit}");
    serde_json::from_slice(&fetch(server, &path)).unwrap()
}

fn whole(server: &TestServer, key: &str) -> TranscriptBody {
    page(server, key, 0, 1000)
}

fn part(server: &TestServer, key: &str, line: u64, part: u32) -> TranscriptPartBody {
    let key = encoded(key);
    let path = format!("/api/admin/transcript/entry?session={key}&line={line}&part={part}");
    serde_json::from_slice(&fetch(server, &path)).unwrap()
}

fn marks(server: &TestServer, key: &str) -> TranscriptMarksBody {
    let key = encoded(key);
    let path = format!("/api/admin/transcript/marks?session={key}");
    serde_json::from_slice(&fetch(server, &path)).unwrap()
}

fn session() -> Transcript {
    Transcript::new("one")
}

/// The only tool call of an entry.
fn call(entry: &TranscriptEntry) -> &ToolCall {
    match &entry.parts[..] {
        [EntryPart::ToolCall(call)] => call,
        parts => panic!("not one call: {parts:?}"),
    }
}

/// A short description of each part of an entry.
fn kinds(entry: &TranscriptEntry) -> Vec<String> {
    let kinds = entry.parts.iter().map(|part| match part {
        EntryPart::Prompt { command, text } => {
            format!("prompt {}{}", command.as_deref().unwrap_or(""), text.text)
        }
        EntryPart::Response { text } => format!("response {}", text.text),
        EntryPart::Thinking { text } => format!("thinking {}", text.text),
        EntryPart::ToolCall(call) => format!("call {} {:?}", call.name, call.outcome),
        EntryPart::ToolResult { call_line, .. } => format!("result of {call_line:?}"),
        EntryPart::Compaction { trigger, text, .. } => {
            format!(
                "compaction {} {}",
                trigger.as_deref().unwrap_or("-"),
                text.text
            )
        }
        EntryPart::ApiError { status, text } => format!("api error {status:?} {}", text.text),
        EntryPart::Notice { name, text } => format!("notice {name}: {}", text.text),
        EntryPart::Other { name, .. } => format!("other {name}"),
        EntryPart::Unreadable { reason, text } => format!("unreadable {reason:?} {}", text.text),
    });
    kinds.collect()
}

#[test]
fn every_kind_of_line_is_an_entry() {
    let dir = DataDir::new();
    let transcript = session()
        .user("fix the\ntest")
        .slash_command("/review the last commit")
        .meta("a caveat")
        .assistant(|message| message.thinking("hm").text("**yes**"))
        .assistant(|message| message.tool_with("Bash", json!({ "command": "ls\n-l" })))
        .tool_result(Ok("a.rs"))
        .assistant(|message| message.tool("Read"))
        .tool_result(Err("no such file"))
        .assistant(|message| message.tool("Write"))
        .tool_result(Err("The user doesn't want to proceed with this tool use."))
        .assistant(|message| message.tool("Bash"))
        .entry(
            "system",
            json!({ "subtype": "compact_boundary", "content": "Conversation compacted",
                    "compactMetadata": { "trigger": "auto", "preTokens": 155_000 } }),
        )
        .entry(
            "system",
            json!({ "subtype": "api_error", "error": { "status": 529, "message": "overloaded" } }),
        )
        .entry(
            "system",
            json!({ "subtype": "info", "content": "a hook ran" }),
        )
        .line(&json!({ "type": "file-history-snapshot", "files": [] }))
        .raw_line("not json")
        .raw_line("")
        .line(&json!([1]));
    dir.write(KEY, &transcript);
    let server = TestServer::start(&dir, &[]);
    let body = whole(&server, KEY);
    let lines: Vec<String> = body
        .entries
        .iter()
        .map(|entry| format!("{}: {}", entry.line, kinds(entry).join(" + ")))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
1: prompt fix the
test
2: prompt /reviewthe last commit
3: notice meta: a caveat
4: thinking hm
5: response **yes**
6: call Bash Ok
7: result of Some(6)
8: call Read Error
9: result of Some(8)
10: call Write Rejected
11: result of Some(10)
12: call Bash Pending
13: compaction auto Conversation compacted
14: api error Some(529) message: overloaded
status: 529
15: notice info: a hook ran
16: other file-history-snapshot
17: unreadable Invalid not json
18: 
19: unreadable Invalid [1]
");
    assert_eq!(body.session, KEY);
    assert_eq!((body.lines, body.next), (19, None));
    assert_eq!(body.bytes, transcript.bytes().len() as u64);
    let first = &body.entries[0];
    assert_eq!(first.time.as_deref(), Some("2026-01-05T09:00:00Z"));
    assert!(first.uuid.is_some() && first.parent.is_none());
    assert_eq!(body.entries[1].parent, first.uuid);
    let response = body.entries[3].response.as_ref().unwrap();
    assert_eq!(response.model.as_deref(), Some("claude-opus-4-5-20251101"));
    assert_eq!(response.tokens.unwrap().output, 5);
    let bash = call(&body.entries[5]);
    assert_eq!(
        (bash.summary.as_str(), bash.duration_ms),
        ("ls", Some(1000))
    );
    assert_eq!(bash.input.text, "command:\nls\n-l");
    assert_eq!(bash.result.as_ref().unwrap().text, "a.rs");
    assert_eq!(bash.result.as_ref().unwrap().line, 7);
}

#[test]
fn a_result_is_joined_to_its_call_on_an_earlier_page() {
    let dir = DataDir::new();
    let mut transcript =
        session().assistant(|message| message.tool_use("toolu_a", "Bash", json!({})));
    for _ in 0..500 {
        transcript = transcript.entry("progress", json!({ "data": { "type": "bash_progress" } }));
    }
    dir.write(KEY, transcript.tool_result_of("toolu_a", Err("late")));
    let server = TestServer::start(&dir, &[]);
    let first = page(&server, KEY, 0, 1);
    let found = call(&first.entries[0]);
    assert_eq!(found.outcome, CallOutcome::Error);
    let result = found.result.as_ref().unwrap();
    assert_eq!((result.text.as_str(), result.line), ("late", 502));
    let last = page(&server, KEY, 501, 1);
    assert_eq!(kinds(&last.entries[0]), ["result of Some(1)"]);
    assert_eq!(marks(&server, KEY).errors.lines, [1]);
}

#[test]
fn sub_agents_are_linked_to_their_transcripts_and_nested_where_they_were_started() {
    let dir = DataDir::new();
    let start = |transcript: Transcript, agent: &str| {
        let input = json!({ "subagent_type": "Explore", "prompt": "look" });
        let transcript = transcript
            .assistant(|message| message.tool_use(&format!("toolu_{agent}"), "Task", input))
            .progress(|message| message.text("looking"));
        let result = json!({ "type": "tool_result", "tool_use_id": format!("toolu_{agent}"), "content": "done" });
        transcript.entry(
            "user",
            json!({ "message": { "content": [result] }, "toolUseResult": { "agentId": agent } }),
        )
    };
    let transcript = start(start(session(), "a1"), "a2");
    dir.write(KEY, transcript.sidechain("a3").user("an old sidechain"));
    dir.write(
        "ada/one/subagents/agent-a1.jsonl",
        Transcript::new("one").sidechain("a1").user("look"),
    );
    let server = TestServer::start(&dir, &[]);
    let body = whole(&server, KEY);
    let agent = |line: usize| call(&body.entries[line]).sub_agent.clone().unwrap();
    let started = agent(0);
    assert_eq!(started.agent_type.as_deref(), Some("Explore"));
    assert_eq!(
        started.session.as_deref(),
        Some("ada/one/subagents/agent-a1.jsonl")
    );
    assert_eq!(agent(3).session, None);
    let nested = body.entries[1].sub_agent.as_ref().unwrap();
    assert_eq!(nested.call_line, Some(1));
    assert_eq!(kinds(&body.entries[1]), ["response looking"]);
    let old = body.entries[6].sub_agent.as_ref().unwrap();
    assert_eq!(old.agent_id.as_deref(), Some("a3"));
    // In its own transcript, a sub-agent is the main conversation.
    let own = whole(&server, "ada/one/subagents/agent-a1.jsonl");
    assert_eq!(own.entries[0].sub_agent, None);
    let marks = marks(&server, KEY);
    assert_eq!(marks.sub_agents.lines, [1, 4]);
    assert_eq!(marks.prompts.lines, [0; 0]);
}

#[test]
fn marks_are_bounded_and_counted() {
    let dir = DataDir::new();
    let mut transcript = session();
    for number in 0..2100 {
        transcript = transcript.user(&format!("prompt {number}"));
    }
    let transcript = transcript
        .entry(
            "system",
            json!({ "subtype": "compact_boundary", "content": "x" }),
        )
        .entry(
            "assistant",
            json!({ "isApiErrorMessage": true, "message": { "content": "x" } }),
        );
    dir.write(KEY, transcript);
    let server = TestServer::start(&dir, &[]);
    let marks = marks(&server, KEY);
    assert_eq!(
        (marks.prompts.lines.len(), marks.prompts.total),
        (2000, 2100)
    );
    assert_eq!(marks.prompts.lines[..3], [1, 2, 3]);
    assert_eq!(marks.compactions.lines, [2101]);
    assert_eq!(marks.errors.lines, [2102]);
}

#[test]
fn long_texts_are_truncated_and_returned_whole_on_request() {
    let dir = DataDir::new();
    let long = "äöü ".repeat(5000);
    let huge = "line\n".repeat(600_000);
    let transcript = session()
        .user(&long)
        .assistant(|message| message.tool_with("Write", json!({ "content": long })))
        .tool_result(Ok(&huge));
    dir.write(KEY, transcript);
    let server = TestServer::start(&dir, &[]);
    let body = whole(&server, KEY);
    let EntryPart::Prompt { text, .. } = &body.entries[0].parts[0] else {
        panic!("{body:?}");
    };
    assert_eq!(text.text.chars().count(), 4000);
    assert!(text.is_truncated && long.starts_with(&text.text));
    assert_eq!(text.bytes, long.len() as u64);
    let prompt = part(&server, KEY, text.line, text.part);
    assert_eq!(prompt.kind, "prompt");
    assert_eq!(
        (prompt.text.text.as_str(), prompt.text.is_truncated),
        (long.as_str(), false)
    );
    let call = call(&body.entries[1]);
    let input = part(&server, KEY, call.input.line, call.input.part);
    assert_eq!(input.text.text, format!("content: {long}"));
    let result = call.result.as_ref().unwrap();
    assert_eq!(result.bytes, huge.len() as u64);
    let result = part(&server, KEY, result.line, result.part);
    assert_eq!(result.kind, "tool_result");
    assert!(result.text.is_truncated && huge.starts_with(&result.text.text));
    assert!((2_000_000..=2 << 20).contains(&result.text.text.len()));
}

#[test]
fn a_part_that_does_not_exist_is_not_found() {
    let dir = DataDir::new();
    dir.write(KEY, session().user("x"));
    let server = TestServer::start(&dir, &[]);
    for query in ["line=1&part=1", "line=2", "line=0", "line=9007199254740991"] {
        let path = format!("/api/admin/transcript/entry?session={KEY}&{query}");
        assert_eq!(server.get(&path).status, 404, "{query}");
    }
    for path in [
        "entry?session=ada/one.jsonl&line=9007199254740992",
        "entry?session=ada/one.jsonl&line=1&part=4294967296",
        "entry?session=ada/one.jsonl&line=-1",
        "entry?session=ada/one.jsonl",
        "marks",
        "marks?session=a&session=b",
    ] {
        let response = server.get(&format!("/api/admin/transcript/{path}"));
        assert_eq!(response.status, 422, "{path}: {response:?}");
    }
    let after = format!("/api/admin/transcript?session={KEY}&after=9007199254740991");
    assert_eq!(server.get(&after).json()["entries"], json!([]));
    let limit = format!("/api/admin/transcript?session={KEY}&limit=0");
    assert_eq!(server.get(&limit).status, 422);
}

#[test]
fn the_last_line_can_be_incomplete() {
    let dir = DataDir::new();
    let beginning = r#"{"type":"user","message":{"content":"go"#;
    dir.write(KEY, session().user("x").partial_line(beginning));
    let server = TestServer::start(&dir, &[]);
    let body = whole(&server, KEY);
    assert_eq!(body.lines, 2);
    let [EntryPart::Unreadable { reason, text }] = &body.entries[1].parts[..] else {
        panic!("{body:?}");
    };
    assert_eq!(
        (*reason, text.text.as_str()),
        (UnreadableReason::Incomplete, beginning)
    );
    // A last line without a line break can be complete as well.
    dir.append(KEY, " on\"}}");
    assert_eq!(kinds(&whole(&server, KEY).entries[1]), ["prompt go on"]);
    assert_eq!(marks(&server, KEY).prompts.lines, [1, 2]);
    dir.append(KEY, "\n");
    assert_eq!(whole(&server, KEY).entries.len(), 2);
    assert_eq!(marks(&server, KEY).prompts.lines, [1, 2]);
}

/// The entries without results, which can be written later.
fn without_results(entries: &[TranscriptEntry]) -> Value {
    let mut entries = entries.to_vec();
    for part in entries.iter_mut().flat_map(|entry| &mut entry.parts) {
        if let EntryPart::ToolCall(call) = part {
            call.outcome = CallOutcome::Pending;
            call.duration_ms = None;
            call.result = None;
            if let Some(agent) = &mut call.sub_agent {
                (agent.agent_id, agent.session) = (None, None);
            }
        }
    }
    serde_json::to_value(entries).unwrap()
}
