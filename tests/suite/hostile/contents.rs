//! Sessions that hold what nobody should write.

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};

use serde_json::Value;
use session_pipeline_harness::{DataDir, Session};

use super::{GOOD, counted, put_good_beside, run_well};
use crate::database::rows;

/// How a session of this content is counted, with a good one beside it: lines, bad lines, unknown
/// types, lines passed over, torn tail, messages.
fn check(content: impl AsRef<[u8]>) -> String {
    let dir = DataDir::new();
    put_good_beside(&dir);
    dir.write("ada/odd.jsonl", content);
    run_well(&dir);
    only(&dir)
}

fn only(dir: &DataDir) -> String {
    let rows = counted(dir);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].strip_prefix("ada/odd.jsonl | ").unwrap().to_owned()
}

/// A line between two good ones.
fn between(line: impl AsRef<[u8]>) -> Vec<u8> {
    [GOOD.as_bytes(), line.as_ref(), GOOD.as_bytes(), b""].join(&b'\n')
}

/// What a line costs that can't be read: itself.
const ONE_BAD: &str = "3 | 1 | 0 | 0 | false | 2";

#[test]
fn a_last_line_may_be_half_written_at_any_byte_and_is_whole_at_the_next_run() {
    let session = Session::new("s1")
        .raw_line(r#"{"type":"user","message":{"content":"na\u00efve é 日本 \ud83d\ude00"},"n":-1.5e-3,"ok":[true,null]}"#)
        .raw_line(GOOD);
    let whole = session.bytes();
    let key = |length: usize| format!("ada/{length:04}.jsonl");
    let dir = DataDir::new();
    put_good_beside(&dir);
    for length in 0..=whole.len() {
        dir.write(&key(length), &whole[..length]);
    }
    run_well(&dir);

    let expected = (0..=whole.len()).map(|length| {
        let start = whole[..length]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let tail = &whole[start..length];
        let is_torn = !tail.is_empty() && serde_json::from_slice::<Value>(tail).is_err();
        let ended = whole[..start].iter().filter(|byte| **byte == b'\n').count();
        let lines = ended + usize::from(!tail.is_empty());
        // The message stands on the last line.
        let messages = usize::from(length >= whole.len() - 1);
        format!(
            "{} | {lines} | 0 | 0 | 0 | {is_torn} | {messages}",
            key(length)
        )
    });
    assert_eq!(counted(&dir), expected.collect::<Vec<_>>());

    for length in 0..whole.len() {
        dir.append(&key(length), &whole[length..]);
    }
    run_well(&dir);
    let different = "SELECT DISTINCT lines, bad_lines, torn_tail, messages FROM usage.sessions WHERE username = 'ada'";
    assert_eq!(rows(&dir, different), ["2 | 0 | false | 1"]);
}

#[test]
fn bytes_that_are_no_utf8_cost_their_line() {
    assert_eq!(
        check(between(b"{\"type\":\"user\",\"a\":\"\xff\xfe\"}")),
        ONE_BAD
    );
    assert_eq!(
        check(between(b"{\"type\":\"user\",\"a\":\"\xc3\"}")),
        ONE_BAD,
        "half a character"
    );
    assert_eq!(
        check(between(b"{\"type\":\"user\",\"a\":\"\xed\xa0\x80\"}")),
        ONE_BAD,
        "a surrogate, encoded"
    );
    assert_eq!(
        check(
            "a session in UTF-16\n"
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<_>>()
        ),
        "2 | 2 | 0 | 0 | false | 0"
    );
}

#[test]
fn a_byte_order_mark_is_no_matter_where_it_belongs_and_costs_its_line_elsewhere() {
    assert_eq!(
        check(format!("\u{feff}{GOOD}\n{GOOD}\n")),
        "2 | 0 | 0 | 0 | false | 2"
    );
    assert_eq!(
        check(format!("{GOOD}\n\u{feff}{GOOD}\n")),
        "2 | 1 | 0 | 0 | false | 1"
    );
}

#[test]
fn line_ends_of_other_systems_are_no_matter() {
    assert_eq!(
        check(format!("{GOOD}\r\n{GOOD}\r\n")),
        "2 | 0 | 0 | 0 | false | 2"
    );
    // Lone ones are white space, so all of it is one line with two values.
    assert_eq!(
        check(format!("{GOOD}\r{GOOD}\r")),
        "1 | 0 | 0 | 0 | false | 2"
    );
}

#[test]
fn the_nuls_that_a_power_cut_leaves_cost_their_line() {
    assert_eq!(check(between([0; 4096])), ONE_BAD);
    assert_eq!(check(between(b"{\"type\":\"us\0er\"}")), ONE_BAD);
    assert_eq!(
        check(format!("{GOOD}\n\0\0\0\0")),
        "2 | 1 | 0 | 0 | false | 1",
        "at the end"
    );
}

#[test]
fn a_line_of_a_hundred_megabytes_is_passed_over_and_what_follows_is_read() {
    let dir = DataDir::new();
    put_good_beside(&dir);
    dir.write("ada/odd.jsonl", format!("{GOOD}\n"));
    // A hole in the file: a hundred megabytes that take no room.
    let path = dir.session_path("ada/odd.jsonl");
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::End(100 << 20)).unwrap();
    write!(file, "\n{GOOD}\n").unwrap();
    drop(file);
    dir.touch("ada/odd.jsonl");
    run_well(&dir);
    assert_eq!(only(&dir), "3 | 0 | 0 | 1 | false | 2");
    assert_eq!(
        rows(
            &dir,
            "SELECT line FROM usage.messages WHERE username = 'ada' ORDER BY line"
        ),
        ["1", "3"],
        "the line keeps its number"
    );
}

