//! Removes secrets from a request before it is sent.
//!
//! The rules are those of [`session_pipeline_host::redaction`]. If they can't ensure that no secret
//! is left, the request is not sent.

use session_pipeline_host::model::LlmRequest;
use session_pipeline_host::redaction::{clean, first_kind};

use crate::llm::key::ApiKey;

/// Larger requests are not searched. They would not fit into any model.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// A request without secrets, and the number removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedactedRequest {
    /// The request.
    pub request: LlmRequest,
    /// Number of secrets removed.
    pub found: usize,
}

/// Why a request can't be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedactionError {
    /// It is too large to search.
    #[error("the request is too large to search for secrets")]
    TooLarge,
    /// The schema contains a secret. It can't be redacted without changing its meaning.
    #[error("the request's JSON schema contains text that looks like a secret ({0})")]
    Schema(&'static str),
    /// A secret is left after redaction.
    #[error("text that looks like a secret ({0}) could not be removed from the request")]
    Left(&'static str),
}

/// Removes all text that looks like a secret. `own` is the provider's key.
///
/// # Errors
/// If the rules can't ensure that no secret is left.
pub fn redact(
    request: &LlmRequest,
    own: Option<&ApiKey>,
) -> Result<RedactedRequest, RedactionError> {
    let own = own.map(ApiKey::expose);
    let texts = [&request.system, &request.json_schema];
    let bytes = texts.into_iter().flatten().map(String::len).sum::<usize>() + request.prompt.len();
    if bytes > TEXT_BYTES_MAX {
        return Err(RedactionError::TooLarge);
    }
    let schema = request.json_schema.as_deref();
    if let Some(kind) = schema.and_then(|text| first_kind(text, own)) {
        return Err(RedactionError::Schema(kind));
    }
    let mut found = 0;
    let mut cleaned = |text: &str| {
        let clean = clean(text, own);
        found += clean.found;
        match clean.remaining {
            Some(kind) => Err(RedactionError::Left(kind)),
            None => Ok(clean.text.into_owned()),
        }
    };
    let request = LlmRequest {
        system: request.system.as_deref().map(&mut cleaned).transpose()?,
        prompt: cleaned(&request.prompt)?,
        ..request.clone()
    };
    Ok(RedactedRequest { request, found })
}
