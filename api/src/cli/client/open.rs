//! Opens the data directory for a command, or connects to the server that has it open.

use std::sync::Arc;

use session_pipeline_host::clock::{Clock, SystemClock};
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::llm;
use session_pipeline_pipeline::run::{Pipeline, RunError};
use session_pipeline_store::{Store, StoreError};

use super::{Client, LocalClient};
use crate::cli::{CommandFailure, GlobalArgs, registry};
use crate::http::{HandlerSource, ReadOnlyDataDir};

/// How a command opens the data directory if it does not use a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum OpenMode {
    /// Opens the database if it exists.
    Existing,
    /// Like [`OpenMode::Existing`], and checks whether a language model is configured.
    Processors,
    /// Opens the database, or creates it.
    Database,
    /// Opens a pipeline that can run processors.
    Pipeline,
}

enum LocalHandle {
    Store(Option<Box<Store>>),
    Pipeline(Box<Pipeline>),
}

/// The URL of the server that has the data directory open, if this is why it cannot be opened.
fn url_of_holder(error: &RunError) -> Option<&str> {
    match error {
        RunError::Store(StoreError::Locked { holder, .. }) => holder.url.as_deref(),
        _ => None,
    }
}

impl GlobalArgs {
    /// Connects to the server in `--api`. Without `--api`, opens the data directory, or connects to the
    /// server that has it open.
    pub(in crate::cli) fn connect(&self, mode: OpenMode) -> Result<Client, CommandFailure> {
        if let Some(url) = &self.api {
            return Ok(Client::Server(self.server(url, self.is_own_server(url)?)?));
        }
        match self.open(mode, self.config()?) {
            Ok(opened) => {
                let source = self.source(opened, mode)?;
                let local = LocalClient::new(source).map_err(|error| {
                    CommandFailure::could_not_run(format!(
                        "cannot start the async runtime: {error}"
                    ))
                })?;
                Ok(Client::Local(local))
            }
            Err(error) => match url_of_holder(&error) {
                Some(url) => Ok(Client::Server(self.server(url, true)?)),
                None => Err(error.into()),
            },
        }
    }

    fn open(&self, mode: OpenMode, config: Config) -> Result<LocalHandle, RunError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let options = config.store_options();
        Ok(match mode {
            OpenMode::Existing | OpenMode::Processors => {
                LocalHandle::Store(Store::open_existing(&options, clock.now())?.map(Box::new))
            }
            OpenMode::Database => {
                LocalHandle::Store(Some(Box::new(Store::open(&options, clock.now())?)))
            }
            OpenMode::Pipeline => {
                LocalHandle::Pipeline(Box::new(Pipeline::open(config, clock, registry())?))
            }
        })
    }

    fn source(&self, opened: LocalHandle, mode: OpenMode) -> Result<HandlerSource, CommandFailure> {
        Ok(match opened {
            LocalHandle::Pipeline(pipeline) => {
                HandlerSource::Pipeline(Arc::new(self.with_language_model(*pipeline)?))
            }
            LocalHandle::Store(store) => {
                let config = self.config()?;
                let has_model = mode == OpenMode::Processors
                    && llm::is_configured(&config.llm, &self.secrets(&config)?);
                HandlerSource::DataDir(Box::new(ReadOnlyDataDir {
                    config,
                    registry: registry(),
                    clock: Arc::new(SystemClock::default()),
                    store: store.map(|store| *store),
                    has_model,
                }))
            }
        })
    }
}
