//! Collects the facts for health: sessions, database, disk. Judges nothing and writes nothing.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::{error_chain, printable};
use session_pipeline_host::sessions::{FileStat, SessionsRoot, SkippedLinks, WalkReport};
use session_pipeline_migrations::CURRENT;
use session_pipeline_store::retry::RetryDecision;
use session_pipeline_store::state_rows::{FailureRow, StateRows};
use session_pipeline_store::{ProcessorFailures, Store, StoreError, recorded_commits};

use crate::config::Config;
use crate::health::backlog::{
    LagGrace, PendingSessions, ProcessorBacklog, SessionFiles, WaitingSession,
};
use crate::health::checks::SchemaStatus;
use crate::registry::plan::FolderPlan;
use crate::registry::{Refresh, Registry};
use crate::scan::{self, ContentCheck, ScanContext, SessionStanding};
use crate::scheduler::SchedulerStatus;
use crate::scheduler::timetable::DEFAULT_CADENCE;

/// The time span of sessions for which the share in quarantine is checked.
const RECENT: Duration = Duration::from_secs(24 * 3600);

/// The sources of facts.
pub struct HealthSources<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The processors.
    pub registry: &'a Registry,
    /// The database.
    pub database: DatabaseSource<'a>,
    /// Cadences from manifests by processor, as far as known.
    pub cadences: &'a HashMap<String, Duration>,
    /// The scheduler's state. `None`: this process has no scheduler.
    pub scheduler: Option<SchedulerStatus>,
    /// Measures the disk.
    pub disk: &'a dyn DiskProbe,
    /// The schema check, if the caller wants it in the report.
    pub schema: Option<SchemaStatus>,
    /// The current time.
    pub now: UtcMicros,
}

impl<'a> HealthSources<'a> {
    fn store(&self) -> Option<&'a Store> {
        match self.database {
            DatabaseSource::Absent => None,
            DatabaseSource::Open(store) => Some(store),
        }
    }
}

/// The database, if there is one.
#[derive(Clone, Copy, Debug)]
pub enum DatabaseSource<'a> {
    /// There is no database yet.
    Absent,
    /// The database is open.
    Open(&'a Store),
}

impl<'a> From<Option<&'a Store>> for DatabaseSource<'a> {
    fn from(store: Option<&'a Store>) -> Self {
        store.map_or(Self::Absent, Self::Open)
    }
}

/// Space on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Free space for this process, in bytes.
    pub free_bytes: u64,
    /// Total space, in bytes.
    pub total_bytes: u64,
}

/// Measures free disk space.
pub trait DiskProbe {
    /// The space on the disk of an existing folder.
    ///
    /// # Errors
    /// If the operating system cannot report it.
    fn space(&self, folder: &Path) -> io::Result<DiskSpace>;
}

/// The disks of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemDisk;

