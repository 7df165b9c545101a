//! What a guest can ask a language model, what it receives, and who answers.
//!
//! A guest reaches a model only through the contract's `llm` interface, and only where its operator
//! grants it. The sandbox knows a [`LanguageModel`]. Providers implement it above.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The variables that are looked up where the configuration names no other, in this order.
pub const KEY_VARIABLES: [&str; 2] = ["ANTHROPIC_API_KEY", "LLM_API_KEY"];

/// One request of a guest.
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

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// For whom a request is made, so that it can be bounded and accounted for.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The run.
    pub run_id: &'a str,
    /// The processor.
    pub processor: &'a str,
    /// The session.
    pub session: &'a str,
    /// How much of the session's wall time is left: the request's time-out.
    pub time_left: Duration,
}

/// The classes of `llm-error` in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorClass {
    /// No provider is configured, or it can't be reached.
    Unavailable,
    /// The operator's budget is used up.
    Budget,
    /// The provider asks to slow down.
    RateLimited,
    /// The time ran out.
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

impl ErrorClass {
    /// All of them.
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

    /// The class behind a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

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

    /// Whether the session or its processor caused it, so that asking again is pointless; the
    /// others are outages, which must not cost anyone a session (ARCHITECTURE.md §5).
    pub fn is_of_own_making(self) -> bool {
        matches!(self, Self::Refused | Self::Malformed)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", class.as_str())]
pub struct LlmError {
    /// Of which class.
    pub class: ErrorClass,
    /// A sentence for people, free of secrets.
    pub reason: String,
}

/// Someone who answers: a provider with its budgets, cache and retries, or a test's stand-in.
///
/// Called on a worker's thread, which waits; the caller holds neither a permit nor a transaction.
/// That thread is confined where the kernel can do it, and so are the threads that it starts: open
/// files and sockets on a thread that was there before.
pub trait LanguageModel: std::fmt::Debug + Send + Sync {
    /// Answers, or says why not, within `caller.time_left`.
    ///
    /// # Errors
    /// The class tells a passing outage from a request that will never be answered.
    fn complete(&self, request: &Request, caller: Caller<'_>) -> Result<Response, LlmError>;

    /// Why this run has to stop, where only its operator can help: a key that is not taken, an
    /// account without money, a model that nobody knows (BEHAVIOUR.md A15). Its requests are
    /// answered `unavailable` with the same reason; the next run asks again.
    fn halted(&self, run_id: &str) -> Option<String> {
        let _ = run_id;
        None
    }

    /// Breaks off what is under way, and takes no more: the process ends.
    fn stop(&self) {}
}

/// What to do where there is no language model, for those who need one.
pub fn what_to_set() -> String {
    let [first, second] = KEY_VARIABLES;
    format!(
        "no language model is configured; set {first} (or {second}) in the environment, or `[llm]` in the config file (docs/llm.md)"
    )
}
