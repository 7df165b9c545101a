//! Health of the service, its data, and its scheduler.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_pipeline::health::{CheckAudience, CheckStatus, OverallStatus, SchemaState};
use session_pipeline_pipeline::scheduler::SchedulerStatus;
use session_pipeline_pipeline::scheduler::timetable::{Job, JobResult};
use session_pipeline_store::money::Usd;
use utoipa::ToSchema;

/// The results of all health checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DetailedHealth {
    /// The status over all checks.
    pub status: OverallStatus,
    /// The status over the checks that concern all users.
    pub overall_analyst: OverallStatus,
    /// The role of the caller.
    pub caller_role: CallerRole,
    /// The version of the program.
    pub version: String,
    /// The release channel.
    pub channel: String,
    /// The tag of the container image. Only for admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_tag: Option<String>,
    /// The commit that the program was built from. Only for admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_sha: Option<String>,
    /// The schema version that this program writes.
    pub schema_version: u32,
    /// The start time of this process.
    pub deployed_at: String,
    /// The time of the checks.
    pub timestamp: String,
    /// The checks, by name.
    pub services: BTreeMap<String, HealthCheckBody>,
}

/// The role of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallerRole {
    /// Sees all fields of each check.
    Admin,
    /// Sees the status of each check. Details of operator checks are hidden.
    Analyst,
}

/// The result of one health check. Which fields it has depends on the check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheckBody {
    /// The status. The full schema check has `db_schema` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<CheckStatus>,
    /// The audience of the check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = true)]
    pub audience: Option<CheckAudience>,
    /// What the check found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_action: Option<String>,
    /// The stage that lags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The number of sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_files: Option<u64>,
    /// When a session was processed most recently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_processed: Option<String>,
    /// How far `last_processed` is behind the newest session, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    /// The age of the oldest session that was skipped, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck_file_age_seconds: Option<u64>,
    /// The key of that session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck_file: Option<String>,
    /// When the run in progress started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_since: Option<String>,
    /// The number of symbolic links below the sessions root. Links are not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<u64>,
    /// Whether the schema version of the database matches the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_schema: Option<SchemaState>,
    /// The schema version of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u32>,
    /// The schema version that the program expects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
    /// The number of items that the check counts, such as users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The last scheduler tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_tick_at: Option<String>,
    /// The scheduler's jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Vec<JobStateBody>>,
    /// The number of sessions in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<u64>,
    /// The number of sessions whose last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<u64>,
    /// The number of sessions attempted in the last day, by processors that had failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions_last_day: Option<u64>,
    /// The number of those sessions that are in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined_last_day: Option<u64>,
    /// Free disk space, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Disk size, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// The budgets with the cost of their current periods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<BudgetBody>>,
}

/// A budget with the cost of its current period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetBody {
    /// What the budget applies to: `user` (each user), `project` (each project) or `total`.
    pub scope: String,
    /// The length of the period: `day`, `week` or `month`, in UTC.
    pub per: String,
    /// The limit for a period, in US dollars.
    #[schema(value_type = f64)]
    pub limit_usd: Usd,
    /// The share of the limit from which the check warns, in thousandths.
    pub warn_at_permille: u32,
    /// When the period began.
    pub period_start: String,
    /// The number of users or projects that reached the mark.
    pub reached: usize,
    /// The users or projects with the highest cost, at most 10.
    #[schema(max_items = 10)]
    pub highest: Vec<BudgetSubjectBody>,
}

/// The cost of a user, a project or everyone in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetSubjectBody {
    /// The user or project.
    pub subject: String,
    /// The cost of all messages with a price, in US dollars.
    #[schema(value_type = f64)]
    pub spent_usd: Usd,
    /// Whether messages have no price, so that the cost is a lower bound.
    pub is_lower_bound: bool,
}

/// The state of a scheduler job, in a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobStateBody {
    /// `session-processor:` followed by the name of the processor.
    pub name: String,
    /// The schedule.
    pub schedule: String,
    /// Whether a run is in progress.
    pub running: bool,
    /// When the last run started.
    #[schema(required = true)]
    pub last_run_at: Option<String>,
    /// The result of the last run.
    #[schema(required = true)]
    pub last_status: Option<JobStatus>,
    /// Why the last run failed or did not start. Null if it succeeded, or if another process ran
    /// it.
    #[schema(required = true)]
    pub last_reason: Option<String>,
}

/// The result of a job's last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// The run succeeded.
    Ok,
    /// The run failed, or sessions in it failed.
    Failed,
    /// The run did not start.
    Refused,
}

/// The scheduler and its jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SchedulerBody {
    /// Whether this service starts scheduled runs.
    pub enabled: bool,
    /// The interval between two ticks, in seconds. Each tick starts the jobs that are due.
    #[schema(required = true)]
    pub tick_seconds: Option<u64>,
    /// The last tick. Null before the first tick.
    #[schema(required = true)]
    pub last_tick_at: Option<String>,
    /// The jobs, sorted by name.
    pub jobs: Vec<ScheduledJob>,
}

/// A scheduler job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduledJob {
    /// `session-processor:` followed by the name of the processor.
    pub name: String,
    /// The name of the processor.
    pub processor: String,
    /// The schedule, in the syntax of the config file.
    pub schedule: String,
    /// When the run in progress started, or null.
    #[schema(required = true)]
    pub running_since: Option<String>,
    /// When the last finished run started.
    #[schema(required = true)]
    pub last_run_at: Option<String>,
    /// The result of the last finished run.
    #[schema(required = true)]
    pub last_status: Option<JobStatus>,
    /// Why the last run failed or did not start. Null if it succeeded, or if another process ran
    /// it.
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
                JobResult::Ok => JobStatus::Ok,
                JobResult::Failed(_) => JobStatus::Failed,
                JobResult::Rejected(_) => JobStatus::Refused,
            }),
            name: job.name,
            processor: job.processor,
        }
    }
}

/// The warning that an operator dismissed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcknowledgmentBody {
    /// The number of lost commits.
    pub lost_commits: u64,
}
