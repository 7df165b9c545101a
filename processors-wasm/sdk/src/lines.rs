//! The lines of a transcript, read from the host chunk by chunk.

use crate::host::{Host, HostRef};

/// How much is asked for at once: below, calls cost more than they give; above, memory and
/// cache are spent for nothing.
const CHUNK_BYTES: u32 = 256 * 1024;

/// What some editors put at the beginning of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines of a transcript, in order, each once.
///
/// No [`Iterator`], since a line lives only until the next one is asked for: the file may be
/// larger than the memory of a guest.
pub struct Lines<'h> {
    host: HostRef<'h>,
    chunk: Vec<u8>,
    at: usize,
    number: u64,
    passed_over: u64,
    is_done: bool,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The number of the line in the file, from 1; blank and passed-over lines count.
    pub number: u64,
    /// The line without its newline, and without the carriage return before it.
    pub bytes: &'a [u8],
    /// Whether a newline follows. Only the last line of a file may lack it: somebody is writing,
    /// or stopped in the middle.
    pub is_ended: bool,
}

impl<'h> Lines<'h> {
    pub(crate) fn new(host: HostRef<'h>) -> Self {
        Self {
            host,
            chunk: Vec::new(),
            at: 0,
            number: 1,
            passed_over: 0,
            is_done: false,
        }
    }

    /// The next line, or `None` at the end.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        if self.at == self.chunk.len() && !self.read_chunk() {
            return None;
        }
        let rest = &self.chunk[self.at..];
        let (length, is_ended) = match memchr::memchr(b'\n', rest) {
            Some(length) => (length, true),
            None => (rest.len(), false),
        };
        let bytes = &rest[..length];
        self.at += length + usize::from(is_ended);
        let number = self.number;
        self.number += 1;
        Some(Line {
            number,
            bytes: bytes.strip_suffix(b"\r").unwrap_or(bytes),
            is_ended,
        })
    }

    /// How many lines above the host's line limit were left out so far.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Reads on; answers whether there is a line.
    fn read_chunk(&mut self) -> bool {
        if self.is_done {
            return false;
        }
        // The old chunk goes first, so that there is never room needed for two.
        self.chunk = Vec::new();
        let chunk = Host::read_lines(self.host, CHUNK_BYTES);
        self.passed_over += u64::from(chunk.passed_over);
        self.chunk = chunk.bytes;
        self.number = chunk.first_line;
        let has_mark = self.number == 1 && self.chunk.starts_with(BYTE_ORDER_MARK);
        self.at = if has_mark { BYTE_ORDER_MARK.len() } else { 0 };
        self.is_done = self.chunk.is_empty();
        // A file of nothing but the mark has no line.
        self.at < self.chunk.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::MemoryHost;

    fn check(host: &MemoryHost<'_>, expected: &[(u64, &str, bool)]) {
        let mut lines = Lines::new(host);
        let mut found = Vec::new();
        while let Some(line) = lines.next_line() {
            let text = String::from_utf8_lossy(line.bytes).into_owned();
            found.push((line.number, text, line.is_ended));
        }
        let found: Vec<_> = found
            .iter()
            .map(|(number, text, is_ended)| (*number, text.as_str(), *is_ended))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn lines_have_their_numbers_and_say_whether_they_are_ended() {
        check(&MemoryHost::new(b""), &[]);
        check(&MemoryHost::new(b"\n"), &[(1, "", true)]);
        check(
            &MemoryHost::new(b"\xef\xbb\xbfa\r\n\nb"),
            &[(1, "a", true), (2, "", true), (3, "b", false)],
        );
    }

    #[test]
    fn lines_above_the_limit_are_counted_and_keep_their_numbers() {
        let mut host = MemoryHost::new(b"long line\nab\nlong line\nlong line\ncd\nlong line");
        host.line_bytes_max = 5;
        check(&host, &[(2, "ab", true), (5, "cd", true)]);
        host.rewind();
        let mut lines = Lines::new(&host);
        while lines.next_line().is_some() {}
        assert_eq!(lines.passed_over(), 4);
    }

    #[test]
    fn invariant_chunks_change_nothing() {
        let lines: Vec<String> = (0..40_000).map(|n| "x".repeat(n % 37)).collect();
        let transcript = lines.join("\n");
        let host = MemoryHost::new(transcript.as_bytes());
        let mut reader = Lines::new(&host);
        for (at, line) in lines.iter().enumerate() {
            let is_last = at + 1 == lines.len();
            let expected = Line {
                number: at as u64 + 1,
                bytes: line.as_bytes(),
                is_ended: !is_last,
            };
            assert_eq!(reader.next_line(), Some(expected));
        }
        assert_eq!(reader.next_line(), None);
    }

    #[test]
    fn a_line_longer_than_a_chunk_comes_whole() {
        let long = "y".repeat(3 * CHUNK_BYTES as usize);
        let transcript = format!("a\n{long}\nb\n");
        let host = MemoryHost::new(transcript.as_bytes());
        check(&host, &[(1, "a", true), (2, &long, true), (3, "b", true)]);
    }
}
