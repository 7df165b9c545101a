//! The sessions that the legacy system was tested with, and what they came to there.
//!
//! Parity with BEHAVIOUR.md 8.5 and 10.5, but for its plugin market (Part A, A19). The sessions
//! are told here in the harness's words; `tests/PARITY.md` says which rule is held where.

use serde_json::json;
use session_pipeline_harness::{DataDir, TestPipeline, Transcript};

use super::extract;
use crate::database::{execute, rows};
use crate::guests;

/// Events and session of a transcript, in the columns that the legacy system had too.
fn check(session: &Transcript) -> String {
    let extracted = extract(session);
    let events = extracted.rows(
        "events",
        "event_type tool_name skill_name subagent_type command_name source plugin is_error",
    );
    assert_eq!(extracted.items, events.len() as u64, "an event is an item");
    let session = extracted.text(
        "sessions",
        "username tool_calls tool_errors skill_invocations subagent_dispatches mcp_calls \
         slash_commands distinct_tools distinct_skills active_seconds wall_seconds",
    );
    [events, vec![session]].concat().join("\n")
}

fn one_call() -> Transcript {
    Transcript::new("s1")
        .user("list the files")
        .assistant(|m| m.tool_with("Bash", json!({ "command": "ls" })))
        .tool_result(Ok("README.md"))
        .assistant(|m| m.text("There is one."))
}

