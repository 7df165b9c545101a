//! All checks except the backlogs. On a fresh data directory, none of them warns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;
use session_pipeline_store::ProcessorFailures;

use crate::health::facts::{DatabaseFacts, HealthFacts, SessionsFacts};
use crate::health::{CheckAudience, CheckFigures, CheckResult, CheckStatus};
use crate::registry::plan::FolderPlan;
use crate::scheduler::SchedulerStatus;
use crate::scheduler::timetable::JobResult;

/// With less free space, the database might not complete a checkpoint.
const DISK_BYTES_ERROR: u64 = 64 << 20;
/// With less free space, an upgrade's copy of the database or a large report might not fit.
const DISK_BYTES_WARNING: u64 = 512 << 20;
/// With this many failed sessions and no success, the component is the problem, not a session.
const FAILURES_EVERYWHERE: u64 = 5;
/// With a larger share of the last day's sessions in quarantine, the processor is the problem, not
/// single sessions.
const QUARANTINED_PERCENT_MAX: u64 = 5;
/// Maximum number of links in a detail. The others are only counted.
const LINKS_NAMED_MAX: usize = 10;
/// Ticks without a sign of life before the scheduler counts as stalled. A laptop that wakes from
/// sleep ticks again before that.
const TICKS_MISSED_MAX: u32 = 10;

/// The database's schema, compared with the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaStatus {
    /// The expected version.
    Ok,
    /// Another version.
    Mismatch {
        /// The version of the database. `None`: it has none.
        current: Option<u32>,
    },
    /// The version can't be read.
    Unreachable {
        /// The error.
        detail: String,
    },
}

/// The word for a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum SchemaState {
    /// It has the version of this program.
    Ok,
    /// It has another one.
    Mismatch,
    /// It does not answer.
    Unreachable,
}

/// The status and versions of the schema check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SchemaFigures {
    /// `ok`, `mismatch` or `unreachable`.
    pub db_schema: SchemaState,
    /// The schema version of the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u32>,
    /// The schema version of this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
}

impl SchemaStatus {
    /// The measurements of the check.
    pub fn figures(&self) -> SchemaFigures {
        let expected = session_pipeline_migrations::CURRENT;
        let (db_schema, current) = match self {
            Self::Ok => (SchemaState::Ok, Some(expected)),
            Self::Mismatch { current } => (SchemaState::Mismatch, *current),
            Self::Unreachable { .. } => (SchemaState::Unreachable, None),
        };
        SchemaFigures {
            db_schema,
            current,
            // Either both versions are present, or a detail replaces them.
            expected: current.map(|_| expected),
        }
    }

    /// The text that replaces the versions, if any.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Mismatch { current: None } => {
                Some("the database has no version; run `session-pipeline migrate`".to_owned())
            }
            Self::Unreachable { detail } => Some(detail.clone()),
            Self::Ok | Self::Mismatch { .. } => None,
        }
    }
}

/// The number of users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsersFigures {
    /// The number of users.
    pub count: u64,
}

/// The state of the scheduler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SchedulerFigures {
    /// When it last checked for due jobs.
    pub last_tick_at: Option<String>,
    /// The jobs.
    pub jobs: Vec<JobFigures>,
}

/// The state of one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobFigures {
    /// The name of the job.
    pub name: String,
    /// Its schedule.
    pub schedule: String,
    /// Whether a run is in progress.
    pub running: bool,
    /// When it last ran.
    pub last_run_at: Option<String>,
    /// The result of its last run: `ok`, `failed` or `refused`.
    pub last_status: Option<&'static str>,
    /// The reason, if the last run failed and was started by this process.
    pub last_reason: Option<String>,
}

/// The session files on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionsFigures {
    /// Number of session files.
    pub session_files: u64,
    /// Number of links to folders and sessions. They are not followed.
    pub links: u64,
}

/// Failed sessions of all processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuarantineFigures {
    /// Sessions in quarantine. They are not retried.
    pub quarantined: u64,
    /// Sessions whose last attempt failed, including those in quarantine.
    pub failing: u64,
    /// Sessions that these processors read or tried in the last day.
    pub sessions_last_day: u64,
    /// How many of those are in quarantine.
    pub quarantined_last_day: u64,
}

/// Disk space for the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskFigures {
    /// Free space, in bytes.
    pub free_bytes: u64,
    /// Total space, in bytes.
    pub total_bytes: u64,
}

/// Adds all checks except the backlogs.
pub(super) fn add_all(facts: &HealthFacts, entries: &mut BTreeMap<String, CheckResult>) {
    let mut add = |name: &str, entry: CheckResult| entries.insert(name.to_owned(), entry);
    add("duckdb_state", database(&facts.database));
    if let DatabaseFacts::Open {
        users, failures, ..
    } = &facts.database
    {
        add("users", self::users(users));
        add("quarantine", quarantine(failures));
    } else {
        add("users", self::users(&Ok(0)));
        add("quarantine", quarantine(&Ok(Vec::new())));
    }
    if let Some(schema) = &facts.schema {
        add("db_schema", self::schema(schema));
    }
    add("sessions", sessions(&facts.sessions));
    add("scheduler", scheduler(facts.scheduler.as_ref(), facts.now));
    add("disk", disk(&facts.disk));
    add("processors", processors(&facts.folder));
}

