//! Opening the data directory for a command, or finding the server that holds it.

use std::sync::Arc;

use session_pipeline_host::clock::{Clock, SystemClock};
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::llm;
use session_pipeline_pipeline::run::{Pipeline, RunError};
use session_pipeline_store::{Store, StoreError};

use super::{Client, Local};
use crate::cli::{Failure, Global, registry};
use crate::http::{DataDir, Source};

/// What a command needs when no server does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Need {
    /// The database, if there is one; none is created.
    Existing,
    /// As [`Need::Existing`], and whether a language model is configured.
    Processors,
    /// The database, which is created where there is none.
    Database,
    /// A pipeline, which can run processors.
    Pipeline,
}

/// What was opened.
enum Handle {
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

impl Global {
    /// Opens what a command needs, or finds the server that has it open: the one that `--api`
    /// names, else the one in the lock file.
    pub(in crate::cli) fn connect(&self, need: Need) -> Result<Client, Failure> {
        if let Some(url) = &self.api {
            return Ok(Client::Server(self.server(url, self.is_own_server(url)?)?));
        }
        match self.open(need, self.config()?) {
            Ok(opened) => {
                let source = self.source(opened, need)?;
                let local = Local::over(source).map_err(|error| {
                    Failure::could_not_run(format!("the command can't start ({error})"))
                })?;
                Ok(Client::Local(local))
            }
            Err(error) => match url_of_holder(&error) {
                Some(url) => Ok(Client::Server(self.server(url, true)?)),
                None => Err(error.into()),
            },
        }
    }

    fn open(&self, need: Need, config: Config) -> Result<Handle, RunError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let options = config.store_options();
        Ok(match need {
            Need::Existing | Need::Processors => {
                Handle::Store(Store::open_existing(&options, clock.now())?.map(Box::new))
            }
            Need::Database => Handle::Store(Some(Box::new(Store::open(&options, clock.now())?))),
            Need::Pipeline => {
                Handle::Pipeline(Box::new(Pipeline::open(config, clock, registry())?))
            }
        })
    }

    fn source(&self, opened: Handle, need: Need) -> Result<Source, Failure> {
        Ok(match opened {
            Handle::Pipeline(pipeline) => {
                Source::Pipeline(Arc::new(self.with_language_model(*pipeline)?))
            }
            Handle::Store(store) => {
                let config = self.config()?;
                let has_model = need == Need::Processors
                    && llm::is_configured(&config.llm, &self.secrets(&config)?);
                Source::DataDir(Box::new(DataDir {
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
