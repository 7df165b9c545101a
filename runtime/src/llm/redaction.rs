//! What looks like a secret is taken out of a request before it leaves.
//!
//! Transcripts hold what people and tools have printed: keys, tokens, environments. Each find is
//! replaced by a marker that names its kind. Where it can't be made sure that nothing is left, the
//! request does not leave at all.

mod entropy;
mod rules;

use std::borrow::Cow;

use super::Request;
use super::key::ApiKey;

/// More is not looked through; it would not fit any model either.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// A request that may leave, and how much was taken out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// The request.
    pub request: Request,
    /// How many secrets were taken out.
    pub found: usize,
}

/// Why a request must not leave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeldBack {
    /// It can't be looked through.
    #[error("the request is too large to be looked through for secrets")]
    TooLarge,
    /// A schema can't be changed and mean the same.
    #[error("the request's JSON schema holds what looks like a secret ({0})")]
    Schema(&'static str),
    /// Something is left after all was taken out.
    #[error("what looks like a secret ({0}) could not be taken out of the request")]
    Left(&'static str),
}

/// Takes all that looks like a secret out of a request; `own` is a key that is one for sure.
///
/// # Errors
/// When it can't be made sure that nothing is left.
pub fn redact(request: &Request, own: Option<&ApiKey>) -> Result<Redacted, HeldBack> {
    let texts = [&request.system, &request.json_schema];
    let bytes = texts.into_iter().flatten().map(String::len).sum::<usize>() + request.prompt.len();
    if bytes > TEXT_BYTES_MAX {
        return Err(HeldBack::TooLarge);
    }
    if let Some(kind) = request
        .json_schema
        .as_deref()
        .and_then(|text| first(text, own))
    {
        return Err(HeldBack::Schema(kind));
    }
    let mut found = 0;
    let mut cleaned = |text: &str| {
        let (text, count) = clean(text, own);
        found += count;
        match first(&text, own) {
            Some(kind) => Err(HeldBack::Left(kind)),
            None => Ok(text.into_owned()),
        }
    };
    let request = Request {
        system: request.system.as_deref().map(&mut cleaned).transpose()?,
        prompt: cleaned(&request.prompt)?,
        ..request.clone()
    };
    Ok(Redacted { request, found })
}

/// A text without what looks like a secret, for what is shown to people.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    clean(text, None).0
}

/// A place in a text that looks like a secret.
#[derive(Clone, Copy, Debug)]
struct Find {
    start: usize,
    end: usize,
    kind: &'static str,
}

/// What stands in the place of a secret.
fn marker(kind: &str) -> String {
    format!("[removed: {kind}]")
}

/// How every marker begins, so that none is taken for a secret.
const MARKER_START: &str = "[removed:";

fn clean<'t>(text: &'t str, own: Option<&ApiKey>) -> (Cow<'t, str>, usize) {
    let mut finds = finds(text, own);
    if finds.is_empty() {
        return (Cow::Borrowed(text), 0);
    }
    finds.sort_by_key(|find| (find.start, std::cmp::Reverse(find.end)));
    let mut out = String::with_capacity(text.len());
    let (mut at, mut count) = (0, 0);
    for find in finds {
        // Within what was taken out already; what reaches beyond it is taken out, too.
        let start = find.start.max(at);
        if find.end <= at {
            continue;
        }
        out.push_str(text.get(at..start).unwrap_or_default());
        if start == find.start {
            out.push_str(&marker(find.kind));
            count += 1;
        }
        at = find.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    (Cow::Owned(out), count)
}

fn first(text: &str, own: Option<&ApiKey>) -> Option<&'static str> {
    finds(text, own).first().map(|find| find.kind)
}

fn finds(text: &str, own: Option<&ApiKey>) -> Vec<Find> {
    let mut finds = rules::finds(text);
    finds.extend(entropy::finds(text));
    if let Some(own) = own {
        let own = own.expose();
        finds.extend(text.match_indices(own).map(|(start, own)| Find {
            start,
            end: start + own.len(),
            kind: "api-key",
        }));
    }
    finds
}
