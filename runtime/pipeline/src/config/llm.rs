//! Language models: the provider, the connection and the budgets.

use std::path::PathBuf;
use std::time::Duration;

use session_pipeline_store::{Budget, Budgets};

use crate::config::ProviderUrl;

/// The section `[llm]`. It never contains the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmConfig {
    /// The provider's wire format. `None`: Anthropic's, if a key is found.
    pub provider: Option<Provider>,
    /// The id of the model.
    pub model: String,
    /// The address of the provider. `None`: Anthropic's own.
    pub base_url: Option<ProviderUrl>,
    /// A file that contains the API key.
    pub api_key_file: Option<PathBuf>,
    /// The environment variable that contains the API key.
    pub api_key_env: Option<String>,
    /// How answers are constrained to JSON.
    pub structured_output: StructuredOutput,
    /// Whether the server's certificate is verified.
    pub verify_ssl: bool,
    /// Whether requests to another network can go without TLS.
    pub allow_http: bool,
    /// A proxy for all requests.
    pub proxy: Option<ProviderUrl>,
    /// Maximum duration of one request. The session's remaining time can lower it.
    pub timeout: Duration,
    /// Maximum attempts per request. After the last one, the session waits for another run.
    pub attempts_max: u32,
    /// Maximum number of sessions of a serial processor that are processed at the same time.
    pub concurrency: usize,
    /// Maximum calls and tokens per session, run and day.
    pub budgets: Budgets,
}

/// The wire format of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Anthropic's Messages API.
    Anthropic,
    /// OpenAI's chat completions API, which most servers implement, including local ones.
    OpenAiCompat,
}

impl Provider {
    /// The name in the config file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAiCompat => "openai_compat",
        }
    }
}

/// How answers are constrained to JSON. Each variant also allows the ones before it, which are
/// tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StructuredOutput {
    /// The server enforces the schema, or the request fails.
    Strict,
    /// The server enforces JSON, or the input of a tool.
    Json,
    /// The prompt asks for JSON.
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
            concurrency: 8,
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
    /// Why the values contradict each other, if they do.
    pub(super) fn contradiction(&self) -> Option<String> {
        if self.provider == Some(Provider::OpenAiCompat) && self.base_url.is_none() {
            return Some(
                "`llm.base_url` is missing, but `llm.provider = \"openai_compat\"` needs it; set it to the server's address, such as \"http://127.0.0.1:8080/v1\""
                    .to_owned(),
            );
        }
        let base_url = self.base_url.as_ref()?;
        (base_url.is_readable_in_transit() && !self.allow_http).then(|| {
            "`llm.base_url` uses plain http:// to another network, so keys and sessions could be read in transit; use an https:// address, or set `llm.allow_http = true`"
                .to_owned()
        })
    }
}
