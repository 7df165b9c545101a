//! Language models as the pipeline sees them: what a guest may ask, what it is answered, and who
//! answers.
//!
//! A guest reaches one only through the contract's `llm` interface, where its operator grants it.
//! How a request becomes bytes on a wire stands below this, one file per provider; the sandbox
//! knows only the [`LanguageModel`].

mod attempt;
mod breaker;
mod connector;
mod hold;
mod kept;
mod key;
mod patience;
mod pauses;
mod redaction;
mod retry_after;
mod schema;
mod setup;
mod transport;
mod under_way;
mod wire;

pub use key::{ApiKey, KeyError, Secrets};
pub use patience::{Patience, RealPatience, StopSign};
pub use redaction::{HeldBack, Redacted, redact};
pub use setup::{SetupError, from_config, is_configured, with_patience};
