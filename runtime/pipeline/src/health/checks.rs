//! The checks beside the backlogs. None of them speaks up on a fresh data dir (BEHAVIOUR.md A13).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::printable;
use session_pipeline_store::ProcessorFailures;

use crate::health::facts::{DatabaseFacts, Facts, Sessions};
use crate::health::{Audience, Entry, Figures, Status};
use crate::registry::plan::Plan;
use crate::scheduler::SchedulerStatus;
use crate::scheduler::timetable::JobEnd;

/// Below this the database can't be sure to finish a checkpoint.
const DISK_BYTES_ERROR: u64 = 64 << 20;
/// Below this an upgrade's copy or a large report may not fit.
const DISK_BYTES_WARNING: u64 = 512 << 20;
/// So many failures of a component that never succeeded are no accident of one session.
const FAILURES_EVERYWHERE: u64 = 5;
/// Where more of the last day's sessions of a processor are in quarantine, that is no accident of
/// single sessions.
const QUARANTINED_PERCENT_MAX: u64 = 5;
/// Links that a detail names; the others are counted.
const LINKS_NAMED_MAX: usize = 10;
/// So many ticks may pass before the scheduler is said to stand still: a laptop that slept wakes
/// up in between.
const TICKS_MISSED_MAX: u32 = 10;

/// How the database's shape stands to the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    /// As it should be.
    Ok,
    /// Another version.
    Mismatch {
        /// The one that the database bears; `None`: none.
        current: Option<u32>,
    },
    /// It can't be read.
    Unreachable {
        /// Why.
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

/// The schema's own words (BEHAVIOUR.md 5.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SchemaFigures {
    /// The word for it.
    pub db_schema: SchemaState,
    /// The version that the database bears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u32>,
    /// The version of this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
}

impl Schema {
    /// Its own words.
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
            // Numbers come together, or a detail instead of them.
            expected: current.map(|_| expected),
        }
    }

    /// What stands in the place of numbers.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Mismatch { current: None } => {
                Some("the database bears no version; run `session-pipeline migrate`".to_owned())
            }
            Self::Unreachable { detail } => Some(detail.clone()),
            Self::Ok | Self::Mismatch { .. } => None,
        }
    }
}

/// How many users there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsersFigures {
    /// So many.
    pub count: u64,
}

/// How the jobs stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SchedulerFigures {
    /// When it last looked what is due.
    pub last_tick_at: Option<String>,
    /// Its jobs.
    pub jobs: Vec<JobFigures>,
}

/// How one job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobFigures {
    /// The job.
    pub name: String,
    /// When it runs.
    pub schedule: String,
    /// Whether it runs right now.
    pub running: bool,
    /// When it last did.
    pub last_run_at: Option<String>,
    /// How that ended: `ok`, `failed` or `refused`.
    pub last_status: Option<&'static str>,
    /// Why, where it did not go well and this process knows.
    pub last_reason: Option<String>,
}

/// The sessions on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionsFigures {
    /// How many there are.
    pub session_files: u64,
    /// Linked folders and linked sessions, which are not followed.
    pub links: u64,
}

/// What failed, by processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuarantineFigures {
    /// Sessions that are not tried any more.
    pub quarantined: u64,
    /// Sessions whose last attempt failed, those in quarantine included.
    pub failing: u64,
    /// Sessions read or tried in the last day, by those processors.
    pub sessions_last_day: u64,
    /// Those of them that are in quarantine.
    pub quarantined_last_day: u64,
}

