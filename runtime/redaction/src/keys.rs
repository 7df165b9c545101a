//! Private keys in PEM-like blocks, including blocks that are cut off at either end.

use std::sync::LazyLock;

use regex::Regex;

use crate::SecretMatch;
use crate::view::View;

const KIND: &str = "private-key";
/// Maximum length of a block without an end marker.
const BLOCK_BYTES_MAX: usize = 64 << 10;

static MARKS: LazyLock<Regex> = LazyLock::new(|| {
    super::compiled(
        r"-----(?<edge>BEGIN|END) (?:[A-Z0-9]+ )*?PRIVATE KEY(?: BLOCK)?-----|(?<ssh2>---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----)|(?<putty>Private-Lines: ?[0-9]+|Private-MAC: ?)",
    )
});

pub(super) fn finds(view: &View) -> Vec<SecretMatch> {
    let text = view.text.as_str();
    let mut finds: Vec<SecretMatch> = Vec::new();
    let mut open: Option<usize> = None;
    let mut at = 0;
    for captures in MARKS.captures_iter(text) {
        let Some(mark) = captures.get(0) else {
            continue;
        };
        if mark.start() < at {
            continue;
        }
        let mut push = |start, end| {
            finds.push(SecretMatch {
                start,
                end,
                kind: KIND,
            });
            end
        };
        match captures.name("edge").map(|edge| edge.as_str()) {
            Some("END") => {
                let start = match open.take() {
                    Some(start) if mark.start() - start <= BLOCK_BYTES_MAX => start,
                    _ => lines_before(text, at, mark.start()),
                };
                at = push(start, mark.end());
            }
            _ => {
                if let Some(start) = open.take() {
                    at = push(start, lines_after(text, start, mark.start()));
                }
                match captures.name("putty") {
                    Some(_) => at = push(mark.end(), lines_after(text, mark.end(), text.len())),
                    None => open = Some(mark.start()),
                }
            }
        }
    }
    if let Some(start) = open {
        let header = text
            .get(start..)
            .and_then(|rest| rest.get(10..)?.find("----"))
            .map_or(start, |at| start + 10 + at + 5);
        let end = lines_after(text, header.min(text.len()), text.len());
        finds.push(SecretMatch {
            start,
            end,
            kind: KIND,
        });
    }
    finds.retain(|find| find.start < find.end);
    finds
}

/// Longer lines do not belong to a key block.
const LINE_BYTES_MAX: usize = 512;

/// Characters that code and mail put around lines.
const AROUND: [char; 12] = [
    '"', '\'', '+', ',', '>', '|', '*', '#', ' ', '\t', '\r', '\\',
];

fn is_key_line(line: &str) -> bool {
    if line.len() > LINE_BYTES_MAX {
        return false;
    }
    let line = line.trim_matches(AROUND);
    let is_base64 = line
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
    // A single word on a line is not part of a key.
    let is_long = line.len() >= 16
        || line.is_empty()
        || line.ends_with('=')
        || line
            .bytes()
            .any(|byte| byte.is_ascii_digit() || byte == b'/');
    let is_header = ["Proc-Type:", "DEK-Info:", "Comment:", "Version:", "Hash:"]
        .iter()
        .any(|start| line.starts_with(start));
    is_base64 && is_long || is_header
}

/// The end of the lines that can belong to a key.
fn lines_after(text: &str, start: usize, limit: usize) -> usize {
    let Some(rest) = text.get(start..super::value::floor(text, limit.min(start + BLOCK_BYTES_MAX)))
    else {
        return start;
    };
    let mut end = start;
    for (number, line) in rest.split_inclusive('\n').enumerate() {
        if number == 0 && line.starts_with("-----BEGIN") || is_key_line(line.trim_end()) {
            end += line.len();
            continue;
        }
        // The last line can be truncated, or continue with other text.
        let line_start = line.len() - line.trim_start_matches(AROUND).len();
        let body = line.get(line_start..).unwrap_or_default();
        let letters = body
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
            .count();
        if letters >= 16 {
            end += line_start + letters;
        }
        break;
    }
    let whole = text.get(start..end).unwrap_or_default();
    start + whole.trim_end().len()
}

/// The start of the lines that can belong to a key.
fn lines_before(text: &str, floor: usize, end: usize) -> usize {
    let floor = super::value::floor(text, floor.max(end.saturating_sub(BLOCK_BYTES_MAX)));
    let Some(before) = text.get(floor..end) else {
        return end;
    };
    let mut start = end;
    for line in before.split_inclusive('\n').rev() {
        if !is_key_line(line.trim_end()) {
            break;
        }
        start -= line.len();
    }
    let whole = text.get(start..end).unwrap_or_default();
    end - whole.trim_start().len()
}
