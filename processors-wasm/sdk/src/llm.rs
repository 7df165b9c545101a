//! A language model, where the operator grants one.
//!
//! A processor that never asks does not import it, and needs no grant. One that does is unavailable
//! until its operator says `llm = true`; and where its [`Manifest`](crate::Manifest) says that it
//! [uses one](crate::Manifest::uses_llm()), until a provider is configured, too.

use std::fmt;

use crate::host::{Host, HostRef};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Instructions that precede the prompt.
    pub system: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// The most tokens that the answer may have.
    pub max_tokens: u32,
    /// A JSON schema that the answer must fit.
    pub json_schema: Option<String>,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The text, or the JSON document where a schema was given.
    pub text: String,
    /// The model that answered.
    pub model: String,
    /// Tokens of the request.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

/// Why there is no answer, of which class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// No provider is configured, or it can't be reached.
    Unavailable,
    /// The operator's budget is used up.
    Budget,
    /// The provider asks to slow down.
    RateLimited,
    /// The time ran out: of the request, or of the session.
    TimeOut,
    /// The model refused to answer.
    Refused,
    /// The answer does not fit the schema, or is none.
    Malformed,
    /// The request or the answer is too large.
    TooLarge,
    /// Anything else.
    Failed,
}

/// Why there is no answer.
///
/// A processor that can't do without one gives the session back, most simply by `?`: the host knows
/// the class, and tries the session again when the outage is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmError {
    /// Of which class.
    pub class: ErrorClass,
    /// A sentence for people.
    pub reason: String,
}

/// The way to a language model: see [`Session::llm`](crate::Session::llm).
#[derive(Clone, Copy)]
pub struct Llm<'h> {
    host: HostRef<'h>,
}

impl Request {
    /// A prompt, whose answer may have 1024 tokens.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self {
            system: None,
            prompt: prompt.into(),
            max_tokens: 1024,
            json_schema: None,
        }
    }

    /// The same with instructions before the prompt.
    #[must_use]
    pub fn system(mut self, instructions: impl Into<String>) -> Self {
        self.system = Some(instructions.into());
        self
    }

    /// The same with so many tokens for the answer.
    #[must_use]
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.max_tokens = tokens;
        self
    }

    /// The same, answered by JSON that fits this schema.
    #[must_use]
    pub fn json_schema(mut self, schema: impl Into<String>) -> Self {
        self.json_schema = Some(schema.into());
        self
    }
}

impl Response {
    /// An answer of that text, for tests.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }
}

impl ErrorClass {
    /// The word for it, as in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Budget => "budget",
            Self::RateLimited => "rate-limited",
            Self::TimeOut => "time-out",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::Failed => "failed",
        }
    }
}

impl LlmError {
    /// An error of that class.
    pub fn new(class: ErrorClass, reason: impl Into<String>) -> Self {
        Self {
            class,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for LlmError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.class.as_str(), self.reason)
    }
}

impl std::error::Error for LlmError {}

impl From<LlmError> for String {
    fn from(error: LlmError) -> Self {
        error.to_string()
    }
}

impl<'h> Llm<'h> {
    pub(crate) fn new(host: HostRef<'h>) -> Self {
        Self { host }
    }

    /// Asks, and waits for the answer. Waiting costs neither fuel nor CPU time, but a session has
    /// only so much time for all of it.
    ///
    /// # Errors
    /// The class says what to make of it.
    pub fn complete(&self, request: &Request) -> Result<Response, LlmError> {
        Host::complete(self.host, request)
    }
}

/// The import, in our words.
#[cfg(target_family = "wasm")]
pub(crate) fn complete(request: &Request) -> Result<Response, LlmError> {
    use crate::bindings::session_pipeline::processor::llm;
    let asked = llm::Request {
        system: request.system.as_deref(),
        prompt: &request.prompt,
        max_tokens: request.max_tokens,
        json_schema: request.json_schema.as_deref(),
    };
    let response = llm::complete(asked).map_err(|error| {
        let (class, reason) = match error {
            llm::LlmError::Unavailable(reason) => (ErrorClass::Unavailable, reason),
            llm::LlmError::Budget(reason) => (ErrorClass::Budget, reason),
            llm::LlmError::RateLimited(reason) => (ErrorClass::RateLimited, reason),
            llm::LlmError::TimeOut(reason) => (ErrorClass::TimeOut, reason),
            llm::LlmError::Refused(reason) => (ErrorClass::Refused, reason),
            llm::LlmError::Malformed(reason) => (ErrorClass::Malformed, reason),
            llm::LlmError::TooLarge(reason) => (ErrorClass::TooLarge, reason),
            llm::LlmError::Failed(reason) => (ErrorClass::Failed, reason),
        };
        LlmError { class, reason }
    })?;
    Ok(Response {
        text: response.text,
        model: response.model,
        input_tokens: response.input_tokens,
        output_tokens: response.output_tokens,
    })
}
