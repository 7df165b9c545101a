//! A pipeline over a data dir, as the binary would open it.

use std::path::Path;
use std::sync::Arc;

use session_pipeline_host::model::LanguageModel;
use session_pipeline_host::sessions::SkippedPath;
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::{Pipeline, RunError, RunRequest};
use session_pipeline_pipeline::shipped::ShippedProcessor;
use session_pipeline_store::state_rows::{FailureRow, StateRow};
use session_pipeline_store::{Actor, RunStats, Trigger};

use crate::data_dir::DataDir;

/// An open pipeline with the components that it knows.
///
/// While it lives, the database belongs to it: drop it before reading the file with SQL.
///
/// ```
/// use session_pipeline_bundle::USAGE;
/// use session_pipeline_harness::{DataDir, TestPipeline};
///
/// let dir = DataDir::new();
/// dir.write("ada/one.jsonl", "{}\n");
/// let pipeline = TestPipeline::open(&dir, &[("usage", USAGE)]);
/// assert_eq!(pipeline.run("usage").stats.processed, 1);
/// assert_eq!(pipeline.run("usage").opens, 0);
/// ```
#[derive(Debug)]
pub struct TestPipeline {
    pipeline: Pipeline,
}

/// A run that came to its end.
#[derive(Clone, Debug)]
pub struct FinishedRun {
    /// The run's id.
    pub id: String,
    /// What it did.
    pub stats: RunStats,
    /// What the walk passed over.
    pub notes: Vec<SkippedPath>,
    /// How many sessions it opened.
    pub opens: u64,
}

impl TestPipeline {
    /// Opens a data dir with its own configuration.
    pub fn open(dir: &DataDir, components: &[(&'static str, &'static [u8])]) -> Self {
        Self::open_with(dir, dir.config(), components)
    }

    /// Opens a data dir with another configuration.
    pub fn open_with(
        dir: &DataDir,
        config: session_pipeline_pipeline::config::Config,
        components: &[(&'static str, &'static [u8])],
    ) -> Self {
        Self::try_open_with(dir, config, components)
            .unwrap_or_else(|error| panic!("the data dir can't be opened: {}", chain(&error)))
    }

    /// As [`TestPipeline::open_with`], where it may be refused.
    ///
    /// # Errors
    /// As [`Pipeline::open`].
    pub fn try_open_with(
        dir: &DataDir,
        config: session_pipeline_pipeline::config::Config,
        components: &[(&'static str, &'static [u8])],
    ) -> Result<Self, RunError> {
        let shipped = components
            .iter()
            .map(|&(name, component)| ShippedProcessor::new(name, component));
        let clock = Arc::clone(dir.clock());
        let pipeline = Pipeline::open(config, clock, Registry::new(shipped))?;
        Ok(Self { pipeline })
    }

    /// The same with a language model.
    #[must_use]
    pub fn with_language_model(self, model: Arc<dyn LanguageModel>) -> Self {
        Self {
            pipeline: self.pipeline.with_language_model(model),
        }
    }

    /// Runs a processor as the command line does: without caps, and ignoring waits.
    pub fn run(&self, processor: &str) -> FinishedRun {
        self.run_as(processor, RunRequest::cli())
    }

    /// Runs a processor as the scheduler does, but without caps: failed sessions wait.
    pub fn run_scheduled(&self, processor: &str) -> FinishedRun {
        self.run_as(processor, scheduled())
    }

    /// Runs a processor as asked; a run that breaks off ends the test.
    pub fn run_as(&self, processor: &str, request: RunRequest) -> FinishedRun {
        self.try_run_as(processor, request)
            .unwrap_or_else(|error| panic!("`{processor}` did not run: {}", chain(&error)))
    }

    /// As [`TestPipeline::run_as`], where it may fail.
    ///
    /// # Errors
    /// As [`Pipeline::run`].
    pub fn try_run_as(
        &self,
        processor: &str,
        request: RunRequest,
    ) -> Result<FinishedRun, RunError> {
        let report = self.pipeline.run(processor, &request, &())?;
        Ok(FinishedRun {
            id: report.id,
            stats: report.stats,
            notes: report.notes,
            opens: report.opens,
        })
    }

    /// The state row of a session.
    pub fn state(&self, processor: &str, key: &str) -> Option<StateRow> {
        let known = self.pipeline.store().state_rows(processor);
        known.expect("the state can be read").get(key).copied()
    }

    /// The failure row of a session.
    pub fn failure(&self, processor: &str, key: &str) -> Option<FailureRow> {
        let failures = self.pipeline.store().failures(processor);
        failures.expect("the failures can be read").remove(key)
    }

    /// The pipeline itself.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Where its data dir lies.
    pub fn data_dir(&self) -> &Path {
        &self.pipeline.config().data_dir
    }
}

/// A request of the scheduler, without its caps.
pub fn scheduled() -> RunRequest {
    RunRequest {
        trigger: Trigger::Scheduler,
        actor: Actor::scheduler(),
        is_started_by_person: false,
        ..RunRequest::cli()
    }
}

/// An error with its causes, for the message of a failed test.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
