//! What in a passage is quoted.

use std::ops::Range;

/// Marks that open and close a quotation or a name of code.
const MARKS: [(&str, &str); 4] = [("`", "`"), ("\"", "\""), ("“", "”"), ("«", "»")];

/// The passage with what is quoted in it made unreadable, byte for byte: names of code keep
/// their length, and no phrase within a quotation can be mistaken for the user's.
pub fn masked(passage: &str) -> String {
    let mut masked = passage.as_bytes().to_vec();
    for (opening, closing) in MARKS {
        let mut at = 0;
        while let Some(start) = passage[at..].find(opening).map(|found| at + found) {
            let inner = start + opening.len();
            let Some(length) = passage[inner..].find(closing) else {
                break;
            };
            mask(&mut masked, inner..inner + length);
            at = inner + length + closing.len();
        }
    }
    mask_single_quoted(passage, &mut masked);
    // Whole characters were replaced by as many ASCII bytes, so it is UTF-8 still.
    String::from_utf8(masked).unwrap_or_default()
}

/// `'like this'`: a quote opens behind a space and closes before what is no letter, so that an
/// apostrophe is none.
fn mask_single_quoted(passage: &str, masked: &mut [u8]) {
    let bytes = passage.as_bytes();
    let is_letter = |at: usize| {
        bytes
            .get(at)
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80)
    };
    let mut open = None;
    for at in 0..bytes.len() {
        if bytes[at] != b'\'' {
            continue;
        }
        match open {
            None if (at == 0 || bytes[at - 1].is_ascii_whitespace()) && is_letter(at + 1) => {
                open = Some(at + 1)
            }
            Some(start) if !is_letter(at + 1) => {
                mask(masked, start..at);
                open = None;
            }
            _ => {}
        }
    }
}

fn mask(bytes: &mut [u8], range: Range<usize>) {
    for byte in &mut bytes[range] {
        if !byte.is_ascii_whitespace() {
            *byte = b'x';
        }
    }
}