impl DiskProbe for SystemDisk {
    fn space(&self, folder: &Path) -> io::Result<DiskSpace> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(DiskSpace {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}

/// The slow facts: all sessions on disk, compared with the state rows.
#[derive(Clone, Debug)]
pub struct SessionSurvey {
    /// Each processor's backlog.
    backlogs: Vec<ProcessorBacklog>,
    /// The sessions on disk.
    sessions: Result<SessionsFacts, String>,
    /// The plan of the processors' folder.
    folder: Result<Arc<FolderPlan>, String>,
}

/// The sessions on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionsFacts {
    /// Number of session files.
    pub count: u64,
    /// Links below the sessions root. They are not followed.
    pub links: SkippedLinks,
}

/// The collected facts. An `Err` is the text of a read error.
#[derive(Clone, Debug)]
pub struct HealthFacts {
    /// Each processor's backlog.
    pub backlogs: Vec<ProcessorBacklog>,
    /// The sessions on disk.
    pub sessions: Result<SessionsFacts, String>,
    /// The database.
    pub database: DatabaseFacts,
    /// The schema check, if the caller wants it in the report.
    pub schema: Option<SchemaStatus>,
    /// The scheduler.
    pub scheduler: Option<SchedulerStatus>,
    /// The disk of the data directory.
    pub disk: Result<DiskSpace, String>,
    /// The plan of the processors' folder.
    pub folder: Result<Arc<FolderPlan>, String>,
    /// The current time.
    pub now: UtcMicros,
}

/// Facts about the database.
#[derive(Clone, Debug)]
pub enum DatabaseFacts {
    /// There is no database.
    Absent,
    /// The database is missing, although this many commits are recorded.
    Gone(u64),
    /// The database is open.
    Open {
        /// Whether the file is still at the path where it was opened.
        is_in_place: bool,
        /// Whether it answers a query.
        answer: Result<(), String>,
        /// Number of lost commits that no operator has acknowledged.
        lost_commits: Result<u64, String>,
        /// Size of the log, in bytes.
        log_bytes: Result<u64, String>,
        /// Number of users.
        users: Result<u64, String>,
        /// Failed sessions by processor.
        failures: Result<Vec<ProcessorFailures>, String>,
    },
}

/// Compares the schema version of an open database with this program's.
pub fn schema(store: &Store) -> SchemaStatus {
    match store.schema_version() {
        Ok(Some(CURRENT)) => SchemaStatus::Ok,
        Ok(current) => SchemaStatus::Mismatch { current },
        Err(error) => SchemaStatus::Unreachable {
            detail: text(error),
        },
    }
}

impl SessionSurvey {
    /// Walks over all sessions and reads their state rows. Slow: do not call it on a thread that
    /// answers requests.
    pub fn collect(sources: &HealthSources<'_>) -> Self {
        // The folder comes first, because the backlogs depend on its processor names.
        let folder = folder(sources);
        let (backlogs, sessions) = backlogs(sources);
        Self {
            backlogs,
            sessions,
            folder,
        }
    }

    /// The backlog of each processor.
    pub fn backlogs(&self) -> &[ProcessorBacklog] {
        &self.backlogs
    }

    /// The number of session files. `None`: they cannot be read.
    pub fn session_files(&self) -> Option<u64> {
        self.sessions.as_ref().ok().map(|sessions| sessions.count)
    }
}

impl HealthFacts {
    /// Collects all facts, including a new survey. Slow: do not call it on a thread that answers
    /// requests.
    pub fn collect(sources: HealthSources<'_>) -> Self {
        let survey = SessionSurvey::collect(&sources);
        Self::from_survey(&survey, sources)
    }

    /// Adds all other facts to a survey.
    pub fn from_survey(survey: &SessionSurvey, sources: HealthSources<'_>) -> Self {
        let SessionSurvey {
            backlogs,
            sessions,
            folder,
        } = survey.clone();
        let database = match sources.database {
            DatabaseSource::Absent => match recorded_commits(&sources.config.state_dir()) {
                Some(commits @ 1..) => DatabaseFacts::Gone(commits),
                _ => DatabaseFacts::Absent,
            },
            DatabaseSource::Open(store) => DatabaseFacts::Open {
                is_in_place: store.is_file_in_place(),
                answer: store.ping().map_err(text),
                lost_commits: store.lost_commits().map_err(text),
                log_bytes: store.log_bytes().map_err(text),
                users: store.count_users().map_err(text),
                failures: store
                    .failures_by_processor(sources.now.minus(RECENT))
                    .map_err(text),
            },
        };
        Self {
            backlogs,
            sessions,
            database,
            disk: disk(&sources),
            folder,
            schema: sources.schema,
            scheduler: sources.scheduler,
            now: sources.now,
        }
    }
}

fn folder(sources: &HealthSources<'_>) -> Result<Arc<FolderPlan>, String> {
    let (registry, store) = (sources.registry, sources.store());
    let noticed = registry.refresh(sources.config, sources.now, Refresh::Notice(store));
    noticed.map(|()| registry.plan()).map_err(text)
}

fn disk(sources: &HealthSources<'_>) -> Result<DiskSpace, String> {
    // The data directory might not exist yet. Its closest existing ancestor is on the same disk.
    let folder = sources.config.data_dir.ancestors();
    let mut folder = folder.map(|folder| match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    });
    let folder = folder.find(|folder| folder.exists());
    let folder = folder.unwrap_or(Path::new("."));
    sources
        .disk
        .space(folder)
        .map_err(|error| error.to_string())
}

