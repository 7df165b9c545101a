//! Removes what looks like a secret from a text, before the text leaves the machine or is shown to
//! anyone but its author.
//!
//! Each secret is replaced by a marker with the kind of secret. Rules search a `view` of the text
//! in which escapes are decoded. Their matches are mapped back to the original text. Redaction is
//! idempotent.

mod entropy;
mod keys;
mod known;
mod line;
mod named;
mod rules;
mod value;
mod view;
mod words;

use std::borrow::Cow;

use regex::Regex;
use serde_json::Value;

pub use known::KnownSecrets;
pub use line::{LINE_BYTES_MAX, LONG_LINE_MARKER, RedactedLine, redact_line};

use view::View;

/// The version of the rules. Raise it when they find more, so that stored rows are redacted again.
pub const RULES_VERSION: i64 = 1;

/// The beginning of every marker. The rules never match it.
const MARKER_START: &str = "[removed: ";
/// Replacing a secret can join text that then looks like another secret, so redaction repeats.
const ROUNDS_MAX: usize = 4;

/// A range of a text that looks like a secret.
#[derive(Clone, Copy, Debug)]
struct SecretMatch {
    start: usize,
    end: usize,
    kind: &'static str,
}

/// A redacted text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedactedText<'t> {
    /// The text. Borrowed if nothing was removed.
    pub text: Cow<'t, str>,
    /// The number of removed secrets.
    pub found: usize,
    /// The kind of a secret that remains, if every round found another one.
    pub remaining: Option<&'static str>,
}

/// Removes what looks like a secret.
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    clean(text, None).text
}

/// Removes what looks like a secret, and every occurrence of `own`, a known secret.
pub fn clean<'t>(text: &'t str, own: Option<&str>) -> RedactedText<'t> {
    let mut clean = RedactedText {
        text: Cow::Borrowed(text),
        found: 0,
        remaining: None,
    };
    for _ in 0..ROUNDS_MAX {
        let finds = finds(&clean.text, own);
        clean.remaining = finds.first().map(|find| find.kind);
        if finds.is_empty() {
            break;
        }
        let (text, found) = replaced(&clean.text, finds);
        clean.text = Cow::Owned(text);
        clean.found += found;
    }
    clean
}

/// Whether the value of a key or variable with this name can be a secret.
pub fn is_secret_name(name: &str) -> bool {
    words::strength(name).is_some()
}

/// Like [`without_secrets`], for each string in a JSON document. Text that is not JSON is redacted
/// as a whole.
pub fn json_without_secrets(text: &str) -> Cow<'_, str> {
    let cleaned = |text: &str| without_secrets(text).into_owned();
    json_by(text, &cleaned)
}

fn json_by<'t>(text: &'t str, clean: &dyn Fn(&str) -> String) -> Cow<'t, str> {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else {
        return Cow::Owned(clean(text));
    };
    let mut has_changed = false;
    walk(&mut value, "", clean, &mut has_changed);
    match has_changed {
        true => Cow::Owned(value.to_string()),
        false => Cow::Borrowed(text),
    }
}

/// Redacts every string of a document. serde_json limits the depth.
fn walk(value: &mut Value, name: &str, clean: &dyn Fn(&str) -> String, has_changed: &mut bool) {
    match value {
        Value::String(text) => {
            let cleaned = match clean(text) {
                // The name of a field can reveal that its value is a secret.
                same if same == *text => cleaned_value(name, text),
                cleaned => cleaned,
            };
            *has_changed |= cleaned != *text;
            *text = cleaned;
        }
        Value::Array(values) => {
            for value in values {
                walk(value, name, clean, has_changed);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                walk(value, name, clean, has_changed);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The value of a field with this name, without secrets that only the name reveals. Without a name,
/// the value is unchanged.
fn cleaned_value(name: &str, value: &str) -> String {
    if name.is_empty() {
        return value.to_owned();
    }
    let pair = format!("{name}: \"{value}\"");
    let cleaned = without_secrets(&pair);
    let cleaned = cleaned.strip_prefix(&format!("{name}: \""));
    cleaned
        .and_then(|cleaned| cleaned.strip_suffix('"'))
        .map_or_else(|| value.to_owned(), str::to_owned)
}

/// The kind of the first secret in a text.
pub fn first_kind(text: &str, own: Option<&str>) -> Option<&'static str> {
    finds(text, own).first().map(|find| find.kind)
}

fn replaced(text: &str, mut finds: Vec<SecretMatch>) -> (String, usize) {
    finds.sort_by_key(|find| (find.start, std::cmp::Reverse(find.end)));
    let mut out = String::with_capacity(text.len());
    let (mut at, mut count) = (0, 0);
    for find in finds {
        // Skip a match inside a removed range. Remove the rest of one that extends beyond it.
        let start = find.start.max(at);
        if find.end <= at {
            continue;
        }
        out.push_str(text.get(at..start).unwrap_or_default());
        if start == find.start {
            out.push_str(MARKER_START);
            out.push_str(find.kind);
            out.push(']');
            count += 1;
        }
        at = find.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    (out, count)
}

/// All matches, as byte ranges of `text`.
fn finds(text: &str, own: Option<&str>) -> Vec<SecretMatch> {
    let view = View::of(text);
    let mut finds = rules::finds(&view);
    finds.extend(keys::finds(&view));
    finds.extend(named::finds(&view));
    finds.extend(entropy::finds(&view.text));
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        finds.extend(
            view.text
                .match_indices(own)
                .map(|(start, own)| SecretMatch {
                    start,
                    end: start + own.len(),
                    kind: "api-key",
                }),
        );
    }
    for find in &mut finds {
        (find.start, find.end) = view.range(find.start, find.end);
    }
    finds
}

fn compiled(pattern: &str) -> Regex {
    #[expect(
        clippy::expect_used,
        reason = "the patterns are part of the program, and tests use every one"
    )]
    regex::RegexBuilder::new(pattern)
        .size_limit(32 << 20)
        .dfa_size_limit(8 << 20)
        .build()
        .expect("the pattern is valid")
}
