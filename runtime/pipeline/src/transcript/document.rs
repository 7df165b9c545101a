//! Transcripts that are one object of many lines, as older versions of Gemini CLI wrote.
//!
//! Such a document is converted to lines: each record of its list `messages` becomes one line, at the
//! number of the line on which it begins, and all other lines are blank. So a record has the same
//! line as in the tables of processors.

/// A longer document is not converted, in bytes. Its bytes are in memory twice while it is.
pub(super) const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// The list of records.
const RECORDS: &[u8] = b"messages";

/// Converts a document to lines. The end of a document that is not complete is the last line.
pub(super) fn to_lines(document: &[u8]) -> Vec<u8> {
    let mut converted = Converted::default();
    let mut scanner = Scanner::default();
    for (at, byte) in document.iter().enumerate() {
        converted.line += u64::from(*byte == b'\n');
        match scanner.read(document, at, *byte) {
            Some(Step::Begin) => converted.record = Some((at, converted.line)),
            Some(Step::End) => converted.end_record(document, at + 1),
            None => {}
        }
    }
    if converted.record.is_some() {
        converted.end_record(document, document.len());
    } else {
        converted.pad_to(converted.line);
    }
    converted.lines
}

/// The lines so far.
#[derive(Default)]
struct Converted {
    lines: Vec<u8>,
    /// The number of line breaks in `lines`.
    breaks: u64,
    /// The number of line breaks that were read.
    line: u64,
    /// The beginning of the current record, and the number of line breaks before it.
    record: Option<(usize, u64)>,
    has_record_on_line: bool,
}

impl Converted {
    fn end_record(&mut self, document: &[u8], end: usize) {
        let Some((start, line)) = self.record.take() else {
            return;
        };
        // Records on the same line of the document get a line each.
        self.pad_to(line.max(self.breaks + u64::from(self.has_record_on_line)));
        let record = document.get(start..end).unwrap_or_default();
        let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let bytes = record.iter();
        // A break is only between values: texts have none.
        self.lines
            .extend(bytes.map(|byte| if is_break(byte) { b' ' } else { *byte }));
        self.has_record_on_line = true;
    }

    fn pad_to(&mut self, breaks: u64) {
        while self.breaks < breaks {
            self.lines.push(b'\n');
            self.breaks += 1;
            self.has_record_on_line = false;
        }
    }
}

enum Step {
    /// A record begins.
    Begin,
    /// A record ends.
    End,
}

/// Follows the structure of a document.
#[derive(Default)]
struct Scanner {
    depth: usize,
    is_in_text: bool,
    is_escaped: bool,
    /// The beginning of the latest text on the first level, without its quote, and its end.
    text: (usize, usize),
    /// Whether the latest name on the first level is that of the records.
    is_named: bool,
    is_in_records: bool,
}

impl Scanner {
    fn read(&mut self, document: &[u8], at: usize, byte: u8) -> Option<Step> {
        if self.is_in_text {
            let ends = byte == b'"' && !self.is_escaped;
            self.is_escaped = byte == b'\\' && !self.is_escaped;
            self.is_in_text = !ends;
            if ends && self.depth == 1 {
                self.text.1 = at;
            }
            return None;
        }
        match byte {
            b'"' => {
                self.is_in_text = true;
                if self.depth == 1 {
                    self.text.0 = at + 1;
                }
            }
            b':' if self.depth == 1 => {
                self.is_named = document.get(self.text.0..self.text.1) == Some(RECORDS);
            }
            b'{' | b'[' => {
                let begins = byte == b'{' && self.depth == 2 && self.is_in_records;
                if byte == b'[' && self.depth == 1 {
                    self.is_in_records = self.is_named;
                }
                self.depth += 1;
                return begins.then_some(Step::Begin);
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 1 {
                    self.is_in_records = false;
                }
                let ends = byte == b'}' && self.depth == 2 && self.is_in_records;
                return ends.then_some(Step::End);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::to_lines;

    fn check(document: &str, lines: &str) {
        let found = String::from_utf8(to_lines(document.as_bytes())).unwrap();
        assert_eq!(found, lines, "{document}");
    }

    #[test]
    fn each_record_is_a_line_where_it_begins() {
        check(
            "{\n \"sessionId\": \"s\",\n \"messages\": [\n  {\n   \"a\": \"}]\\\"\"\n  },\n  {\"b\": {\"messages\": [{}]}}\n ],\n \"x\": [{}]\n}\n",
            "\n\n\n{    \"a\": \"}]\\\"\"   }\n\n\n{\"b\": {\"messages\": [{}]}}\n\n\n\n",
        );
        // Several records on one line.
        check("{\"messages\":[{},{},\n{}]}", "{}\n{}\n{}");
        check("{\"other\":[{}],\"messages\":{\"a\":[{}]}}", "");
        check("", "");
    }

    #[test]
    fn the_end_of_an_incomplete_document_is_a_line() {
        check("{\n\"messages\":[{},\n{\"a\":\n\"b", "\n{}\n{\"a\": \"b");
        check("{\n\"messages\":[{}", "\n{}");
    }

    #[test]
    fn damaged_documents_end() {
        for damaged in [
            "]]]]}}}}",
            "{\"messages\":[[[{",
            "\"\\",
            "{\"messages\":[{]}",
        ] {
            to_lines(damaged.as_bytes());
        }
    }
}
