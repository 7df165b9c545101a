//! The data source of the handlers: a pipeline, or the parts of a data directory that a command
//! needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use session_pipeline_host::clock::Clock;
use session_pipeline_host::sandbox::Engines;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::{Access, Loader, Registry};
use session_pipeline_pipeline::run::Pipeline;
use session_pipeline_store::Store;

use super::ServiceState;
use super::problem::ApiError;
use crate::problem::ProblemClass;

/// The data source of the handlers.
pub(crate) enum HandlerSource {
    /// A pipeline, which can run processors.
    Pipeline(Arc<Pipeline>),
    /// A data directory that cannot run processors.
    DataDir(Box<ReadOnlyDataDir>),
}

/// A data directory that may not have a database yet.
pub(crate) struct ReadOnlyDataDir {
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) clock: Arc<dyn Clock>,
    /// `None`: there is no database yet.
    pub(crate) store: Option<Store>,
    /// Whether a language model is configured.
    pub(crate) has_model: bool,
}

impl HandlerSource {
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        match self {
            Self::Pipeline(pipeline) => pipeline.clock(),
            Self::DataDir(dir) => &dir.clock,
        }
    }
}

impl ReadOnlyDataDir {
    /// The cadences of the processors that were compiled before. Others are left out, because a
    /// status must not wait for the compiler.
    pub(super) fn cadences(&self) -> HashMap<String, Duration> {
        let Some(store) = &self.store else {
            return HashMap::new();
        };
        let engines = Engines::new(self.config.pool_limits(), 0);
        let names = self.registry.names().into_iter();
        let cadences = names.filter_map(|name| {
            let loader = Loader {
                engines: &engines,
                access: Access::Compiled(store),
            };
            let processor = self.registry.get(&name, &self.config, loader).ok()?;
            let cadence = Duration::from_secs(processor.manifest().cadence_seconds.into());
            Some((name, cadence))
        });
        cadences.collect()
    }
}

impl ServiceState {
    /// Whether the callers are in this process.
    pub(super) fn is_local(&self) -> bool {
        self.keyring.is_none()
    }

    pub(crate) fn config(&self) -> &Config {
        match &self.source {
            HandlerSource::Pipeline(pipeline) => pipeline.config(),
            HandlerSource::DataDir(dir) => &dir.config,
        }
    }

    pub(super) fn registry(&self) -> &Registry {
        match &self.source {
            HandlerSource::Pipeline(pipeline) => pipeline.registry(),
            HandlerSource::DataDir(dir) => &dir.registry,
        }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        self.source.clock()
    }

    /// The database. `None`: there is none yet.
    pub(crate) fn store(&self) -> Option<&Store> {
        match &self.source {
            HandlerSource::Pipeline(pipeline) => Some(pipeline.store()),
            HandlerSource::DataDir(dir) => dir.store.as_ref(),
        }
    }

    /// Whether a language model is configured.
    pub(super) fn has_language_model(&self) -> bool {
        match &self.source {
            HandlerSource::Pipeline(pipeline) => pipeline.has_language_model(),
            HandlerSource::DataDir(dir) => dir.has_model,
        }
    }

    /// The database, for a request that requires one.
    pub(crate) fn database(&self) -> Result<&Store, ApiError> {
        self.store().ok_or_else(|| {
            let detail = "there is no database yet; `session-pipeline run` creates it";
            ApiError::new(ProblemClass::Database, detail)
        })
    }

    /// The pipeline, for a request that runs processors.
    pub(super) fn pipeline(&self) -> Result<&Arc<Pipeline>, ApiError> {
        match &self.source {
            HandlerSource::Pipeline(pipeline) => Ok(pipeline),
            HandlerSource::DataDir(_) => Err(ApiError::new(
                ProblemClass::Internal,
                "internal error: this command did not open a pipeline; please report it",
            )),
        }
    }
}
