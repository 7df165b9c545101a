//! Sessions that hold what nobody should write.

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};

use serde_json::Value;
use session_pipeline_harness::{DataDir, Transcript};

use super::{GOOD, counted, put_good_beside, run_well};
use crate::database::rows;
use crate::guests::usage_dir;

/// How a session of this content is counted, with a good one beside it: lines, bad lines, unknown
/// types, lines passed over, torn tail, messages.
fn check(content: impl AsRef<[u8]>) -> String {
    let dir = usage_dir();
    put_good_beside(&dir);
    dir.write("ada/odd.jsonl", content);
    run_well(&dir);
    only(&dir)
}

/// Holds each line, between two good ones in a session of its own, against how it is counted.
fn check_lines<L: AsRef<str>>(lines: impl IntoIterator<Item = L>, expected: &str) {
    let dir = usage_dir();
    put_good_beside(&dir);
    let lines: Vec<L> = lines.into_iter().collect();
    for (number, line) in lines.iter().enumerate() {
        dir.write(&format!("ada/{number:02}.jsonl"), between(line.as_ref()));
    }
    run_well(&dir);
    let found = counted(&dir);
    assert_eq!(found.len(), lines.len());
    for (found, line) in found.iter().zip(&lines) {
        let (_, found) = found.split_once(" | ").unwrap();
        let start: String = line.as_ref().chars().take(100).collect();
        assert_eq!(found, expected, "{start}");
    }
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
    let session = Transcript::new("s1")
        .raw_line(r#"{"type":"user","message":{"content":"na\u00efve é 日本 \ud83d\ude00"},"n":-1.5e-3,"ok":[true,null]}"#)
        .raw_line(GOOD);
    let whole = session.bytes();
    let key = |length: usize| format!("ada/{length:04}.jsonl");
    let dir = usage_dir();
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
    let dir = usage_dir();
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
    let reports = "{\"type\":\"progress\",\"data\":{\"type\":\"agent_progress\",\"message\":";
    let lines = [
        open.clone(),
        "{\"a\":".repeat(100_000),
        format!("{{\"type\":\"user\",\"a\":{open}{close}}}"),
        format!("{}{GOOD}{}", reports.repeat(50_000), "}}".repeat(50_000)),
    ];
    check_lines(lines, ONE_BAD);
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
fn lone_surrogates_make_a_bad_line_and_pairs_do_not() {
    let line = |text: &&str| format!("{{\"type\":\"user\",\"a\":\"{text}\"}}");
    let lone = ["\\ud800", "\\udc00", "\\ud800\\ud800", "\\ud83dx"];
    check_lines(lone.iter().map(line), ONE_BAD);
    check_lines([line(&"\\ud83d\\ude00")], "3 | 0 | 0 | 0 | false | 2");
}

/// The good line with another number of input tokens.
fn input(number: &str) -> String {
    GOOD.replace("\"input_tokens\":1", &format!("\"input_tokens\":{number}"))
}

#[test]
fn numbers_that_are_none_make_a_bad_line_of_which_the_rest_counts() {
    let none = [
        "1e999", "-1e999", "NaN", "Infinity", "01", "+1", "0x10", "1.",
    ];
    check_lines(none.map(input), "3 | 1 | 0 | 0 | false | 3");
}

#[test]
fn numbers_that_are_no_count_make_a_bad_line_of_which_the_rest_counts() {
    let odd = [
        "1.5",
        "-1",
        "99999999999999999999",
        "\"1\"",
        "true",
        "[1]",
        "{}",
    ];
    check_lines(odd.map(input), "3 | 1 | 0 | 0 | false | 3");
    check_lines(["1e3", "7.0"].map(input), "3 | 0 | 0 | 0 | false | 3");
}

#[test]
fn a_figure_that_no_response_has_counts_for_nothing() {
    let most = input(&i64::MAX.to_string());
    let dir = usage_dir();
    put_good_beside(&dir);
    dir.write("ada/odd.jsonl", between(&most));
    run_well(&dir);
    assert_eq!(
        rows(
            &dir,
            "SELECT input_tokens FROM usage.sessions WHERE username = 'ada'"
        ),
        ["2"]
    );
}

#[test]
fn of_equal_keys_the_last_one_counts() {
    let line = GOOD.replace(
        "\"input_tokens\":1",
        "\"input_tokens\":\"much\",\"input_tokens\":7",
    );
    let dir = usage_dir();
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
    let values = [
        "null",
        "true",
        "12",
        "\"text\"",
        "[]",
        "[{\"type\":\"user\"}]",
        "hello",
    ];
    check_lines(values, ONE_BAD);
    // An object that says nothing is a line of no known type.
    check_lines(["{}"], "3 | 0 | 1 | 0 | false | 2");
}

#[test]
fn members_of_other_types_than_agents_write_cost_nothing_but_themselves() {
    let lines = [
        r#"{"type":7,"message":[]}"#,
        r#"{"type":{"a":1},"timestamp":[],"message":"text"}"#,
        r#"{"type":null,"message":{"content":{"type":"tool_use"},"usage":null}}"#,
    ];
    check_lines(lines, "3 | 0 | 1 | 0 | false | 2");
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
    let dir = usage_dir();
    put_good_beside(&dir);
    let session = Transcript::new(name)
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
