//! Converts lines to entries, and counts damaged lines.

use std::borrow::Cow;
use std::convert::Infallible;

use crate::lines::{Line, Lines};
use crate::scan::{Broken, Scanner};
use crate::transcript::{Entry, Kind};

/// The entries of a session's transcript.
///
/// Damage affects only its value, but makes the line count as damaged. Damage is half a surrogate
/// pair, invalid UTF-8, `NaN`, nesting that is too deep, or usage that cannot be read. Lines with
/// values that are not objects and lines that are not JSON count as damaged, too. If a line has
/// several values, each is an entry, up to the first one with broken structure. A last line that
/// has no newline and ends inside a value is a torn tail: the agent was writing, and the next run
/// will read the complete line.
pub struct Transcript<'h> {
    lines: Lines<'h>,
    tally: Tally,
    /// The number and the bytes of the last line, if it has been read and has no newline.
    unended: Option<(u64, Vec<u8>)>,
}

/// Line counts of a transcript.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines that are not blank, including the lines in the other counts.
    pub lines: u64,
    /// Lines with content that could not be read.
    pub bad_lines: u64,
    /// Entries with a missing or unknown type.
    pub unknown_types: u64,
    /// Lines that were skipped because they exceed the host's line limit.
    pub passed_over_lines: u64,
    /// Whether the last line has no newline and ends inside a value.
    pub torn_tail: bool,
}

impl<'h> Transcript<'h> {
    pub(crate) fn new(lines: Lines<'h>) -> Self {
        Self {
            lines,
            tally: Tally::default(),
            unended: None,
        }
    }

    /// Adds the counts to those of earlier lines, which another instance read.
    #[must_use]
    pub fn continuing(mut self, tally: Tally) -> Self {
        self.tally = tally;
        self
    }

    /// The counts of the lines that have been read.
    pub fn tally(&self) -> Tally {
        let passed_over = self.lines.passed_over();
        Tally {
            lines: self.tally.lines + passed_over,
            passed_over_lines: self.tally.passed_over_lines + passed_over,
            ..self.tally
        }
    }

    /// Like [`Transcript::for_each`], for all lines that end with a newline. A last line without one
    /// is left for [`Transcript::for_each`]: the agent is still writing it.
    pub fn for_each_ended(&mut self, mut each: impl FnMut(u64, &Entry<'_>)) {
        while let Some(line) = self.lines.next_line() {
            if !line.is_ended {
                self.unended = Some((line.number, line.bytes.to_vec()));
                return;
            }
            let read = read_line(&line, &mut self.tally, &mut |line, entry: &Entry<'_>| {
                each(line, entry);
                Ok::<_, Infallible>(())
            });
            match read {
                Ok(()) => {}
            }
        }
    }

