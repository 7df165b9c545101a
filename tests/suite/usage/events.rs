//! Calls, commands and prompts.

use serde_json::json;
use session_pipeline_harness::Transcript;

use super::extract;

#[test]
fn every_kind_of_call_has_its_name_and_its_source() {
    let session = Transcript::new("s1").assistant(|m| {
        m.tool("Bash")
            .tool_with("Skill", json!({ "skill": "pdf" }))
            .tool_with("Skill", json!({ "skill": "plug:pdf" }))
            .tool_with("Task", json!({ "subagent_type": "plug:explorer" }))
            .tool_with("Agent", json!({ "prompt": "look around" }))
            .tool("mcp__github__create_issue")
            .tool("mcp__one__two__three")
    });
    let events = extract(session).text(
        "events",
        "event_type tool_name skill_name subagent_type plugin mcp_server source",
    );
    insta::assert_snapshot!(events, @"
    tool_use | Bash | - | - | - | - | builtin
    tool_use | Skill | pdf | - | - | - | builtin
    tool_use | Skill | plug:pdf | - | plug | - | plugin
    subagent | Task | - | plug:explorer | plug | - | plugin
    subagent | Agent | - | Agent | - | - | builtin
    mcp_call | mcp__github__create_issue | - | - | - | github | mcp
    mcp_call | mcp__one__two__three | - | - | - | one | mcp
    ");
}

#[test]
fn the_counts_of_a_session_are_those_of_its_events() {
    let session = Transcript::new("s1")
        .slash_command("/review")
        .assistant(|m| {
            m.tool("Bash")
                .tool("Bash")
                .tool_with("Skill", json!({ "skill": "pdf" }))
                .tool_with("Skill", json!({ "skill": "pdf" }))
                .tool_with("Task", json!({ "subagent_type": "Explore" }))
                .tool("mcp__github__create_issue")
        });
    let extracted = extract(session.tool_result(Err("Exit code 1")));
    assert_eq!(extracted.items, 7);
    assert_eq!(
        extracted.rows(
            "sessions",
            "tool_calls tool_errors skill_invocations subagent_dispatches mcp_calls slash_commands distinct_tools distinct_skills"
        ),
        ["4 | 1 | 2 | 1 | 1 | 1 | 4 | 1"]
    );
}

/// How a call failed, by what its result says.
fn error_class(result: &str) -> String {
    let session = Transcript::new("s1")
        .assistant(|m| m.tool("Bash"))
        .tool_result(Err(result));
    extract(session).text("events", "is_error error_class")
}

#[test]
fn a_failed_call_has_a_class() {
    assert_eq!(error_class("Exit code 2\nno such file"), "true | exit_code");
    assert_eq!(
        error_class("<tool_use_error>File does not exist.</tool_use_error>"),
        "true | file_not_found"
    );
    assert_eq!(
        error_class("<tool_use_error>Sibling tool call errored</tool_use_error>"),
        "true | sibling_failed"
    );
    assert_eq!(
        error_class("<tool_use_error>Cancelled: parallel tool call Bash errored</tool_use_error>"),
        "true | sibling_failed"
    );
    let rejected = "The user doesn't want to proceed with this tool use. The tool use was rejected";
    assert_eq!(error_class(rejected), "true | rejected");
    assert_eq!(
        error_class("[Request interrupted by user for tool use]"),
        "true | rejected"
    );
    assert_eq!(error_class("connection refused"), "true | tool_error");
    let fine = Transcript::new("s1")
        .assistant(|m| m.tool("Bash"))
        .tool_result(Ok("Exit code 1"));
    assert_eq!(
        extract(fine).text("events", "is_error error_class"),
        "false | -"
    );
}

#[test]
fn a_result_may_stand_anywhere_and_on_a_line_of_its_own() {
    let session = Transcript::new("s1")
        .tool_result_of("toolu_00000000000000000001", Err("Exit code 1"))
        .assistant(|m| {
            m.tool_use("toolu_00000000000000000001", "Bash", json!({}))
                .tool_use("toolu_00000000000000000002", "Bash", json!({}))
        })
        .entry(
            "tool_use_result",
            json!({ "toolUseId": "toolu_00000000000000000002", "is_error": true }),
        );
    assert_eq!(
        extract(session).rows("events", "tool_id is_error"),
        [
            "toolu_00000000000000000001 | true",
            "toolu_00000000000000000002 | true"
        ]
    );
}

#[test]
fn of_two_results_of_a_call_the_first_failure_says_how() {
    let session = Transcript::new("s1")
        .assistant(|m| m.tool_use("toolu_00000000000000000001", "Bash", json!({})))
        .tool_result_of("toolu_00000000000000000001", Ok("so far so good"))
        .tool_result_of("toolu_00000000000000000001", Err("Exit code 1"))
        .tool_result_of("toolu_00000000000000000001", Err("connection refused"));
    assert_eq!(
        extract(session).rows("events", "is_error error_class"),
        ["true | exit_code"]
    );
}

#[test]
fn a_call_before_the_first_readable_time_has_that_time() {
    let call = json!([{ "type": "tool_use", "id": "t1", "name": "Bash", "input": {} }]);
    let session = Transcript::new("s1")
        .entry(
            "assistant",
            json!({ "timestamp": null, "message": { "content": call } }),
        )
        .user("a second later");
    assert_eq!(
        extract(session).rows("events", "line occurred_at"),
        ["1 | 2026-01-05T09:00:01Z"]
    );
}

#[test]
fn a_call_of_a_skill_that_names_none_is_a_call_and_no_skill() {
    let session = Transcript::new("s1").assistant(|m| m.tool_with("Skill", json!({ "skill": 7 })));
    assert_eq!(
        extract(session).rows("sessions", "tool_calls skill_invocations distinct_skills"),
        ["1 | 0 | 0"]
    );
}

/// Long enough to be unique by itself.
const TOOL_ID: &str = "toolu_00000000000000000001";

#[test]
fn a_call_counts_once_however_often_its_line_is_repeated() {
    let call = |session: Transcript| session.assistant(|m| m.tool_use(TOOL_ID, "Bash", json!({})));
    let extracted = extract(call(call(Transcript::new("s1"))));
    assert_eq!(
        extracted.rows("events", "line tool_id"),
        [format!("1 | {TOOL_ID}")]
    );
}

#[test]
fn a_null_in_a_tools_input_drops_nothing() {
    let session = Transcript::new("s1").assistant(|m| {
        m.tool_use(
            "t1",
            "Bash",
            json!({ "id": null, "cwd": null, "timeout": null }),
        )
    });
    let extracted = extract(session);
    assert_eq!(extracted.rows("events", "tool_name"), ["Bash"]);
    assert_eq!(extracted.rows("messages", "input_tokens"), ["10"]);
}

/// The commands of a user text.
fn commands(text: &str) -> Vec<String> {
    extract(Transcript::new("s1").user(text))
        .rows("events", "event_type command_name plugin source")
}

#[test]
fn a_text_that_begins_with_a_tag_is_a_command_and_prose_that_quotes_one_is_not() {
    let clear = ["slash_command | clear | - | builtin"];
    assert_eq!(commands("<command-name>/clear</command-name>"), clear);
    assert_eq!(
        commands(
            "<command-message>p:run is running</command-message>\n<command-name>/p:run</command-name>"
        ),
        ["slash_command | p:run | p | plugin"]
    );
    assert!(commands("why did <command-name>/clear</command-name> not work?").is_empty());
    assert!(commands("/clear").is_empty());
    assert!(commands("<command-name>clear</command-name>").is_empty());
}

#[test]
fn a_command_in_a_block_of_text_counts_too() {
    let blocks = json!([
        { "type": "text", "text": "<command-name>/a</command-name>\n<command-name>/b</command-name>" },
        { "type": "text", "text": "and then <command-name>/c</command-name>" },
    ]);
    assert_eq!(
        extract(Transcript::new("s1").user_content(blocks)).rows("events", "command_name"),
        ["a", "b"],
        "one for every tag of a text that begins with one"
    );
}

#[test]
fn a_command_that_the_agent_answers_itself_counts_too() {
    let extracted = extract(Transcript::new("s1").local_command("/cost"));
    assert_eq!(
        extracted.rows("events", "event_type command_name"),
        ["slash_command | cost"]
    );
    let other = Transcript::new("s1").entry(
        "system",
        json!({ "subtype": "informational", "content": "<command-name>/cost</command-name>" }),
    );
    assert!(extract(other).rows("events", "line").is_empty());
}

/// Prompts, user messages and results of a session.
fn spoken(session: Transcript) -> String {
    extract(session).text("sessions", "prompts user_messages tool_results")
}

#[test]
fn what_a_person_types_is_a_prompt() {
    assert_eq!(
        spoken(Transcript::new("s1").user("fix the test")),
        "1 | 1 | 0"
    );
    let blocks =
        json!([{ "type": "image", "source": {} }, { "type": "text", "text": "like this" }]);
    assert_eq!(
        spoken(Transcript::new("s1").user_content(blocks)),
        "1 | 1 | 0"
    );
    let typed = json!({ "message": { "content": "go on" }, "promptSource": "typed" });
    assert_eq!(
        spoken(Transcript::new("s1").entry("user", typed)),
        "1 | 1 | 0"
    );
}

#[test]
fn what_the_agent_writes_in_the_users_name_is_none() {
    for text in [
        "<command-name>/clear</command-name>",
        "<local-command-stdout>done</local-command-stdout>",
        "Caveat: The messages below were generated by the user while running local commands. DO NOT respond",
        "[Request interrupted by user]",
        "This session is being continued from a previous conversation that ran out of context.",
        "   ",
    ] {
        assert_eq!(
            spoken(Transcript::new("s1").user(text)),
            "0 | 1 | 0",
            "{text}"
        );
    }
    assert_eq!(
        spoken(Transcript::new("s1").meta("a reminder")),
        "0 | 1 | 0"
    );
    for members in [
        json!({ "message": { "content": "so far" }, "isCompactSummary": true }),
        json!({ "message": { "content": "3 files" }, "toolUseResult": { "count": 3 } }),
        json!({ "message": { "content": "do it" }, "promptSource": "sdk" }),
        json!({ "message": { "content": "do it" }, "promptSource": "system" }),
        json!({ "message": { "content": "do it" }, "origin": { "kind": "task-notification" } }),
    ] {
        assert_eq!(
            spoken(Transcript::new("s1").entry("user", members.clone())),
            "0 | 1 | 0",
            "{members}"
        );
    }
    assert_eq!(
        spoken(Transcript::new("s1").sidechain("a1").user("look around")),
        "0 | 1 | 0"
    );
}

#[test]
fn the_result_of_a_tool_is_neither_a_prompt_nor_a_message() {
    let session = Transcript::new("s1")
        .assistant(|m| m.tool("Bash"))
        .tool_result(Ok("done"));
    assert_eq!(spoken(session), "0 | 0 | 1");
}
