//! Secrets without a known format: long runs of characters with high entropy.

use crate::SecretMatch;

const KIND: &str = "high-entropy";

/// Shorter runs cannot be distinguished from names.
const CHARS_MIN: usize = 24;
/// Bits per character. The maximum is 6. Long camel-case names stay below this threshold.
const BITS_MIN: f64 = 4.0;
/// Hexadecimal digits have at most 4 bits.
const HEX_CHARS_MIN: usize = 32;
const HEX_BITS_MIN: f64 = 3.0;
/// Names that contain numbers have fewer digits than this.
const DIGITS_MIN: usize = 3;

/// Finds all runs that look random.
pub(super) fn finds(text: &str) -> Vec<SecretMatch> {
    let bytes = text.as_bytes();
    let mut finds = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let length = rest
            .iter()
            .take_while(|byte| is_secret_byte(**byte))
            .count();
        let run = bytes.get(at..at + length).unwrap_or_default();
        let before = bytes.get(at.saturating_sub(16)..at).unwrap_or_default();
        if looks_random(run) && !is_a_known_id(run, before) {
            finds.push(SecretMatch {
                start: at,
                end: at + length,
                kind: KIND,
            });
        }
        at += length.max(1);
    }
    finds
}

fn is_secret_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'-' | b'=' | b'.')
}

/// Whether the run is an id of a message, call or content hash that providers and tools generate.
fn is_a_known_id(run: &[u8], before: &[u8]) -> bool {
    let ids: [&[u8]; 12] = [
        b"toolu_",
        b"srvtoolu_",
        b"msg_",
        b"req_",
        b"call_",
        b"chatcmpl-",
        b"resp_",
        b"agent-",
        b"file-",
        b"run_",
        b"thread_",
        b"asst_",
    ];
    let texts: [&[u8]; 8] = [
        b"sha256:", b"sha512:", b"sha1:", b"md5:", b"commit ", b"sha256-", b"sha512-", b"sha384-",
    ];
    let begins = |texts: &[&[u8]]| texts.iter().any(|text| run.starts_with(text));
    begins(&ids) || begins(&texts) || texts.iter().any(|text| before.ends_with(text))
}

fn looks_random(run: &[u8]) -> bool {
    if run.len() < CHARS_MIN {
        return false;
    }
    // Check each part of paths, dotted names and names of several words.
    let parts = run.split(|byte| matches!(byte, b'/' | b'.' | b'-' | b'_' | b'=' | b'+'));
    if parts.clone().any(part_looks_random) {
        return true;
    }
    // In base64 these characters occur anywhere, between parts that are not words.
    let has_marks = run
        .iter()
        .any(|byte| matches!(byte, b'+' | b'/' | b'_' | b'-'));
    let mixed = parts
        .filter(|part| is_mixed(part))
        .map(<[u8]>::len)
        .sum::<usize>();
    let is_mixed_base64 = run.len() >= 32
        && has_marks
        && switches(run) * 20 >= run.len() * 9
        && bits(run) >= BITS_MIN;
    is_mixed_base64
        || has_marks
            && mixed * 10 >= run.len() * 8
            && run.len() >= 32
            && bits(run) >= BITS_MIN + 0.3
}

fn part_looks_random(part: &[u8]) -> bool {
    let digits = part.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_hex = part.iter().all(u8::is_ascii_hexdigit);
    if is_hex {
        // Digits alone are counts and timestamps.
        return part.len() >= HEX_CHARS_MIN && digits < part.len() && bits(part) >= HEX_BITS_MIN;
    }
    part.len() >= CHARS_MIN && digits >= DIGITS_MIN && is_mixed(part) && bits(part) >= BITS_MIN
}

/// Whether a part has both letters and digits, which words do not.
fn is_mixed(part: &[u8]) -> bool {
    let has_digit = part.iter().any(u8::is_ascii_digit);
    let has_letter = part.iter().any(u8::is_ascii_alphabetic);
    has_digit && has_letter
}

/// Number of changes between upper case, lower case and digits. About half of the positions in
/// random text, few in words.
fn switches(run: &[u8]) -> usize {
    let class = |byte: &u8| match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    run.iter()
        .zip(run.iter().skip(1))
        .filter(|(one, other)| class(one) != class(other) && class(one) < 3 && class(other) < 3)
        .count()
}

/// Shannon entropy in bits per character.
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
