//! Redacts lines of transcripts. A line is a JSON document, and only the texts in it change: all
//! other bytes stay the same, and the result is one line of valid JSON.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::{MARKER_START, RedactedText, clean, cleaned_value};

/// Longer lines are not searched, because the search needs several times their size in memory.
pub const LINE_BYTES_MAX: usize = 8 << 20;

/// The line that takes the place of a line longer than [`LINE_BYTES_MAX`], without a line end.
pub const LONG_LINE_MARKER: &[u8] = br#"{"removed":"[removed: long-line]"}"#;

/// Redacting a value can reveal another secret, so redaction repeats.
const ROUNDS_MAX: usize = 4;

/// A redacted line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedactedLine<'l> {
    /// The line. Borrowed if nothing was removed.
    pub bytes: Cow<'l, [u8]>,
    /// The number of removed secrets. 0 for the result of an earlier call.
    pub found: usize,
}

/// Removes secrets from all strings and field names of a line, with or without its line end. A line
/// that is not JSON is redacted as text. A JSON document of several lines keeps its layout.
///
/// ```
/// let line = br#"{"cost": 1.50, "password": "hunter2-hunter2"}"#;
/// let redacted = session_pipeline_redaction::redact_line(line);
/// assert_eq!(&*redacted.bytes, br#"{"cost": 1.50, "password": "[removed: password]"}"#);
/// assert_eq!(redacted.found, 1);
/// ```
pub fn redact_line(line: &[u8]) -> RedactedLine<'_> {
    let end = line.len() - usize::from(line.ends_with(b"\n"));
    let (body, newline) = line.split_at_checked(end).unwrap_or((line, b""));
    let text = String::from_utf8_lossy(body);
    let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
    let (redacted, found) = match is_json {
        true => redact_json(&text),
        false => redact_text(&text),
    };
    if found == 0 {
        return RedactedLine {
            bytes: Cow::Borrowed(line),
            found,
        };
    }
    let mut bytes = redacted.into_bytes();
    bytes.extend_from_slice(newline);
    RedactedLine {
        bytes: Cow::Owned(bytes),
        found,
    }
}

fn redact_text(text: &str) -> (String, usize) {
    let RedactedText {
        text,
        found,
        remaining,
    } = clean(text, None);
    match remaining {
        Some(kind) => (marker(kind), found),
        None => (text.into_owned(), found),
    }
}

fn marker(kind: &str) -> String {
    format!("{MARKER_START}{kind}]")
}

/// Where in a document the next string is.
struct Container {
    /// The name of the field whose value this container is, or of the field that is being read.
    name: String,
    is_object: bool,
    is_at_name: bool,
}

/// Redacts the strings of a valid document.
fn redact_json(text: &str) -> (String, usize) {
    let mut out = String::new();
    let (mut copied, mut at, mut found) = (0, 0, 0);
    let mut open: Vec<Container> = Vec::new();
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                let name = open.last().map_or("", |container| &container.name);
                open.push(Container {
                    name: name.to_owned(),
                    is_object: *byte == b'{',
                    is_at_name: *byte == b'{',
                });
            }
            b'}' | b']' => {
                open.pop();
            }
            b':' => open.iter_mut().last().into_iter().for_each(|object| {
                object.is_at_name = false;
            }),
            b',' => open.iter_mut().last().into_iter().for_each(|container| {
                container.is_at_name = container.is_object;
            }),
            b'"' => {
                let end = string_end(bytes, at);
                let literal = text.get(at..end).unwrap_or_default();
                let container = open.last_mut();
                let is_name = container.as_ref().is_some_and(|object| object.is_at_name);
                let name = match (&container, is_name) {
                    (Some(container), false) => container.name.as_str(),
                    _ => "",
                };
                let redacted = redact_literal(literal, name);
                if is_name && let Some(object) = container {
                    object.name = serde_json::from_str(literal).unwrap_or_default();
                }
                if let Some((literal, count)) = redacted {
                    out.push_str(text.get(copied..at).unwrap_or_default());
                    out.push_str(&literal);
                    (copied, found) = (end, found + count);
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    (out, found)
}

/// The position after the string that starts here.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Redacts a string literal, with its quotation marks. `None` if it contains no secret.
fn redact_literal(literal: &str, name: &str) -> Option<(String, usize)> {
    let Ok(text) = serde_json::from_str::<Cow<'_, str>>(literal) else {
        // Half of a surrogate pair. The rules decode all other escapes themselves.
        let inner = literal.get(1..literal.len().checked_sub(1)?)?;
        let (inner, found) = redact_text(inner);
        return (found > 0).then(|| (format!("\"{inner}\""), found));
    };
    let (text, found) = redact_value(&text, name)?;
    Some((serde_json::to_string(&text).ok()?, found))
}

