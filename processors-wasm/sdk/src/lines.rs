//! The lines of a transcript, read from the host chunk by chunk.

use crate::host::{Host, HostRef};

/// Bytes requested per call. With fewer bytes, the overhead of calls dominates. With more, memory
/// and cache are wasted.
const CHUNK_BYTES: u32 = 256 * 1024;

/// The byte order mark, which some editors write at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines of a transcript, in order.
///
/// This is not an [`Iterator`], because a line is valid only until the next call. The file can be
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
    /// The 1-based number of the line in the file. Blank and skipped lines count.
    pub number: u64,
    /// The line without its newline and the carriage return before it.
    pub bytes: &'a [u8],
    /// Whether a newline follows. Only the last line of a file can lack it, because the agent is
    /// writing or stopped in the middle.
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

    /// The next line. `None` at the end.
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

    /// The chunk that the next line comes from, without consuming it. Empty at the end.
    pub(crate) fn peek_chunk(&mut self) -> &[u8] {
        if self.at == self.chunk.len() && !self.read_chunk() {
            return &[];
        }
        &self.chunk[self.at..]
    }

    /// The number of lines skipped so far because they exceed the host's line limit.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Reads the next chunk. Returns whether there is a line.
    fn read_chunk(&mut self) -> bool {
        if self.is_done {
            return false;
        }
        // Drop the old chunk first, so that there are never two in memory.
        self.chunk = Vec::new();
        let chunk = Host::read_lines(self.host, CHUNK_BYTES);
        self.passed_over += u64::from(chunk.passed_over);
        self.chunk = chunk.bytes;
        self.number = chunk.first_line;
        let has_mark = self.number == 1 && self.chunk.starts_with(BYTE_ORDER_MARK);
        self.at = if has_mark { BYTE_ORDER_MARK.len() } else { 0 };
        self.is_done = self.chunk.is_empty();
        // A file that contains only the mark has no line.
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
