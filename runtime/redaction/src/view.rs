//! A text with escapes decoded and without invisible characters and line continuations.
//!
//! Rules search the view. [`View::range`] maps their matches back to the original text.

use crate::MARKER_START;

/// Replaces an existing marker in the view, so that no rule matches across it.
pub(super) const BARRIER: char = '\u{1}';

/// Markers are shorter than this. Longer texts in brackets are not markers.
const MARKER_BYTES_MAX: usize = 48;

/// A part of the view and the part of the original that it comes from. Parts that are not `decoded`
/// are copies.
#[derive(Clone, Copy, Debug)]
struct Piece {
    view_start: usize,
    start: usize,
    end: usize,
    decoded: bool,
}

/// The decoded text.
#[derive(Debug)]
pub(super) struct View {
    pub(super) text: String,
    pieces: Vec<Piece>,
}

/// The character that an escape decodes to, and the length of the escape in the original.
struct Decoded {
    bytes: usize,
    text: Option<char>,
}

impl View {
    pub(super) fn of(original: &str) -> Self {
        let mut view = Self {
            text: String::with_capacity(original.len()),
            pieces: Vec::new(),
        };
        let bytes = original.as_bytes();
        let (mut copied, mut at) = (0, 0);
        while let Some(offset) = bytes
            .get(at..)
            .and_then(|rest| rest.iter().position(|byte| is_special(*byte)))
        {
            at += offset;
            let Some(decoded) = original
                .get(at..)
                .and_then(|rest| decode(rest, &view.text, original.get(copied..at)))
            else {
                at += 1;
                continue;
            };
            view.copy(original, copied, at);
            view.pieces.push(Piece {
                view_start: view.text.len(),
                start: at,
                end: at + decoded.bytes,
                decoded: true,
            });
            view.text.extend(decoded.text);
            at += decoded.bytes;
            copied = at;
        }
        view.copy(original, copied, bytes.len());
        view
    }

    fn copy(&mut self, original: &str, start: usize, end: usize) {
        let Some(text) = original.get(start..end).filter(|text| !text.is_empty()) else {
            return;
        };
        self.pieces.push(Piece {
            view_start: self.text.len(),
            start,
            end,
            decoded: false,
        });
        self.text.push_str(text);
    }

    /// The last non-empty piece that begins at or before this position in the view.
    fn piece(&self, at: usize) -> Option<&Piece> {
        let after = self.pieces.partition_point(|piece| piece.view_start <= at);
        self.pieces.get(after.checked_sub(1)?)
    }

    /// The range in the original for a range in the view.
    pub(super) fn range(&self, start: usize, end: usize) -> (usize, usize) {
        let place = |at: usize, is_end: bool| {
            self.piece(at).map_or(0, |piece| match piece.decoded {
                true if is_end => piece.end,
                true => piece.start,
                false => piece.start + (at - piece.view_start) + usize::from(is_end),
            })
        };
        (place(start, false), place(end.saturating_sub(1), true))
    }

    /// Number of backslashes before the quotation mark at this position in the original.
    pub(super) fn depth(&self, at: usize) -> usize {
        let piece = self.piece(at).filter(|piece| piece.decoded);
        piece.map_or(0, |piece| piece.end - piece.start - 1)
    }
}

fn is_special(byte: u8) -> bool {
    matches!(
        byte,
        b'\\' | b'`' | b'^' | b'&' | b'[' | 0x1b | 0xc2 | 0xcd | 0xe1 | 0xe2 | 0xe3 | 0xef | 0xf3
    )
}

/// Decodes the escape at the start of `rest`. `None` if there is none.
fn decode(rest: &str, before: &str, copied: Option<&str>) -> Option<Decoded> {
    let first = rest.chars().next()?;
    let removed = |bytes| Some(Decoded { bytes, text: None });
    match first {
        '\\' => backslashes(rest, last(before, copied)),
        '`' | '^' => continuation(rest, 1, last(before, copied)),
        '&' => entity(rest),
        '[' if rest.starts_with(MARKER_START) => Some(Decoded {
            bytes: rest
                .bytes()
                .take(MARKER_BYTES_MAX)
                .position(|byte| byte == b']')?
                + 1,
            text: Some(BARRIER),
        }),
        '\u{1b}' => removed(ansi(rest)),
        // Zero-width characters, soft hyphens, joiners, direction marks, variation selectors and
        // tags.
        '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}' => removed(first.len_utf8()),
        _ => None,
    }
}

