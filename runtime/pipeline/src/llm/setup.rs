//! Creates the language model from the configuration.

use std::sync::Arc;

use session_pipeline_host::clock::Clock;
use session_pipeline_host::model::LanguageModel;
use session_pipeline_store::Store;

use crate::config::{Config, LlmConfig, Provider};
use crate::llm::connector::Connector;
use crate::llm::key::{KeyError, LlmSecrets};
use crate::llm::patience::{RealSleeper, Sleeper};
use crate::report::{PriceTable, PriceTableError};

/// Why the configured language model can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The price file can't be used.
    #[error(transparent)]
    Prices(#[from] PriceTableError),
    /// The HTTP client can't be created.
    #[error(
        "cannot set up requests to the language model: {0}; check `[llm]` in the config file and the system's certificates"
    )]
    Transport(String),
}

/// The configured language model. `None` if none is configured.
///
/// Anthropic is used if there is a key for it. An OpenAI-compatible server is used if the
/// configuration names one, with or without a key, because local servers need none.
///
/// # Errors
/// If the key, the prices or the certificates are configured but can't be used.
pub fn from_config(
    config: &Config,
    secrets: LlmSecrets,
    clock: Arc<dyn Clock>,
    store: Arc<Store>,
) -> Result<Option<Arc<dyn LanguageModel>>, SetupError> {
    with_patience(config, secrets, clock, Arc::new(RealSleeper), store)
}

/// Like [`from_config`], with another way to wait.
///
/// # Errors
/// Same as [`from_config`].
pub fn with_patience(
    config: &Config,
    secrets: LlmSecrets,
    clock: Arc<dyn Clock>,
    patience: Arc<dyn Sleeper>,
    store: Arc<Store>,
) -> Result<Option<Arc<dyn LanguageModel>>, SetupError> {
    if !is_configured(&config.llm, &secrets) {
        return Ok(None);
    }
    if !config.llm.verify_ssl {
        tracing::warn!(
            "`llm.verify_ssl = false`: the language model's certificate is not verified, so anyone on the network path can read keys and sessions; set it to `true`"
        );
    }
    let prices = PriceTable::load(config)?;
    let connector = Connector::new(&config.llm, secrets, prices, clock, patience, store);
    let connector = connector.map_err(SetupError::Transport)?;
    Ok(Some(Arc::new(connector)))
}

/// Whether a language model is configured, usable or not.
pub fn is_configured(config: &LlmConfig, secrets: &LlmSecrets) -> bool {
    secrets.key.is_some() || config.provider == Some(Provider::OpenAiCompat)
}
