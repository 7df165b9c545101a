//! Language models: requests of guests, answers, and providers.
//!
//! A guest reaches a model only through the contract's `llm` interface, and only if the operator
//! grants it. The submodules of `wire` implement one provider format each. The sandbox only knows
//! the trait [`LanguageModel`].
//!
//! [`LanguageModel`]: session_pipeline_host::model::LanguageModel

mod answer_cache;
mod attempt;
mod backoff;
mod breaker;
mod connector;
mod in_progress;
mod key;
mod patience;
mod rate_limit;
mod redaction;
mod retry_after;
mod schema;
mod setup;
mod transport;
mod wire;

pub use key::{ApiKey, KeyError, LlmSecrets};
pub use patience::{RealSleeper, Sleeper, StopSignal};
pub use redaction::{RedactedRequest, RedactionError, redact};
pub use setup::{SetupError, from_config, is_configured, with_patience};