/// The last character of the view so far.
fn last(before: &str, copied: Option<&str>) -> Option<char> {
    let copied = copied.and_then(|text| text.chars().next_back());
    copied.or_else(|| before.chars().next_back())
}

/// Decodes backslashes and the escaped character, for any number of nested encodings.
fn backslashes(rest: &str, last: Option<char>) -> Option<Decoded> {
    let count = rest.bytes().take_while(|byte| *byte == b'\\').count();
    let after = rest.get(count..)?;
    // Consume the whole run, so that a long run is counted only once.
    let run = || {
        (count > 1).then_some(Decoded {
            bytes: count,
            text: Some('\\'),
        })
    };
    let Some(escaped) = after.chars().next() else {
        return run();
    };
    let one = |text: char, more: usize| {
        Some(Decoded {
            bytes: count + more,
            text: Some(text),
        })
    };
    let decoded = match escaped {
        '\n' | '\r' => continuation(rest, count, last),
        // A line break that was encoded one, two or three times has 1, 2 or 4 backslashes. A
        // continuation has 3 or 6.
        'n' if count == 3 || count == 6 => {
            let indent = indentation(after.get(1..).unwrap_or_default(), last);
            Some(Decoded {
                bytes: count + 1 + indent.0,
                text: indent.1,
            })
        }
        'n' | 'r' => one('\n', 1),
        't' => one('\t', 1),
        quote @ ('"' | '\'' | '/') => one(quote, 1),
        'u' | 'U' | 'x' => code_point(after).and_then(|(code, bytes)| {
            let text = char::from_u32(code)?;
            let is_invisible =
                decode(text.encode_utf8(&mut [0; 4]), "", None).is_some() && !text.is_ascii();
            Some(Decoded {
                bytes: count + bytes,
                text: (!is_invisible).then_some(text),
            })
        }),
        _ => None,
    };
    decoded.or_else(run)
}

/// Parses `u0041`, `u{41}`, `U00000041` or `x41`. Returns the code point and its length in bytes.
fn code_point(text: &str) -> Option<(u32, usize)> {
    let (digits, bytes) = match text.as_bytes() {
        [b'u', b'{', ..] => {
            let end = text.find('}').filter(|end| *end <= 9)?;
            (text.get(2..end)?, end + 1)
        }
        [b'u', ..] => (text.get(1..5)?, 5),
        [b'U', ..] => (text.get(1..9)?, 9),
        _ => (text.get(1..3)?, 3),
    };
    let code = u32::from_str_radix(digits, 16).ok()?;
    Some((code, bytes))
}

/// Decodes a line break after a continuation character.
fn continuation(rest: &str, mark: usize, last: Option<char>) -> Option<Decoded> {
    let after = rest.get(mark..)?;
    let line_break = match after.as_bytes() {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => return None,
    };
    let indent = indentation(after.get(line_break..)?, last);
    Some(Decoded {
        bytes: mark + line_break + indent.0,
        text: indent.1,
    })
}

/// The length of an indentation and its replacement, which is empty inside a word.
fn indentation(after: &str, last: Option<char>) -> (usize, Option<char>) {
    let bytes = after
        .bytes()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    let is_within = !last.is_none_or(char::is_whitespace);
    let next = after.get(bytes..).and_then(|rest| rest.chars().next());
    let separates =
        bytes > 0 && (!is_within || next.is_none_or(|next| matches!(next, '-' | '"' | '\'')));
    (bytes, separates.then_some(' '))
}

/// Decodes `&#65;` and `&#x41;`.
fn entity(rest: &str) -> Option<Decoded> {
    let digits = rest.strip_prefix("&#")?;
    let end = digits.bytes().take(9).position(|byte| byte == b';')?;
    let digits = digits.get(..end)?;
    let code = match digits.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(Decoded {
        bytes: end + 3,
        text: Some(char::from_u32(code)?),
    })
}

/// The length of a terminal escape sequence in bytes.
fn ansi(rest: &str) -> usize {
    let Some(body) = rest.strip_prefix("\u{1b}[") else {
        return 1;
    };
    let parameters = body
        .bytes()
        .take(32)
        .take_while(|byte| matches!(byte, b'0'..=b'?' | b' '..=b'/'))
        .count();
    match body.as_bytes().get(parameters) {
        Some(b'@'..=b'~') => parameters + 3,
        _ => 1,
    }
}
