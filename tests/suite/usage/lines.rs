//! Lines that something happened to: each is accounted for, and costs only itself.

use proptest::prelude::*;
use serde_json::Value;
use session_pipeline_bundle::USAGE;
use session_pipeline_harness::strategies::transcript;
use session_pipeline_harness::{Guest, Transcript, cases};
use session_pipeline_host::limits::Limits;

use super::extract;

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
    let session = Transcript::new("s1")
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
    assert_eq!(line(r#""much""#), "1 | 1 | 0 | false | 1");
    assert_eq!(
        line(r#"{"input_tokens":-1,"output_tokens":2}"#),
        "1 | 1 | 0 | false | 1"
    );
    assert_eq!(
        line(r#"{"input_tokens":1.5,"output_tokens":2}"#),
        "1 | 1 | 0 | false | 1"
    );
    assert_eq!(
        line(r#"{"input_tokens":1.0,"output_tokens":2}"#),
        "1 | 0 | 0 | false | 1"
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
    let usage = Guest::load(USAGE).with_limits(&limits);
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
