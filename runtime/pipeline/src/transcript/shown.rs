//! Makes the texts of a transcript safe to show: redacted, without invisible control characters,
//! and cut.

use session_pipeline_host::fault::{is_unsafe_for_terminal, printable};
use session_pipeline_host::redaction::{KnownSecrets, first_kind, without_secrets};

use super::TEXT_CHARS_MAX;
use super::entry::{TextField, TranscriptEntry, TranscriptText};

/// Maximum length of a name or a summary, in characters.
const NAME_CHARS_MAX: usize = 200;
/// Secrets that are labeled in this many characters of a text are removed from all texts of the
/// entry.
const LEARNED_CHARS_MAX: usize = 64 << 10;
/// Maximum length of an id in bytes. Longer ones are dropped.
const ID_BYTES_MAX: usize = 128;
/// A text is redacted before it is cut, so that no secret is cut in half and not recognized. The
/// redacted part is longer than the shown one by this many characters at least.
const MARGIN_CHARS: usize = 1024;
/// How much shorter redaction can make a text before less of it is shown than could be.
const SHORTENED_CHARS_MAX: usize = 64 << 10;

/// The beginning of a text, from which the secrets of an entry are learned. Also returns whether it
/// is cut.
pub(super) fn learned_part(text: &str) -> (&str, bool) {
    cut(text, LEARNED_CHARS_MAX)
}

/// The beginning of a text, long enough to show this much of it after redaction. Also returns
/// whether it is cut.
pub(super) fn window(text: &str, chars_max: usize) -> (&str, bool) {
    // Redaction can make the text much shorter, so more is read than the margin.
    let shortened = chars_max.min(SHORTENED_CHARS_MAX);
    cut(text, chars_max + shortened + MARGIN_CHARS)
}

fn cut(text: &str, chars_max: usize) -> (&str, bool) {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => (text.get(..end).unwrap_or(text), true),
        None => (text, false),
    }
}

/// Remembers the secrets in the texts of an entry.
pub(super) fn learn(known: &mut KnownSecrets, entry: &mut TranscriptEntry) {
    for text in entry.texts_mut() {
        match text {
            TextField::Name(name) => known.learn(name),
            TextField::Text(text) => known.learn(&text.text),
        }
    }
}

/// Redacts and cuts all texts of an entry.
pub(super) fn make_safe(entry: &mut TranscriptEntry, known: &KnownSecrets) {
    for text in entry.texts_mut() {
        match text {
            TextField::Name(text) => *text = name(known, text),
            TextField::Text(text) => cut_text(text, known, TEXT_CHARS_MAX),
        }
    }
}

/// Redacts a text, makes its control characters visible, and cuts it.
pub(super) fn cut_text(text: &mut TranscriptText, known: &KnownSecrets, chars_max: usize) {
    let (window, is_cut) = window(&text.text, chars_max);
    text.is_truncated |= is_cut;
    let cleaned = known.clean(window);
    let chars_max = match text.is_truncated {
        // The end of a cut text can be the first half of a secret.
        true => chars_max.min(cleaned.chars().count().saturating_sub(MARGIN_CHARS)),
        false => chars_max,
    };
    let cut = match cleaned.char_indices().nth(chars_max) {
        Some((end, _)) => cleaned.get(..end).unwrap_or_default(),
        None => cleaned.as_str(),
    };
    text.is_truncated |= cut.len() < cleaned.len();
    text.text = visible(cut);
}

fn name(known: &KnownSecrets, text: &str) -> String {
    let cleaned = known.clean(window(text, NAME_CHARS_MAX).0);
    match cleaned.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => printable(cleaned.get(..end).unwrap_or_default()) + "…",
        None => printable(&cleaned),
    }
}

/// An id. `None` if it does not look like one.
pub(super) fn id(text: &str) -> Option<String> {
    let is_id = (1..=ID_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    // Ids are random, so only secrets with a known form are removed.
    is_id.then(|| match first_kind(text, None) {
        None | Some("high-entropy") => text.to_owned(),
        Some(_) => without_secrets(text).into_owned(),
    })
}

/// Drops colors of terminals, and escapes all other control characters except for line breaks and
/// tabs. Escapes direction marks too: with them, a page would show another text than the stored
/// one.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        if c == '\u{1b}'
            && let Some(after) = color_end(rest)
        {
            rest = after;
            continue;
        }
        match c {
            '\r' if rest.starts_with('\n') => {}
            '\n' | '\t' => out.push(c),
            c if is_unsafe_for_terminal(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// The text after the parameters of an escape sequence for a color, such as `[31m`.
fn color_end(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix('[')?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters.get(end..)?.strip_prefix('m')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_visible_and_colors_are_dropped() {
        for (text, expected) in [
            ("a\tb\nc\r\nd", "a\tb\nc\nd"),
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}[2J\u{1b}]0;x\u{7}", r"\u{1b}[2J\u{1b}]0;x\u{7}"),
            ("a\rb\0", r"a\rb\u{0}"),
            ("x\u{202e}y\u{2066}", r"x\u{202e}y\u{2066}"),
            ("\u{1b}", r"\u{1b}"),
            ("\u{1b}[", r"\u{1b}["),
            ("👩\u{200d}🔬", "👩\u{200d}🔬"),
        ] {
            assert_eq!(visible(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_secret_at_the_cut_is_not_shown_in_part() {
        let secret = format!("sk-ant-api03-{}", "aB3dE5fG7h".repeat(9));
        for before in (3900..10_000).step_by(97) {
            let whole = format!(
                "{}\n{secret}\n{}",
                "word ".repeat(before / 5),
                "more ".repeat(3000)
            );
            let mut text = TranscriptText {
                text: whole.clone(),
                bytes: whole.len() as u64,
                is_truncated: false,
                line: 1,
                part: 0,
            };
            cut_text(&mut text, &KnownSecrets::default(), TEXT_CHARS_MAX);
            assert!(text.is_truncated);
            assert!(!text.text.contains("sk-ant-"), "{before}: {}", text.text);
        }
    }

    #[test]
    fn ids_are_short_and_plain() {
        let uuid = "5c0e7d1a-93b4-4f6e-8a27-1d5b60c2e9f3";
        assert_eq!(id(uuid).as_deref(), Some(uuid));
        let call = "toolu_01YBdX3FL6U2ni3pMj3XtZGs";
        assert_eq!(id(call).as_deref(), Some(call));
        for text in ["", "a b", "<b>", "ä", "a\u{202e}", &"a".repeat(200)] {
            assert_eq!(id(text), None, "{text}");
        }
    }
}
