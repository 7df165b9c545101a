//! The health of the service and of what it works on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::health::{CheckAudience, CheckStatus, OverallStatus, SchemaState};
use session_pipeline_pipeline::scheduler::SchedulerStatus;
use session_pipeline_pipeline::scheduler::timetable::{Job, JobResult};
use utoipa::ToSchema;

/// Whether everything works and keeps up (BEHAVIOUR.md 5.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DetailedHealth {
    /// What all checks come to.
    pub status: OverallStatus,
    /// What those come to that concern everybody.
    pub overall_analyst: OverallStatus,
    /// Who asks.
    pub caller_role: CallerRole,
    /// The version of the program.
    pub version: String,
    /// The channel that it was released on.
    pub channel: String,
    /// The image that it was packed in; only for admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_tag: Option<String>,
    /// The commit that it was built from; only for admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_sha: Option<String>,
    /// The version of the database that it writes.
    pub schema_version: u32,
    /// When this process began.
    pub deployed_at: String,
    /// When the checks were made.
    pub timestamp: String,
    /// The checks, by name.
    pub services: BTreeMap<String, HealthCheckBody>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallerRole {
    /// Sees everything.
    Admin,
    /// Sees how each check stands.
    Analyst,
}

/// One check; which figures it has depends on what it looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheckBody {
    /// How it came out; the schema's check says so by `db_schema` where it is shown in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<CheckStatus>,
    /// Whom it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = true)]
    pub audience: Option<CheckAudience>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_action: Option<String>,
    /// Which stage lags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// How many sessions there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_files: Option<u64>,
    /// When a session was last processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_processed: Option<String>,
    /// How far that lies behind the newest session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    /// How old the oldest session is that was passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck_file_age_seconds: Option<u64>,
    /// Which one that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck_file: Option<String>,
    /// When the run in progress began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_since: Option<String>,
    /// Linked folders and linked sessions below the sessions root, which are not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<u64>,
    /// How the database's version stands to the program's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_schema: Option<SchemaState>,
    /// The version that the database has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u32>,
    /// The version that it should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
    /// How many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// When the scheduler last looked what is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_tick_at: Option<String>,
    /// The scheduler's jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Vec<JobStateBody>>,
    /// Sessions that are not tried any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<u64>,
    /// Sessions whose last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<u64>,
    /// Sessions read or tried in the last day, by processors that failed on some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions_last_day: Option<u64>,
    /// Those of them that are not tried any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined_last_day: Option<u64>,
    /// Bytes that may still be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Bytes in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
}

/// How one job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobStateBody {
    /// Its name, `session-processor:` and that of the processor.
    pub name: String,
    /// When it runs.
    pub schedule: String,
    /// Whether it runs right now.
    pub running: bool,
    /// When it last did.
    #[schema(required = true)]
    pub last_run_at: Option<String>,
    /// How that ended.
    #[schema(required = true)]
    pub last_status: Option<JobResultWord>,
    /// Why, where it did not go well and this process knows.
    #[schema(required = true)]
    pub last_reason: Option<String>,
}

/// The word for how a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobResultWord {
    /// It ran.
    Ok,
    /// It ran, and something failed.
    Failed,
    /// There was no run.
    Refused,
}

/// The scheduler, and when its jobs run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SchedulerBody {
    /// Whether this service starts runs by itself.
    pub enabled: bool,
    /// How often it looks what is due.
    #[schema(required = true)]
    pub tick_seconds: Option<u64>,
    /// When it last looked; null before the first time.
    #[schema(required = true)]
    pub last_tick_at: Option<String>,
    /// Its jobs, in the order of their names.
    pub jobs: Vec<ScheduledJob>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduledJob {
    /// Its name, `session-processor:` and that of the processor.
    pub name: String,
    /// The processor that it runs.
    pub processor: String,
    /// When it runs, as the configuration would say it.
    pub schedule: String,
    /// When the run at work began; null where none is.
    #[schema(required = true)]
    pub running_since: Option<String>,
    /// When the last run that has ended began.
    #[schema(required = true)]
    pub last_run_at: Option<String>,
    /// How it ended.
    #[schema(required = true)]
    pub last_status: Option<JobResultWord>,
    /// Why, where it did not go well and this process knows.
    #[schema(required = true)]
    pub last_reason: Option<String>,
}

impl From<Option<SchedulerStatus>> for SchedulerBody {
    fn from(status: Option<SchedulerStatus>) -> Self {
        let enabled = status.is_some();
        let tick_seconds = status.as_ref().map(|status| status.tick.as_secs());
        let last_tick_at = status
            .as_ref()
            .and_then(|status| status.last_tick_at)
            .map(|at| at.to_string());
        let jobs = status.map(|status| status.jobs).unwrap_or_default();
        Self {
            enabled,
            tick_seconds,
            last_tick_at,
            jobs: jobs.into_iter().map(ScheduledJob::from).collect(),
        }
    }
}

impl From<Job> for ScheduledJob {
    fn from(job: Job) -> Self {
        let reason = job.last_end.as_ref().and_then(JobResult::reason);
        Self {
            schedule: job.schedule.to_string(),
            running_since: job.running_since.map(|at| at.to_string()),
            last_run_at: job.last_run_at.map(|at| at.to_string()),
            last_reason: reason
                .filter(|reason| !reason.is_empty())
                .map(str::to_owned),
            last_status: job.last_end.as_ref().map(|end| match end {
                JobResult::Ok => JobResultWord::Ok,
                JobResult::Failed(_) => JobResultWord::Failed,
                JobResult::Rejected(_) => JobResultWord::Refused,
            }),
            name: job.name,
            processor: job.processor,
        }
    }
}

/// What an operator took note of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcknowledgmentBody {
    /// Commits that were lost.
    pub lost_commits: u64,
}
