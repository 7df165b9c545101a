//! A pipeline on a data directory, opened in the same way as the program opens it.

use std::path::Path;
use std::sync::Arc;

use session_pipeline_host::model::LanguageModel;
use session_pipeline_host::sessions::SkippedPath;
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::{Pipeline, RunError, RunRequest};
use session_pipeline_pipeline::shipped::ShippedProcessor;
use session_pipeline_store::state_rows::{FailureRow, StateRow};
use session_pipeline_store::{Actor, AuditedAction, RunStats, Trigger};

use crate::data_dir::DataDir;

/// An open pipeline with the given components.
///
/// It holds the lock of the database. Drop it before opening the database file with SQL.
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

/// The report of a finished run.
#[derive(Clone, Debug)]
pub struct FinishedRun {
    /// The id of the run.
    pub id: String,
    /// The statistics of the run.
    pub stats: RunStats,
    /// The paths that the scan skipped.
    pub notes: Vec<SkippedPath>,
    /// The number of sessions that the run opened.
    pub opens: u64,
}

impl TestPipeline {
    /// Opens a data directory with the configuration of [`DataDir::config`].
    pub fn open(dir: &DataDir, components: &[(&'static str, &'static [u8])]) -> Self {
        Self::open_with(dir, dir.config(), components)
    }

    /// Opens a data directory with another configuration.
    pub fn open_with(
        dir: &DataDir,
        config: session_pipeline_pipeline::config::Config,
        components: &[(&'static str, &'static [u8])],
    ) -> Self {
        Self::try_open_with(dir, config, components).unwrap_or_else(|error| {
            panic!("cannot open the data directory: {}", error_text(&error))
        })
    }

    /// Like [`TestPipeline::open_with`], but returns the error.
    ///
    /// # Errors
    /// See [`Pipeline::open`].
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

    /// Sets the language model.
    #[must_use]
    pub fn with_language_model(self, model: Arc<dyn LanguageModel>) -> Self {
        Self {
            pipeline: self.pipeline.with_language_model(model),
        }
    }

    /// Runs a processor in the same way as the command line: without caps, and without waiting for
    /// the back-off of failed sessions.
    pub fn run(&self, processor: &str) -> FinishedRun {
        self.run_as(processor, RunRequest::cli())
    }

    /// Runs a processor in the same way as the scheduler, but without caps. The back-off of failed
    /// sessions applies.
    pub fn run_scheduled(&self, processor: &str) -> FinishedRun {
        self.run_as(processor, scheduled_request())
    }

    /// Runs a processor with this request.
    ///
    /// # Panics
    /// The run fails.
    pub fn run_as(&self, processor: &str, request: RunRequest) -> FinishedRun {
        self.try_run_as(processor, request).unwrap_or_else(|error| {
            panic!("the run of `{processor}` failed: {}", error_text(&error))
        })
    }

    /// Like [`TestPipeline::run_as`], but returns the error.
    ///
    /// # Errors
    /// See [`Pipeline::run`].
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

    /// Marks all sessions of a processor to be processed again by the next run.
    ///
    /// # Panics
    /// The database cannot be written.
    pub fn mark_due(&self, processor: &str) {
        let action = AuditedAction {
            action: "reprocess",
            actor: Actor::cli(),
            now: self.pipeline.clock().now(),
        };
        let marked = self.pipeline.store().mark_due(processor, None, action);
        marked.expect("the sessions are marked");
    }

    /// The state row of a session.
    pub fn state(&self, processor: &str, key: &str) -> Option<StateRow> {
        let states = self.pipeline.store().state_rows(processor);
        states.expect("the states are read").get(key).copied()
    }

    /// The failure row of a session.
    pub fn failure(&self, processor: &str, key: &str) -> Option<FailureRow> {
        let failures = self.pipeline.store().failures(processor);
        failures.expect("the failures are read").remove(key)
    }

    /// The underlying pipeline.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The path of the data directory.
    pub fn data_dir(&self) -> &Path {
        &self.pipeline.config().data_dir
    }
}

/// A run request as the scheduler sends it, but without caps.
pub fn scheduled_request() -> RunRequest {
    RunRequest {
        trigger: Trigger::Scheduler,
        actor: Actor::scheduler(),
        is_started_by_person: false,
        ..RunRequest::cli()
    }
}

/// The message of an error and its causes, joined with `: `.
pub fn error_text(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
