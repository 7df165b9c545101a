//! The entries `session_pipeline` and `session_pipeline:<name>`: whether a processor keeps up with
//! the sessions (BEHAVIOUR.md 5.4 and A13).

use std::time::Duration;

use serde::Serialize;
use session_pipeline_host::clock::UtcMicros;

use crate::health::{Entry, Figures, Status};
use crate::schedule::job_name;
use crate::shipped::VERIFICATION;

/// How far behind a processor may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    /// Before it is said to lag: twice its cadence, so that one late run is no news.
    pub lag: Duration,
    /// Before a session without a state row is said to be stuck: four times as long, unless the
    /// operator says otherwise.
    pub stuck: Duration,
}

impl Grace {
    /// The grace of a processor with this cadence.
    pub fn of(cadence: Duration, stuck_file_grace: Option<Duration>) -> Self {
        let lag = cadence.saturating_mul(2);
        Self {
            lag,
            stuck: stuck_file_grace.unwrap_or(lag.saturating_mul(4)),
        }
    }
}

/// What is known of one processor and all sessions. What could not be read is an error's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The processor.
    pub processor: String,
    /// Whether its component is there.
    pub is_installed: bool,
    /// Whether it ever ran here.
    pub has_run: bool,
    /// How far behind it may be.
    pub grace: Grace,
    /// The time.
    pub now: UtcMicros,
    /// The sessions on disk.
    pub files: Result<Files, String>,
    /// When it last read a session that it then processed; `None`: never.
    pub last_processed_at: Result<Option<UtcMicros>, String>,
    /// What it has yet to do.
    pub pending: Result<Pending, String>,
    /// When its run in progress began.
    pub running_since: Option<UtcMicros>,
    /// When its last run ended, and what was due then, if that run tried none of it.
    pub tried_nothing: Option<(UtcMicros, u64)>,
}

/// The sessions on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// How many there are.
    pub count: u64,
    /// When one of them last changed; `None` where there is none.
    pub newest: Option<UtcMicros>,
}

/// What a processor has yet to do, sessions in quarantine left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// The oldest of the sessions that have no state row or changed since.
    pub oldest: Option<Oldest>,
    /// The oldest of those that have no state row.
    pub oldest_without_row: Option<Oldest>,
    /// The one that the caps of runs have left over for the longest time, since when. Its file may
    /// have changed a moment ago.
    pub left_over: Option<Oldest>,
}

/// A session that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oldest {
    /// Its key.
    pub key: String,
    /// When it last changed, or since when it waits.
    pub changed_at: UtcMicros,
}

/// What the check measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BacklogFigures {
    /// Which stage lags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<&'static str>,
    /// How many sessions there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_files: Option<u64>,
    /// When a session was last read and processed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_processed: Option<String>,
    /// How far the last processing lies behind the newest session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    /// How old the oldest session without a state row is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck_file_age_seconds: Option<u64>,
    /// Which one that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck_file: Option<String>,
    /// When the run in progress began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_since: Option<String>,
}

/// How long before `now` something was; nothing is younger than now.
fn age(at: UtcMicros, now: UtcMicros) -> Duration {
    Duration::from_micros(u64::try_from(now.0.saturating_sub(at.0)).unwrap_or(0))
}

impl Backlog {
    /// The name of its entry.
    pub fn entry_name(&self) -> String {
        match self.processor.as_str() {
            VERIFICATION => "session_pipeline".to_owned(),
            processor => format!("session_pipeline:{processor}"),
        }
    }

