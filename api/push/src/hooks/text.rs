//! The positions of values in a valid JSON text.

/// A range of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A member of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) value: Span,
    /// The name and the value.
    pub(super) whole: Span,
}

/// The value of a document.
pub(super) fn root(text: &str) -> Option<Span> {
    value(text, blank(text, 0))
}

/// The last member of an object with this name, which is the one that counts.
pub(super) fn member(text: &str, object: Span, name: &str) -> Option<Member> {
    let found = members(text, object);
    found.into_iter().rfind(|member| member.name == name)
}

/// The members of an object. Empty for another value.
pub(super) fn members(text: &str, object: Span) -> Vec<Member> {
    let mut members = Vec::new();
    let mut at = blank(text, object.start + 1);
    while byte(text, object.start) == Some(b'{') && byte(text, at) == Some(b'"') {
        let Some(name) = value(text, at) else { break };
        let colon = blank(text, name.end);
        let Some(value) = value(text, blank(text, colon + 1)) else {
            break;
        };
        let literal = text.get(name.start..name.end).unwrap_or_default();
        members.push(Member {
            name: serde_json::from_str(literal).unwrap_or_default(),
            value,
            whole: Span {
                start: name.start,
                end: value.end,
            },
        });
        at = match byte(text, blank(text, value.end)) {
            Some(b',') => blank(text, blank(text, value.end) + 1),
            _ => break,
        };
    }
    members
}

/// The elements of an array. Empty for another value.
pub(super) fn elements(text: &str, array: Span) -> Vec<Span> {
    let mut elements = Vec::new();
    let mut at = blank(text, array.start + 1);
    while byte(text, array.start) == Some(b'[') && byte(text, at) != Some(b']') {
        let Some(element) = value(text, at) else {
            break;
        };
        elements.push(element);
        let after = blank(text, element.end);
        at = match byte(text, after) {
            Some(b',') => blank(text, after + 1),
            _ => break,
        };
    }
    elements
}

fn byte(text: &str, at: usize) -> Option<u8> {
    text.as_bytes().get(at).copied()
}

/// The position after white space.
fn blank(text: &str, at: usize) -> usize {
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    let count = rest
        .iter()
        .take_while(|byte| b" \t\r\n".contains(byte))
        .count();
    at + count
}

/// The value that starts here.
fn value(text: &str, start: usize) -> Option<Span> {
    let end = match byte(text, start)? {
        b'"' => string_end(text, start)?,
        b'{' | b'[' => container_end(text, start)?,
        _ => {
            let rest = text.get(start..)?;
            let length = rest.find([',', ']', '}', ' ', '\t', '\r', '\n']);
            start + length.unwrap_or(rest.len())
        }
    };
    Some(Span { start, end })
}

fn string_end(text: &str, start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match byte(text, at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn container_end(text: &str, start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        match byte(text, at)? {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}
