//! Tests sessions with malformed contents.

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};

use serde_json::Value;
use session_pipeline_harness::{DataDir, Transcript};

use super::{VALID_LINE, malformed_counts, run_without_errors, write_valid_session};
use crate::database::rows;
use crate::guests::usage_dir;

/// The counts of a session with this content: lines, bad lines, unknown types, skipped lines, torn
/// tail, messages.
fn check(content: impl AsRef<[u8]>) -> String {
    let dir = usage_dir();
    write_valid_session(&dir);
    dir.write("ada/odd.jsonl", content);
    run_without_errors(&dir);
    only(&dir)
}

/// Checks the counts of each line, in a separate session between two valid lines.
fn check_lines<L: AsRef<str>>(lines: impl IntoIterator<Item = L>, expected: &str) {
    let dir = usage_dir();
    write_valid_session(&dir);
    let lines: Vec<L> = lines.into_iter().collect();
    for (number, line) in lines.iter().enumerate() {
        dir.write(&format!("ada/{number:02}.jsonl"), between(line.as_ref()));
    }
    run_without_errors(&dir);
    let found = malformed_counts(&dir);
    assert_eq!(found.len(), lines.len());
    for (found, line) in found.iter().zip(&lines) {
        let (_, found) = found.split_once(" | ").unwrap();
        let start: String = line.as_ref().chars().take(100).collect();
        assert_eq!(found, expected, "{start}");
    }
}

fn only(dir: &DataDir) -> String {
    let rows = malformed_counts(dir);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].strip_prefix("ada/odd.jsonl | ").unwrap().to_owned()
}

/// A line between two valid ones.
fn between(line: impl AsRef<[u8]>) -> Vec<u8> {
    [
        VALID_LINE.as_bytes(),
        line.as_ref(),
        VALID_LINE.as_bytes(),
        b"",
    ]
    .join(&b'\n')
}

/// The counts of a malformed line between two valid ones: only that line is bad.
const ONE_BAD: &str = "3 | 1 | 0 | 0 | false | 2";

