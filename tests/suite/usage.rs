//! The processor `usage`: what it counts in the examples that ship, in one transcript at a time,
//! and in transcripts that something happened to.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use duckdb::Connection;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use session_pipeline_bundle::USAGE;
use session_pipeline_harness::session::MONDAY_MORNING;
use session_pipeline_harness::strategies::{transcript, valid_transcript};
use session_pipeline_harness::{DataDir, Extracted, Guest, Session, TestPipeline, cases};
use session_pipeline_runtime::config::{Config, Limits};
use session_pipeline_runtime::report::{self, By, Report, Totals};

use crate::guests::{self, usage_dir};

const OPUS: &str = "claude-opus-4-5-20251101";
const SONNET: &str = "claude-sonnet-4-5-20250929";
const HAIKU: &str = "claude-haiku-4-5-20251001";
/// A model that no price table knows.
const NIMBUS: &str = "claude-nimbus-1-preview";

/// The rows of one transcript.
fn extract(transcript: impl AsRef<[u8]>) -> Extracted {
    Guest::load(USAGE).extract(transcript)
}

/// A report over a folder of sessions.
fn report_of(dir: &DataDir, sessions_root: PathBuf, by: By) -> Report {
    let config = Config {
        sessions_root,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(dir, config, &[guests::usage()]);
    assert_eq!(pipeline.run("usage").stats.errors, 0);
    report::usage(pipeline.pipeline().store(), by)
        .unwrap()
        .unwrap()
}

// The examples that ship.

/// The sessions that `cargo xtask run` shows.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sessions")
}

/// One message of the examples, as whoever reads the transcripts notes it down: input, output,
/// read from the cache, written to it for five minutes, for an hour.
type Noted = (&'static str, &'static str, [i64; 5]);

/// Every message of the examples once, with the day of its first line and the output count of its
/// last.
const NOTED: [Noted; 24] = [
    // ada's session 5c0e7d1a; the fork 8b1f2c44 repeats the first two of these.
    ("2026-01-12", OPUS, [4, 187, 0, 0, 18_420]),
    ("2026-01-12", OPUS, [6, 121, 18_420, 1_210, 0]),
    ("2026-01-12", OPUS, [5, 96, 19_630, 840, 0]),
    ("2026-01-12", OPUS, [3, 214, 20_470, 410, 0]),
    ("2026-01-12", OPUS, [7, 388, 20_880, 1_530, 0]),
    ("2026-01-12", OPUS, [5, 164, 22_410, 620, 0]),
    ("2026-01-12", OPUS, [4, 88, 23_030, 290, 0]),
    ("2026-01-12", OPUS, [4, 102, 23_320, 360, 0]),
    ("2026-01-12", OPUS, [8, 231, 23_680, 450, 0]),
    ("2026-01-12", OPUS, [4, 77, 24_130, 210, 0]),
    ("2026-01-12", OPUS, [10, 402, 24_340, 900, 0]),
    // Her sub-agent a7f3e21, in a file of its own; the session's progress lines repeat the first
    // two, the very first with an output count of 2 that was never the last word.
    ("2026-01-12", HAIKU, [3, 93, 0, 5_400, 0]),
    ("2026-01-12", HAIKU, [4, 142, 5_400, 760, 0]),
    ("2026-01-12", HAIKU, [4, 310, 6_160, 220, 0]),
    // What is new in the fork.
    ("2026-01-13", SONNET, [9, 275, 0, 0, 16_000]),
    ("2026-01-13", SONNET, [5, 118, 16_000, 900, 0]),
    // bob's session 2d9a6b70; the first cache write is not split by its lifetime.
    ("2026-01-13", SONNET, [9, 260, 0, 15_200, 0]),
    ("2026-01-13", SONNET, [4, 180, 15_200, 300, 0]),
    // His sub-agent, in progress lines only.
    ("2026-01-13", HAIKU, [2, 75, 0, 6_000, 0]),
    ("2026-01-13", HAIKU, [3, 210, 6_000, 0, 0]),
    ("2026-01-13", NIMBUS, [12, 333, 0, 0, 21_000]),
    // Still being written: 1 is a placeholder.
    ("2026-01-13", NIMBUS, [7, 1, 21_000, 640, 0]),
    // chidi's session e47a10c9.
    ("2026-01-14", OPUS, [11, 143, 0, 12_400, 0]),
    ("2026-01-14", OPUS, [4, 512, 12_400, 2_300, 0]),
];

/// Input, output, cache read, cache written, messages.
type Sums = [i64; 5];

fn sums_of(totals: &Totals) -> Sums {
    [
        totals.input_tokens,
        totals.output_tokens,
        totals.cache_read_tokens,
        totals.cache_creation_tokens,
        totals.messages,
    ]
}

fn noted(select: impl Fn(&Noted) -> bool) -> Sums {
    let add = |sums: Sums, (_, _, tokens): &Noted| {
        let [input, output, read, written_5m, written_1h] = tokens;
        [
            sums[0] + input,
            sums[1] + output,
            sums[2] + read,
            sums[3] + written_5m + written_1h,
            sums[4] + 1,
        ]
    };
    NOTED.iter().filter(|noted| select(noted)).fold([0; 5], add)
}