#[test]
fn a_line_of_just_the_limit_counts() {
    let limit = 16 << 20;
    let head = GOOD.replace("{\"type\"", "{\"padding\":\"PADDING\",\"type\"");
    let padding = "x".repeat(limit - head.len() + "PADDING".len());
    let line = head.replace("PADDING", &padding);
    assert_eq!(line.len(), limit);
    assert_eq!(check(between(&line)), "3 | 0 | 0 | 0 | false | 3");
    assert_eq!(
        check(between(format!("{line} "))),
        "3 | 0 | 0 | 1 | false | 2"
    );
}

#[test]
fn a_hundred_thousand_levels_of_nesting_cost_their_line() {
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(check(between(&open)), ONE_BAD);
    assert_eq!(check(between("{\"a\":".repeat(100_000))), ONE_BAD);
    assert_eq!(
        check(between(format!(
            "{{\"type\":\"user\",\"a\":{open}{close}}}"
        ))),
        ONE_BAD
    );
    let reports = "{\"type\":\"progress\",\"data\":{\"type\":\"agent_progress\",\"message\":";
    let deep = format!("{}{GOOD}{}", reports.repeat(50_000), "}}".repeat(50_000));
    assert_eq!(check(between(deep)), ONE_BAD);
}

#[test]
fn records_spliced_into_one_line_all_count_up_to_the_one_that_is_cut() {
    assert_eq!(
        check(format!("{GOOD}{GOOD} {GOOD}\n")),
        "1 | 0 | 0 | 0 | false | 3"
    );
    let (half, _) = GOOD.split_at(40);
    assert_eq!(
        check(between(format!("{half}{GOOD}"))),
        ONE_BAD,
        "half a record before"
    );
    assert_eq!(
        check(between(format!("{GOOD}{half}"))),
        "3 | 1 | 0 | 0 | false | 3",
        "and behind"
    );
}

#[test]
fn lone_surrogates_cost_their_line() {
    for text in ["\\ud800", "\\udc00", "\\ud800\\ud800", "\\ud83dx"] {
        let line = format!("{{\"type\":\"user\",\"a\":\"{text}\"}}");
        assert_eq!(check(between(line)), ONE_BAD, "{text}");
    }
    let pair = "{\"type\":\"user\",\"a\":\"\\ud83d\\ude00\"}";
    assert_eq!(check(between(pair)), "3 | 0 | 0 | 0 | false | 2");
}