/// Space for the data dir.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskFigures {
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Judges everything but the backlogs.
pub(super) fn add_all(facts: &Facts, entries: &mut BTreeMap<String, Entry>) {
    let mut add = |name: &str, entry: Entry| entries.insert(name.to_owned(), entry);
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

fn plain(status: Status) -> Entry {
    Entry::new(status, Figures::None {})
}

/// Several times what the log holds before it is brought into the file by itself.
const LOG_BYTES_TOO_MANY: u64 = 512_000_000;

fn database(database: &DatabaseFacts) -> Entry {
    let entry = match database {
        DatabaseFacts::Absent => plain(Status::Info)
            .detail("there is no database yet")
            .next("session-pipeline run usage"),
        DatabaseFacts::Gone(commits) => plain(Status::Error)
            .detail(format!(
                "the database `state/system.duckdb` is gone, although {commits} commits were made to it"
            ))
            .next("restore a backup of `state/`; or remove `state/commits` to start over: users, tokens and audit entries are gone then"),
        DatabaseFacts::Open {
            is_in_place: false, ..
        } => plain(Status::Error)
            .detail(
                "the database file was removed or replaced while this process has it open: what is written now is lost at its end",
            )
            .next("export what you need, stop the server, and restore a backup of `state/`"),
        DatabaseFacts::Open {
            answer: Ok(()),
            lost_commits: Ok(lost @ 1..),
            ..
        } => plain(Status::Warning)
            .detail(format!(
                "commits were lost, {lost} in number: with the log of the database, or since a backup from before them was put back; sessions are processed again, but users, tokens and audit rows of then are gone"
            ))
            .next("look which of those you miss, then session-pipeline status --acknowledge"),
        DatabaseFacts::Open {
            answer: Ok(()),
            log_bytes: Ok(bytes @ LOG_BYTES_TOO_MANY..),
            ..
        } => plain(Status::Warning)
            .detail(format!(
                "the log of the database has grown to {} MB: somebody reads an older state, so that it can't be brought into the file",
                bytes / 1_000_000
            ))
            .next("wait for the reports and exports that are being made, or start the server again"),
        DatabaseFacts::Open { answer: Ok(()), .. } => plain(Status::Ok),
        DatabaseFacts::Open {
            answer: Err(error), ..
        } => plain(Status::Error)
            .detail(error.clone())
            .next("look at the disk, and start again"),
    };
    Entry {
        audience: Audience::Analyst,
        ..entry
    }
}

fn schema(schema: &Schema) -> Entry {
    let status = match schema {
        Schema::Ok => Status::Ok,
        Schema::Mismatch { .. } | Schema::Unreachable { .. } => Status::Error,
    };
    Entry {
        detail: schema.detail(),
        ..Entry::new(status, Figures::Schema(schema.figures()))
    }
}

fn sessions(sessions: &Result<Sessions, String>) -> Entry {
    let sessions = match sessions {
        Ok(sessions) => sessions,
        Err(error) => {
            return plain(Status::Warning)
                .detail(error.clone())
                .next("make the sessions root and all folders below it readable");
        }
    };
    let links = &sessions.links;
    let figures = Figures::Sessions(SessionsFigures {
        session_files: sessions.count,
        links: links.count,
    });
    if links.count == 0 {
        return Entry::new(Status::Ok, figures);
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
    Entry::new(Status::Info, figures)
        .detail(format!(
            "links are not followed, and no session behind them is processed: {}{more}",
            named.join(", ")
        ))
        .next("move what they lead to below the sessions root, or mount it in place of the link")
}

fn users(count: &Result<u64, String>) -> Entry {
    match count {
        Ok(count) => Entry::new(Status::Ok, Figures::Users(UsersFigures { count: *count })),
        Err(error) => plain(Status::Error).detail(error.clone()),
    }
}

fn scheduler(status: Option<&SchedulerStatus>, now: UtcMicros) -> Entry {
    let Some(status) = status else {
        return plain(Status::Info).detail("off: nothing runs by itself");
    };
    let jobs = status.jobs.iter().map(|job| JobFigures {
        name: job.name.clone(),
        schedule: job.schedule.to_string(),
        running: job.running_since.is_some(),
        last_run_at: job.last_run_at.map(|at| at.to_string()),
        last_status: job.last_end.as_ref().map(JobEnd::as_str),
        last_reason: job
            .last_end
            .as_ref()
            .and_then(JobEnd::reason)
            .filter(|reason| !reason.is_empty())
            .map(str::to_owned),
    });
    let figures = Figures::Scheduler(SchedulerFigures {
        last_tick_at: status.last_tick_at.map(|at| at.to_string()),
        jobs: jobs.collect(),
    });
    let Some(last_tick_at) = status.last_tick_at else {
        return Entry::new(Status::Info, figures).detail("it has not ticked yet");
    };
    let silent_max = (status.tick * TICKS_MISSED_MAX).max(Duration::from_secs(300));
    if now > last_tick_at.plus(silent_max) {
        return Entry::new(Status::Warning, figures)
            .detail(format!("it stands still since {last_tick_at}"))
            .next("restart the server, and look at what it logged then");
    }
    Entry::new(Status::Ok, figures)
}

fn quarantine(failures: &Result<Vec<ProcessorFailures>, String>) -> Entry {
    let failures = match failures {
        Ok(failures) => failures,
        Err(error) => return plain(Status::Unknown).detail(error.clone()),
    };
    let quarantined = failures.iter().map(|failures| failures.quarantined).sum();
    let figures = Figures::Quarantine(QuarantineFigures {
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
        return Entry::new(Status::Warning, figures)
            .detail(format!(
                "`{processor}` fails everywhere: on {count} sessions, and it never succeeded on any as it is now"
            ))
            .next("session-pipeline sessions list --state waiting, and --state quarantined");
    }
    let too_many = failures.iter().find(|failures| has_too_many(failures));
    if let Some(failures) = too_many {
        return Entry::new(Status::Warning, figures)
            .detail(format!(
                "`{}` gave up on {} of the {} sessions of the last day, more than {QUARANTINED_PERCENT_MAX} %",
                failures.processor, failures.recent_quarantined, failures.recent
            ))
            .next("session-pipeline quarantine list");
    }
    if quarantined > 0 {
        let named = failures.iter().filter(|failures| failures.quarantined > 0);
        let named: Vec<String> = named
            .map(|failures| format!("{} of `{}`", failures.quarantined, failures.processor))
            .collect();
        return Entry::new(Status::Info, figures)
            .detail(format!(
                "sessions that failed too often and are not tried any more: {}",
                named.join(", ")
            ))
            .next("session-pipeline quarantine list");
    }
    Entry::new(Status::Ok, figures)
}

/// What lies in the folder of processors: whoever put a file there shall learn that it does not run.
fn processors(folder: &Result<Arc<Plan>, String>) -> Entry {
    let plan = match folder {
        Ok(plan) => plan,
        Err(error) => return plain(Status::Unknown).detail(error.clone()),
    };
    if !plan.refused.is_empty() {
        let refused: Vec<String> = plan.refused.iter().map(ToString::to_string).collect();
        return plain(Status::Warning)
            .detail(printable(&refused.join("; ")))
            .next("put another file in its place, or take it away; `session-pipeline processors inspect FILE` looks at one");
    }
    if !plan.unexamined.is_empty() {
        return plain(Status::Info).detail(format!(
            "not looked at yet: {}",
            printable(&plan.unexamined.join(", "))
        ));
    }
    plain(Status::Ok)
}

/// Whether more of the last day's sessions are in quarantine than single ones would be.
fn has_too_many(failures: &ProcessorFailures) -> bool {
    failures.recent_quarantined.saturating_mul(100)
        > failures.recent.saturating_mul(QUARANTINED_PERCENT_MAX)
}

fn disk(space: &Result<super::DiskSpace, String>) -> Entry {
    let space = match space {
        Ok(space) => space,
        Err(error) => return plain(Status::Unknown).detail(error.clone()),
    };
    let status = match space.free_bytes {
        ..DISK_BYTES_ERROR => Status::Error,
        DISK_BYTES_ERROR..DISK_BYTES_WARNING => Status::Warning,
        _ => Status::Ok,
    };
    let figures = Figures::Disk(DiskFigures {
        free_bytes: space.free_bytes,
        total_bytes: space.total_bytes,
    });
    let entry = Entry::new(status, figures);
    if status == Status::Ok {
        return entry;
    }
    entry
        .detail(format!(
            "{} are left for the data dir",
            bytesize::ByteSize(space.free_bytes).display().iec()
        ))
        .next("free space on the disk of the data dir")
}
