//! Runs and their statistics.

use serde::{Deserialize, Serialize};
use session_pipeline_host::redaction::without_secrets;
use session_pipeline_host::sessions::SkippedPath;
use session_pipeline_pipeline::run::RunReport;
use session_pipeline_store::{LlmUsage, RunResult, RunRow, RunStats, Trigger};
use utoipa::ToSchema;

/// The result of a finished run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunBody {
    /// Whether no session failed, and at least one was attempted if any was due.
    pub ok: bool,
    /// The statistics of the run.
    pub details: RunStats,
    /// Paths below the sessions root that were skipped, such as links, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<SkippedPath>,
}

impl From<RunReport> for RunBody {
    fn from(report: RunReport) -> Self {
        Self {
            ok: report.stats.is_ok(),
            details: report.stats.without_secrets(),
            notes: report.notes,
        }
    }
}

/// One page of runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunsBody {
    /// Newest first.
    pub runs: Vec<RunSummary>,
    /// The cursor of the next page. Send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunSummary {
    /// The id of the run.
    pub id: String,
    /// The name of the processor.
    pub processor: String,
    /// What started the run.
    pub trigger: Trigger,
    /// When the run started.
    pub started_at: String,
    /// When the run ended. Null while it is in progress.
    #[schema(required = true)]
    pub finished_at: Option<String>,
    /// The result. Null while the run is in progress.
    #[schema(required = true)]
    pub result: Option<RunResult>,
    /// Why the run was aborted, or null.
    #[schema(required = true)]
    pub error: Option<String>,
    /// The statistics. Null while the run is in progress, and after a crash.
    #[schema(required = true)]
    pub stats: Option<RunStats>,
    /// Language model usage. Null if the run sent no requests to a model.
    #[schema(required = true)]
    pub llm: Option<LlmUsage>,
}

impl From<RunRow> for RunSummary {
    fn from(row: RunRow) -> Self {
        let stats = row
            .stats
            .and_then(|stats| serde_json::from_str::<RunStats>(&stats).ok());
        Self {
            id: row.id,
            processor: row.processor,
            trigger: row.trigger,
            started_at: row.started_at.to_string(),
            finished_at: row.finished_at.map(|at| at.to_string()),
            result: row.result,
            // Earlier versions stored errors without removing secrets.
            error: row.error.map(|error| without_secrets(&error).into_owned()),
            stats: stats.map(RunStats::without_secrets),
            llm: row.llm,
        }
    }
}
