//! Secrets that are known by nothing but their disorder: long runs in which hardly a character
//! repeats.

use super::Find;

const KIND: &str = "high-entropy";

/// Shorter ones can't be told from names.
const CHARS_MIN: usize = 24;
/// Bits for each character, of 6 at most; long names in camel case stay below.
const BITS_MIN: f64 = 4.0;
/// Hexadecimal digits carry 4 bits at most.
const HEX_CHARS_MIN: usize = 32;
const HEX_BITS_MIN: f64 = 3.0;
/// Names with numbers in them have fewer digits.
const DIGITS_MIN: usize = 3;

/// All runs that look drawn by lot.
pub(super) fn finds(text: &str) -> Vec<Find> {
    let bytes = text.as_bytes();
    let mut finds = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let length = rest
            .iter()
            .take_while(|byte| is_of_a_secret(**byte))
            .count();
        // What is written as `\n` or `\t` in JSON is no letter of the run behind it.
        let is_escaped = at > 0 && bytes.get(at - 1) == Some(&b'\\');
        let start = if is_escaped && length > 0 { at + 1 } else { at };
        let run = bytes.get(start..at + length).unwrap_or_default();
        if looks_drawn(run) {
            finds.push(Find {
                start,
                end: at + length,
                kind: KIND,
            });
        }
        at += length.max(1);
    }
    finds
}

fn is_of_a_secret(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'-' | b'=' | b'.')
}

fn looks_drawn(run: &[u8]) -> bool {
    if run.len() < CHARS_MIN {
        return false;
    }
    // Paths, dotted names and names of several words are looked at part by part.
    let parts = run.split(|byte| matches!(byte, b'/' | b'.' | b'-' | b'_' | b'=' | b'+'));
    if parts.clone().any(part_looks_drawn) {
        return true;
    }
    // In base64 the marks come anywhere, between parts that are no words.
    let has_marks = run
        .iter()
        .any(|byte| matches!(byte, b'+' | b'/' | b'_' | b'-'));
    let mixed = parts
        .filter(|part| is_mixed(part))
        .map(<[u8]>::len)
        .sum::<usize>();
    has_marks && mixed * 10 >= run.len() * 8 && run.len() >= 32 && bits(run) >= BITS_MIN + 0.3
}

fn part_looks_drawn(part: &[u8]) -> bool {
    let digits = part.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_hex = part.iter().all(u8::is_ascii_hexdigit);
    if is_hex {
        // Numbers alone are counts and times.
        return part.len() >= HEX_CHARS_MIN && digits < part.len() && bits(part) >= HEX_BITS_MIN;
    }
    part.len() >= CHARS_MIN && digits >= DIGITS_MIN && is_mixed(part) && bits(part) >= BITS_MIN
}

/// Whether letters and digits stand among each other, as they do in no word.
fn is_mixed(part: &[u8]) -> bool {
    let has_digit = part.iter().any(u8::is_ascii_digit);
    let has_letter = part.iter().any(u8::is_ascii_alphabetic);
    has_digit && has_letter
}

/// Shannon's entropy of its characters.
fn bits(run: &[u8]) -> f64 {
    let mut counts = [0_u32; 128];
    for byte in run {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let length = f64::from(u32::try_from(run.len()).unwrap_or(u32::MAX));
    let shares = counts.iter().filter(|count| **count > 0);
    shares
        .map(|count| {
            let share = f64::from(*count) / length;
            -share * share.log2()
        })
        .sum()
}