    /// Calls `each` with the line number and the entry, for every entry in order.
    pub fn for_each(self, mut each: impl FnMut(u64, &Entry<'_>)) -> Tally {
        let outcome = self.try_for_each(|line, entry| {
            each(line, entry);
            Ok::<_, Infallible>(())
        });
        match outcome {
            Ok(tally) => tally,
        }
    }

    /// Like [`Transcript::for_each`], until `each` fails.
    pub fn try_for_each<E>(
        mut self,
        mut each: impl FnMut(u64, &Entry<'_>) -> Result<(), E>,
    ) -> Result<Tally, E> {
        if let Some((number, bytes)) = self.unended.take() {
            let line = Line {
                number,
                bytes: &bytes,
                is_ended: false,
            };
            read_line(&line, &mut self.tally, &mut each)?;
        }
        while let Some(line) = self.lines.next_line() {
            read_line(&line, &mut self.tally, &mut each)?;
        }
        Ok(self.tally())
    }
}

/// Reads one line, updates the tally and passes its entries to `each`.
fn read_line<E>(
    line: &Line<'_>,
    tally: &mut Tally,
    each: &mut impl FnMut(u64, &Entry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (text, is_replaced) = readable(line.bytes);
    let mut scanner = Scanner::new(&text);
    let mut broken = None;
    let mut is_bad = is_replaced;
    let mut is_blank = true;
    while scanner.peek().is_some() {
        is_blank = false;
        let mut entry = Entry::default();
        match entry.read(&mut scanner) {
            Ok(true) => {
                let sub_messages = entry
                    .sub_agents()
                    .filter_map(|entry| entry.message.as_ref());
                let mut messages = entry.message.iter().chain(sub_messages);
                is_bad |= messages.any(|message| message.usage_is_unreadable);
                is_bad |= scanner.is_damaged();
                // A damaged type can be a known one.
                if entry.kind == Kind::Unknown && !is_replaced && !scanner.is_damaged() {
                    tally.unknown_types += 1;
                }
                each(line.number, &entry)?;
            }
            Ok(false) if scanner.is_at_boundary() => is_bad = true,
            Ok(false) => broken = Some(Broken::Malformed),
            Err(kind) => broken = Some(kind),
        }
        if broken.is_some() {
            break;
        }
    }
    if is_blank && broken.is_none() {
        return Ok(());
    }
    tally.lines += 1;
    match broken {
        Some(Broken::Torn) if !line.is_ended => {
            tally.torn_tail = true;
            is_bad &= !is_replaced;
        }
        Some(_) => is_bad = true,
        None => {}
    }
    tally.bad_lines += u64::from(is_bad);
    Ok(())
}

/// The text of a line, and whether it has invalid UTF-8. Each run of invalid bytes becomes one
/// U+FFFD, so that the text is at most twice as long as the line.
pub(crate) fn readable(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    if let Ok(text) = simdutf8::basic::from_utf8(bytes) {
        return (Cow::Borrowed(text), false);
    }
    let mut text = String::with_capacity(bytes.len());
    let mut is_in_run = false;
    for chunk in bytes.utf8_chunks() {
        is_in_run &= chunk.valid().is_empty();
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() && !is_in_run {
            text.push(char::REPLACEMENT_CHARACTER);
            is_in_run = true;
        }
    }
    (Cow::Owned(text), true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::MemoryHost;

    fn check(transcript: &[u8], entries: u64, tally: Tally) {
        let mut seen = 0;
        let host = MemoryHost::new(transcript);
        let found = Transcript::new(Lines::new(&host)).for_each(|_, _| seen += 1);
        let name = String::from_utf8_lossy(transcript);
        assert_eq!(found, tally, "{name}");
        assert_eq!(seen, entries, "{name}");
    }

    /// Lines of known types, of which some are bad.
    fn lines(lines: u64, bad_lines: u64) -> Tally {
        Tally {
            lines,
            bad_lines,
            ..Tally::default()
        }
    }

    fn torn(tally: Tally) -> Tally {
        Tally {
            torn_tail: true,
            ..tally
        }
    }

    #[test]
    fn a_bad_line_costs_itself_only() {
        let user = br#"{"type":"user"}"#;
        for bad in [
            &b"hello"[..],
            b"{\"type\":\"user\"",
            b"{\"type\":\"user\"}}",
            b"{\"type\"\xff:\"user\"}",
            b"{\"type\":\xff}",
            b"{\"type\":}",
            b"{\"type\":\"user\",}",
            b"\0\0\0",
            b"[]",
            b"12",
            b"null",
        ] {
            let transcript = [user, bad, user].join(&b'\n');
            let is_whole_first = bad.ends_with(b"}}");
            check(&transcript, if is_whole_first { 3 } else { 2 }, lines(3, 1));
        }
        let deep = [&b"[".repeat(100_000)[..], user].join(&b'\n');
        check(&deep, 1, lines(2, 1));
    }

    #[test]
    fn a_bad_value_costs_itself_only() {
        let user = br#"{"type":"user"}"#;
        let deep = ["{\"a\":", &"[".repeat(100_000), &"]".repeat(100_000), "}"].concat();
        for bad in [
            &b"{\"type\":\"\xff\"}"[..],
            b"{\"type\":\"\xc3\"}",
            b"{\"type\":\"us\0er\"}",
            b"{\"type\":\"us\x0ber\"}",
            b"{\"type\":\"us\\xer\"}",
            b"{\"a\":1e999}",
            b"{\"a\":NaN}",
            b"{\"a\":[undefined,-Infinity]}",
            b"{\"a\":\"\\ud800\"}",
            b"{\"\\ud800\":1}",
            b"{\"\xff\":1}",
            deep.as_bytes(),
        ] {
            let transcript = [user, bad, user].join(&b'\n');
            check(&transcript, 3, lines(3, 1));
        }
    }

    /// Whatever happens to one value of a line, the rest of the line reads as if that value were
    /// null.
    #[test]
    fn invariant_a_damaged_value_changes_nothing_but_itself() {
        let line = serde_json::json!({
            "type": "assistant", "uuid": "u", "parentUuid": "p", "sessionId": "s",
            "requestId": "r", "timestamp": "2026-01-02T03:04:05Z", "cwd": "/a", "gitBranch": "main",
            "version": "2.1.200", "isSidechain": true, "isMeta": false, "origin": {"kind": "human"},
            "toolUseResult": {"stdout": "x"}, "operation": "enqueue",
            "attachment": {"type": "queued_command", "commandMode": "prompt", "prompt": "go on"},
            "message": {
                "id": "m", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
                "usage": {
                    "input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3,
                    "cache_creation_input_tokens": 9, "speed": "fast",
                    "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5},
                    "output_tokens_details": {"thinking_tokens": 1},
                    "iterations": [{"type": "compaction", "model": "c", "input_tokens": 6}],
                },
                "content": [
                    {"type": "text", "text": "hello"},
                    {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "ls"}},
                    {"type": "tool_result", "tool_use_id": "t", "is_error": true, "content": "no"},
                ],
            },
            "data": {"type": "agent_progress", "message": {"message": {"id": "n"}}},
        });
        let deep = "[".repeat(200) + &"]".repeat(200);
        // What is read of a line, its token figures aside: a note on them is not damage.
        let read = |line: &[u8]| {
            let mut found = Vec::new();
            let host = MemoryHost::new(line);
            let tally = Transcript::new(Lines::new(&host)).for_each(|_, entry| {
                let mut entry = entry.clone();
                if let Some(message) = &mut entry.message {
                    message.usage_is_unreadable = false;
                    if let Some(usage) = &mut message.usage {
                        usage.is_incomplete = false;
                        usage
                            .iterations
                            .iter_mut()
                            .for_each(|one| one.is_incomplete = false);
                        if usage.tokens == Default::default() && usage.iterations.is_empty() {
                            message.usage = None;
                        }
                    }
                }
                found.push(format!("{entry:?}"));
            });
            (found, tally)
        };
        let mut pointers = Vec::new();
        list_pointers(&line, String::new(), &mut pointers);
        assert!(pointers.len() > 40);
        for pointer in pointers {
            let with = |damage: &[u8]| {
                let mut line = line.clone();
                *line.pointer_mut(&pointer).unwrap() = "DAMAGE".into();
                let text = line.to_string();
                let (before, after) = text.split_once("\"DAMAGE\"").unwrap();
                [before.as_bytes(), damage, after.as_bytes()].concat()
            };
            let (expected, _) = read(&with(b"null"));
            for damage in [&b"NaN"[..], b"1e999", b"-", b"01.", deep.as_bytes()] {
                // The text of these values is kept as it is.
                let is_verbatim = ["/toolUseResult", "/input", "/content/2/content"];
                let is_list_of_blocks = ["/message/content", "/attachment/prompt"];
                if is_verbatim
                    .iter()
                    .any(|verbatim| pointer.contains(verbatim))
                    || (damage == deep.as_bytes() && is_list_of_blocks.contains(&&*pointer))
                {
                    continue;
                }
                let (found, tally) = read(&with(damage));
                let damage = String::from_utf8_lossy(&damage[..damage.len().min(20)]);
                assert_eq!(found, expected, "{pointer}: {damage}");
                assert_eq!(
                    (tally.lines, tally.bad_lines),
                    (1, 1),
                    "{pointer}: {damage}"
                );
            }
            // Strings with damage in them are still strings.
            let (expected, _) = read(&with("\"a\u{fffd}b\"".as_bytes()));
            for damage in [
                &b"\"a\\ud83db\""[..],
                b"\"a\\ude00b\"",
                b"\"a\xffb\"",
                b"\"a\xf0\x9f\x98b\"",
            ] {
                let (found, tally) = read(&with(damage));
                let shown = String::from_utf8_lossy(damage);
                let escaped = |found: &[String]| {
                    found
                        .join("")
                        .replace(r"\ud83d", "\u{fffd}")
                        .replace(r"\ude00", "\u{fffd}")
                };
                assert_eq!(escaped(&found), escaped(&expected), "{pointer}: {shown}");
                assert_eq!((tally.lines, tally.bad_lines), (1, 1), "{pointer}: {shown}");
            }
        }
    }

    fn list_pointers(value: &serde_json::Value, at: String, pointers: &mut Vec<String>) {
        let children: Vec<(String, &serde_json::Value)> = match value {
            serde_json::Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| (key.clone(), value))
                .collect(),
            serde_json::Value::Array(elements) => (0..)
                .map(|at: usize| at.to_string())
                .zip(elements)
                .collect(),
            _ => Vec::new(),
        };
        for (key, child) in children {
            let pointer = format!("{at}/{key}");
            list_pointers(child, pointer.clone(), pointers);
            pointers.push(pointer);
        }
    }

    #[test]
    fn blank_lines_byte_order_mark_and_carriage_returns_are_no_matter() {
        let line = "{\"type\":\"user\"}";
        check(
            format!("\u{feff}{line}\r\n\r\n \t\n{line}\r\n\n").as_bytes(),
            2,
            lines(2, 0),
        );
        check(
            format!("{line}\n\u{feff}{line}\n").as_bytes(),
            1,
            lines(2, 1),
        );
        check(b"", 0, lines(0, 0));
        check("\u{feff}".as_bytes(), 0, lines(0, 0));
    }

    #[test]
    fn values_spliced_into_one_line_count_up_to_the_first_that_is_broken() {
        let one = r#"{"type":"user"}"#;
        check(format!("{one}{one} {one}\n").as_bytes(), 3, lines(1, 0));
        check(format!("{one}{one}x{one}\n").as_bytes(), 2, lines(1, 1));
        check(format!("{one} 7 {one}\n").as_bytes(), 2, lines(1, 1));
        check(format!("{one} 7x {one}\n").as_bytes(), 1, lines(1, 1));
        check(
            &[one.as_bytes(), b"{\"a\":\"\xff\"}", one.as_bytes()].concat(),
            3,
            lines(1, 1),
        );
    }

    #[test]
    fn half_a_value_at_the_end_is_a_torn_tail_and_a_whole_one_counts() {
        let one = r#"{"type":"user"}"#;
        let multi = "{\"type\":\"user\",\"cwd\":\"é".as_bytes();
        check(format!("{one}\n{one}").as_bytes(), 2, lines(2, 0));
        check(
            format!("{one}\n{{\"type\":\"us").as_bytes(),
            1,
            torn(lines(2, 0)),
        );
        check(format!("{one}{one}{{").as_bytes(), 2, torn(lines(1, 0)));
        check(&multi[..multi.len() - 1], 0, torn(lines(1, 0)));
        check(
            format!("{one}\n{{\"type\":\"us\n").as_bytes(),
            1,
            lines(2, 1),
        );
        check(format!("{one}\nhello").as_bytes(), 1, lines(2, 1));
    }

    #[test]
    fn types_that_nobody_knows_are_counted() {
        let tally = Tally {
            unknown_types: 2,
            ..lines(3, 0)
        };
        check(b"{\"type\":\"user\"}\n{\"type\":\"new\"}\n{}\n", 3, tally);
    }

    #[test]
    fn usage_that_cannot_be_read_makes_a_bad_line_and_the_entry_still_counts() {
        check(
            br#"{"type":"user","message":{"usage":"much"}}"#,
            1,
            lines(1, 1),
        );
        let progress = br#"{"type":"progress","data":{"type":"agent_progress",
            "message":{"message":{"usage":{"input_tokens":-1}}}}}"#;
        check(
            &progress.map(|b| if b == b'\n' { b' ' } else { b }),
            1,
            lines(1, 1),
        );
    }
}