fn plain(status: CheckStatus) -> CheckResult {
    CheckResult::new(status, CheckFigures::None {})
}

/// Several times the log size at which DuckDB checkpoints on its own.
const LOG_BYTES_TOO_MANY: u64 = 512_000_000;

fn database(database: &DatabaseFacts) -> CheckResult {
    let entry = match database {
        DatabaseFacts::Absent => plain(CheckStatus::Info)
            .detail("there is no database yet")
            .next("session-pipeline run usage"),
        DatabaseFacts::Gone(commits) => plain(CheckStatus::Error)
            .detail(format!(
                "the database `state/system.duckdb` is missing, although `state/commits` records {}",
                match commits {
                    1 => "1 commit".to_owned(),
                    commits => format!("{commits} commits"),
                }
            ))
            .next("restore the database and its log from a backup as described in docs/operate.md, and leave `state/commits` in place; or remove `state/commits` to start over without users, tokens and audit entries"),
        DatabaseFacts::Open {
            is_in_place: false, ..
        } => plain(CheckStatus::Error)
            .detail(
                "the database file was removed or replaced while this process has it open; everything written from now on is lost when the process ends",
            )
            .next("export what you need, stop the server, and restore the database from a backup as described in docs/operate.md; leave `state/commits` in place"),
        DatabaseFacts::Open {
            answer: Ok(()),
            lost_commits: Ok(lost @ 1..),
            ..
        } => plain(CheckStatus::Warning)
            .detail(format!(
                "{}: the database log was lost or an older backup was restored; sessions will be processed again, but users, tokens and audit entries created in those commits are gone",
                match lost {
                    1 => "1 commit is missing".to_owned(),
                    lost => format!("{lost} commits are missing"),
                }
            ))
            .next("check which users and tokens are missing, then run `session-pipeline status --acknowledge`"),
        DatabaseFacts::Open {
            answer: Ok(()),
            log_bytes: Ok(bytes @ LOG_BYTES_TOO_MANY..),
            ..
        } => plain(CheckStatus::Warning)
            .detail(format!(
                "the database log has grown to {} MB: a long read prevents a checkpoint",
                bytes / 1_000_000
            ))
            .next("wait for running reports and exports to end, or restart the server"),
        DatabaseFacts::Open { answer: Ok(()), .. } => plain(CheckStatus::Ok),
        DatabaseFacts::Open {
            answer: Err(error), ..
        } => plain(CheckStatus::Error)
            .detail(error.clone())
            .next("check the disk, then restart"),
    };
    CheckResult {
        audience: CheckAudience::Analyst,
        ..entry
    }
}

fn schema(schema: &SchemaStatus) -> CheckResult {
    let status = match schema {
        SchemaStatus::Ok => CheckStatus::Ok,
        SchemaStatus::Mismatch { .. } | SchemaStatus::Unreachable { .. } => CheckStatus::Error,
    };
    CheckResult {
        detail: schema.detail(),
        ..CheckResult::new(status, CheckFigures::Schema(schema.figures()))
    }
}

fn sessions(sessions: &Result<SessionsFacts, String>) -> CheckResult {
    let sessions = match sessions {
        Ok(sessions) => sessions,
        Err(error) => {
            return plain(CheckStatus::Warning)
                .detail(error.clone())
                .next("make the sessions root and all folders below it readable");
        }
    };
    let links = &sessions.links;
    let figures = CheckFigures::Sessions(SessionsFigures {
        session_files: sessions.count,
        links: links.count,
    });
    if links.count == 0 {
        return CheckResult::new(CheckStatus::Ok, figures);
    }
    let named: Vec<String> = links
        .paths
        .iter()
        .take(LINKS_NAMED_MAX)
        .map(|path| format!("`{path}`"))
        .collect();
    let more = match links.count.saturating_sub(named.len() as u64) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    CheckResult::new(CheckStatus::Info, figures)
        .detail(format!(
            "links are not followed, so sessions behind them are not processed: {}{more}",
            named.join(", ")
        ))
        .next("move the linked folders and files into the sessions root, or mount them in place of the links")
}

fn users(count: &Result<u64, String>) -> CheckResult {
    match count {
        Ok(count) => CheckResult::new(
            CheckStatus::Ok,
            CheckFigures::Users(UsersFigures { count: *count }),
        ),
        Err(error) => plain(CheckStatus::Error).detail(error.clone()),
    }
}

