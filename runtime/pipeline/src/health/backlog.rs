//! The checks `session_pipeline` and `session_pipeline:<name>`: whether a processor keeps up with
//! the sessions.

use std::time::Duration;

use serde::Serialize;
use session_pipeline_host::clock::UtcMicros;

use crate::health::{CheckFigures, CheckResult, CheckStatus};
use crate::schedule::job_name;
use crate::shipped::ShippedProcessor;

/// How long a processor can lag before health reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagGrace {
    /// Before the processor lags: twice its cadence, so that one late run causes no warning.
    pub lag: Duration,
    /// Before a session without a state row counts as stuck: four times `lag`, unless the operator
    /// configured another value.
    pub stuck: Duration,
}

impl LagGrace {
    /// The grace for a cadence.
    pub fn of(cadence: Duration, stuck_file_grace: Option<Duration>) -> Self {
        let lag = cadence.saturating_mul(2);
        Self {
            lag,
            stuck: stuck_file_grace.unwrap_or(lag.saturating_mul(4)),
        }
    }
}

/// The backlog of one processor. An `Err` is the text of a read error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessorBacklog {
    /// The processor.
    pub processor: String,
    /// What the pipeline knows about it if it ships with the program. Otherwise the default.
    pub shipped: ShippedProcessor,
    /// Whether it ever ran in this data directory.
    pub has_run: bool,
    /// How long it can lag.
    pub grace: LagGrace,
    /// The current time.
    pub now: UtcMicros,
    /// The sessions on disk.
    pub files: Result<SessionFiles, String>,
    /// When it last read a session that it then processed. `None`: never.
    pub last_processed_at: Result<Option<UtcMicros>, String>,
    /// The sessions waiting for it.
    pub pending: Result<PendingSessions, String>,
    /// Start time of the run in progress.
    pub running_since: Option<UtcMicros>,
    /// If the last run tried no session: when it ended, and how many sessions were due.
    pub tried_nothing: Option<(UtcMicros, u64)>,
}

/// The session files on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionFiles {
    /// Number of files.
    pub count: u64,
    /// The latest modification time. `None` if there are no files.
    pub newest: Option<UtcMicros>,
}

/// The sessions waiting for a processor, without those in quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingSessions {
    /// The number of sessions.
    pub sessions: u64,
    /// The oldest session that has no state row or changed since it was processed.
    pub oldest: Option<WaitingSession>,
    /// The oldest session without a state row.
    pub oldest_without_row: Option<WaitingSession>,
    /// The session that the caps of runs have skipped for the longest time, with the start of that
    /// time. Its file could have changed recently.
    pub skipped: Option<WaitingSession>,
}

/// A waiting session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingSession {
    /// The session's key.
    pub key: String,
    /// Its modification time, or the start of its wait.
    pub changed_at: UtcMicros,
}

/// The measurements of the check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BacklogFigures {
    /// The stage that lags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<&'static str>,
    /// Number of session files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_files: Option<u64>,
    /// When a session was last read and processed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_processed: Option<String>,
    /// Time between the last processing and the newest session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    /// Age of the oldest session without a state row, or wait of the longest-skipped session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck_file_age_seconds: Option<u64>,
    /// The key of that session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck_file: Option<String>,
    /// Start time of the run in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_since: Option<String>,
}

/// Time since `at`; zero if it is in the future.
fn age(at: UtcMicros, now: UtcMicros) -> Duration {
    Duration::from_micros(u64::try_from(now.0.saturating_sub(at.0)).unwrap_or(0))
}

impl ProcessorBacklog {
    /// The name of the check.
    pub fn entry_name(&self) -> String {
        match self.shipped.health_check {
            Some(check) => check.to_owned(),
            None => format!("session_pipeline:{}", self.processor),
        }
    }

