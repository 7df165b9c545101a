//! Splits a file that is one JSON object into parts, while it is read.
//!
//! Older versions of Gemini CLI wrote a session as one indented object, whose field `messages` has
//! the records. A document can be larger than the memory of a guest. Therefore, each field but
//! `messages` becomes an object of its own, and so does each record. Only the current part is in
//! memory.
//!
//! Damage costs only its part: a string ends with its line, and the next record is recognized by
//! its indentation.

use memchr::memchr2;

/// A larger part is skipped.
const PART_BYTES_MAX: usize = 16 << 20;

/// The field with the records.
const RECORDS: &[u8] = b"\"messages\"";

/// The depth between the fields of the document.
const FIELDS: usize = 1;

/// The depth between the records.
const ELEMENTS: usize = 2;

/// Follows a document through its bytes.
#[derive(Default)]
pub(super) struct DocumentParts {
    /// The number of open objects and lists.
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
    /// Whether the list of the records is open.
    is_in_records: bool,
    /// The white space before a record that begins on a line of its own.
    indentation: Option<Vec<u8>>,
    part: Option<OpenPart>,
}

/// A field or a record.
pub(super) struct Part<'a> {
    /// The 1-based number of the line on which it begins.
    pub(super) line: u64,
    /// Its text. `None` if it is too large.
    pub(super) bytes: Option<&'a [u8]>,
}

/// A part without its end.
struct OpenPart {
    line: u64,
    bytes: Vec<u8>,
    is_field: bool,
    is_too_large: bool,
}

