//! What looks like a secret is removed from a request before the request leaves.
//!
//! The rules are those of [`session_pipeline_host::redaction`]. Where they can't make sure that nothing is left, the
//! request does not leave at all.

use session_pipeline_host::model::Request;
use session_pipeline_host::redaction::{clean, first_kind};

use crate::llm::key::ApiKey;

/// More is not searched; it would not fit any model either.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// A request that may leave, and how much was removed from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// The request.
    pub request: Request,
    /// How many secrets were removed.
    pub found: usize,
}

/// Why a request must not leave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeldBack {
    /// It is too large to be searched.
    #[error("the request is too large to be looked through for secrets")]
    TooLarge,
    /// A schema can't be changed and mean the same.
    #[error("the request's JSON schema holds what looks like a secret ({0})")]
    Schema(&'static str),
    /// Something is left after everything that was found was removed.
    #[error("what looks like a secret ({0}) could not be taken out of the request")]
    Left(&'static str),
}

/// Removes all that looks like a secret from a request; `own` is a key that is one for sure.
///
/// # Errors
/// When the rules can't make sure that nothing is left.
pub fn redact(request: &Request, own: Option<&ApiKey>) -> Result<Redacted, HeldBack> {
    let own = own.map(ApiKey::expose);
    let texts = [&request.system, &request.json_schema];
    let bytes = texts.into_iter().flatten().map(String::len).sum::<usize>() + request.prompt.len();
    if bytes > TEXT_BYTES_MAX {
        return Err(HeldBack::TooLarge);
    }
    let schema = request.json_schema.as_deref();
    if let Some(kind) = schema.and_then(|text| first_kind(text, own)) {
        return Err(HeldBack::Schema(kind));
    }
    let mut found = 0;
    let mut cleaned = |text: &str| {
        let clean = clean(text, own);
        found += clean.found;
        match clean.left {
            Some(kind) => Err(HeldBack::Left(kind)),
            None => Ok(clean.text.into_owned()),
        }
    };
    let request = Request {
        system: request.system.as_deref().map(&mut cleaned).transpose()?,
        prompt: cleaned(&request.prompt)?,
        ..request.clone()
    };
    Ok(Redacted { request, found })
}
