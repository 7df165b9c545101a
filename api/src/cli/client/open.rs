//! Opening the data directory for a command, or finding the server that holds it.

use std::sync::Arc;

use session_pipeline_host::clock::{Clock, SystemClock};
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::llm;
use session_pipeline_pipeline::run::{Pipeline, RunError};
use session_pipeline_store::{Store, StoreError};

use super::{Client, LocalClient};
use crate::cli::{CommandFailure, GlobalArgs, registry};
use crate::http::{HandlerSource, ReadOnlyDataDir};

/// What a command needs when no server does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum OpenMode {
    /// The database, if there is one; none is created.
    Existing,
    /// As [`OpenMode::Existing`], and whether a language model is configured.
    Processors,
    /// The database, which is created where there is none.
    Database,
    /// A pipeline, which can run processors.
    Pipeline,
}

/// What was opened.
enum LocalHandle {
    Store(Option<Box<Store>>),
    Pipeline(Box<Pipeline>),
}

/// The address of the server that holds the data directory, where that is why it can't be opened.
fn url_of_holder(error: &RunError) -> Option<&str> {
    match error {
        RunError::Store(StoreError::Locked { holder, .. }) => holder.url.as_deref(),
        _ => None,
    }
}

impl GlobalArgs {
    /// Opens what a command needs, or finds the server that has it open: the one that `--api`
    /// names, else the one in the lock file.
    pub(in crate::cli) fn connect(&self, need: OpenMode) -> Result<Client, CommandFailure> {
        if let Some(url) = &self.api {
            return Ok(Client::Server(self.server(url, self.is_own_server(url)?)?));
        }
        match self.open(need, self.config()?) {
            Ok(opened) => {
                let source = self.source(opened, need)?;
                let local = LocalClient::over(source).map_err(|error| {
                    CommandFailure::could_not_run(format!("the command can't start ({error})"))
                })?;
                Ok(Client::Local(local))
            }
            Err(error) => match url_of_holder(&error) {
                Some(url) => Ok(Client::Server(self.server(url, true)?)),
                None => Err(error.into()),
            },
        }
    }

    fn open(&self, need: OpenMode, config: Config) -> Result<LocalHandle, RunError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let options = config.store_options();
        Ok(match need {
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

    fn source(&self, opened: LocalHandle, need: OpenMode) -> Result<HandlerSource, CommandFailure> {
        Ok(match opened {
            LocalHandle::Pipeline(pipeline) => {
                HandlerSource::Pipeline(Arc::new(self.with_language_model(*pipeline)?))
            }
            LocalHandle::Store(store) => {
                let config = self.config()?;
                let has_model = need == OpenMode::Processors
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
