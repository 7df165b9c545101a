//! Sub-agents: wherever an agent leaves what they did, it counts, and once.

use serde_json::{Value, json};
use session_pipeline_harness::{DataDir, TestPipeline, Transcript};

use super::{HAIKU, OPUS, extract};
use crate::database::rows;
use crate::guests;

/// The answer of a sub-agent, as progress reports it, at the end of so many agents.
fn reported(depth: usize, id: &str) -> Value {
    let answer = json!({
        "type": "assistant",
        "uuid": format!("uuid-of-{id}"),
        "requestId": format!("req-of-{id}"),
        "message": {
            "id": id, "model": HAIKU, "stop_reason": "end_turn",
            "usage": { "input_tokens": 3, "output_tokens": 4 },
            "content": [{ "type": "tool_use", "id": format!("tool-of-{id}"), "name": "Grep", "input": {} }],
        },
    });
    (1..depth).fold(answer, |inner, _| {
        json!({ "type": "progress", "data": { "type": "agent_progress", "message": inner } })
    })
}

fn progress(session: Transcript, kind: &str, inner: &Value) -> Transcript {
    session.entry(
        "progress",
        json!({ "data": { "type": kind, "message": inner } }),
    )
}

#[test]
fn a_report_counts_however_many_agents_it_comes_through() {
    let session = (1..=4).fold(Transcript::new("s1"), |session, depth| {
        progress(
            session,
            "agent_progress",
            &reported(depth, &format!("m{depth}")),
        )
    });
    let extracted = extract(session);
    assert_eq!(
        extracted.rows("messages", "line message_id input_tokens is_sidechain"),
        [
            "1 | m1 | 3 | true",
            "2 | m2 | 3 | true",
            "3 | m3 | 3 | true",
            "4 | m4 | 3 | true"
        ]
    );
    assert_eq!(
        extracted.rows("events", "line event_uuid tool_name model is_sidechain"),
        [1, 2, 3, 4]
            .map(|depth| format!("{depth} | uuid-of-m{depth} | Grep | {HAIKU} | true"))
            .to_vec()
    );
}

#[test]
fn what_is_nested_in_progress_of_another_kind_is_no_report() {
    let session = progress(Transcript::new("s1"), "hook_progress", &reported(2, "m1"));
    assert!(extract(session).rows("messages", "line").is_empty());
}

#[test]
fn usage_that_can_not_be_read_makes_a_bad_line_at_any_depth() {
    for depth in 1..=3 {
        let text = reported(depth, "m1").to_string();
        let broken: Value =
            serde_json::from_str(&text.replace("\"input_tokens\":3", "\"input_tokens\":-3"))
                .unwrap();
        let extracted = extract(progress(Transcript::new("s1"), "agent_progress", &broken));
        assert_eq!(
            extracted.rows("sessions", "lines bad_lines messages output_tokens"),
            ["1 | 1 | 1 | 4"],
            "at depth {depth}"
        );
    }
}

#[test]
fn a_call_of_a_sub_agent_fails_by_the_result_that_progress_reports() {
    let result =
        |inner: Value| json!({ "type": "user", "message": { "role": "user", "content": [inner] } });
    let failed = result(json!({
        "type": "tool_result", "tool_use_id": "tool-of-m1", "is_error": true,
        "content": [{ "type": "text", "text": "Exit code 2" }],
    }));
    let session = progress(Transcript::new("s1"), "agent_progress", &reported(1, "m1"));
    let extracted = extract(progress(session, "agent_progress", &failed));
    assert_eq!(
        extracted.rows("events", "tool_name is_error error_class"),
        ["Grep | true | exit_code"]
    );
    assert_eq!(
        extracted.rows("sessions", "tool_results prompts"),
        ["0 | 0"]
    );
}

/// One message of a sub-agent of session `s1`.
fn agents(id: &str) -> Transcript {
    Transcript::new("s1")
        .sidechain(id)
        .assistant(|m| m.id(&format!("msg-of-{id}")).model(HAIKU).tool("Read"))
}