fn scheduler(status: Option<&SchedulerStatus>, now: UtcMicros) -> CheckResult {
    let Some(status) = status else {
        return plain(CheckStatus::Info)
            .detail("the scheduler is off, so nothing runs automatically");
    };
    let jobs = status.jobs.iter().map(|job| JobFigures {
        name: job.name.clone(),
        schedule: job.schedule.to_string(),
        running: job.running_since.is_some(),
        last_run_at: job.last_run_at.map(|at| at.to_string()),
        last_status: job.last_end.as_ref().map(JobResult::as_str),
        last_reason: job
            .last_end
            .as_ref()
            .and_then(JobResult::reason)
            .filter(|reason| !reason.is_empty())
            .map(str::to_owned),
    });
    let figures = CheckFigures::Scheduler(SchedulerFigures {
        last_tick_at: status.last_tick_at.map(|at| at.to_string()),
        jobs: jobs.collect(),
    });
    let Some(last_tick_at) = status.last_tick_at else {
        return CheckResult::new(CheckStatus::Info, figures)
            .detail("the scheduler has not ticked yet");
    };
    let silent_max = (status.tick * TICKS_MISSED_MAX).max(Duration::from_secs(300));
    if now > last_tick_at.plus(silent_max) {
        return CheckResult::new(CheckStatus::Warning, figures)
            .detail(format!("the scheduler has not ticked since {last_tick_at}"))
            .next("restart the server, and check what it logged at that time");
    }
    CheckResult::new(CheckStatus::Ok, figures)
}

fn quarantine(failures: &Result<Vec<ProcessorFailures>, String>) -> CheckResult {
    let failures = match failures {
        Ok(failures) => failures,
        Err(error) => return plain(CheckStatus::Unknown).detail(error.clone()),
    };
    let quarantined = failures.iter().map(|failures| failures.quarantined).sum();
    let figures = CheckFigures::Quarantine(QuarantineFigures {
        quarantined,
        failing: failures.iter().map(|failures| failures.failing).sum(),
        sessions_last_day: failures.iter().map(|failures| failures.recent).sum(),
        quarantined_last_day: failures
            .iter()
            .map(|failures| failures.recent_quarantined)
            .sum(),
    });
    let everywhere = failures.iter().find_map(|failures| {
        let count = failures.failing_everywhere?;
        (count >= FAILURES_EVERYWHERE).then_some((&failures.processor, count))
    });
    if let Some((processor, count)) = everywhere {
        return CheckResult::new(CheckStatus::Warning, figures)
            .detail(format!(
                "`{processor}` failed on {count} sessions and succeeded on none with its current component"
            ))
            .next("session-pipeline sessions list --state waiting --state quarantined");
    }
    let too_many = failures.iter().find(|failures| has_too_many(failures));
    if let Some(failures) = too_many {
        return CheckResult::new(CheckStatus::Warning, figures)
            .detail(format!(
                "`{}` quarantined {} of the {} sessions of the last day, more than {QUARANTINED_PERCENT_MAX}%",
                failures.processor, failures.recent_quarantined, failures.recent
            ))
            .next("session-pipeline quarantine list");
    }
    if quarantined > 0 {
        let named = failures.iter().filter(|failures| failures.quarantined > 0);
        let named: Vec<String> = named
            .map(|failures| format!("{} of `{}`", failures.quarantined, failures.processor))
            .collect();
        return CheckResult::new(CheckStatus::Info, figures)
            .detail(format!(
                "sessions in quarantine after too many failures: {}",
                named.join(", ")
            ))
            .next("session-pipeline quarantine list");
    }
    CheckResult::new(CheckStatus::Ok, figures)
}

/// Reports rejected files in the folder of processors, so that the operator learns that they do not
/// run.
fn processors(folder: &Result<Arc<FolderPlan>, String>) -> CheckResult {
    let plan = match folder {
        Ok(plan) => plan,
        Err(error) => return plain(CheckStatus::Unknown).detail(error.clone()),
    };
    if !plan.rejected.is_empty() {
        let refused: Vec<String> = plan.rejected.iter().map(ToString::to_string).collect();
        return plain(CheckStatus::Warning)
            .detail(printable(&refused.join("; ")))
            .next("replace or remove the file; inspect it with `session-pipeline processors inspect FILE`");
    }
    if !plan.unexamined.is_empty() {
        return plain(CheckStatus::Info).detail(format!(
            "not examined yet: {}",
            printable(&plan.unexamined.join(", "))
        ));
    }
    plain(CheckStatus::Ok)
}

/// Whether too large a share of the last day's sessions is in quarantine.
fn has_too_many(failures: &ProcessorFailures) -> bool {
    failures.recent_quarantined.saturating_mul(100)
        > failures.recent.saturating_mul(QUARANTINED_PERCENT_MAX)
}

fn disk(space: &Result<super::DiskSpace, String>) -> CheckResult {
    let space = match space {
        Ok(space) => space,
        Err(error) => return plain(CheckStatus::Unknown).detail(error.clone()),
    };
    let status = match space.free_bytes {
        ..DISK_BYTES_ERROR => CheckStatus::Error,
        DISK_BYTES_ERROR..DISK_BYTES_WARNING => CheckStatus::Warning,
        _ => CheckStatus::Ok,
    };
    let figures = CheckFigures::Disk(DiskFigures {
        free_bytes: space.free_bytes,
        total_bytes: space.total_bytes,
    });
    let entry = CheckResult::new(status, figures);
    if status == CheckStatus::Ok {
        return entry;
    }
    entry
        .detail(format!(
            "{} are free for the data directory",
            bytesize::ByteSize(space.free_bytes).display().iec()
        ))
        .next("free space on the disk of the data directory")
}
