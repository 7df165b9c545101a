//! Every column of the three tables, each filled from the place that BEHAVIOUR.md 8 or COUNTING
//! names.

use serde_json::json;
use session_pipeline_harness::Transcript;

use super::{OPUS, SONNET, extract};

/// A session in which every column has something to say; later lines name another folder, branch
/// and version than the first.
fn session() -> Transcript {
    Transcript::new("s1")
        .cwd("/home/dev/one")
        .git_branch("first")
        .version("2.1.1")
        .user("make a document of it")
        .cwd("/home/dev/two")
        .git_branch("second")
        .version("2.1.2")
        .assistant(|m| {
            m.id("msg_1")
                .request("req_1")
                .model(OPUS)
                .tokens(11, 22)
                .cache(33, 44, 55)
                .usage("speed", json!("fast"))
                .usage("output_tokens_details", json!({ "thinking_tokens": 6 }))
                .tool_use("t1", "Skill", json!({ "skill": "plug:docx" }))
        })
        .tool_result(Err("Exit code 3"))
        .assistant(|m| {
            m.id("msg_2")
                .request("req_2")
                .model(SONNET)
                .tokens(1, 2)
                .streaming()
                .tool_use("t2", "Task", json!({ "subagent_type": "Explore" }))
        })
        .slash_command("/plug:go")
        .assistant(|m| {
            m.id("msg_3").request("req_3").model(SONNET).tool_use(
                "t3",
                "mcp__github__search",
                json!({}),
            )
        })
}

/// The rows of a table, a line for each: `name=value`, without what is absent or zero.
fn check(table: &str, columns: &str) -> String {
    let extracted = extract(session());
    let names: Vec<&str> = columns.split_whitespace().collect();
    let show = |row: String| {
        let cells = names.iter().zip(row.split(" | "));
        let told = cells.filter(|(_, value)| !["-", "0", "false"].contains(value));
        let told = told.map(|(name, value)| format!("{name}={value}"));
        told.collect::<Vec<_>>().join(" ")
    };
    let rows = extracted.rows(table, columns).into_iter().map(show);
    rows.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_columns_of_messages() {
    let columns = "session_id username line message_id request_id occurred_at model speed \
        input_tokens output_tokens cache_read_tokens cache_creation_5m_tokens \
        cache_creation_1h_tokens thinking_tokens is_sidechain is_final agent_version cwd git_branch";
    insta::assert_snapshot!(check("messages", columns), @"
    session_id=s1 username=ada line=2 message_id=msg_1 request_id=req_1 occurred_at=2026-01-05T09:00:01Z model=claude-opus-4-5-20251101 speed=fast input_tokens=11 output_tokens=22 cache_read_tokens=33 cache_creation_5m_tokens=44 cache_creation_1h_tokens=55 thinking_tokens=6 is_final=true agent_version=2.1.2 cwd=/home/dev/one git_branch=second
    session_id=s1 username=ada line=4 message_id=msg_2 request_id=req_2 occurred_at=2026-01-05T09:00:03Z model=claude-sonnet-4-5-20250929 input_tokens=1 output_tokens=2 agent_version=2.1.2 cwd=/home/dev/one git_branch=second
    session_id=s1 username=ada line=6 message_id=msg_3 request_id=req_3 occurred_at=2026-01-05T09:00:05Z model=claude-sonnet-4-5-20250929 input_tokens=10 output_tokens=5 is_final=true agent_version=2.1.2 cwd=/home/dev/one git_branch=second
    ");
}

#[test]
fn the_columns_of_events() {
    let columns = "session_id username line event_uuid parent_uuid event_type tool_id tool_name \
        skill_name subagent_type command_name plugin mcp_server source is_error error_class \
        is_sidechain model cwd git_branch agent_version occurred_at processor_version";
    insta::assert_snapshot!(check("events", columns), @"
    session_id=s1 username=ada line=2 event_uuid=952e3e07-0000-4000-8000-000000000001 parent_uuid=952e3e07-0000-4000-8000-000000000000 event_type=tool_use tool_id=t1 tool_name=Skill skill_name=plug:docx plugin=plug source=plugin is_error=true error_class=exit_code model=claude-opus-4-5-20251101 cwd=/home/dev/two git_branch=second agent_version=2.1.2 occurred_at=2026-01-05T09:00:01Z processor_version=6
    session_id=s1 username=ada line=4 event_uuid=952e3e07-0000-4000-8000-000000000003 parent_uuid=952e3e07-0000-4000-8000-000000000002 event_type=subagent tool_id=t2 tool_name=Task subagent_type=Explore source=builtin model=claude-sonnet-4-5-20250929 cwd=/home/dev/two git_branch=second agent_version=2.1.2 occurred_at=2026-01-05T09:00:03Z processor_version=6
    session_id=s1 username=ada line=5 event_uuid=952e3e07-0000-4000-8000-000000000004 parent_uuid=952e3e07-0000-4000-8000-000000000003 event_type=slash_command command_name=plug:go plugin=plug source=plugin cwd=/home/dev/two git_branch=second agent_version=2.1.2 occurred_at=2026-01-05T09:00:04Z processor_version=6
    session_id=s1 username=ada line=6 event_uuid=952e3e07-0000-4000-8000-000000000005 parent_uuid=952e3e07-0000-4000-8000-000000000004 event_type=mcp_call tool_id=t3 tool_name=mcp__github__search mcp_server=github source=mcp model=claude-sonnet-4-5-20250929 cwd=/home/dev/two git_branch=second agent_version=2.1.2 occurred_at=2026-01-05T09:00:05Z processor_version=6
    ");
}

#[test]
fn the_columns_of_sessions() {
    let columns = "session_id username started_at ended_at active_seconds wall_seconds prompts \
        user_messages tool_results assistant_messages messages tool_calls tool_errors \
        skill_invocations subagent_dispatches mcp_calls slash_commands distinct_tools \
        distinct_skills primary_model input_tokens output_tokens cache_read_tokens \
        cache_creation_tokens cache_creation_5m_tokens cache_creation_1h_tokens \
        output_is_lower_bound lines bad_lines unknown_types passed_over_lines torn_tail \
        is_sidechain agent_version cwd git_branch processor_version";
    insta::assert_snapshot!(check("sessions", columns), @"session_id=s1 username=ada started_at=2026-01-05T09:00:00Z ended_at=2026-01-05T09:00:05Z active_seconds=5 wall_seconds=5 prompts=1 user_messages=2 tool_results=1 assistant_messages=3 messages=3 tool_calls=1 tool_errors=1 skill_invocations=1 subagent_dispatches=1 mcp_calls=1 slash_commands=1 distinct_tools=3 distinct_skills=1 primary_model=claude-sonnet-4-5-20250929 input_tokens=22 output_tokens=29 cache_read_tokens=33 cache_creation_tokens=99 cache_creation_5m_tokens=44 cache_creation_1h_tokens=55 output_is_lower_bound=true lines=6 agent_version=2.1.1 cwd=/home/dev/one git_branch=first processor_version=6");
}
