//! Runs: what one did, and the list of them.

use serde::{Deserialize, Serialize};
use session_pipeline_host::redaction::without_secrets;
use session_pipeline_host::sessions::SkippedPath;
use session_pipeline_pipeline::run::RunReport;
use session_pipeline_store::{LlmUsage, RunResult, RunRow, RunStats, Trigger};
use utoipa::ToSchema;

/// A run that came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunBody {
    /// Whether no session failed, and something was tried if anything was due.
    pub ok: bool,
    /// What it did.
    pub details: RunStats,
    /// What it passed over below the sessions root, such as links, and why.
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

/// The latest runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunsBody {
    /// The newest first.
    pub runs: Vec<RunSummary>,
    /// Where the next page begins: send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunSummary {
    /// Its id.
    pub id: String,
    /// The processor.
    pub processor: String,
    /// Through what it was started.
    pub trigger: Trigger,
    /// When it began.
    pub started_at: String,
    /// When it ended; null while it is at work.
    #[schema(required = true)]
    pub finished_at: Option<String>,
    /// How it ended; null while it is at work.
    #[schema(required = true)]
    pub result: Option<RunResult>,
    /// Why it did not come to its end.
    #[schema(required = true)]
    pub error: Option<String>,
    /// What it did; null while it is at work, and where a crash cut it off.
    #[schema(required = true)]
    pub stats: Option<RunStats>,
    /// What it asked of language models; null where it asked nothing.
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
            // Rows of earlier versions were written as they came.
            error: row.error.map(|error| without_secrets(&error).into_owned()),
            stats: stats.map(RunStats::without_secrets),
            llm: row.llm,
        }
    }
}