fn text(error: StoreError) -> String {
    printable(&error_chain(&error))
}

/// The state rows and failures that one processor's sessions are compared with.
struct StoredSessions {
    digest: Option<String>,
    version: u32,
    versions: Vec<Option<u32>>,
    known: StateRows,
    failures: HashMap<String, FailureRow>,
    waits: HashMap<String, UtcMicros>,
}

impl StoredSessions {
    fn read(
        registry: &Registry,
        store: Option<&Store>,
        processor: &str,
    ) -> Result<Self, StoreError> {
        let mut stored = Self {
            digest: registry.digest(processor),
            version: 0,
            versions: Vec::new(),
            known: StateRows::default(),
            failures: HashMap::new(),
            waits: HashMap::new(),
        };
        if let Some(store) = store {
            stored.known = store.state_rows(processor)?;
            stored.waits = store.session_waits(processor)?;
            stored.failures = store.failures(processor)?;
            let versions = store.component_versions(processor)?;
            // A component that never ran here has no recorded version, so it makes no session due.
            let own = stored.digest.as_ref().and_then(|own| versions.get(own));
            stored.version = own.copied().unwrap_or(0);
            let digests = stored.known.digests.iter();
            stored.versions = digests
                .map(|digest| versions.get(digest).copied())
                .collect();
        }
        Ok(stored)
    }

    fn context<'a>(&'a self, digest: &'a str, now: UtcMicros) -> ScanContext<'a> {
        ScanContext {
            failures: &self.failures,
            digest,
            version: self.version,
            versions: self.versions.clone(),
            now,
            is_started_by_person: false,
        }
    }

    /// Whether a session has a state row, whether it waits for this processor, and since when the
    /// caps of runs have skipped it. Old rows have absolute paths as keys.
    fn standing(
        &self,
        key: &str,
        root: &Path,
        observed: FileStat,
        context: &ScanContext<'_>,
    ) -> (bool, bool, Option<UtcMicros>) {
        let by_path = || self.known.get(&root.join(key).to_string_lossy());
        let row = self.known.get(key).or_else(by_path);
        let failure = self.failures.get(key);
        let standing = match failure.and_then(|failure| failure.digest.as_deref()) {
            // Without an installed component, failures of the last component still count.
            Some(digest) if self.digest.is_none() => {
                scan::judge(row, failure, observed, &self.context(digest, context.now))
            }
            _ => scan::judge(row, failure, observed, context),
        };
        let is_pending = match standing {
            SessionStanding::Settled | SessionStanding::Quarantined => false,
            SessionStanding::Candidate(ContentCheck::FailureHash { verdict, .. }) => {
                verdict != RetryDecision::Quarantined
            }
            SessionStanding::Waiting | SessionStanding::Candidate(_) => true,
        };
        let last_tried_at = row
            .and_then(|row| row.processed_at)
            .max(failure.map(|failure| failure.last_attempt_at));
        let left_since = scan::skipped_since(self.waits.get(key).copied(), last_tried_at);
        (row.is_some(), is_pending, left_since)
    }
}

