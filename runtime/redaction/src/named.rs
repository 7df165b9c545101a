//! Secrets that follow a telling name: `DB_PASS=…`, `"apiKey": "…"`, `<password>…</password>`,
//! `--token …`.
//!
//! A pattern finds words that can be part of such a name. The name around the word determines how
//! strong the evidence is ([`words::strength`]). The weaker the evidence, the more the value itself
//! must look like a secret.

use std::sync::LazyLock;

use regex::Regex;

use crate::value::{self, Name, ValueRange};
use crate::view::View;
use crate::{SecretMatch, words};

/// Maximum number of bytes searched for the name on each side of a word.
const NAME_BYTES_MAX: usize = 80;

static WORDS: LazyLock<Regex> = LazyLock::new(|| {
    super::compiled(
        r"(?i-u)pass|pwd|p[s]?w|secret|token|cred|key|auth|otp|_pat|jwt|bearer|pin|sid|seed|mnemonic|kennwort|contrasena|senha",
    )
});

/// Finds the values of names that indicate secrets.
pub(super) fn finds(view: &View) -> Vec<SecretMatch> {
    let text = view.text.as_str();
    let mut finds = Vec::new();
    let mut at = 0;
    while let Some(word) = WORDS.find_at(text, at) {
        let (start, end) = name_around(text, at, word.start(), word.end());
        at = end.max(word.end());
        let Some(name) = name(text, start, end) else {
            continue;
        };
        if let Some(ValueRange { start, end }) = value::after(view, &name) {
            finds.push(SecretMatch {
                start,
                end,
                kind: name.kind(),
            });
            at = at.max(end);
        }
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
    finds
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// The range of the name that contains a word.
fn name_around(text: &str, floor: usize, start: usize, end: usize) -> (usize, usize) {
    let bytes = text.as_bytes();
    let lowest = floor.max(start.saturating_sub(NAME_BYTES_MAX));
    let before = bytes.get(lowest..start).unwrap_or_default();
    let before = before
        .iter()
        .rev()
        .take_while(|byte| is_name_byte(**byte))
        .count();
    let after = bytes.get(end..).unwrap_or_default();
    let after = after
        .iter()
        .take(NAME_BYTES_MAX)
        .take_while(|byte| is_name_byte(**byte))
        .count();
    (start - before, end + after)
}

fn name(text: &str, start: usize, end: usize) -> Option<Name<'_>> {
    let whole = text.get(start..end)?;
    let dashes = whole.len() - whole.trim_start_matches('-').len();
    let trimmed = whole.trim_start_matches(['-', '.']);
    let start = end - trimmed.len();
    let trimmed = trimmed.trim_end_matches(['-', '.']);
    let end = start + trimmed.len();
    let strength = words::strength(trimmed).or_else(|| spaced(text, start, trimmed))?;
    Some(Name {
        text: trimmed,
        start,
        end,
        strength,
        is_flag: dashes > 0 || text.get(..start)?.ends_with(" /"),
    })
}

/// The strength of a name of two words, such as `api key`.
fn spaced(text: &str, start: usize, last: &str) -> Option<words::Strength> {
    let before = text
        .get(start.saturating_sub(24)..start)?
        .strip_suffix([' ', '_'])?;
    let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next()?;
    words::strength(&format!("{word}_{last}"))
}
