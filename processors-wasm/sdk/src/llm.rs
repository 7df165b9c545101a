//! A language model, if the operator grants one.
//!
//! A processor that never sends a request does not import the interface and needs no grant. A
//! processor that imports it is unavailable until its operator sets `llm = true`. If its
//! [`Manifest`](crate::Manifest) also says that it [uses one](crate::Manifest::uses_llm()), it is
//! unavailable until a provider is configured.

use std::fmt;

use crate::host::{Host, HostRef};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Instructions that precede the prompt.
    pub system: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// Maximum number of tokens in the answer.
    pub max_tokens: u32,
    /// A JSON schema that the answer must match.
    pub json_schema: Option<String>,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The text, or the JSON document if the request has a schema.
    pub text: String,
    /// The name of the model that answered.
    pub model: String,
    /// Tokens in the request.
    pub input_tokens: u64,
    /// Tokens in the answer.
    pub output_tokens: u64,
}

/// The class of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// No provider is configured, or it cannot be reached.
    Unavailable,
    /// The operator's budget is exhausted.
    Budget,
    /// The provider limits the request rate.
    RateLimited,
    /// The request or the session timed out.
    TimeOut,
    /// The model refused to answer.
    Refused,
    /// The answer is not valid or does not match the schema.
    Malformed,
    /// The request or the answer is too large.
    TooLarge,
    /// Anything else.
    Failed,
}

/// A failed request.
///
/// A processor that cannot continue should return the error, most simply with `?`. The host knows
/// the class and retries the session when the outage is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmError {
    /// The class of the error.
    pub class: ErrorClass,
    /// A sentence for people.
    pub reason: String,
}

/// Access to a language model: see [`Session::llm`](crate::Session::llm).
#[derive(Clone, Copy)]
pub struct Llm<'h> {
    host: HostRef<'h>,
}

impl Request {
    /// Creates a request for an answer of at most 1024 tokens.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self {
            system: None,
            prompt: prompt.into(),
            max_tokens: 1024,
            json_schema: None,
        }
    }

    /// Sets the instructions that precede the prompt.
    #[must_use]
    pub fn system(mut self, instructions: impl Into<String>) -> Self {
        self.system = Some(instructions.into());
        self
    }

    /// Sets the maximum number of tokens in the answer.
    #[must_use]
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.max_tokens = tokens;
        self
    }

    /// Requests JSON that matches this schema.
    #[must_use]
    pub fn json_schema(mut self, schema: impl Into<String>) -> Self {
        self.json_schema = Some(schema.into());
        self
    }
}

impl Response {
    /// Creates an answer with this text, for tests.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }
}

impl ErrorClass {
    /// The name in the contract.
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
    /// Creates an error of this class.
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

    /// Sends a request and waits for the answer. Waiting costs neither fuel nor CPU time, but the
    /// total wall time of a session is limited.
    ///
    /// # Errors
    /// The class of the error shows how to handle it.
    pub fn complete(&self, request: &Request) -> Result<Response, LlmError> {
        Host::complete(self.host, request)
    }
}

/// The imported function, with the types of this crate.
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