#[test]
fn numbers_that_are_none_cost_their_line_and_those_too_large_for_a_count_are_left_out() {
    for number in [
        "1e999", "-1e999", "NaN", "Infinity", "01", "+1", "0x10", "1.",
    ] {
        let line = GOOD.replace("\"input_tokens\":1", &format!("\"input_tokens\":{number}"));
        assert_eq!(check(between(line)), ONE_BAD, "{number}");
    }
    for number in [
        "1e3",
        "1.5",
        "-1",
        "99999999999999999999",
        "\"1\"",
        "true",
        "[1]",
        "{}",
    ] {
        let line = GOOD.replace("\"input_tokens\":1", &format!("\"input_tokens\":{number}"));
        assert_eq!(
            check(between(line)),
            "3 | 1 | 0 | 0 | false | 3",
            "{number}"
        );
    }
}

#[test]
fn sums_of_the_largest_counts_there_are_stop_at_the_largest() {
    let most = GOOD.replace(
        "\"input_tokens\":1",
        &format!("\"input_tokens\":{}", i64::MAX),
    );
    let dir = DataDir::new();
    put_good_beside(&dir);
    dir.write("ada/odd.jsonl", between(&most));
    run_well(&dir);
    assert_eq!(
        rows(
            &dir,
            "SELECT input_tokens FROM usage.sessions WHERE username = 'ada'"
        ),
        [i64::MAX.to_string()]
    );
}

#[test]
fn of_equal_keys_the_last_one_counts() {
    let line = GOOD.replace(
        "\"input_tokens\":1",
        "\"input_tokens\":\"much\",\"input_tokens\":7",
    );
    let dir = DataDir::new();
    put_good_beside(&dir);
    dir.write(
        "ada/odd.jsonl",
        format!("{{\"type\":\"user\",{}\n", &line[1..]),
    );
    run_well(&dir);
    assert_eq!(
        rows(
            &dir,
            "SELECT user_messages, assistant_messages, input_tokens FROM usage.sessions WHERE username = 'ada'"
        ),
        ["0 | 1 | 7"]
    );
}

#[test]
fn values_that_are_no_objects_cost_their_line() {
    for value in [
        "null",
        "true",
        "12",
        "\"text\"",
        "[]",
        "[{\"type\":\"user\"}]",
        "hello",
    ] {
        assert_eq!(check(between(value)), ONE_BAD, "{value}");
    }
    // An object that says nothing is a line of no known type.
    assert_eq!(check(between("{}")), "3 | 0 | 1 | 0 | false | 2");
}

#[test]
fn members_of_other_types_than_agents_write_cost_nothing_but_themselves() {
    for line in [
        r#"{"type":7,"message":[]}"#,
        r#"{"type":{"a":1},"timestamp":[],"message":"text"}"#,
        r#"{"type":null,"message":{"content":{"type":"tool_use"},"usage":null}}"#,
    ] {
        assert_eq!(check(between(line)), "3 | 0 | 1 | 0 | false | 2", "{line}");
    }
}

#[test]
fn an_empty_session_is_counted_as_empty() {
    assert_eq!(check(""), "0 | 0 | 0 | 0 | false | 0");
    assert_eq!(check("\u{feff}"), "0 | 0 | 0 | 0 | false | 0");
    assert_eq!(check("\n\r\n \t\n"), "0 | 0 | 0 | 0 | false | 0");
}

#[test]
fn control_characters_and_odd_scripts_reach_the_database_as_they_are() {
    let name = "a\u{1b}[31m\u{0}b'\"; DROP TABLE runs; --\u{202e}\u{1f600}\n";
    let dir = DataDir::new();
    put_good_beside(&dir);
    let session = Session::new(name)
        .cwd(name)
        .git_branch(name)
        .assistant(|m| m.model(name).tool(name));
    dir.write("ada/odd.jsonl", session);
    run_well(&dir);
    let sql = "SELECT hex(session_id), hex(cwd), hex(git_branch), hex(primary_model) FROM usage.sessions WHERE username = 'ada'";
    let hex: String = name.bytes().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(rows(&dir, sql), [[&*hex; 4].join(" | ")]);
    let sql = "SELECT hex(tool_name) FROM usage.events WHERE username = 'ada'";
    assert_eq!(rows(&dir, sql), [hex]);
}
