//! From lines to entries, and the count of what could not be read.

use std::convert::Infallible;

use crate::lines::{Line, Lines};
use crate::scan::{Broken, Scanner};
use crate::transcript::{Entry, Kind};

/// The entries of a session's transcript.
///
/// A value that is no object, text that is no JSON, and usage that can't be read make their line
/// a bad one; what stands on it besides still counts. Several values on one line are entries
/// each, up to the first that can't be read. A last line that has no newline and ends within a
/// value is a torn tail: the agent was writing, and the next run will read it whole.
pub struct Transcript<'h> {
    lines: Lines<'h>,
    tally: Tally,
}

/// What a transcript holds, in lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines that are not blank; those of the other counts included.
    pub lines: u64,
    /// Lines with something on them that could not be read.
    pub bad_lines: u64,
    /// Entries whose type is absent or not known.
    pub unknown_types: u64,
    /// Lines above the host's line limit, of which nothing is known but that they are there.
    pub passed_over_lines: u64,
    /// Whether the last line has no newline and ends within a value.
    pub torn_tail: bool,
}

impl<'h> Transcript<'h> {
    pub(crate) fn new(lines: Lines<'h>) -> Self {
        Self {
            lines,
            tally: Tally::default(),
        }
    }

    /// Calls `each` with the line number and every entry, in order.
    pub fn for_each(self, mut each: impl FnMut(u64, &Entry<'_>)) -> Tally {
        let outcome = self.try_for_each(|line, entry| {
            each(line, entry);
            Ok::<_, Infallible>(())
        });
        match outcome {
            Ok(tally) => tally,
        }
    }

    /// As [`Transcript::for_each`], until `each` fails.
    pub fn try_for_each<E>(
        mut self,
        mut each: impl FnMut(u64, &Entry<'_>) -> Result<(), E>,
    ) -> Result<Tally, E> {
        while let Some(line) = self.lines.next_line() {
            read_line(&line, &mut self.tally, &mut each)?;
        }
        self.tally.passed_over_lines = self.lines.passed_over();
        self.tally.lines += self.tally.passed_over_lines;
        Ok(self.tally)
    }
}

/// Reads one line into the tally and hands its entries to `each`.
fn read_line<E>(
    line: &Line<'_>,
    tally: &mut Tally,
    each: &mut impl FnMut(u64, &Entry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (text, ending) = readable(line.bytes);
    let mut scanner = Scanner::new(text);
    let mut broken = None;
    let mut is_bad = false;
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
                if entry.kind == Kind::Unknown {
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
    let broken = match (broken, ending) {
        (Some(Broken::Malformed), _) => Some(Broken::Malformed),
        (broken, None) => broken,
        // The readable part ends within a string: how it ends, says what follows it.
        (Some(Broken::Torn), Some(ending)) => Some(ending),
        (None, Some(_)) => Some(Broken::Malformed),
    };
    if is_blank && broken.is_none() {
        return Ok(());
    }
    tally.lines += 1;
    match broken {
        Some(Broken::Torn) if !line.is_ended => tally.torn_tail = true,
        Some(_) => is_bad = true,
        None => {}
    }
    tally.bad_lines += u64::from(is_bad);
    Ok(())
}

/// The part of a line that is UTF-8, and how it is broken behind it.
fn readable(bytes: &[u8]) -> (&str, Option<Broken>) {
    if let Ok(text) = simdutf8::basic::from_utf8(bytes) {
        return (text, None);
    }
    let Err(error) = std::str::from_utf8(bytes) else {
        return ("", Some(Broken::Malformed));
    };
    let text = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
    let broken = match error.error_len() {
        Some(_) => Broken::Malformed,
        None => Broken::Torn,
    };
    (text, Some(broken))
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
            b"{\"type\":\"\xff\"}",
            b"{\"type\":\"\xc3\"}",
            b"{\"type\":\"us\0er\"}",
            b"\0\0\0",
            b"{\"a\":1e999}",
            b"{\"a\":\"\\ud800\"}",
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
            1,
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
