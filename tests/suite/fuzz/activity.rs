//! The sessions of coding agents: the readers of the SDK that convert them to items.

use std::collections::BTreeSet;

use proptest::prelude::*;
use session_pipeline_harness::Transcript;
use session_pipeline_harness::fuzz::{fuzz, mutated_text};
use session_pipeline_processor::activity::{CodingAgent, Item, Tally};
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_processor::{Session, SessionInfo};

/// A session of Codex with the history of another one, every kind of call, and a torn last line.
const CODEX: &str = r###"{"timestamp":"2026-04-15T17:58:29Z","type":"session_meta","payload":{"id":"019d924b-53f5-7ff7-a8f2-fc32132fced3","cwd":"/w","cli_version":"0.140.0","source":{"subagent":{"thread_spawn":{"parent_thread_id":"p","agent_role":"explorer"}}}}}
{"timestamp":"2026-04-15T17:58:29Z","type":"session_meta","payload":{"id":"019d9249-e0ee-7b41-98b6-271f355b5f7f"}}
{"timestamp":"2026-04-15T17:58:29Z","type":"turn_context","payload":{"turn_id":"019d924a-361e-711c-8bf6-f10a0c045e01","model":"gpt-5.4"}}
{"timestamp":"2026-04-15T17:58:29Z","type":"event_msg","payload":{"type":"token_count","info":{"total_token_usage":{"input_tokens":100,"output_tokens":10},"last_token_usage":{"input_tokens":100,"cached_input_tokens":40,"output_tokens":10}}}}
{"timestamp":"2026-04-15T17:58:30Z","type":"event_msg","payload":{"type":"task_started","turn_id":"019d924b-6b70-797b-90cc-aba02fb1d205","started_at":1776275909}}
{"timestamp":"2026-04-15T17:58:30Z","type":"event_msg","payload":{"type":"user_message","message":"## My request for Codex:\nfix it"}}
{"timestamp":"2026-04-15T17:58:31Z","type":"response_item","payload":{"type":"function_call","name":"shell","arguments":"{\"a\":1}","call_id":"call_1"}}
{"timestamp":"2026-04-15T17:58:31Z","type":"response_item","payload":{"type":"function_call_output","call_id":"call_1","output":"Exit code: 1"}}
{"timestamp":"2026-04-15T17:58:31Z","type":"event_msg","payload":{"type":"mcp_tool_call_end","call_id":"exec-1","invocation":{"server":"s","tool":"t"},"duration":{"secs":1,"nanos":5},"result":{"Err":"no"}}}
{"timestamp":"2026-04-15T17:58:32Z","type":"token_usage_record","payload":{"response_id":"r1","usage":{"input_tokens":7}}}
{"timestamp":"2026-04-15T17:58:32Z","type":"event_msg","payload":{"type":"token_count","info":{"total_token_usage":{"input_tokens":170,"output_tokens":12}}}}
{"timestamp":"2026-04-15T17:58:33Z","type":"compacted","payload":{"message":""}}
{"type":"message","role":"user","content":[{"type":"input_text","text":"go on"}]}
{"timestamp":"2026-04-15T17:58:34Z","type":"event_msg","payl"###;

const WORDS: [&str; 22] = [
    "\"type\":",
    "\"payload\":{",
    "\"turn_id\":",
    "\"call_id\":\"call_1\"",
    "\"input_tokens\":",
    "\"total_token_usage\":null",
    "\"last_token_usage\":{}",
    "event_msg",
    "response_item",
    "session_meta",
    "token_usage_record",
    "turn_aborted",
    "context_compacted",
    "-1",
    "9223372036854775807",
    "1e99",
    "null",
    "{}",
    "[]",
    "}",
    "\n",
    "\u{0}",
];

/// What a file contains: the identities of its requests and calls, and the largest line number.
struct Contents {
    agent: CodingAgent,
    identities: BTreeSet<String>,
    last_line: u64,
    tally: Tally,
}

fn read(text: &str) -> Contents {
    let host = MemoryHost::new(text.as_bytes());
    let info = SessionInfo::new("ada/one.jsonl");
    let activity = Session::new(&host, &info).activity();
    let agent = activity.agent();
    let (mut identities, mut last_line) = (BTreeSet::new(), 0);
    let tally = activity.for_each(|origin, item| {
        assert_eq!(origin.agent, agent);
        last_line = last_line.max(origin.line);
        match item {
            Item::Request(request) => {
                identities.insert(format!("{}/{}", request.message_id, request.request_id));
            }
            Item::Call(call) => identities.extend(call.id.map(str::to_owned)),
            _ => {}
        }
    });
    Contents {
        agent,
        identities,
        last_line,
        tally,
    }
}

/// No content makes a reader fail. A prefix of a file has no identity that the file lacks, so that
/// a file that grows only adds rows.
#[test]
fn invariant_any_file_is_read_and_a_prefix_has_no_other_identity() {
    let claude = Transcript::new("s1")
        .user("go")
        .assistant(|m| m.model("claude-opus-4-5").tokens(100, 20).tool("Bash"))
        .tool_result(Err("exit code 1"));
    let text = mutated_text(&[CODEX, &claude.text(), ""], &WORDS);
    fuzz(file!(), &(text, 0..4000_usize), |(text, cut)| {
        let whole = read(&text);
        let line_count = text.split('\n').count() as u64;
        prop_assert!(whole.last_line <= line_count);
        prop_assert!(whole.tally.lines <= line_count);
        prop_assert!(whole.tally.bad_lines <= whole.tally.lines);
        let prefix = read(&text[..text.floor_char_boundary(cut)]);
        // The lines that identify the agent can be after the cut.
        if prefix.agent == whole.agent {
            prop_assert!(prefix.identities.is_subset(&whole.identities));
        }
        Ok(())
    });
}

#[test]
fn the_valid_session_has_items_of_every_kind_that_matters() {
    let contents = read(CODEX);
    assert_eq!(contents.agent, CodingAgent::Codex);
    // Two requests and the record of a third one, a call and one of a script.
    assert_eq!(contents.identities.len(), 5);
    assert!(contents.tally.torn_tail);
}