#[test]
fn one_call_of_a_tool() {
    insta::assert_snapshot!(check(&one_call()), @"
    tool_use | Bash | - | - | - | builtin | - | false
    ada | 1 | 0 | 0 | 0 | 0 | 0 | 1 | 0 | 3 | 3
    ");
}

#[test]
fn one_call_of_an_mcp_server() {
    let session = Transcript::new("s1")
        .user("open an issue")
        .assistant(|m| m.tool("mcp__github__create_issue"));
    insta::assert_snapshot!(check(&session), @"
    mcp_call | mcp__github__create_issue | - | - | - | mcp | - | false
    ada | 0 | 0 | 0 | 0 | 1 | 0 | 1 | 0 | 1 | 1
    ");
}

#[test]
fn a_skill_of_a_plugin_that_a_command_began() {
    let session = Transcript::new("s1")
        .slash_command("/myplug:my-skill")
        .assistant(|m| m.tool_with("Skill", json!({ "skill": "myplug:my-skill" })));
    insta::assert_snapshot!(check(&session), @"
    slash_command | - | - | - | myplug:my-skill | plugin | myplug | false
    tool_use | Skill | myplug:my-skill | - | - | plugin | myplug | false
    ada | 1 | 0 | 1 | 0 | 0 | 1 | 1 | 1 | 1 | 1
    ");
}

#[test]
fn the_name_of_a_skill_in_the_words_of_older_versions() {
    let session = Transcript::new("s1")
        .assistant(|m| m.tool_with("Skill", json!({ "name": "pdf" })))
        .assistant(|m| m.tool_with("Skill", json!({ "skill": null, "name": "p:docx" })));
    insta::assert_snapshot!(check(&session), @"
    tool_use | Skill | pdf | - | - | builtin | - | false
    tool_use | Skill | p:docx | - | - | plugin | p | false
    ada | 2 | 0 | 2 | 0 | 0 | 0 | 1 | 2 | 1 | 1
    ");
}

#[test]
fn a_command_of_a_plugin() {
    let session = Transcript::new("s1").slash_command("/compound:debug");
    insta::assert_snapshot!(check(&session), @"
    slash_command | - | - | - | compound:debug | plugin | compound | false
    ada | 0 | 0 | 0 | 0 | 0 | 1 | 0 | 0 | 0 | 0
    ");
}

#[test]
fn a_sub_agent_of_a_plugin() {
    let session = Transcript::new("s1")
        .assistant(|m| m.tool_with("Task", json!({ "subagent_type": "myplug:my-agent" })));
    insta::assert_snapshot!(check(&session), @"
    subagent | Task | - | myplug:my-agent | - | plugin | myplug | false
    ada | 0 | 0 | 0 | 1 | 0 | 0 | 1 | 0 | 0 | 0
    ");
}

#[test]
fn a_call_that_fails() {
    let session = Transcript::new("s1")
        .assistant(|m| m.tool("Bash"))
        .tool_result(Err("Exit code 1"));
    insta::assert_snapshot!(check(&session), @"
    tool_use | Bash | - | - | - | builtin | - | true
    ada | 1 | 1 | 0 | 0 | 0 | 0 | 1 | 0 | 1 | 1
    ");
}

/// A dozen turns with an event of every kind, of which one fails.
fn mixed() -> Transcript {
    Transcript::new("s1")
        .slash_command("/myplug:my-skill")
        .assistant(|m| m.tool("Bash"))
        .tool_result(Ok("done"))
        .assistant(|m| m.tool_with("Skill", json!({ "skill": "myplug:my-skill" })))
        .tool_result(Ok("done"))
        .assistant(|m| m.tool("mcp__github__create_issue"))
        .tool_result(Ok("done"))
        .assistant(|m| m.tool_with("Task", json!({ "subagent_type": "myplug:my-agent" })))
        .tool_result(Ok("done"))
        .assistant(|m| m.tool("Bash"))
        .tool_result(Err("Exit code 1"))
        .assistant(|m| m.text("It failed."))
}

#[test]
fn a_session_of_all_kinds() {
    insta::assert_snapshot!(check(&mixed()), @"
    slash_command | - | - | - | myplug:my-skill | plugin | myplug | false
    tool_use | Bash | - | - | - | builtin | - | false
    tool_use | Skill | myplug:my-skill | - | - | plugin | myplug | false
    mcp_call | mcp__github__create_issue | - | - | - | mcp | - | false
    subagent | Task | - | myplug:my-agent | - | plugin | myplug | false
    tool_use | Bash | - | - | - | builtin | - | true
    ada | 3 | 1 | 1 | 1 | 1 | 1 | 4 | 1 | 11 | 11
    ");
}

#[test]
fn a_session_in_which_nobody_spoke() {
    let session = Transcript::new("s1")
        .entry(
            "system",
            json!({ "subtype": "informational", "content": "hello" }),
        )
        .entry(
            "system",
            json!({ "subtype": "turn_duration", "durationMs": 12 }),
        )
        .summary("Nothing happened");
    insta::assert_snapshot!(check(&session), @"ada | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 1 | 1");
}

#[test]
fn two_calls_of_one_turn_are_two_events() {
    let content = json!([
        { "type": "tool_use", "id": "t1", "name": "Bash", "input": {} },
        { "type": "tool_use", "id": "t2", "name": "Bash", "input": {} },
    ]);
    let session = Transcript::new("s1").entry(
        "assistant",
        json!({ "message": { "role": "assistant", "content": content } }),
    );
    let events = extract(session).rows("events", "event_uuid tool_id tool_name");
    let [first, second] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_ne!(first, second);
    let uuid = |row: &str| row.split(" | ").next().map(str::to_owned);
    assert_eq!(uuid(first), uuid(second), "of one line");
}

#[test]
fn only_a_result_that_says_so_is_a_failure() {
    let result = |is_error| {
        let block = json!({
            "type": "tool_result", "tool_use_id": "t1", "is_error": is_error, "content": "x",
        });
        let session = Transcript::new("s1")
            .assistant(|m| m.tool_use("t1", "Bash", json!({})))
            .user_content(json!([block]));
        extract(session).text("events", "is_error")
    };
    assert_eq!(result(json!(true)), "true");
    assert_eq!(result(json!(false)), "false");
    assert_eq!(result(json!(null)), "false");
}

#[test]
fn to_process_a_session_again_doubles_nothing() {
    for session in [one_call(), mixed()] {
        let dir = DataDir::new();
        dir.write("ada/one.jsonl", &session);
        let run = || {
            let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
            let stats = pipeline.run("usage").stats;
            assert_eq!((stats.processed, stats.errors), (1, 0));
            drop(pipeline);
            ["events", "messages", "sessions"].map(|table| {
                let sql = format!(
                    "SELECT COLUMNS(name -> name NOT IN ('session_seq', 'recorded_at', 'first_run')) FROM usage.{table} ORDER BY ALL"
                );
                rows(&dir, &sql)
            })
        };
        let once = run();
        execute(&dir, "UPDATE session_processor_state SET due = true");
        assert_eq!(run(), once);
    }
}
