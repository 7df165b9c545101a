//! The examples that ship, against what was worked out by hand.

use std::fs;

use session_pipeline_harness::{DataDir, Extraction};
use session_pipeline_pipeline::report::ReportGrouping;

use crate::database::{cell, rows};

use super::files::independent_count;
use super::{HAIKU, NIMBUS, OPUS, SONNET, Sums, examples, extract, report_of, sums_of};

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
    let report = report_of(&dir, examples(), ReportGrouping::Day);
    assert_eq!(sums_of(&report.totals), noted(|_| true));
    // The same once more, for whoever compares this with what `cargo xtask run` shows: ada's
    // session, her sub-agent, what is new in her fork, bob's session, chidi's.
    let input = 60 + 11 + 14 + 37 + 15;
    let output = 2_070 + 545 + 393 + 1_059 + 655;
    let cache_read = 220_310 + 11_560 + 16_000 + 42_200 + 12_400;
    // ada's: 18 420 for an hour and 6 820 for five minutes; her fork's: 16 000 and 900; bob's:
    // 21 000 and 22 140. All others are for five minutes.
    let cache_written = 25_240 + 6_380 + 16_900 + 43_140 + 14_700;
    let messages = 11 + 3 + 2 + 6 + 2;
    let by_hand = [input, output, cache_read, cache_written, messages];
    assert_eq!(by_hand, [137, 4_722, 302_470, 106_360, 24]);
    assert_eq!(sums_of(&report.totals), by_hand);
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
    let report = report_of(&dir, examples(), ReportGrouping::Model);
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

/// A data dir in which the examples were processed, its database closed.
fn processed() -> DataDir {
    let dir = DataDir::new();
    report_of(&dir, examples(), ReportGrouping::Day);
    dir
}

#[test]
fn the_events_of_the_examples_come_to_what_was_worked_out_by_hand() {
    let dir = processed();
    // What each file holds: ada's session, her fork, her sub-agent, bob's session, chidi's.
    let rows_by_hand = 14 + 3 + 2 + 5 + 1;
    let count = "SELECT count(*) FROM usage.events";
    assert_eq!(cell(&dir, count), rows_by_hand.to_string());
    // Each call once: the fork repeats two calls and brings one, the sub-agent's file repeats two
    // that progress reported. Commands have no id; no example repeats one.
    let calls = 10 + 1 + 3 + 1;
    let sub_agents = 1 + 1;
    let commands = 2 + 1;
    let kinds = rows(
        &dir,
        "SELECT event_type, count(DISTINCT coalesce(tool_id, command_name)), count(DISTINCT tool_name)
         FROM usage.events GROUP BY ALL ORDER BY ALL",
    );
    assert_eq!(
        kinds,
        [
            "mcp_call | 1 | 1".to_owned(),
            // /cost, /code-review:review and /model.
            format!("slash_command | {commands} | 0"),
            // Task and Agent.
            format!("subagent | {sub_agents} | 2"),
            // Read, Bash, Skill, Grep, Edit and WebSearch.
            format!("tool_use | {calls} | 6"),
        ]
    );
}

#[test]
fn the_examples_hold_all_that_is_counted_in_a_way_of_its_own() {
    let dir = processed();
    let text = |key: &str| fs::read_to_string(examples().join(key)).unwrap();
    let count = |from: &str| cell(&dir, &format!("SELECT count(*) FROM usage.{from}"));

    // A streamed message whose lines differ in their output, of which the last one counts.
    let streamed = |line: &&str| line.contains("\"id\":\"msg_01Shop0000000000000000A1\"");
    let ada = text(ADAS);
    let outputs = ada.lines().filter(streamed).map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["message"]["usage"]["output_tokens"].as_u64().unwrap()
    });
    assert_eq!(outputs.collect::<Vec<_>>(), [3, 3, 187]);
    // Usage in progress, also of a sub-agent that has no file.
    assert_eq!(
        count("messages WHERE is_sidechain AND username = 'bob'"),
        "2"
    );
    assert_eq!(
        count("sessions WHERE is_sidechain"),
        "1",
        "a sub-agent's file"
    );
    // A fork: the same messages in two sessions.
    let shared =
        "SELECT count(*) FROM (SELECT message_id FROM usage.messages WHERE NOT is_sidechain
        GROUP BY message_id HAVING count(DISTINCT session_id) = 2)";
    assert_eq!(cell(&dir, shared), "2");
    assert_eq!(
        count("messages WHERE cache_creation_1h_tokens > 0"),
        "4",
        "the fork repeats one"
    );
    assert_eq!(
        count(&format!("messages WHERE model = '{NIMBUS}'")),
        "2",
        "an unknown model"
    );
    assert_eq!(
        count("messages WHERE NOT is_final AND username = 'bob'"),
        "1",
        "a lower bound"
    );
    assert_eq!(count("sessions WHERE torn_tail"), "1");
    assert_eq!(count("sessions WHERE bad_lines > 0"), "1");
    // Commands: behind a name, behind a message, and answered by the agent itself.
    assert!(text(BOBS).contains("\"content\":\"<command-name>/model"));
    assert!(ada.contains("\"content\":\"<command-message>code-review:review"));
    assert!(ada.contains("\"local_command\",\"content\":\"<command-name>/cost"));
    assert_eq!(count("events WHERE skill_name IS NOT NULL"), "1");
    let classes = "SELECT DISTINCT error_class FROM usage.events WHERE is_error ORDER BY ALL";
    assert_eq!(
        rows(&dir, classes),
        ["edit_mismatch", "exit_code", "rejected", "sibling_failed"]
    );
}

#[test]
fn an_independent_count_of_the_examples_comes_to_the_same() {
    let dir = DataDir::new();
    let report = report_of(&dir, examples(), ReportGrouping::Day);
    let (sums, is_lower_bound) = independent_count(&examples());
    assert_eq!(sums, sums_of(&report.totals));
    assert_eq!(is_lower_bound, report.totals.output_is_lower_bound);
}

fn example(key: &str) -> Extraction {
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
    20 | tool_use | Edit | - | - | - | - | - | builtin | edit_mismatch | false
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