    /// Judges the backlog. Never returns [`CheckStatus::Error`].
    pub fn judge(&self) -> CheckResult {
        let mut figures = BacklogFigures {
            running_since: self.running_since.map(|at| at.to_string()),
            ..BacklogFigures::default()
        };
        let unknown = |detail: String, figures| {
            CheckResult::new(CheckStatus::Unknown, CheckFigures::Backlog(figures)).detail(detail)
        };
        let files = match &self.files {
            Ok(files) => files,
            Err(error) => return unknown(error.clone(), figures),
        };
        let Some(newest) = files.newest else {
            return CheckResult::new(CheckStatus::Ok, CheckFigures::Backlog(figures))
                .detail("there are no session files yet");
        };
        figures.session_files = Some(files.count);
        let last_processed_at = match &self.last_processed_at {
            Ok(last_processed_at) => *last_processed_at,
            Err(error) => return unknown(error.clone(), figures),
        };
        figures.last_processed = last_processed_at.map(|at| at.to_string());
        // Without the pending sessions, the newest session is the best estimate.
        let oldest = match &self.pending {
            Ok(pending) => pending.oldest.as_ref().map(|oldest| oldest.changed_at),
            Err(_) => Some(newest),
        };
        let waits = oldest.map(|oldest| age(oldest, self.now));
        let waits = waits.unwrap_or_default();
        // A modification time in the future is not lag.
        let lag = match last_processed_at {
            Some(processed) => age(processed, newest.min(self.now)),
            None => Duration::MAX,
        };
        if lag > self.grace.lag && waits > self.grace.lag {
            figures.stage = Some("extraction");
            figures.lag_seconds = last_processed_at.map(|_| lag.as_secs());
            // A processor that no one ever ran is not an alarm.
            let is_missed = self.shipped.is_always_expected || self.has_run;
            let status = if is_missed || last_processed_at.is_some() {
                CheckStatus::Warning
            } else {
                CheckStatus::Info
            };
            return CheckResult::new(status, CheckFigures::Backlog(figures))
                .detail(self.in_words(waits, last_processed_at, lag))
                .next(self.next_action());
        }
        if let (Some((at, due)), Some(_)) = (self.tried_nothing, oldest) {
            let name = &self.processor;
            figures.stage = Some("extraction");
            return CheckResult::new(CheckStatus::Warning, CheckFigures::Backlog(figures))
                .detail(format!(
                    "the last run of `{name}` ended at {at} and tried none of the {due} due sessions"
                ))
                .next(self.next_action());
        }
        let stuck = self.pending.as_ref().ok();
        let stuck = stuck.and_then(|pending| pending.oldest_without_row.as_ref());
        let stuck = stuck
            .filter(|_| last_processed_at.is_some())
            .map(|stuck| (stuck, age(stuck.changed_at, self.now)))
            .filter(|(_, age)| *age > self.grace.stuck);
        if let Some((stuck, age)) = stuck {
            figures.stage = Some("extraction");
            figures.stuck_file_age_seconds = Some(age.as_secs());
            figures.stuck_file = Some(stuck.key.clone());
            let detail = format!(
                "`{}` was never processed by `{}`: it is {} old, more than the allowed {}, and newer sessions were processed",
                stuck.key,
                self.processor,
                in_words(age),
                in_words(self.grace.stuck),
            );
            return CheckResult::new(CheckStatus::Info, CheckFigures::Backlog(figures))
                .detail(detail)
                .next(format!("session-pipeline sessions show {}", stuck.key));
        }
        let left_over = self.pending.as_ref().ok();
        let left_over = left_over
            .and_then(|pending| pending.skipped.as_ref())
            .map(|left| (left, age(left.changed_at, self.now)))
            .filter(|(_, age)| *age > self.grace.stuck);
        if let Some((left, age)) = left_over {
            figures.stage = Some("extraction");
            figures.stuck_file_age_seconds = Some(age.as_secs());
            figures.stuck_file = Some(left.key.clone());
            let name = &self.processor;
            return CheckResult::new(CheckStatus::Info, CheckFigures::Backlog(figures))
                .detail(format!(
                    "the caps of `{name}` runs have skipped `{}` for {}, longer than the allowed {}: sessions arrive faster than \
                     the runs process them",
                    left.key,
                    in_words(age),
                    in_words(self.grace.stuck),
                ))
                .next(format!(
                    "run `session-pipeline run {name}`, or raise `run_time_max` and `llm_sessions_max` in `[service]`"
                ));
        }
        CheckResult::new(CheckStatus::Ok, CheckFigures::Backlog(figures))
    }

    fn in_words(
        &self,
        waits: Duration,
        last_processed_at: Option<UtcMicros>,
        lag: Duration,
    ) -> String {
        let name = &self.processor;
        let formerly = match self.shipped.former_job {
            Some(job) => format!(", formerly `{job}`"),
            None => String::new(),
        };
        let behind = match last_processed_at {
            None => "it has never processed a session".to_owned(),
            Some(at) => format!(
                "it last processed a session at {at}, {} before the newest session changed",
                in_words(lag)
            ),
        };
        format!(
            "extraction backlog: a session file has waited {} for `{name}` (job `{}`{formerly}), longer than the allowed {}; {behind}",
            in_words(waits),
            job_name(name),
            in_words(self.grace.lag),
        )
    }

    fn next_action(&self) -> String {
        format!("session-pipeline run {}", self.processor)
    }
}

/// Formats a duration with its two largest units: `2 h 5 min`.
fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let parts = parts.iter().skip(first).take(2);
    let words = parts.filter(|(count, _)| *count > 0);
    let text: Vec<String> = words
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if text.is_empty() {
        "0 s".to_owned()
    } else {
        text.join(" ")
    }
}