    /// The table of BEHAVIOUR.md 5.4, row by row; row 7 as A13 has it. Never `error`.
    pub fn judge(&self) -> Entry {
        let mut figures = BacklogFigures {
            running_since: self.running_since.map(|at| at.to_string()),
            ..BacklogFigures::default()
        };
        let unknown = |detail: String, figures| {
            Entry::new(Status::Unknown, Figures::Backlog(figures)).detail(detail)
        };
        // Rows 1 and 3.
        let files = match &self.files {
            Ok(files) => files,
            Err(error) => return unknown(error.clone(), figures),
        };
        // Row 2.
        let Some(newest) = files.newest else {
            return Entry::new(Status::Ok, Figures::Backlog(figures))
                .detail("there are no session files yet");
        };
        figures.session_files = Some(files.count);
        // Row 4.
        let last_processed_at = match &self.last_processed_at {
            Ok(last_processed_at) => *last_processed_at,
            Err(error) => return unknown(error.clone(), figures),
        };
        figures.last_processed = last_processed_at.map(|at| at.to_string());
        // Where it can't be told what waits, the newest session stands for all.
        let oldest = match &self.pending {
            Ok(pending) => pending.oldest.as_ref().map(|oldest| oldest.changed_at),
            Err(_) => Some(newest),
        };
        let waits = oldest.map(|oldest| age(oldest, self.now));
        let waits = waits.unwrap_or_default();
        // Rows 5 to 7. A file from the future is no lag.
        let lag = match last_processed_at {
            Some(processed) => age(processed, newest.min(self.now)),
            None => Duration::MAX,
        };
        if lag > self.grace.lag && waits > self.grace.lag {
            figures.stage = Some("extraction");
            figures.lag_seconds = last_processed_at.map(|_| lag.as_secs());
            // What nobody ever asked to run lags behind nobody's wish; but `verification`, which the
            // whole check was made for, is missed where it never ran.
            let is_missed = self.processor == VERIFICATION || self.has_run;
            let status = if is_missed || last_processed_at.is_some() {
                Status::Warning
            } else {
                Status::Info
            };
            return Entry::new(status, Figures::Backlog(figures))
                .detail(self.in_words(waits, last_processed_at, lag))
                .next(self.next_action());
        }
        if let (Some((at, due)), Some(_)) = (self.tried_nothing, oldest) {
            let name = &self.processor;
            figures.stage = Some("extraction");
            return Entry::new(Status::Warning, Figures::Backlog(figures))
                .detail(format!(
                    "the last run of `{name}`, ended at {at}, tried none of the {due} sessions that were due"
                ))
                .next(self.next_action());
        }
        // Rows 8 to 10.
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
                "`{}` seems skipped by `{}`: it is {} old, more than {}, and was never processed, while newer ones were",
                stuck.key,
                self.processor,
                in_words(age),
                in_words(self.grace.stuck),
            );
            return Entry::new(Status::Info, Figures::Backlog(figures))
                .detail(detail)
                .next(format!("session-pipeline sessions show {}", stuck.key));
        }
        let left_over = self.pending.as_ref().ok();
        let left_over = left_over
            .and_then(|pending| pending.left_over.as_ref())
            .map(|left| (left, age(left.changed_at, self.now)))
            .filter(|(_, age)| *age > self.grace.stuck);
        if let Some((left, age)) = left_over {
            figures.stage = Some("extraction");
            figures.stuck_file_age_seconds = Some(age.as_secs());
            figures.stuck_file = Some(left.key.clone());
            let name = &self.processor;
            return Entry::new(Status::Info, Figures::Backlog(figures))
                .detail(format!(
                    "`{}` has been left over by the caps of the runs of `{name}` for {}, more than {}: more is new than \
                     the runs process",
                    left.key,
                    in_words(age),
                    in_words(self.grace.stuck),
                ))
                .next(format!(
                    "session-pipeline run {name}, or raise `run_time_max` and `llm_sessions_max` in `[service]`"
                ));
        }
        Entry::new(Status::Ok, Figures::Backlog(figures))
    }

    fn in_words(
        &self,
        waits: Duration,
        last_processed_at: Option<UtcMicros>,
        lag: Duration,
    ) -> String {
        let name = &self.processor;
        let formerly = if name == VERIFICATION {
            ", formerly `verification-detector`"
        } else {
            ""
        };
        let behind = match last_processed_at {
            None => "it never processed any".to_owned(),
            Some(at) => format!(
                "it last processed one at {at}, {} before the newest changed",
                in_words(lag)
            ),
        };
        format!(
            "extraction backlog: a session file has waited for `{name}` (job `{}`{formerly}) for {}, and {} are allowed; {behind}",
            job_name(name),
            in_words(waits),
            in_words(self.grace.lag),
        )
    }

    fn next_action(&self) -> String {
        let name = &self.processor;
        if self.is_installed {
            format!("session-pipeline run {name}, which says why where it can't")
        } else {
            format!("install `{name}`: this version of the program comes without it")
        }
    }
}

/// `2 h 5 min`, to the two largest units.
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