fn redact_value(text: &str, name: &str) -> Option<(String, usize)> {
    let mut current = text.to_owned();
    let mut total = 0;
    for _ in 0..ROUNDS_MAX {
        let cleaned = clean(&current, None);
        let (next, found) = match cleaned.found {
            0 => {
                let next = cleaned_value(name, &current);
                let found = usize::from(next != current);
                (next, found)
            }
            found => (cleaned.text.into_owned(), found),
        };
        if next == current {
            return (total > 0).then_some((current, total));
        }
        (current, total) = (next, total + found);
    }
    Some((marker("secret"), total))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AKIAIOSFODNN7EXAMPL1";

    fn redacted(line: &str) -> String {
        let first = redact_line(line.as_bytes());
        let again = redact_line(&first.bytes);
        assert_eq!(again.found, 0, "{line} became {again:?}");
        assert_eq!(again.bytes, first.bytes);
        String::from_utf8(first.bytes.into_owned()).unwrap()
    }

    #[test]
    fn only_secrets_change_and_the_line_end_stays() {
        for line in [
            "{\"b\": 1e400, \"a\" : [1.50, {\"x\":\"\\u00fc\"}]}\n",
            "{\"a\":1}",
            "\n",
            "",
            "{\"half",
        ] {
            assert_eq!(redacted(line), line);
        }
        assert_eq!(
            redacted(&format!(
                "{{\"n\": 1.50, \"text\":\"key {KEY} \\u00fc\", \"m\":12345678901234567890123}}\n"
            )),
            "{\"n\": 1.50, \"text\":\"key [removed: aws-key] ü\", \"m\":12345678901234567890123}\n"
        );
    }

    #[test]
    fn secrets_are_found_by_the_name_of_their_field_in_names_and_in_nested_documents() {
        assert_eq!(
            redacted(r#"{"env":{"DB_PASSWORD":["x-9Kq2vLw7","y"]}}"#),
            r#"{"env":{"DB_PASSWORD":["[removed: password]","y"]}}"#
        );
        assert_eq!(
            redacted(&format!(r#"{{"{KEY}":true}}"#)),
            r#"{"[removed: aws-key]":true}"#
        );
        let nested = format!(r#"{{"content":"{{\"id\": \"{KEY}\"}}"}}"#);
        assert_eq!(
            redacted(&nested),
            r#"{"content":"{\"id\": \"[removed: aws-key]\"}"}"#
        );
    }

    #[test]
    fn lines_that_are_not_json_or_not_text_are_redacted_as_text() {
        assert_eq!(
            redacted(&format!("{{\"half\": \"{KEY} and")),
            "{\"half\": \"[removed: aws-key] and"
        );
        assert_eq!(
            redacted(&format!(r#"["\ud800 {KEY}"]"#)),
            r#"["\ud800 [removed: aws-key]"]"#
        );
        let broken = [b"\xff ", KEY.as_bytes(), b"\n"].concat();
        let line = redact_line(&broken);
        assert_eq!(&*line.bytes, "\u{fffd} [removed: aws-key]\n".as_bytes());
        let harmless = b"\xff ordinary text";
        assert_eq!(&*redact_line(harmless).bytes, harmless);
    }
}
