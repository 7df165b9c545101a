//! Which jobs there are, and which of them a tick starts: the scheduler as a pure state machine.
//!
//! A job is never started while it runs, its last run moves on however it ended, and a job that
//! missed many of its times runs once (BEHAVIOUR.md 6.4).

use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::JobRow;

use crate::config::Config;
use crate::schedule::{Schedule, TickTooLong, job_name};

/// How often a processor runs that can't say so itself, as it is not installed or unavailable:
/// what BEHAVIOUR.md 6.1 gives `verification`.
pub const DEFAULT_CADENCE: Duration = Duration::from_secs(900);

/// A job, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// `session-processor:<name>`.
    pub name: String,
    /// The processor that it runs.
    pub processor: String,
    /// When it runs.
    pub schedule: Schedule,
    /// The tick that started the last run that has ended; `None`: it never ran.
    pub last_run_at: Option<UtcMicros>,
    /// How that run ended.
    pub last_end: Option<JobEnd>,
    /// The tick that started the run at work; `None`: it does not run.
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
            self.last_end = row.last_status.as_deref().map(JobEnd::from_word);
        }
    }
}

/// How a job's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It ran, and no session failed.
    Ok,
    /// It ran, and sessions failed or it did not come to its end; with what happened.
    Failed(String),
    /// There was no run: the processor is not installed, unavailable, or already at work; with the
    /// reason.
    Refused(String),
}

impl JobEnd {
    /// The word for it, which the table keeps.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(_) => "failed",
            Self::Refused(_) => "refused",
        }
    }

    /// What happened, where something did.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Ok => None,
            Self::Failed(reason) | Self::Refused(reason) => Some(reason),
        }
    }

    /// What the table kept, without the reason.
    fn from_word(word: &str) -> Self {
        match word {
            "ok" => Self::Ok,
            "refused" => Self::Refused(String::new()),
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
    /// A job for each processor, given with the cadence of its manifest, where it has one.
    ///
    /// # Errors
    /// When the tick is longer than the interval of a job.
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

    /// The jobs, as they stand.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Takes over what a process before knew of the jobs that there still are.
    pub fn remember(&mut self, rows: &[JobRow]) {
        for job in &mut self.jobs {
            job.remember(rows);
        }
    }

    /// Goes by the processors that there are now: a new one gets a job, which goes on from where
    /// one of its name ended, and the job of one that is gone goes as soon as it does not run.
    ///
    /// A cadence shorter than the tick means every tick: it is too late to refuse it.
    pub fn follow(
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

    /// The jobs that begin at this tick; from now on they run.
    #[must_use]
    pub fn start_due(&mut self, now: UtcMicros) -> Vec<Job> {
        let mut started = Vec::new();
        for job in &mut self.jobs {
            if job.running_since.is_some() {
                continue;
            }
            // The clock may have been set back since.
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

    /// A run has ended, however: the job's last run is the tick that started it, so that a job that
    /// fails runs at its cadence and not at every tick. Gives that tick; `None` where it did not run.
    pub fn ended(&mut self, name: &str, end: JobEnd) -> Option<UtcMicros> {
        let job = self.jobs.iter_mut().find(|job| job.name == name)?;
        let tick = job.running_since.take()?;
        job.last_run_at = Some(tick);
        job.last_end = Some(end);
        Some(tick)
    }
}