#[test]
fn a_last_line_truncated_at_any_byte_is_read_completely_by_the_next_run() {
    let session = Transcript::new("s1")
        .raw_line(r#"{"type":"user","message":{"content":"na\u00efve é 日本 \ud83d\ude00"},"n":-1.5e-3,"ok":[true,null]}"#)
        .raw_line(VALID_LINE);
    let whole = session.bytes();
    let key = |length: usize| format!("ada/{length:04}.jsonl");
    let dir = usage_dir();
    write_valid_session(&dir);
    for length in 0..=whole.len() {
        dir.write(&key(length), &whole[..length]);
    }
    run_without_errors(&dir);

    let expected = (0..=whole.len()).map(|length| {
        let start = whole[..length]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let tail = &whole[start..length];
        let is_torn = !tail.is_empty() && serde_json::from_slice::<Value>(tail).is_err();
        let ended = whole[..start].iter().filter(|byte| **byte == b'\n').count();
        let lines = ended + usize::from(!tail.is_empty());
        // The message is on the last line.
        let messages = usize::from(length >= whole.len() - 1);
        format!(
            "{} | {lines} | 0 | 0 | 0 | {is_torn} | {messages}",
            key(length)
        )
    });
    assert_eq!(malformed_counts(&dir), expected.collect::<Vec<_>>());

    for length in 0..whole.len() {
        dir.append(&key(length), &whole[length..]);
    }
    run_without_errors(&dir);
    let different = "SELECT DISTINCT lines, bad_lines, torn_tail, messages FROM usage.sessions WHERE username = 'ada'";
    assert_eq!(rows(&dir, different), ["2 | 0 | false | 1"]);
}

#[test]
fn bytes_that_are_not_utf8_make_only_their_line_bad() {
    assert_eq!(
        check(between(b"{\"type\":\"user\",\"a\":\"\xff\xfe\"}")),
        ONE_BAD
    );
    assert_eq!(
        check(between(b"{\"type\":\"user\",\"a\":\"\xc3\"}")),
        ONE_BAD,
        "a truncated character"
    );
    assert_eq!(
        check(between(b"{\"type\":\"user\",\"a\":\"\xed\xa0\x80\"}")),
        ONE_BAD,
        "an encoded surrogate"
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
fn a_byte_order_mark_is_accepted_at_the_start_and_makes_other_lines_bad() {
    assert_eq!(
        check(format!("\u{feff}{VALID_LINE}\n{VALID_LINE}\n")),
        "2 | 0 | 0 | 0 | false | 2"
    );
    assert_eq!(
        check(format!("{VALID_LINE}\n\u{feff}{VALID_LINE}\n")),
        "2 | 1 | 0 | 0 | false | 1"
    );
}

#[test]
fn line_ends_of_other_systems_are_accepted() {
    assert_eq!(
        check(format!("{VALID_LINE}\r\n{VALID_LINE}\r\n")),
        "2 | 0 | 0 | 0 | false | 2"
    );
    // Without a line feed, a carriage return is white space, so there is one line with two values.
    assert_eq!(
        check(format!("{VALID_LINE}\r{VALID_LINE}\r")),
        "1 | 0 | 0 | 0 | false | 2"
    );
}

#[test]
fn nul_bytes_after_a_power_failure_make_only_their_line_bad() {
    assert_eq!(check(between([0; 4096])), ONE_BAD);
    assert_eq!(check(between(b"{\"type\":\"us\0er\"}")), ONE_BAD);
    assert_eq!(
        check(format!("{VALID_LINE}\n\0\0\0\0")),
        "2 | 1 | 0 | 0 | false | 1",
        "NUL bytes at the end"
    );
}

#[test]
fn a_line_of_a_hundred_megabytes_is_skipped_and_the_next_lines_are_read() {
    let dir = usage_dir();
    write_valid_session(&dir);
    dir.write("ada/odd.jsonl", format!("{VALID_LINE}\n"));
    // A sparse file: the 100 MiB use no disk space.
    let path = dir.session_path("ada/odd.jsonl");
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::End(100 << 20)).unwrap();
    write!(file, "\n{VALID_LINE}\n").unwrap();
    drop(file);
    dir.touch("ada/odd.jsonl");
    run_without_errors(&dir);
    assert_eq!(only(&dir), "3 | 0 | 0 | 1 | false | 2");
    assert_eq!(
        rows(
            &dir,
            "SELECT line FROM usage.messages WHERE username = 'ada' ORDER BY line"
        ),
        ["1", "3"],
        "the skipped line has no line number"
    );
}

#[test]
fn a_line_of_exactly_the_limit_is_read() {
    let limit = 16 << 20;
    let head = VALID_LINE.replace("{\"type\"", "{\"padding\":\"PADDING\",\"type\"");
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
fn a_hundred_thousand_levels_of_nesting_make_only_their_line_bad() {
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let reports = "{\"type\":\"progress\",\"data\":{\"type\":\"agent_progress\",\"message\":";
    let lines = [
        open.clone(),
        "{\"a\":".repeat(100_000),
        format!("{{\"type\":\"user\",\"a\":{open}{close}}}"),
        format!(
            "{}{VALID_LINE}{}",
            reports.repeat(50_000),
            "}}".repeat(50_000)
        ),
    ];
    check_lines(lines, ONE_BAD);
}

#[test]
fn complete_records_on_one_line_are_counted_up_to_a_truncated_one() {
    assert_eq!(
        check(format!("{VALID_LINE}{VALID_LINE} {VALID_LINE}\n")),
        "1 | 0 | 0 | 0 | false | 3"
    );
    let (half, _) = VALID_LINE.split_at(40);
    assert_eq!(
        check(between(format!("{half}{VALID_LINE}"))),
        ONE_BAD,
        "a truncated record before a complete one"
    );
    assert_eq!(
        check(between(format!("{VALID_LINE}{half}"))),
        "3 | 1 | 0 | 0 | false | 3",
        "a truncated record after a complete one"
    );
}

#[test]
fn lone_surrogates_make_a_bad_line_but_pairs_are_accepted() {
    let line = |text: &&str| format!("{{\"type\":\"user\",\"a\":\"{text}\"}}");
    let lone = ["\\ud800", "\\udc00", "\\ud800\\ud800", "\\ud83dx"];
    check_lines(lone.iter().map(line), ONE_BAD);
    check_lines([line(&"\\ud83d\\ude00")], "3 | 0 | 0 | 0 | false | 2");
}

/// The valid line with another number of input tokens.
fn input(number: &str) -> String {
    VALID_LINE.replace("\"input_tokens\":1", &format!("\"input_tokens\":{number}"))
}

#[test]
fn invalid_json_numbers_make_a_bad_line_whose_message_is_counted() {
    let invalid = [
        "1e999", "-1e999", "NaN", "Infinity", "01", "+1", "0x10", "1.",
    ];
    check_lines(invalid.map(input), "3 | 1 | 0 | 0 | false | 3");
}

#[test]
fn token_counts_that_are_not_whole_numbers_make_a_bad_line_whose_message_is_counted() {
    let not_counts = [
        "1.5",
        "-1",
        "99999999999999999999",
        "\"1\"",
        "true",
        "[1]",
        "{}",
    ];
    check_lines(not_counts.map(input), "3 | 1 | 0 | 0 | false | 3");
    check_lines(["1e3", "7.0"].map(input), "3 | 0 | 0 | 0 | false | 3");
}

#[test]
fn an_implausible_token_count_is_ignored() {
    let huge = input(&i64::MAX.to_string());
    let dir = usage_dir();
    write_valid_session(&dir);
    dir.write("ada/odd.jsonl", between(&huge));
    run_without_errors(&dir);
    assert_eq!(
        rows(
            &dir,
            "SELECT input_tokens FROM usage.sessions WHERE username = 'ada'"
        ),
        ["2"]
    );
}

#[test]
fn the_last_of_several_equal_keys_is_used() {
    let line = VALID_LINE.replace(
        "\"input_tokens\":1",
        "\"input_tokens\":\"much\",\"input_tokens\":7",
    );
    let dir = usage_dir();
    write_valid_session(&dir);
    dir.write(
        "ada/odd.jsonl",
        format!("{{\"type\":\"user\",{}\n", &line[1..]),
    );
    run_without_errors(&dir);
    assert_eq!(
        rows(
            &dir,
            "SELECT user_messages, assistant_messages, input_tokens FROM usage.sessions WHERE username = 'ada'"
        ),
        ["0 | 1 | 7"]
    );
}

#[test]
fn json_values_that_are_not_objects_make_only_their_line_bad() {
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
    // An empty object is a line of unknown type.
    check_lines(["{}"], "3 | 0 | 1 | 0 | false | 2");
}

#[test]
fn members_of_unexpected_types_are_ignored() {
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
fn control_characters_and_unusual_scripts_are_stored_unchanged() {
    let name = "a\u{1b}[31m\u{0}b'\"; DROP TABLE runs; --\u{202e}\u{1f600}\n";
    let dir = usage_dir();
    write_valid_session(&dir);
    let session = Transcript::new(name)
        .cwd(name)
        .git_branch(name)
        .assistant(|m| m.model(name).tool(name));
    dir.write("ada/odd.jsonl", session);
    run_without_errors(&dir);
    let sql = "SELECT hex(session_id), hex(cwd), hex(git_branch), hex(primary_model) FROM usage.sessions WHERE username = 'ada'";
    let hex: String = name.bytes().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(rows(&dir, sql), [[&*hex; 4].join(" | ")]);
    let sql = "SELECT hex(tool_name) FROM usage.events WHERE username = 'ada'";
    assert_eq!(rows(&dir, sql), [hex]);
}
