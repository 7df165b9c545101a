//! Requests of guests to a language model, the answers, and the trait of the provider.
//!
//! A guest reaches a model only through the contract's `llm` interface, and only if the operator
//! grants it. The sandbox depends on the [`LanguageModel`] trait. Providers implement it in other
//! crates.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Environment variables with the API key, in the order in which they are checked. Used if the
/// configuration names no other variable.
pub const KEY_VARIABLES: [&str; 2] = ["ANTHROPIC_API_KEY", "LLM_API_KEY"];

/// A request from a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmRequest {
    /// Instructions that precede the prompt.
    pub system: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// Maximum number of tokens in the answer.
    pub max_tokens: u32,
    /// A JSON schema that the answer must match.
    pub json_schema: Option<String>,
}

/// An answer from a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmResponse {
    /// The text, or the JSON document if the request has a schema.
    pub text: String,
    /// The name of the model that answered.
    pub model: String,
    /// Tokens in the request.
    pub input_tokens: u64,
    /// Tokens in the answer.
    pub output_tokens: u64,
}

/// The origin of a request, for budgets and accounting.
#[derive(Clone, Copy, Debug)]
pub struct LlmCaller<'a> {
    /// The run.
    pub run_id: &'a str,
    /// The processor.
    pub processor: &'a str,
    /// The session.
    pub session: &'a str,
    /// The remaining wall time of the session, used as the request's timeout.
    pub time_left: Duration,
}

/// The classes of `llm-error` in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LlmErrorClass {
    /// No provider is configured, or it cannot be reached.
    Unavailable,
    /// The operator's budget is exhausted.
    Budget,
    /// The provider limits the request rate.
    RateLimited,
    /// The request timed out.
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

impl LlmErrorClass {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::Unavailable,
        Self::Budget,
        Self::RateLimited,
        Self::TimeOut,
        Self::Refused,
        Self::Malformed,
        Self::TooLarge,
        Self::Failed,
    ];

    /// Parses the name of a class.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

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

    /// Whether the session or its processor caused the error. Retrying such a request is pointless.
    /// The other classes are outages, which must not quarantine a session.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Refused | Self::Malformed)
    }
}

/// A request that got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", class.as_str())]
pub struct LlmError {
    /// The class of the error.
    pub class: LlmErrorClass,
    /// A sentence for people, without secrets.
    pub reason: String,
}

/// A provider with its budgets, cache and retries, or a test double.
///
/// The worker's thread calls it and blocks. The caller holds neither a permit nor a transaction.
/// Where the kernel supports it, this thread and the threads that it starts are confined.
/// Implementations must open files and sockets on another thread that already exists.
pub trait LanguageModel: std::fmt::Debug + Send + Sync {
    /// Sends a request and waits at most `caller.time_left`.
    ///
    /// # Errors
    /// The class separates temporary outages from requests that can never succeed.
    fn complete(
        &self,
        request: &LlmRequest,
        caller: LlmCaller<'_>,
    ) -> Result<LlmResponse, LlmError>;

    /// Why this run must stop until the operator acts: an invalid key, an account without credit,
    /// or an unknown model. Requests of this run then fail with `unavailable` and the same reason.
    /// The next run tries again.
    fn halt_reason(&self, run_id: &str) -> Option<String> {
        let _ = run_id;
        None
    }

    /// Aborts requests in progress and rejects new ones, because the process exits.
    fn stop(&self) {}
}

/// The error message for processors that need a language model when none is configured.
pub fn missing_model_error() -> String {
    let [first, second] = KEY_VARIABLES;
    format!(
        "no language model is configured; set {first} or {second} in the environment, or add `[llm]` to the config file (see docs/llm.md)"
    )
}
