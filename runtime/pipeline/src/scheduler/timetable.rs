//! The jobs and which of them are due: the scheduler as a pure state machine.
//!
//! A job never starts while it is running. Every result counts as a last run, including failures. A
//! job that missed several of its times runs once.

use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::JobRow;

use crate::config::Config;
use crate::schedule::{Schedule, TickTooLong, job_name};

/// The cadence of a processor that is not installed or unavailable.
pub const DEFAULT_CADENCE: Duration = Duration::from_secs(900);

/// A job and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// `session-processor:<name>`.
    pub name: String,
    /// The processor to run.
    pub processor: String,
    /// Its schedule.
    pub schedule: Schedule,
    /// The tick that started its last completed run. `None`: it never ran.
    pub last_run_at: Option<UtcMicros>,
    /// The result of that run.
    pub last_end: Option<JobResult>,
    /// The tick that started the run in progress. `None`: it is not running.
    pub running_since: Option<UtcMicros>,
}

impl Job {
    fn new(processor: String, schedule: Schedule) -> Self {
        Self {
            name: job_name(&processor),
            processor,
            schedule,
            last_run_at: None,
            last_end: None,
            running_since: None,
        }
    }

    fn remember(&mut self, rows: &[JobRow]) {
        if let Some(row) = rows.iter().find(|row| row.name == self.name) {
            self.last_run_at = row.last_run_at;
            self.last_end = row.last_status.as_deref().map(JobResult::from_status);
        }
    }
}

/// The result of a job's run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobResult {
    /// The run completed, and no session failed.
    Ok,
    /// Sessions failed, or the run did not complete. Contains the reason.
    Failed(String),
    /// There was no run, because the processor is not installed, unavailable or already running.
    /// Contains the reason.
    Rejected(String),
}

impl JobResult {
    /// The status in the database and in health.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(_) => "failed",
            Self::Rejected(_) => "refused",
        }
    }

    /// The reason, unless the run succeeded.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Ok => None,
            Self::Failed(reason) | Self::Rejected(reason) => Some(reason),
        }
    }

    /// Parses a stored status. The reason is not stored.
    fn from_status(status: &str) -> Self {
        match status {
            "ok" => Self::Ok,
            "refused" => Self::Rejected(String::new()),
            _ => Self::Failed(String::new()),
        }
    }
}

/// All jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timetable {
    jobs: Vec<Job>,
}

impl Timetable {
    /// A job for each processor, with the cadence in its manifest or the default.
    ///
    /// # Errors
    /// If the tick is longer than the interval of a job.
    pub fn new(
        config: &Config,
        processors: impl IntoIterator<Item = (String, Option<Duration>)>,
    ) -> Result<Self, TickTooLong> {
        let mut jobs = Vec::new();
        for (processor, cadence) in processors {
            let cadence = cadence.unwrap_or(DEFAULT_CADENCE);
            let schedule = config.schedule_of(&processor, cadence);
            TickTooLong::check(&processor, config.scheduler.tick, schedule.interval())?;
            jobs.push(Job::new(processor, schedule));
        }
        Ok(Self { jobs })
    }

    /// The jobs with their states.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Restores the last runs from stored rows.
    pub fn restore(&mut self, rows: &[JobRow]) {
        for job in &mut self.jobs {
            job.remember(rows);
        }
    }

    /// Updates the jobs to the current processors. A new processor gets a job, with the stored last
    /// run of that name. The job of a removed processor is removed once it is not running.
    ///
    /// A cadence shorter than the tick means every tick, because it is too late to reject it.
    pub fn update_processors(
        &mut self,
        config: &Config,
        processors: impl IntoIterator<Item = (String, Option<Duration>)>,
        rows: &[JobRow],
    ) {
        let mut before = std::mem::take(&mut self.jobs);
        for (processor, cadence) in processors {
            let cadence = cadence.unwrap_or(DEFAULT_CADENCE);
            let schedule = config.schedule_of(&processor, cadence.max(config.scheduler.tick));
            let known = before.iter().position(|job| job.processor == processor);
            let job = match known.map(|known| before.swap_remove(known)) {
                Some(job) => Job { schedule, ..job },
                None => {
                    let mut job = Job::new(processor, schedule);
                    job.remember(rows);
                    job
                }
            };
            self.jobs.push(job);
        }
        before.retain(|job| job.running_since.is_some());
        self.jobs.append(&mut before);
        self.jobs.sort_by(|a, b| a.processor.cmp(&b.processor));
    }

    /// Marks the due jobs as running and returns them.
    #[must_use]
    pub fn start_due(&mut self, now: UtcMicros) -> Vec<Job> {
        let mut started = Vec::new();
        for job in &mut self.jobs {
            if job.running_since.is_some() {
                continue;
            }
            // The clock could have been set back.
            job.last_run_at = job
                .last_run_at
                .map(|last_run_at| job.schedule.settle(last_run_at, now));
            if job.schedule.is_due(job.last_run_at, now) {
                job.running_since = Some(now);
                started.push(job.clone());
            }
        }
        started
    }

    /// Records the result of a run. The last run is the tick that started it, so a failing job runs
    /// at its cadence and not at every tick. Returns that tick, or `None` if the job was not
    /// running.
    pub fn finish(&mut self, name: &str, end: JobResult) -> Option<UtcMicros> {
        let job = self.jobs.iter_mut().find(|job| job.name == name)?;
        let tick = job.running_since.take()?;
        job.last_run_at = Some(tick);
        job.last_end = Some(end);
        Some(tick)
    }
}
