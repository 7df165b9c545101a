//! Runs: what one did, and the list of them.

use serde::{Deserialize, Serialize};
use session_pipeline_host::redaction::without_secrets;
use session_pipeline_host::sessions::Note;
use session_pipeline_pipeline::run::RunReport;
use session_pipeline_store::money::Usd;
use session_pipeline_store::{LlmUse, RunResult, RunRow, SessionError, Stats, Trigger};
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
    pub notes: Vec<RunNote>,
}

/// Something that a run passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunNote {
    /// Its path below the sessions root.
    pub path: String,
    /// Why it was passed over, and what helps.
    pub reason: String,
}

impl From<RunReport> for RunBody {
    fn from(report: RunReport) -> Self {
        let note = |note: Note| RunNote {
            path: note.path,
            reason: note.reason,
        };
        Self {
            ok: report.stats.is_ok(),
            details: report.stats.into(),
            notes: report.notes.into_iter().map(note).collect(),
        }
    }
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunStats {
    /// The processor.
    pub processor: String,
    /// Candidates in all, also those that the caps left for later.
    pub scanned: u64,
    /// Sessions processed.
    pub processed: u64,
    /// Candidates whose content was what it had been.
    pub skipped: u64,
    /// Candidates left for the next run by a cap.
    pub capped: u64,
    /// Sessions whose attempt failed.
    pub errors: u64,
    /// Items that the processor extracted.
    pub items_extracted: u64,
    /// The failures, at most a hundred.
    #[schema(max_items = 100)]
    pub errors_detail: Vec<FailedSession>,
    /// Sessions that wait after a failure; not in `scanned`.
    pub waiting: u64,
    /// Sessions in quarantine; not in `scanned`.
    pub quarantined: u64,
    /// Bytes of the sessions that were tried.
    pub bytes: u64,
    /// Fuel burned.
    pub fuel: u64,
    /// How long the run took.
    pub duration_ms: u64,
}

/// One failure of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailedSession {
    /// The session's key.
    pub session: String,
    /// The fault's word.
    pub fault: String,
    /// What happened.
    pub error: String,
}

impl From<Stats> for RunStats {
    fn from(stats: Stats) -> Self {
        let failed = |error: SessionError| FailedSession {
            session: error.session,
            fault: error.fault,
            error: without_secrets(&error.error).into_owned(),
        };
        Self {
            processor: stats.processor,
            scanned: stats.scanned,
            processed: stats.processed,
            skipped: stats.skipped,
            capped: stats.capped,
            errors: stats.errors,
            items_extracted: stats.items_extracted,
            errors_detail: stats.errors_detail.into_iter().map(failed).collect(),
            waiting: stats.waiting,
            quarantined: stats.quarantined,
            bytes: stats.bytes,
            fuel: stats.fuel,
            duration_ms: stats.duration_ms,
        }
    }
}

/// The latest runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Runs {
    /// The newest first.
    pub runs: Vec<Run>,
    /// Where the next page begins: send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The processor.
    pub processor: String,
    /// Through what it was started.
    pub trigger: Started,
    /// When it began.
    pub started_at: String,
    /// When it ended; null while it is at work.
    #[schema(required = true)]
    pub finished_at: Option<String>,
    /// How it ended; null while it is at work.
    #[schema(required = true)]
    pub result: Option<Ended>,
    /// Why it did not come to its end.
    #[schema(required = true)]
    pub error: Option<String>,
    /// What it did; null while it is at work, and where a crash cut it off.
    #[schema(required = true)]
    pub stats: Option<RunStats>,
    /// What it asked of language models; null where it asked nothing.
    #[schema(required = true)]
    pub llm: Option<RunLlm>,
}

/// What a run asked of language models. What came out of the cache is not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunLlm {
    /// Requests sent, repeated ones included.
    pub calls: u64,
    /// Tokens of the requests.
    pub input_tokens: u64,
    /// Tokens of the answers.
    pub output_tokens: u64,
    /// Cost in US dollars of the requests whose model has a price.
    #[schema(value_type = f64)]
    pub cost_usd: Usd,
    /// Requests whose cost nobody knows.
    pub unpriced_calls: u64,
}

impl From<LlmUse> for RunLlm {
    fn from(used: LlmUse) -> Self {
        Self {
            calls: used.calls,
            input_tokens: used.input_tokens,
            output_tokens: used.output_tokens,
            cost_usd: used.cost,
            unpriced_calls: used.unpriced_calls,
        }
    }
}

/// Through what a run was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Started {
    /// A request.
    Http,
    /// The scheduler.
    Scheduler,
    /// The command line.
    Cli,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// Without any error.
    Ok,
    /// With errors, or not to its end.
    Failed,
    /// It was stopped, or the process died.
    Interrupted,
}

impl From<RunRow> for Run {
    fn from(row: RunRow) -> Self {
        let stats = row
            .stats
            .and_then(|stats| serde_json::from_str::<Stats>(&stats).ok());
        Self {
            id: row.id,
            processor: row.processor,
            trigger: match row.trigger {
                Trigger::Http => Started::Http,
                Trigger::Scheduler => Started::Scheduler,
                Trigger::Cli => Started::Cli,
            },
            started_at: row.started_at.to_string(),
            finished_at: row.finished_at.map(|at| at.to_string()),
            result: row.result.map(|result| match result {
                RunResult::Ok => Ended::Ok,
                RunResult::Failed => Ended::Failed,
                RunResult::Interrupted => Ended::Interrupted,
            }),
            // Rows of earlier versions were written as they came.
            error: row.error.map(|error| without_secrets(&error).into_owned()),
            stats: stats.map(RunStats::from),
            llm: row.llm.map(RunLlm::from),
        }
    }
}
