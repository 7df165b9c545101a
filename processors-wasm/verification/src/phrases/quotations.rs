//! Masks quotations in a passage.

use std::ops::Range;

/// Pairs of characters around a quotation or a name in code.
const MARKS: [(&str, &str); 4] = [("`", "`"), ("\"", "\""), ("“", "”"), ("«", "»")];

/// The passage with its quotations masked. It keeps its length in bytes, so that names in code keep
/// their position, and phrases inside a quotation do not match.
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
    // Whole characters were replaced by ASCII bytes, so the text is still UTF-8.
    String::from_utf8(masked).unwrap_or_default()
}

/// Matches `'like this'`. A quote opens after a space and closes before a non-letter, so an
/// apostrophe does not match.
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