/// Walks the sessions once for all processors, with the same walker as a run.
fn backlogs(sources: &HealthSources<'_>) -> (Vec<ProcessorBacklog>, Result<SessionsFacts, String>) {
    let store = sources.store();
    let names = sources.registry.names();
    // If this read fails, the reads below fail as well and report it.
    let ran = store.map(Store::latest_runs);
    let ran = ran.and_then(Result::ok).unwrap_or_default();
    let stored_sessions: Vec<Result<StoredSessions, String>> = names
        .iter()
        .map(|name| StoredSessions::read(sources.registry, store, name).map_err(text))
        .collect();
    let mut pending = vec![PendingSessions::default(); stored_sessions.len()];
    let contexts: Vec<Option<(&StoredSessions, ScanContext<'_>)>> = stored_sessions
        .iter()
        .map(|stored| {
            let stored = stored.as_ref().ok()?;
            let digest = stored.digest.as_deref().unwrap_or_default();
            Some((stored, stored.context(digest, sources.now)))
        })
        .collect();
    let mut files = SessionFiles::default();
    let root = &sources.config.sessions_root;
    let walk = walk(root, |key, observed| {
        let changed_at = UtcMicros(observed.mtime_ns.div_euclid(1000));
        files.count += 1;
        files.newest = files.newest.max(Some(changed_at));
        for (stored, pending) in contexts.iter().zip(&mut pending) {
            let Some((stored, context)) = stored else {
                continue;
            };
            let (has_row, is_pending, left) = stored.standing(key, root, observed, context);
            if is_pending {
                pending.sessions += 1;
                if let Some(since) = left {
                    update_oldest(&mut pending.skipped, key, since);
                }
                update_oldest(&mut pending.oldest, key, changed_at);
                if !has_row {
                    update_oldest(&mut pending.oldest_without_row, key, changed_at);
                }
            }
        }
    });
    drop(contexts);
    let sessions = walk.clone().map(|links| SessionsFacts {
        count: files.count,
        links,
    });
    let files = walk.map(|_| files);
    let backlogs = names.iter().zip(stored_sessions.into_iter().zip(pending));
    let backlogs = backlogs
        .map(|(name, (stored, pending))| {
            let manifest = sources.cadences.get(name).copied();
            let cadence = manifest.unwrap_or(DEFAULT_CADENCE);
            let cadence = sources.config.cadence_of(name, cadence);
            let shipped = sources.registry.shipped(name).map(|(shipped, _)| shipped);
            let runs = ran.iter().find(|ran| ran.processor == *name);
            let tried_nothing = || {
                let runs = runs?;
                let stats = runs.stats.as_ref()?;
                stats.nothing_attempted_error()?;
                Some((runs.ended_at?, stats.scanned))
            };
            ProcessorBacklog {
                running_since: runs.and_then(|runs| runs.running_since),
                tried_nothing: tried_nothing(),
                shipped: shipped.copied().unwrap_or_default(),
                processor: name.clone(),
                has_run: runs.is_some(),
                grace: LagGrace::of(cadence, sources.config.stuck_file_grace),
                now: sources.now,
                files: files.clone(),
                last_processed_at: match store {
                    Some(store) => store.last_processed_at(name).map_err(text),
                    None => Ok(None),
                },
                pending: stored.map(|_| pending),
            }
        })
        .collect();
    (backlogs, sessions)
}

fn update_oldest(oldest: &mut Option<WaitingSession>, key: &str, changed_at: UtcMicros) {
    // Ties are resolved by name, so that the result is deterministic.
    let is_older = oldest
        .as_ref()
        .is_none_or(|oldest| (changed_at, key) < (oldest.changed_at, oldest.key.as_str()));
    if is_older {
        *oldest = Some(WaitingSession {
            key: key.to_owned(),
            changed_at,
        });
    }
}

fn walk(root: &Path, visit: impl FnMut(&str, FileStat)) -> Result<SkippedLinks, String> {
    let unreadable = |error: io::Error| {
        let root = printable(&root.display().to_string());
        format!("cannot read sessions root `{root}`: {error}; check the path and its permissions")
    };
    let Some(root) = SessionsRoot::open(root).map_err(unreadable)? else {
        return Ok(SkippedLinks::default());
    };
    let WalkReport {
        is_complete,
        skipped: notes,
        links,
        ..
    } = root.walk(visit).map_err(unreadable)?;
    match notes.first().filter(|_| !is_complete) {
        None => Ok(links),
        Some(note) => Err(format!(
            "cannot read all sessions: `{}`: {}",
            note.path, note.reason
        )),
    }
}