impl DocumentParts {
    /// Reads a line, and passes the parts that end on it to `each`.
    pub(super) fn read_line(&mut self, number: u64, line: &[u8], each: &mut impl FnMut(Part<'_>)) {
        self.begin_line(line, each);
        let mut rest = line;
        while let Some((first, after)) = rest.split_first() {
            if self.is_escaped {
                self.is_escaped = false;
                self.push(&[*first]);
                rest = after;
            } else if self.is_in_string {
                let length = memchr2(b'"', b'\\', rest).map_or(rest.len(), |at| at + 1);
                let (text, after) = rest.split_at(length);
                self.push(text);
                self.is_in_string = !text.ends_with(b"\"");
                self.is_escaped = text.ends_with(b"\\");
                rest = after;
            } else {
                self.read_structure(*first, number, line, each);
                rest = after;
            }
        }
        self.push(b"\n");
    }

    /// Whether the document has no end so far.
    pub(super) fn is_open(&self) -> bool {
        self.depth > 0
    }

    /// A string has no line break, so one that is open is damaged. A record begins with the
    /// indentation of the first, so if the depth is another one, it is wrong.
    fn begin_line(&mut self, line: &[u8], each: &mut impl FnMut(Part<'_>)) {
        self.is_in_string = false;
        self.is_escaped = false;
        let Some(indentation) = &self.indentation else {
            return;
        };
        let is_record = line.strip_prefix(&**indentation) == Some(b"{");
        if is_record && self.depth != ELEMENTS {
            self.end_part(each);
            self.depth = ELEMENTS;
            self.is_in_records = true;
        }
    }

    /// Reads a byte outside of strings.
    fn read_structure(
        &mut self,
        byte: u8,
        number: u64,
        line: &[u8],
        each: &mut impl FnMut(Part<'_>),
    ) {
        match byte {
            b'{' | b'[' if self.depth == 0 => self.depth += usize::from(byte == b'{'),
            _ if self.depth == 0 => {}
            b',' if self.is_between_parts() => self.end_part(each),
            b'}' | b']' if self.is_between_parts() => {
                self.end_part(each);
                self.is_in_records = false;
                self.depth -= 1;
            }
            b'}' | b']' => {
                self.push(&[byte]);
                self.depth -= 1;
                if self.depth == ELEMENTS && self.is_in_records {
                    self.end_part(each);
                }
            }
            b'[' if self.depth == FIELDS && self.is_after_key_of_records() => {
                self.part = None;
                self.is_in_records = true;
                self.depth += 1;
            }
            _ => {
                if self.is_between_parts() && !byte.is_ascii_whitespace() {
                    self.begin_part(number, line);
                }
                self.push(&[byte]);
                self.depth += usize::from(matches!(byte, b'{' | b'['));
                self.is_in_string = byte == b'"';
            }
        }
    }

    /// Whether a comma ends a part here.
    fn is_between_parts(&self) -> bool {
        self.depth == FIELDS || self.depth == ELEMENTS && self.is_in_records
    }

    fn is_after_key_of_records(&self) -> bool {
        let field = self.part.as_ref().and_then(|part| part.bytes.get(1..));
        let value = field.and_then(|field| field.strip_prefix(RECORDS));
        value.is_some_and(|value| value.trim_ascii() == b":")
    }

    /// Begins a part, unless there is one.
    fn begin_part(&mut self, number: u64, line: &[u8]) {
        if self.part.is_some() {
            return;
        }
        let is_field = self.depth == FIELDS;
        self.part = Some(OpenPart {
            line: number,
            bytes: if is_field { b"{".to_vec() } else { Vec::new() },
            is_field,
            is_too_large: false,
        });
        if !is_field && self.indentation.is_none() {
            let indentation = line.strip_suffix(b"{");
            let is_white = |text: &&[u8]| !text.is_empty() && text.trim_ascii().is_empty();
            self.indentation = indentation.filter(is_white).map(<[u8]>::to_vec);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let Some(part) = &mut self.part else {
            return;
        };
        part.is_too_large |= part.bytes.len() + bytes.len() > PART_BYTES_MAX;
        if part.is_too_large {
            part.bytes = Vec::new();
        } else {
            part.bytes.extend_from_slice(bytes);
        }
    }

    fn end_part(&mut self, each: &mut impl FnMut(Part<'_>)) {
        let Some(mut part) = self.part.take() else {
            return;
        };
        if part.is_field {
            part.bytes.push(b'}');
        }
        each(Part {
            line: part.line,
            bytes: Some(&*part.bytes).filter(|_| !part.is_too_large),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts without white space, after the numbers of their lines, and whether the document is
    /// open.
    fn split(text: &str) -> (Vec<String>, bool) {
        let mut parts = DocumentParts::default();
        let mut found = Vec::new();
        for (at, line) in text.lines().enumerate() {
            parts.read_line(at as u64 + 1, line.as_bytes(), &mut |part| {
                let text = part
                    .bytes
                    .map_or("too large".into(), String::from_utf8_lossy);
                let text = text.replace([' ', '\n', '\t'], "");
                found.push(format!("{}:{text}", part.line));
            });
        }
        (found, parts.is_open())
    }

    fn check(text: &str, expected: &[&str]) {
        let (found, is_open) = split(text);
        assert_eq!(found, expected, "{text}");
        assert!(!is_open, "{text}");
    }

    #[test]
    fn fields_and_records_are_parts() {
        let document = r#"{
  "sessionId": "a",
  "messages": [
    {
      "id": "1",
      "content": "a \"quoted\" } ] , \\"
    },
    {
      "id": "2",
      "args": { "list": [{}, [1, 2]] }
    }
  ],
  "directories": [
    "/w"
  ],
  "kind": "main"
}"#;
        let parts = [
            r#"2:{"sessionId":"a"}"#,
            r#"4:{"id":"1","content":"a\"quoted\"}],\\"}"#,
            r#"8:{"id":"2","args":{"list":[{},[1,2]]}}"#,
            r#"13:{"directories":["/w"]}"#,
            r#"16:{"kind":"main"}"#,
        ];
        check(document, &parts);
        // Without line breaks, everything begins on the first line.
        let flat = document.replace('\n', " ");
        let on_first = |part: &&str| format!("1:{}", part.split_once(':').unwrap().1);
        let on_first: Vec<_> = parts.iter().map(on_first).collect();
        check(
            &flat,
            &on_first.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }

    #[test]
    fn other_shapes_are_split_as_far_as_they_go() {
        check("{}", &[]);
        check(r#"{"messages": []}"#, &[]);
        check(r#"{"messages": "none"}"#, &[r#"1:{"messages":"none"}"#]);
        check(
            r#"{"messages": [7, "a", {}]}"#,
            &["1:7", r#"1:"a""#, "1:{}"],
        );
        check(
            r#"{"a": {"messages": [{}]}}"#,
            &[r#"1:{"a":{"messages":[{}]}}"#],
        );
        check(r#"{"a": 1} {"b": 2}"#, &[r#"1:{"a":1}"#, r#"1:{"b":2}"#]);
        check("", &[]);
        check("] } , 7", &[]);
    }

    #[test]
    fn damage_costs_only_its_record() {
        let record = |id: u8| format!("    {{\n      \"id\": \"{id}\"\n    }}");
        let document = |second: &str| {
            format!(
                "{{\n  \"messages\": [\n{},\n{second},\n{}\n  ],\n  \"kind\": \"main\"\n}}",
                record(1),
                record(3)
            )
        };
        for second in [
            "    {\n      \"id\": \"2",
            "    {\n      \"id\": {{[\"2\"\n    }",
            "    {\n      \"id\": \"2\"\n    }}]",
            "    \"id\": \"2\"\n    }",
        ] {
            let (parts, _) = split(&document(second));
            for id in [1, 3] {
                let is_record = |part: &String| part.ends_with(&format!(r#":{{"id":"{id}"}}"#));
                assert!(parts.iter().any(is_record), "{second}: {parts:?}");
            }
        }
    }

    #[test]
    fn a_document_without_an_end_is_open() {
        let (parts, is_open) = split("{\"messages\": [{\"id\": \"1\"}, {\"id\"");
        assert_eq!(parts, [r#"1:{"id":"1"}"#]);
        assert!(is_open);
    }

    #[test]
    fn a_part_that_is_too_large_is_skipped() {
        let long = "x".repeat(PART_BYTES_MAX);
        let document = format!("{{\"messages\": [{{\"id\": \"{long}\"}}, {{\"id\": \"2\"}}]}}");
        check(&document, &["1:toolarge", r#"1:{"id":"2"}"#]);
    }
}
