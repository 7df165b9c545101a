//! From a configuration to a language model.

use std::sync::Arc;

use session_pipeline_host::clock::Clock;
use session_pipeline_host::model::LanguageModel;
use session_pipeline_store::Store;

use crate::config::{Config, LlmConfig, Provider};
use crate::llm::connector::Connector;
use crate::llm::key::{KeyError, Secrets};
use crate::llm::patience::{Patience, RealPatience};
use crate::report::{Prices, PricesError};

/// Why a language model can't be had as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What requests cost can't be read.
    #[error(transparent)]
    Prices(#[from] PricesError),
    /// Nothing can be sent.
    #[error(
        "requests to the language model can't be made ready: {0}; check `[llm]` in the config file and the system's certificates"
    )]
    Transport(String),
}

/// The language model of a configuration; `None` where none is configured.
///
/// Anthropic is asked where there is a key for it, and a server that speaks OpenAI's format where the
/// configuration names one: local servers need no key.
///
/// # Errors
/// When something stands there that can't be used: it is never passed over.
pub fn from_config(
    config: &Config,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
    store: Arc<Store>,
) -> Result<Option<Arc<dyn LanguageModel>>, SetupError> {
    with_patience(config, secrets, clock, Arc::new(RealPatience), store)
}

/// As [`from_config`], by somebody who waits otherwise.
///
/// # Errors
/// As [`from_config`].
pub fn with_patience(
    config: &Config,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
    patience: Arc<dyn Patience>,
    store: Arc<Store>,
) -> Result<Option<Arc<dyn LanguageModel>>, SetupError> {
    if !is_configured(&config.llm, &secrets) {
        return Ok(None);
    }
    if !config.llm.verify_ssl {
        tracing::warn!(
            "`llm.verify_ssl = false`: the language model's certificate is not verified, so anyone on the network path can read keys and sessions; set it to true"
        );
    }
    let prices = Prices::of(config)?;
    let connector = Connector::new(&config.llm, secrets, prices, clock, patience, store);
    let connector = connector.map_err(SetupError::Transport)?;
    Ok(Some(Arc::new(connector)))
}

/// Whether there is a language model by this configuration, usable or not.
pub fn is_configured(config: &LlmConfig, secrets: &Secrets) -> bool {
    secrets.key.is_some() || config.provider == Some(Provider::OpenAiCompat)
}
