//! What holds for language models: who answers, how it is reached, and what it may cost.

use std::path::PathBuf;
use std::time::Duration;

use session_pipeline_store::{Budget, Budgets};

use crate::config::Address;

/// The section `[llm]` (BEHAVIOUR.md 7.12). The key itself is no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmConfig {
    /// Whose wire format is spoken; `None`: Anthropic's, where a key is found.
    pub provider: Option<Provider>,
    /// The model that is asked for.
    pub model: String,
    /// Where it answers; `None`: where Anthropic does.
    pub base_url: Option<Address>,
    /// A file that holds the key.
    pub api_key_file: Option<PathBuf>,
    /// The environment variable that holds the key.
    pub api_key_env: Option<String>,
    /// How an answer is made to be a JSON document.
    pub structured_output: StructuredOutput,
    /// Whether a certificate must be one of the server's.
    pub verify_ssl: bool,
    /// Whether another network may be asked without TLS.
    pub allow_http: bool,
    /// A proxy that all requests go through.
    pub proxy: Option<Address>,
    /// The longest that one request may take, below what is left of its session's time.
    pub timeout: Duration,
    /// How often a request is sent at most, before its session waits for another run.
    pub attempts_max: u32,
    /// What may be spent.
    pub budgets: Budgets,
}

/// Whose wire format is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Anthropic's Messages API.
    Anthropic,
    /// OpenAI's chat completions, which most servers speak, local ones too.
    OpenAiCompat,
}

impl Provider {
    /// The word for it, as in the config file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAiCompat => "openai_compat",
        }
    }
}

/// How an answer is made to be a JSON document (BEHAVIOUR.md 7.12): what is tried where a server
/// does not know the way before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StructuredOutput {
    /// The server holds the model to the schema, or the request fails.
    Strict,
    /// Else it holds the model to JSON, or to a tool's input.
    Json,
    /// Else the model is only asked to.
    Auto,
}

impl Default for LlmConfig {
    fn default() -> Self {
        Self {
            provider: None,
            model: "claude-haiku-4-5-20251001".to_owned(),
            base_url: None,
            api_key_file: None,
            api_key_env: None,
            structured_output: StructuredOutput::Auto,
            verify_ssl: true,
            allow_http: false,
            proxy: None,
            timeout: Duration::from_secs(120),
            attempts_max: 3,
            budgets: Budgets {
                session: Budget {
                    calls_max: 100,
                    tokens_max: 1_000_000,
                },
                run: Budget {
                    calls_max: 1_000,
                    tokens_max: 5_000_000,
                },
                day: Budget {
                    calls_max: 5_000,
                    tokens_max: 10_000_000,
                },
            },
        }
    }
}

impl LlmConfig {
    /// Why its values do not go together, if they don't.
    pub(super) fn contradiction(&self) -> Option<String> {
        if self.provider == Some(Provider::OpenAiCompat) && self.base_url.is_none() {
            return Some(
                "`llm.base_url` is missing, which `llm.provider = \"openai_compat\"` needs; give the server's address, such as \"http://127.0.0.1:8080/v1\""
                    .to_owned(),
            );
        }
        let base_url = self.base_url.as_ref()?;
        (base_url.is_readable_on_its_way() && !self.allow_http).then(|| {
            "`llm.base_url` can't be plain http:// to another network, where keys and sessions could be read on their way; give an address that begins with https://, or set `llm.allow_http = true`"
                .to_owned()
        })
    }
}