#[test]
fn the_examples_come_to_what_was_worked_out_by_hand() {
    let dir = DataDir::new();
    let report = report_of(&dir, examples(), By::Day);
    assert_eq!(sums_of(&report.totals), noted(|_| true));
    // The same once more, for whoever compares this with what `cargo xtask run` shows.
    assert_eq!(sums_of(&report.totals), [137, 4_722, 302_470, 106_360, 24]);
    assert_eq!(
        report.totals.sessions, 4,
        "two of ada, one each of bob and chidi"
    );
    assert!(report.totals.output_is_lower_bound, "bob's last message");
    let days: Vec<_> = report
        .rows
        .iter()
        .map(|row| row.key.as_deref().unwrap())
        .collect();
    assert_eq!(days, ["2026-01-12", "2026-01-13", "2026-01-14"]);
    for row in &report.rows {
        let expected = noted(|(day, _, _)| Some(*day) == row.key.as_deref());
        assert_eq!(sums_of(&row.totals), expected, "{:?}", row.key);
    }
    let bounds = report
        .rows
        .iter()
        .map(|row| row.totals.output_is_lower_bound);
    assert_eq!(bounds.collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn the_models_of_the_examples_come_to_what_was_worked_out_by_hand() {
    let dir = DataDir::new();
    let report = report_of(&dir, examples(), By::Model);
    let models: Vec<_> = report
        .rows
        .iter()
        .map(|row| row.key.as_deref().unwrap())
        .collect();
    assert_eq!(models, [HAIKU, NIMBUS, OPUS, SONNET]);
    for row in &report.rows {
        let expected = noted(|(_, model, _)| Some(*model) == row.key.as_deref());
        assert_eq!(sums_of(&row.totals), expected, "{:?}", row.key);
    }
    assert!(report.totals.unknown_models.contains(&NIMBUS.to_owned()));
}

#[test]
fn an_independent_count_of_the_examples_comes_to_the_same() {
    let dir = DataDir::new();
    let report = report_of(&dir, examples(), By::Day);
    let (sums, is_lower_bound) = independent_count(&examples());
    assert_eq!(sums, sums_of(&report.totals));
    assert_eq!(is_lower_bound, report.totals.output_is_lower_bound);
}

/// The totals of a folder by rules 2, 3 and 7 of counting, told to another reader of JSON.
///
/// Only for transcripts that hold one value a line and a `requestId` with every `message.id`.
fn independent_count(root: &Path) -> (Sums, bool) {
    let sql = "WITH
    lines AS (
        SELECT filename, unnest(string_split(content, chr(10))) AS line FROM read_text(?)
    ),
    entries AS (
        SELECT line::JSON AS entry FROM lines WHERE json_valid(line) AND json_type(line) = 'OBJECT'
    ),
    found AS (
        SELECT (entry->'message') AS message, (entry->>'requestId') AS request,
            coalesce((entry->>'isSidechain')::BOOLEAN, false) AS is_sidechain
        FROM entries
        UNION ALL
        SELECT entry->'data'->'message'->'message', entry->'data'->'message'->>'requestId', true
        FROM entries
        WHERE (entry->>'type') = 'progress' AND (entry->'data'->>'type') = 'agent_progress'
    ),
    records AS (
        SELECT (message->>'id') AS id, request, is_sidechain, (message->>'stop_reason') AS stop_reason,
            coalesce((message->'usage'->>'input_tokens')::BIGINT, 0) AS input,
            coalesce((message->'usage'->>'output_tokens')::BIGINT, 0) AS output,
            coalesce((message->'usage'->>'cache_read_input_tokens')::BIGINT, 0) AS read,
            CASE WHEN json_type(message->'usage'->'cache_creation') = 'OBJECT'
                THEN (message->'usage'->'cache_creation'->>'ephemeral_5m_input_tokens')::BIGINT
                    + (message->'usage'->'cache_creation'->>'ephemeral_1h_input_tokens')::BIGINT
                ELSE coalesce((message->'usage'->>'cache_creation_input_tokens')::BIGINT, 0)
            END AS written
        FROM found WHERE json_type((message->'usage')) = 'OBJECT'
    ),
    winners AS (
        SELECT *, bool_or(stop_reason IS NOT NULL) OVER (PARTITION BY id, request) AS is_final
        FROM records
        QUALIFY row_number() OVER (
            PARTITION BY id, request
            ORDER BY is_sidechain, input + output + read + written DESC, output DESC
        ) = 1
    )
    SELECT coalesce(sum(input), 0)::BIGINT, coalesce(sum(output), 0)::BIGINT,
        coalesce(sum(read), 0)::BIGINT, coalesce(sum(written), 0)::BIGINT, count(*),
        coalesce(bool_or(NOT is_final), false)
    FROM winners";
    let files = root.join("**/*.jsonl");
    Connection::open_in_memory()
        .unwrap()
        .query_row(sql, [files.to_str().unwrap()], |row| {
            let sums = [
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ];
            Ok((sums, row.get(5)?))
        })
        .unwrap()
}

fn example(key: &str) -> Extracted {
    extract(fs::read(examples().join(key)).unwrap())
}

const ADAS: &str = "ada/5c0e7d1a-93b4-4f6e-8a27-1d5b60c2e9f3.jsonl";
const BOBS: &str = "bob/2d9a6b70-4c1e-4f38-9e52-a06c7b84d1f5.jsonl";

#[test]
fn the_events_of_an_example_are_those_of_the_conversation() {
    let events = example(ADAS).text(
        "events",
        "line event_type tool_name skill_name subagent_type command_name plugin mcp_server source \
         error_class is_sidechain",
    );
    insta::assert_snapshot!(events, @"
    5 | tool_use | Read | - | - | - | - | - | builtin | - | false
    8 | tool_use | Bash | - | - | - | - | - | builtin | exit_code | false
    10 | tool_use | Skill | superpowers:systematic-debugging | - | - | superpowers | - | plugin | - | false
    13 | subagent | Task | - | Explore | - | - | - | builtin | - | false
    15 | tool_use | Grep | - | - | - | - | - | builtin | - | true
    17 | tool_use | Read | - | - | - | - | - | builtin | - | true
    20 | tool_use | Edit | - | - | - | - | - | builtin | tool_error | false
    21 | tool_use | Edit | - | - | - | - | - | builtin | sibling_failed | false
    24 | tool_use | Edit | - | - | - | - | - | builtin | - | false
    26 | tool_use | Bash | - | - | - | - | - | builtin | - | false
    29 | tool_use | Bash | - | - | - | - | - | builtin | rejected | false
    33 | mcp_call | mcp__github__create_issue | - | - | - | - | github | mcp | - | false
    37 | slash_command | - | - | - | cost | - | - | builtin | - | false
    39 | slash_command | - | - | - | code-review:review | code-review | - | plugin | - | false
    ");
}

#[test]
fn the_sessions_of_the_examples_say_what_their_files_hold() {
    let columns = "prompts user_messages tool_results assistant_messages messages tool_calls \
        tool_errors skill_invocations subagent_dispatches mcp_calls slash_commands distinct_tools \
        lines bad_lines unknown_types torn_tail output_is_lower_bound primary_model";
    let row = |key| example(key).text("sessions", columns);
    // Lower bound: what the progress lines repeat of the sub-agent's first message is no final count.
    assert_eq!(
        row(ADAS),
        format!(
            "2 | 5 | 10 | 18 | 13 | 10 | 4 | 1 | 1 | 1 | 2 | 7 | 44 | 1 | 0 | false | true | {OPUS}"
        )
    );
    assert_eq!(
        row(BOBS),
        format!(
            "2 | 5 | 3 | 6 | 6 | 3 | 1 | 0 | 1 | 0 | 1 | 4 | 18 | 0 | 0 | true | true | {SONNET}"
        )
    );
}

#[test]
fn a_transcript_of_a_sub_agent_is_known_as_one() {
    let key = "ada/5c0e7d1a-93b4-4f6e-8a27-1d5b60c2e9f3/subagents/agent-a7f3e21.jsonl";
    assert_eq!(
        example(key).rows(
            "sessions",
            "session_id is_sidechain prompts messages output_tokens"
        ),
        ["5c0e7d1a-93b4-4f6e-8a27-1d5b60c2e9f3 | true | 0 | 3 | 545"]
    );
    assert_eq!(example(ADAS).rows("sessions", "is_sidechain"), ["false"]);
}

// Messages.

/// A message of one key.
fn keyed(session: Session, input: u64, output: u64) -> Session {
    session.assistant(|m| m.id("msg_1").request("req_1").tokens(input, output))
}

#[test]
fn the_lines_of_a_streamed_message_are_one_with_the_final_count() {
    let session = Session::new("s1")
        .user("go on")
        .assistant(|m| {
            m.id("msg_1")
                .request("req_1")
                .tokens(10, 2)
                .streaming()
                .text("I")
        })
        .assistant(|m| {
            m.id("msg_1")
                .request("req_1")
                .tokens(10, 2)
                .streaming()
                .text("see")
        })
        .assistant(|m| m.id("msg_1").request("req_1").tokens(10, 200).tool("Bash"));
    assert_eq!(
        extract(session).rows(
            "messages",
            "line occurred_at message_id request_id input_tokens output_tokens is_final"
        ),
        ["2 | 2026-01-05T09:00:01Z | msg_1 | req_1 | 10 | 200 | true"]
    );
}

#[test]
fn the_largest_record_of_a_message_wins_wherever_it_stands() {
    for (first, second) in [(2, 200), (200, 2)] {
        let session = keyed(keyed(Session::new("s1"), 10, first), 10, second);
        assert_eq!(
            extract(session).rows("messages", "line output_tokens"),
            ["1 | 200"]
        );
    }
}

#[test]
fn a_replay_in_a_sub_agent_loses_against_the_original_however_large() {
    let original = keyed(Session::new("s1"), 10, 20);
    let replay = keyed(Session::new("s1").sidechain("a1"), 10, 5_000);
    for order in [[&original, &replay], [&replay, &original]] {
        let transcript = order.map(Session::bytes).concat();
        assert_eq!(
            extract(transcript).rows("messages", "output_tokens is_sidechain"),
            ["20 | false"]
        );
    }
}

#[test]
fn another_request_is_another_message() {
    let session = Session::new("s1")
        .assistant(|m| m.id("msg_1").request("req_1"))
        .assistant(|m| m.id("msg_1").request("req_2"));
    assert_eq!(
        extract(session).rows("messages", "message_id request_id"),
        ["msg_1 | req_1", "msg_1 | req_2"]
    );
}

#[test]
fn without_a_request_a_message_is_known_by_its_session() {
    let session = |id| Session::new(id).assistant(|m| m.id("msg_1").without_request());
    let transcript = [session("s1"), session("s1"), session("s2")]
        .map(|session| session.bytes().to_vec())
        .concat();
    assert_eq!(
        extract(transcript).rows("messages", "session_id message_id request_id"),
        ["s1 | msg_1 | -", "s2 | msg_1 | -"]
    );
}

#[test]
fn a_line_without_an_id_stands_for_itself() {
    let session = Session::new("s1")
        .assistant(|m| m.without_id())
        .assistant(|m| m.without_id());
    assert_eq!(
        extract(session).rows("messages", "line message_id"),
        ["1 | -", "2 | -"]
    );
}

#[test]
fn an_advisor_is_a_message_of_its_own_model() {
    let iterations = json!([
        { "type": "message", "input_tokens": 10, "output_tokens": 20 },
        { "type": "advisor_message", "model": HAIKU, "input_tokens": 1_000, "output_tokens": 100,
          "cache_read_input_tokens": 7 },
        { "type": "compaction", "input_tokens": 5, "output_tokens": 5 },
    ]);
    let line = |session: Session| {
        let iterations = iterations.clone();
        session.assistant(|m| {
            m.id("msg_1")
                .request("req_1")
                .tokens(10, 20)
                .usage("iterations", iterations)
        })
    };
    // Twice: a streamed message repeats its advisors too.
    let extracted = extract(line(line(Session::new("s1"))));
    let mut rows = extracted.rows(
        "messages",
        "message_id model input_tokens output_tokens cache_read_tokens",
    );
    rows.sort();
    assert_eq!(
        rows,
        [
            format!("msg_1 | {OPUS} | 10 | 20 | 0"),
            format!("msg_1:advisor:0 | {HAIKU} | 1000 | 100 | 7"),
        ]
    );
    assert_eq!(
        extracted.rows("sessions", "messages input_tokens output_tokens"),
        ["2 | 1010 | 120"]
    );
}

#[test]
fn cache_writes_are_told_apart_and_an_unsplit_one_counts_for_five_minutes() {
    let split = |flat: Value, split: Value| {
        let session = Session::new("s1").assistant(|m| {
            m.usage("cache_creation_input_tokens", flat)
                .usage("cache_creation", split)
        });
        extract(session).text(
            "messages",
            "cache_creation_5m_tokens cache_creation_1h_tokens",
        )
    };
    assert_eq!(split(json!(100), Value::Null), "100 | 0", "unsplit");
    let both = json!({ "ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40 });
    assert_eq!(split(json!(0), both), "60 | 40", "the split wins");
    let nothing = json!({ "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0 });
    assert_eq!(
        split(json!(100), nothing),
        "0 | 0",
        "even where it is nothing"
    );
}

#[test]
fn thinking_and_speed_are_kept_where_the_transcript_tells() {
    let session = Session::new("s1")
        .assistant(|m| {
            m.usage("speed", json!("fast"))
                .usage("output_tokens_details", json!({ "thinking_tokens": 3 }))
        })
        .assistant(|m| m);
    assert_eq!(
        extract(session).rows("messages", "speed thinking_tokens"),
        ["fast | 3", "- | -"]
    );
}

#[test]
fn usage_counts_in_a_line_of_any_type_and_of_none() {
    let message = |id: &str| json!({ "id": id, "model": OPUS, "usage": { "input_tokens": 1, "output_tokens": 2 } });
    let session = Session::new("s1")
        .entry(
            "user",
            json!({ "message": message("msg_1"), "requestId": "r" }),
        )
        .entry(
            "never-heard-of",
            json!({ "message": message("msg_2"), "requestId": "r" }),
        )
        .line(&json!({ "message": message("msg_3") }));
    let extracted = extract(session);
    assert_eq!(
        extracted.rows("messages", "message_id input_tokens output_tokens"),
        ["msg_1 | 1 | 2", "msg_2 | 1 | 2", "msg_3 | 1 | 2"]
    );
    assert_eq!(
        extracted.rows("sessions", "unknown_types bad_lines"),
        ["2 | 0"]
    );
}

#[test]
fn what_a_sub_agent_reports_while_it_runs_counts_as_its_own() {
    let session = Session::new("s1")
        .assistant(|m| m.tool("Task").id("msg_1").request("req_1"))
        .progress(|m| {
            m.tool("Grep")
                .id("msg_2")
                .request("req_2")
                .model(HAIKU)
                .tokens(3, 4)
        });
    let extracted = extract(session);
    assert_eq!(
        extracted.rows("messages", "line message_id request_id model is_sidechain"),
        [
            format!("1 | msg_1 | req_1 | {OPUS} | false"),
            format!("2 | msg_2 | req_2 | {HAIKU} | true")
        ]
    );
    assert_eq!(
        extracted.rows("events", "tool_name model is_sidechain"),
        [
            format!("Task | {OPUS} | false"),
            format!("Grep | {HAIKU} | true")
        ]
    );
    // The whole file is not a sub-agent's for that.
    assert_eq!(extracted.rows("sessions", "is_sidechain"), ["false"]);
}

#[test]
fn progress_of_another_kind_is_no_message() {
    let inner =
        json!({ "type": "assistant", "message": { "id": "m", "usage": { "input_tokens": 1 } } });
    let session = Session::new("s1").entry(
        "progress",
        json!({ "data": { "type": "bash_progress", "message": inner } }),
    );
    assert!(extract(session).rows("messages", "line").is_empty());
}

#[test]
fn the_sum_that_a_finished_sub_agent_reports_counts_nothing_twice() {
    let usage = json!({ "input_tokens": 1_000, "output_tokens": 1_000 });
    let session = Session::new("s1").assistant(|m| m.tool("Task")).entry(
        "user",
        json!({
            "message": { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "done" }] },
            "toolUseResult": { "status": "completed", "totalTokens": 2_000, "usage": usage },
        }),
    );
    assert_eq!(
        extract(session).rows("sessions", "messages input_tokens"),
        ["1 | 10"]
    );
}

#[test]
fn output_is_a_lower_bound_where_no_line_of_a_message_says_how_it_ended() {
    let session = |last: bool| {
        let session = Session::new("s1")
            .assistant(|m| m.id("msg_1").request("req_1").streaming())
            .assistant(|m| m.id("msg_2").request("req_2"));
        if last {
            session.assistant(|m| m.id("msg_1").request("req_1"))
        } else {
            session
        }
    };
    let bound = |last| extract(session(last)).text("sessions", "output_is_lower_bound");
    assert_eq!(
        (bound(false), bound(true)),
        ("true".to_owned(), "false".to_owned())
    );
}

// Time and place.

#[test]
fn a_line_without_a_readable_time_takes_the_one_before_or_else_the_first() {
    let untimed = |time: Value| json!({ "message": { "model": OPUS, "usage": { "input_tokens": 1 } }, "timestamp": time });
    let session = Session::new("s1")
        .entry("assistant", untimed(Value::Null))
        .entry("assistant", untimed(json!("yesterday")))
        .user("at nine and two seconds")
        .entry("assistant", untimed(json!(12)))
        .entry("assistant", untimed(json!("2026-01-05T10:00:04+01:00")));
    assert_eq!(
        extract(session).rows("messages", "occurred_at"),
        [
            "2026-01-05T09:00:02Z",
            "2026-01-05T09:00:02Z",
            "2026-01-05T09:00:02Z",
            "2026-01-05T09:00:04Z"
        ]
    );
}

#[test]
fn without_any_time_there_is_none() {
    let line =
        json!({ "type": "assistant", "message": { "id": "m", "usage": { "input_tokens": 1 } } });
    let extracted = extract(Session::new("s1").line(&line));
    assert_eq!(
        extracted.rows("messages", "occurred_at session_id"),
        ["- | ada/one.jsonl"]
    );
    assert_eq!(
        extracted.rows(
            "sessions",
            "started_at ended_at active_seconds wall_seconds session_id"
        ),
        ["- | - | 0 | 0 | ada/one.jsonl"]
    );
}

/// Active and wall seconds of a session with entries at these seconds.
fn seconds(offsets: &[u64]) -> String {
    let session = offsets.iter().fold(Session::new("s1"), |session, offset| {
        session
            .at(MONDAY_MORNING.plus(Duration::from_secs(*offset)))
            .user("here I am")
    });
    extract(session).text("sessions", "active_seconds wall_seconds")
}

#[test]
fn only_a_silence_of_more_than_ten_minutes_is_no_work() {
    assert_eq!(seconds(&[0, 300, 1500, 1560]), "360 | 1560");
    assert_eq!(seconds(&[0, 600, 1200]), "1200 | 1200");
    assert_eq!(seconds(&[0, 601]), "0 | 601");
    assert_eq!(seconds(&[5]), "0 | 0");
    assert_eq!(seconds(&[]), "0 | 0");
    assert_eq!(
        seconds(&[1200, 0, 600]),
        "1200 | 1200",
        "lines go back in time"
    );
}

#[test]
fn an_empty_file_has_a_row_of_zeros() {
    let extracted = extract("");
    assert_eq!(extracted.items, 0);
    assert_eq!(
        extracted.rows(
            "sessions",
            "session_id username lines messages prompts output_is_lower_bound primary_model"
        ),
        ["ada/one.jsonl | ada | 0 | 0 | 0 | false | -"]
    );
}

#[test]
fn the_model_of_most_messages_is_the_primary_one_and_of_equals_the_first() {
    let primary = |models: &[&str]| {
        let session = models.iter().fold(Session::new("s1"), |session, model| {
            session.assistant(|m| m.model(model))
        });
        extract(session).text("sessions", "primary_model")
    };
    assert_eq!(primary(&[OPUS, SONNET, SONNET]), SONNET);
    assert_eq!(primary(&[OPUS, SONNET, SONNET, OPUS]), OPUS);
}

// Events.

#[test]
fn every_kind_of_call_has_its_name_and_its_source() {
    let session = Session::new("s1").assistant(|m| {
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
    let session = Session::new("s1").slash_command("/review").assistant(|m| {
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
    let session = Session::new("s1")
        .assistant(|m| m.tool("Bash"))
        .tool_result(Err(result));
    extract(session).text("events", "is_error error_class")
}

#[test]
fn a_failed_call_has_a_class() {
    assert_eq!(error_class("Exit code 2\nno such file"), "true | exit_code");
    assert_eq!(
        error_class("<tool_use_error>File does not exist.</tool_use_error>"),
        "true | tool_error"
    );
    assert_eq!(
        error_class("<tool_use_error>Sibling tool call errored</tool_use_error>"),
        "true | sibling_failed"
    );
    let rejected = "The user doesn't want to proceed with this tool use. The tool use was rejected";
    assert_eq!(error_class(rejected), "true | rejected");
    assert_eq!(
        error_class("[Request interrupted by user for tool use]"),
        "true | rejected"
    );
    assert_eq!(error_class("connection refused"), "true | tool_error");
    let fine = Session::new("s1")
        .assistant(|m| m.tool("Bash"))
        .tool_result(Ok("Exit code 1"));
    assert_eq!(
        extract(fine).text("events", "is_error error_class"),
        "false | -"
    );
}

#[test]
fn a_result_may_stand_anywhere_and_on_a_line_of_its_own() {
    let session = Session::new("s1")
        .tool_result_of("t1", Err("Exit code 1"))
        .assistant(|m| {
            m.tool_use("t1", "Bash", json!({}))
                .tool_use("t2", "Bash", json!({}))
        })
        .entry(
            "tool_use_result",
            json!({ "toolUseId": "t2", "is_error": true }),
        );
    assert_eq!(
        extract(session).rows("events", "tool_id is_error"),
        ["t1 | true", "t2 | true"]
    );
}

#[test]
fn a_call_counts_once_however_often_its_line_is_repeated() {
    let call = |session: Session| session.assistant(|m| m.tool_use("t1", "Bash", json!({})));
    let extracted = extract(call(call(Session::new("s1"))));
    assert_eq!(extracted.rows("events", "line tool_id"), ["1 | t1"]);
}

#[test]
fn a_null_in_a_tools_input_drops_nothing() {
    let session = Session::new("s1").assistant(|m| {
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
    extract(Session::new("s1").user(text)).rows("events", "event_type command_name plugin source")
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
fn a_command_that_the_agent_answers_itself_counts_too() {
    let extracted = extract(Session::new("s1").local_command("/cost"));
    assert_eq!(
        extracted.rows("events", "event_type command_name"),
        ["slash_command | cost"]
    );
    let other = Session::new("s1").entry(
        "system",
        json!({ "subtype": "informational", "content": "<command-name>/cost</command-name>" }),
    );
    assert!(extract(other).rows("events", "line").is_empty());
}

// Prompts.

/// Prompts, user messages and results of a session.
fn spoken(session: Session) -> String {
    extract(session).text("sessions", "prompts user_messages tool_results")
}

#[test]
fn what_a_person_types_is_a_prompt() {
    assert_eq!(spoken(Session::new("s1").user("fix the test")), "1 | 1 | 0");
    let blocks =
        json!([{ "type": "image", "source": {} }, { "type": "text", "text": "like this" }]);
    assert_eq!(spoken(Session::new("s1").user_content(blocks)), "1 | 1 | 0");
    let typed = json!({ "message": { "content": "go on" }, "promptSource": "typed" });
    assert_eq!(spoken(Session::new("s1").entry("user", typed)), "1 | 1 | 0");
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
        assert_eq!(spoken(Session::new("s1").user(text)), "0 | 1 | 0", "{text}");
    }
    assert_eq!(spoken(Session::new("s1").meta("a reminder")), "0 | 1 | 0");
    for members in [
        json!({ "message": { "content": "so far" }, "isCompactSummary": true }),
        json!({ "message": { "content": "do it" }, "promptSource": "sdk" }),
        json!({ "message": { "content": "do it" }, "promptSource": "system" }),
        json!({ "message": { "content": "do it" }, "origin": { "kind": "task-notification" } }),
    ] {
        assert_eq!(
            spoken(Session::new("s1").entry("user", members.clone())),
            "0 | 1 | 0",
            "{members}"
        );
    }
    assert_eq!(
        spoken(Session::new("s1").sidechain("a1").user("look around")),
        "0 | 1 | 0"
    );
}

#[test]
fn the_result_of_a_tool_is_neither_a_prompt_nor_a_message() {
    let session = Session::new("s1")
        .assistant(|m| m.tool("Bash"))
        .tool_result(Ok("done"));
    assert_eq!(spoken(session), "0 | 0 | 1");
}

// Lines that something happened to.

/// Lines, bad lines, unknown types, torn tail, messages.
fn lines(transcript: impl AsRef<[u8]>) -> String {
    extract(transcript).text(
        "sessions",
        "lines bad_lines unknown_types torn_tail messages",
    )
}

/// A line with usage.
const GOOD: &str = r#"{"type":"assistant","requestId":"r","message":{"usage":{"input_tokens":1,"output_tokens":2}}}"#;

#[test]
fn a_transcript_may_end_at_any_byte() {
    let session = Session::new("s1")
        .user("naïve, \u{1}, \"quoted\" and 日本")
        .raw_line(GOOD)
        .raw_line(r#"{"type":"user","message":{"content":"\ud83d\ude00 \u00e9"},"n":-1.5e-3,"ok":[true,null]}"#);
    let bytes = session.bytes();
    let usage = Guest::load(USAGE);
    for length in 0..=bytes.len() {
        let start = bytes[..length]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let ended = bytes[..start].iter().filter(|&&byte| byte == b'\n').count();
        // What stands behind the last newline is a line, whole or torn; nothing is a bad one.
        let tail = &bytes[start..length];
        let is_whole = serde_json::from_slice::<Value>(tail).is_ok();
        let count = ended + usize::from(!tail.is_empty());
        let is_torn = !tail.is_empty() && !is_whole;
        assert_eq!(
            usage
                .extract(&bytes[..length])
                .rows("sessions", "lines bad_lines unknown_types torn_tail"),
            [format!("{count} | 0 | 0 | {is_torn}")],
            "after {length} bytes: {}",
            String::from_utf8_lossy(tail)
        );
    }
}

#[test]
fn a_torn_line_in_the_middle_is_a_bad_one() {
    assert_eq!(
        lines(format!("{GOOD}\n{{\"type\":\"us\n{GOOD}\n")),
        "3 | 1 | 0 | false | 2"
    );
}

#[test]
fn what_editors_do_to_a_file_is_no_matter() {
    assert_eq!(
        lines(format!("\u{feff}{GOOD}\n{GOOD}\n")),
        "2 | 0 | 0 | false | 2",
        "a byte order mark"
    );
    assert_eq!(
        lines(format!("{GOOD}\r\n{GOOD}\r\n")),
        "2 | 0 | 0 | false | 2",
        "line ends of Windows"
    );
    assert_eq!(
        lines(format!("\n  \n{GOOD}\n\t\n\r\n")),
        "1 | 0 | 0 | false | 1",
        "blank lines"
    );
}

#[test]
fn a_line_that_is_broken_costs_only_itself() {
    let nested = "[".repeat(100_000);
    for broken in [
        b"hello".as_slice(),
        b"null",
        b"[1,2]",
        b"12",
        b"\0\0\0\0",
        b"{\"type\":\"us\0er\"}",
        b"{\"type\":\"\xff\"}",
        b"{\"type\":\"user\",\"a\":\"\\ud800\"}",
        b"{\"type\":\"user\",\"a\":1e999}",
        nested.as_bytes(),
    ] {
        let transcript = [GOOD.as_bytes(), broken, GOOD.as_bytes(), b""].join(&b'\n');
        let start = String::from_utf8_lossy(&broken[..broken.len().min(40)]);
        assert_eq!(lines(transcript), "3 | 1 | 0 | false | 2", "{start}");
    }
}

#[test]
fn nesting_that_closes_again_is_still_too_deep() {
    let deep = format!(
        "{{\"type\":\"user\",\"a\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(
        lines(format!("{GOOD}\n{deep}\n{GOOD}\n")),
        "3 | 1 | 0 | false | 2"
    );
}

#[test]
fn of_equal_keys_the_last_one_counts() {
    let line = r#"{"type":"user","type":"assistant","message":{"usage":{"input_tokens":1,"input_tokens":7}}}"#;
    let extracted = extract(line);
    assert_eq!(
        extracted.rows("sessions", "assistant_messages user_messages bad_lines"),
        ["1 | 0 | 0"]
    );
    assert_eq!(extracted.rows("messages", "input_tokens"), ["7"]);
}

#[test]
fn usage_that_is_null_is_no_message_and_no_fault() {
    let line = |usage: &str| {
        lines(format!(
            "{{\"type\":\"assistant\",\"message\":{{\"usage\":{usage}}}}}\n"
        ))
    };
    assert_eq!(line("null"), "1 | 0 | 0 | false | 0");
    assert_eq!(line("{}"), "1 | 0 | 0 | false | 0");
    assert_eq!(
        line(r#"{"input_tokens":null,"output_tokens":2}"#),
        "1 | 0 | 0 | false | 1"
    );
}

#[test]
fn usage_that_can_not_be_read_makes_a_bad_line_and_the_rest_of_it_counts() {
    let line = |usage: &str| {
        lines(format!(
            "{{\"type\":\"assistant\",\"message\":{{\"usage\":{usage}}}}}\n"
        ))
    };
    assert_eq!(line(r#""much""#), "1 | 1 | 0 | false | 0");
    assert_eq!(
        line(r#"{"input_tokens":-1,"output_tokens":2}"#),
        "1 | 1 | 0 | false | 1"
    );
    assert_eq!(
        line(r#"{"input_tokens":1.5,"output_tokens":2}"#),
        "1 | 1 | 0 | false | 1"
    );
}

#[test]
fn values_spliced_into_one_line_count_up_to_the_first_that_is_broken() {
    assert_eq!(
        lines(format!("{GOOD}{GOOD} {GOOD}\n")),
        "1 | 0 | 0 | false | 3"
    );
    assert_eq!(
        lines(format!("{GOOD}{{\"a\":}}{GOOD}\n")),
        "1 | 1 | 0 | false | 1"
    );
    assert_eq!(lines(format!("{GOOD}{{\"a\":")), "1 | 0 | 0 | true | 1");
}

#[test]
fn a_line_above_the_limit_is_counted_and_passed_over() {
    let limits = Limits {
        line_bytes_max: 200,
        ..Limits::default()
    };
    let long = GOOD.replace("assistant", &"a".repeat(200));
    let usage = Guest::load(USAGE).under(&limits);
    let extracted = usage.extract(format!("{GOOD}\n{long}\n{GOOD}\n"));
    assert_eq!(
        extracted.rows("sessions", "lines bad_lines passed_over_lines messages"),
        ["3 | 0 | 1 | 2"]
    );
    assert_eq!(extracted.rows("messages", "line"), ["1", "3"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 4))]

    #[test]
    fn invariant_no_transcript_fails_and_every_line_is_accounted_for(transcript in transcript()) {
        let extracted = Guest::load(USAGE).extract(&transcript);
        let text = transcript.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&transcript);
        let is_blank = |line: &[u8]| line.iter().all(|byte| b" \t\r".contains(byte));
        let expected = text.split(|&byte| byte == b'\n').filter(|line| !is_blank(line)).count();
        let found = extracted.text("sessions", "lines bad_lines");
        let (lines, bad_lines) = found.split_once(" | ").unwrap();
        prop_assert_eq!(lines, expected.to_string());
        prop_assert!(bad_lines.parse::<usize>().unwrap() <= expected);
    }

    #[test]
    fn invariant_a_session_sums_up_its_messages_and_events(transcript in transcript()) {
        let extracted = Guest::load(USAGE).extract(&transcript);
        let columns = "input_tokens output_tokens cache_read_tokens cache_creation_5m_tokens cache_creation_1h_tokens";
        let mut sums = [0_i64; 5];
        let messages = extracted.rows("messages", columns);
        for row in &messages {
            for (sum, cell) in sums.iter_mut().zip(row.split(" | ")) {
                *sum += cell.parse::<i64>().unwrap();
            }
        }
        let sums: Vec<String> = sums.iter().map(ToString::to_string).collect();
        prop_assert_eq!(extracted.text("sessions", columns), sums.join(" | "));
        prop_assert_eq!(extracted.text("sessions", "messages"), messages.len().to_string());
        let events = extracted.rows("events", "line").len();
        prop_assert_eq!(extracted.items, events as u64);
        let counts = extracted.text("sessions", "tool_calls subagent_dispatches mcp_calls slash_commands");
        let count: usize = counts.split(" | ").map(|count| count.parse::<usize>().unwrap()).sum();
        prop_assert_eq!(count, events);
    }
}

// Several files.

/// A transcript whose messages nobody else's file holds: its ids bear its name.
fn own(transcript: &[u8], name: &str) -> Vec<u8> {
    String::from_utf8_lossy(transcript)
        .replace("_s1_", &format!("_{name}_"))
        .into_bytes()
}

/// The report after runs that each find some more of these files.
fn report_after(runs: &[Vec<(&str, &[u8])>]) -> Report {
    let dir = usage_dir();
    let pipeline = TestPipeline::open(&dir, &[guests::usage()]);
    for files in runs {
        for (key, transcript) in files {
            dir.write(key, transcript);
        }
        assert_eq!(pipeline.run("usage").stats.errors, 0);
    }
    report::usage(pipeline.pipeline().store(), By::Day)
        .unwrap()
        .unwrap()
}

/// Tokens, messages and the bound, row by row: what copies must not change.
fn counted(report: &Report) -> Vec<(Option<String>, Sums, bool)> {
    let count = |totals: &Totals| (sums_of(totals), totals.output_is_lower_bound);
    let rows = report.rows.iter().map(|row| {
        let (sums, bound) = count(&row.totals);
        (row.key.clone(), sums, bound)
    });
    let (sums, bound) = count(&report.totals);
    rows.chain([(None, sums, bound)]).collect()
}

proptest! {
    // Each case makes two databases.
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(4)))]

    /// All transcripts share their ids, so that each is a copy of the others that went another way.
    #[test]
    fn invariant_reports_do_not_depend_on_the_order_of_processing(
        transcripts in vec(valid_transcript(), 1..5),
        first in any::<prop::sample::Index>(),
    ) {
        const KEYS: [&str; 4] = ["ada/a.jsonl", "ada/b.jsonl", "bob/a.jsonl", "bob/a/subagents/c.jsonl"];
        let files: Vec<(&str, &[u8])> = KEYS.into_iter().zip(transcripts.iter().map(Vec::as_slice)).collect();
        let at_once = report_after(std::slice::from_ref(&files));
        let mut backwards: Vec<Vec<(&str, &[u8])>> = files.iter().rev().map(|file| vec![*file]).collect();
        let place = first.index(backwards.len());
        backwards.rotate_left(place);
        prop_assert_eq!(report_after(&backwards), at_once);
    }

    #[test]
    fn invariant_copies_forks_and_beginnings_of_a_session_count_nothing_twice(
        transcript in valid_transcript(),
        other in valid_transcript(),
        cut in any::<prop::sample::Index>(),
    ) {
        let other = own(&other, "s2");
        let fork = String::from_utf8_lossy(&transcript).replace("\"sessionId\":\"s1\"", "\"sessionId\":\"s3\"");
        let beginning = &transcript[..cut.index(transcript.len() + 1)];
        let alone = report_after(&[vec![("ada/a.jsonl", &transcript), ("ada/b.jsonl", &other)]]);
        let copied = report_after(&[vec![
            ("ada/a.jsonl", &transcript),
            ("ada/b.jsonl", &other),
            ("ada/copy.jsonl", &transcript),
            ("bob/fork.jsonl", fork.as_bytes()),
            ("bob/beginning.jsonl", beginning),
        ]]);
        prop_assert_eq!(counted(&copied), counted(&alone));
    }

    #[test]
    fn invariant_an_independent_count_comes_to_the_same(transcripts in vec(valid_transcript(), 0..4)) {
        let dir = usage_dir();
        for (number, transcript) in transcripts.iter().enumerate() {
            dir.write(&format!("ada/{number}.jsonl"), transcript);
        }
        // A file of nothing, since a pattern that fits no file is an error.
        dir.write("ada/empty.jsonl", "");
        let report = report_of(&dir, dir.sessions_root(), By::Day);
        let (sums, is_lower_bound) = independent_count(&dir.sessions_root());
        prop_assert_eq!(sums, sums_of(&report.totals));
        prop_assert_eq!(is_lower_bound, report.totals.output_is_lower_bound);
    }
}
