//! The names of a model in its id. The same rules as those of the view `usage.rates`, for ids that
//! are in no table. A test compares both.

/// The names that an id can stand for, the most likely first. Empty for ids of other models than
/// Claude.
///
/// The first name is the id without provider, date, version and suffix. The others have version
/// and kind swapped, as some gateways write them.
pub(super) fn spellings(id: &str) -> Vec<String> {
    let Some(spelling) = spelling(id) else {
        return Vec::new();
    };
    let mut spellings = vec![spelling];
    let swapped = spellings.first().and_then(|spelling| swapped(spelling));
    spellings.extend(swapped);
    spellings
}

/// Whether an id names a region, so that regional prices apply.
pub(super) fn is_regional(id: &str) -> bool {
    let mut parts = id.split('/');
    let has_region = parts.any(|part| {
        let region = part.split('.').next().unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        let rest = part.get(region.len()..).unwrap_or_default();
        !region.is_empty() && region.bytes().all(is_plain) && rest.starts_with(".anthropic.")
    });
    has_region && !id.split('/').any(|part| part.starts_with("global."))
}

const PREFIX: &str = "claude-";

fn spelling(id: &str) -> Option<String> {
    let id = id.replace([' ', '_'], "-");
    // The last match wins: `claude-proxy/claude-opus-4-5` is an opus.
    let mut starts: Vec<usize> = id.match_indices(PREFIX).map(|(at, _)| at).collect();
    starts.retain(|at| *at == 0 || id.get(..*at).is_some_and(|id| id.ends_with(['/', '.'])));
    let name = starts.into_iter().rev().find_map(|start| {
        let id = id.get(start..)?;
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        let longest = id.bytes().take_while(|byte| is_part(*byte)).count();
        // The shortest name with a valid suffix.
        (PREFIX.len()..=longest)
            .find(|end| id.get(*end..).is_some_and(is_suffix))
            .and_then(|end| id.get(..end))
    });
    name.map(|name| name.replace('.', "-"))
}

/// Whether a text consists of suffixes: dates and words, then a provider's version.
fn is_suffix(text: &str) -> bool {
    let word = text.strip_prefix('-').and_then(|text| {
        let words = ["latest", "thinking", "reasoning", "1m"];
        let mut words = words.iter().filter_map(|word| text.strip_prefix(word));
        words.next().or_else(|| without_date(text))
    });
    word.is_some_and(is_suffix) || is_version(text)
}

fn is_version(text: &str) -> bool {
    let text = text
        .strip_prefix("-v")
        .and_then(without_digits)
        .map_or(text, |text| {
            let revision = text.strip_prefix(':').and_then(without_digits);
            revision.unwrap_or(text)
        });
    let text = text.strip_prefix('@').map_or(Some(text), |text| {
        let mut words = ["latest", "default"].iter();
        let word = words.find_map(|word| text.strip_prefix(word));
        word.or_else(|| without_date(text))
    });
    matches!(text, Some("" | ":thinking" | "-thinking"))
}

fn without_date(text: &str) -> Option<&str> {
    let (date, rest) = text.split_at_checked(8)?;
    date.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(rest)
}

/// The text after its digits. `None` if it begins with none.
fn without_digits(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
}

/// `claude-4-6-opus` for `claude-opus-4-6`, and the reverse.
fn swapped(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.strip_prefix(PREFIX)?.split('-').collect();
    let is_kind =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_minor = |part: &str| is_number(part) && part.len() <= 2;
    let (kind, version) = match parts.as_slice() {
        [major, kind] if is_number(major) && is_kind(kind) => return joined(kind, &[major]),
        [major, minor, kind] if is_number(major) && is_minor(minor) && is_kind(kind) => {
            return joined(kind, &[major, minor]);
        }
        [kind, version @ ..] if is_kind(kind) => (kind, version),
        _ => return None,
    };
    match version {
        [major] if is_number(major) => Some(format!("{PREFIX}{major}-{kind}")),
        [major, minor] if is_number(major) && is_minor(minor) => {
            Some(format!("{PREFIX}{major}-{minor}-{kind}"))
        }
        _ => None,
    }
}

fn joined(kind: &str, version: &[&str]) -> Option<String> {
    Some(format!("{PREFIX}{kind}-{}", version.join("-")))
}