#[test]
fn the_file_of_a_sub_agent_is_found_in_every_layout_and_a_journal_is_no_transcript() {
    let dir = DataDir::new();
    dir.write(
        "ada/s1.jsonl",
        Transcript::new("s1").assistant(|m| m.tool("Task")),
    );
    dir.write("ada/agent-flat.jsonl", agents("flat"));
    dir.write("ada/s1/subagents/agent-nested.jsonl", agents("nested"));
    dir.write(
        "ada/s1/subagents/workflows/wf_1/agent-deep.jsonl",
        agents("deep"),
    );
    // It repeats what agents returned: whatever stands in it stands in their own files too.
    dir.write(
        "ada/s1/subagents/workflows/wf_1/journal.jsonl",
        Transcript::new("s1")
            .line(&json!({ "type": "started", "agentId": "deep" }))
            .assistant(|m| m.id("msg-of-journal").tool("Bash")),
    );
    // Only beside sub-agents is it one: a person may call a session so.
    dir.write(
        "bob/journal.jsonl",
        Transcript::new("s2").assistant(|m| m.id("msg-of-bob")),
    );

    let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
    let stats = pipeline.run("usage").stats;
    assert_eq!((stats.processed, stats.errors), (6, 0));
    let again = pipeline.run("usage");
    assert_eq!(again.opens, 0, "the journal is done with, too");
    drop(pipeline);

    let sessions = rows(
        &dir,
        "SELECT session_file, session_id, is_sidechain, messages, tool_calls
         FROM usage.sessions ORDER BY session_file",
    );
    insta::assert_snapshot!(sessions.join("\n"), @"
    ada/agent-flat.jsonl | s1 | true | 1 | 1
    ada/s1.jsonl | s1 | false | 1 | 0
    ada/s1/subagents/agent-nested.jsonl | s1 | true | 1 | 1
    ada/s1/subagents/workflows/wf_1/agent-deep.jsonl | s1 | true | 1 | 1
    bob/journal.jsonl | s2 | false | 1 | 0
    ");
    let of_journal = "SELECT 1 FROM usage.messages WHERE message_id = 'msg-of-journal'
        UNION ALL SELECT 1 FROM usage.events WHERE session_file LIKE '%/wf_1/journal.jsonl'";
    assert!(rows(&dir, of_journal).is_empty());
}

#[test]
fn a_file_is_a_sub_agents_if_all_that_is_said_in_it_is() {
    let is_sidechain = |session: Transcript| extract(session).text("sessions", "is_sidechain");
    assert_eq!(is_sidechain(agents("a1").user("look there")), "true");
    assert_eq!(is_sidechain(Transcript::new("s1").user("hello")), "false");
    assert_eq!(
        is_sidechain(Transcript::new("s1").summary("Nobody spoke")),
        "false"
    );
    // A replay within a conversation is no sub-agent's file.
    let replay = Transcript::new("s1")
        .user("hello")
        .sidechain("a1")
        .user("look around");
    assert_eq!(is_sidechain(replay), "false");
}

#[test]
fn a_chatty_sub_agent_does_not_decide_the_model_of_a_conversation() {
    let chatty = (0..5).fold(
        Transcript::new("s1").assistant(|m| m.model(OPUS)),
        |session, _| session.progress(|m| m.model(HAIKU)),
    );
    assert_eq!(extract(chatty).text("sessions", "primary_model"), OPUS);
    // In its own file it is all there is.
    assert_eq!(
        extract(agents("a1")).text("sessions", "primary_model"),
        HAIKU
    );
}

#[test]
fn the_source_of_a_call_is_its_name_and_not_what_sticks_to_the_turn() {
    let attributed = json!({
        "message": { "role": "assistant", "content": [
            { "type": "tool_use", "id": "t1", "name": "Bash", "input": {} },
            { "type": "tool_use", "id": "t2", "name": "mcp__github__search", "input": {} },
        ] },
        "attributionSkill": "plug:pdf", "attributionPlugin": "plug", "attributionMcpServer": "jira",
    });
    let session = Transcript::new("s1").entry("assistant", attributed);
    assert_eq!(
        extract(session).rows("events", "tool_name skill_name plugin mcp_server source"),
        [
            "Bash | - | - | - | builtin",
            "mcp__github__search | - | - | github | mcp"
        ]
    );
}
