//! Replaces values that differ between test runs with placeholders of fixed width, for snapshots.

use std::path::Path;

/// Replaces the path of the data directory, times, hashes and process ids, in this order.
///
/// ```
/// use std::path::Path;
/// use session_pipeline_harness::redact::redact;
///
/// let text = "`/tmp/x-1/state/lock` is held by process 4711 since 2026-01-05T09:00:00.5Z";
/// assert_eq!(
///     redact(text, Path::new("/tmp/x-1")),
///     "`[data-dir]/state/lock` is held by process [pid] since [time]"
/// );
/// ```
pub fn redact(text: &str, data_dir: &Path) -> String {
    let text = text.replace(&*data_dir.to_string_lossy(), "[data-dir]");
    let text = replace(&text, instant, "[time]");
    let text = replace(&text, hash, "[hash]");
    replace(&text, process_id, "process [pid]")
}

/// Replaces UUIDs, which are ids of sessions, messages and runs. This is separate from [`redact`],
/// because many tests choose their ids and check them.
///
/// ```
/// use session_pipeline_harness::redact::redact_ids;
///
/// let text = "run 0190f3a1-0b6c-7d3e-9c55-2f6a1b7c8d90 has ended";
/// assert_eq!(redact_ids(text), "run [id] has ended");
/// ```
pub fn redact_ids(text: &str) -> String {
    replace(text, id, "[id]")
}

/// Replaces all matches with `placeholder`. `match_length` returns the length of a match at the
/// beginning of a text.
fn replace(text: &str, match_length: impl Fn(&str) -> Option<usize>, placeholder: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_word_start = true;
    while let Some(c) = rest.chars().next() {
        match match_length(rest).filter(|_| is_word_start) {
            Some(length) => {
                out.push_str(placeholder);
                rest = &rest[length..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                is_word_start = !c.is_ascii_alphanumeric();
            }
        }
    }
    out
}

/// Matches `2026-01-05T09:00:00.123Z`, or the format of the database, with a space and without a
/// zone.
fn instant(text: &str) -> Option<usize> {
    let pattern = "dddd-dd-ddTdd:dd:dd";
    let fits = |(pattern, c): (char, char)| match pattern {
        'd' => c.is_ascii_digit(),
        'T' => c == 'T' || c == ' ',
        other => c == other,
    };
    if text.len() < pattern.len() || !pattern.chars().zip(text.chars()).all(fits) {
        return None;
    }
    let mut end = pattern.len();
    if text[end..].starts_with('.') {
        end += 1 + digits(&text[end + 1..]);
    }
    Some(end + usize::from(text[end..].starts_with('Z')))
}

/// Matches an MD5 or SHA-256 hash.
fn hash(text: &str) -> Option<usize> {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let length = text.find(|c| !is_hex(c)).unwrap_or(text.len());
    (length == 32 || length == 64).then_some(length)
}

/// Matches a UUID.
fn id(text: &str) -> Option<usize> {
    let pattern = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    let fits = |(pattern, c): (char, char)| match pattern {
        'x' => c.is_ascii_digit() || ('a'..='f').contains(&c),
        other => c == other,
    };
    let is_long_enough = text.len() >= pattern.len();
    (is_long_enough && pattern.chars().zip(text.chars()).all(fits)).then_some(pattern.len())
}

fn process_id(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("process ")?;
    Some("process ".len() + digits(rest)).filter(|_| digits(rest) > 0)
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len())
}
