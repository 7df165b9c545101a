//! Schedules: when a job is due.
//!
//! The grammar is `every 15m`, `every 2h` or `daily 04:15,16:00`. All times are UTC. This module is
//! pure: times are passed in, and [`crate::scheduler`] starts jobs.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;

const MICROS_PER_MINUTE: i64 = 60_000_000;
const MINUTES_PER_DAY: u16 = 24 * 60;
const MICROS_PER_DAY: i64 = MINUTES_PER_DAY as i64 * MICROS_PER_MINUTE;
/// A leap year. A longer interval is probably a number of seconds.
const INTERVAL_MINUTES_MAX: u32 = 366 * 24 * 60;

/// The accepted schedules, as a noun phrase for error messages.
pub const ALLOWED: &str = "a schedule: `every 15m`, `every 2h` or `daily 04:15,16:00` (in UTC)";

/// When a job runs.
///
/// ```
/// use session_pipeline_host::clock::UtcMicros;
/// use session_pipeline_pipeline::schedule::Schedule;
///
/// let schedule: Schedule = "every 15m".parse()?;
/// let start = UtcMicros(0);
/// assert!(schedule.is_due(None, start), "a job that never ran is due");
/// assert!(!schedule.is_due(Some(start), UtcMicros(14 * 60_000_000)));
/// assert!(schedule.is_due(Some(start), UtcMicros(15 * 60_000_000)));
/// # Ok::<(), session_pipeline_pipeline::schedule::ScheduleError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(ScheduleForm);

#[derive(Clone, Debug, PartialEq, Eq)]
enum ScheduleForm {
    /// Minutes after the last run. 0: at every tick.
    Every(u32),
    /// Minutes of the day, sorted, not empty.
    Daily(Vec<u16>),
}

/// The text is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid schedule `{text}`: expected {}", self.expectation())]
pub struct ScheduleError {
    /// The text, escaped for a terminal.
    pub text: String,
    /// The position of the first invalid character, from 1. One past the end if the text is too
    /// short.
    pub column: usize,
    /// What is expected at this position.
    pub expected: &'static str,
}

impl ScheduleError {
    /// What is accepted, and where the text is invalid.
    pub fn expectation(&self) -> String {
        let Self {
            column, expected, ..
        } = self;
        format!("{ALLOWED}; character {column} should be {expected}")
    }
}

impl Schedule {
    /// A schedule that runs at most once per `interval`. Rounds up to minutes.
    pub fn every(interval: Duration) -> Self {
        let minutes = interval.as_secs().div_ceil(60).max(1);
        let minutes = u32::try_from(minutes).unwrap_or(u32::MAX);
        Self(ScheduleForm::Every(minutes.min(INTERVAL_MINUTES_MAX)))
    }

    /// Whether a job is due. A job that never ran is due. With an interval, a job is due once the
    /// interval has passed since its last run. With daily times, a job is due if one of the times
    /// has passed since its last run, on any day. Times that were missed between two ticks or while
    /// the server was down are made up for by one run.
    ///
    /// A last run in the future means that the clock was set back, see [`Schedule::settle`].
    pub fn is_due(&self, last_run_at: Option<UtcMicros>, now: UtcMicros) -> bool {
        let Some(last_run_at) = last_run_at else {
            return true;
        };
        match &self.0 {
            ScheduleForm::Every(minutes) => {
                let interval = i64::from(*minutes) * MICROS_PER_MINUTE;
                last_run_at <= now && now.0.saturating_sub(last_run_at.0) >= interval
            }
            ScheduleForm::Daily(minutes) => {
                latest_daily_time(minutes, now).is_some_and(|at| last_run_at < at)
            }
        }
    }

    /// The last run to assume at `now`, if the clock was set back.
    ///
    /// An interval starts over, so that the job neither runs immediately nor waits until the clock
    /// reaches the old time. A daily time that was already served is not repeated when the clock
    /// passes it again. But a last run more than a day in the future was never correct.
    #[must_use]
    pub fn settle(&self, last_run_at: UtcMicros, now: UtcMicros) -> UtcMicros {
        let ahead_max = match &self.0 {
            ScheduleForm::Every(_) => 0,
            ScheduleForm::Daily(_) => MICROS_PER_DAY,
        };
        if last_run_at.0.saturating_sub(now.0) > ahead_max {
            now
        } else {
            last_run_at
        }
    }

    /// The first time from `now` on at which the job is due.
    pub fn next_due_at(&self, last_run_at: Option<UtcMicros>, now: UtcMicros) -> UtcMicros {
        let Some(last_run_at) = last_run_at.filter(|_| !self.is_due(last_run_at, now)) else {
            return now;
        };
        match &self.0 {
            ScheduleForm::Every(minutes) => UtcMicros(
                last_run_at
                    .0
                    .saturating_add(i64::from(*minutes) * MICROS_PER_MINUTE),
            )
            .max(now),
            ScheduleForm::Daily(minutes) => {
                let after = last_run_at.max(now);
                // Every day has all the times, so the next one is today or tomorrow.
                [0, MICROS_PER_DAY]
                    .map(|later| UtcMicros(after.0.saturating_add(later)))
                    .into_iter()
                    .find_map(|day| times_of_day(minutes, day).find(|&at| at > after))
                    .unwrap_or(after)
            }
        }
    }

    /// The longest planned time between two runs.
    pub fn longest_gap(&self) -> Duration {
        let minutes = match &self.0 {
            ScheduleForm::Every(minutes) => *minutes,
            ScheduleForm::Daily(minutes) => {
                let after_midnight = minutes.first().map(|first| first + MINUTES_PER_DAY);
                let next = minutes.iter().copied().skip(1).chain(after_midnight);
                let gaps = minutes.iter().zip(next).map(|(at, next)| next - at);
                u32::from(gaps.max().unwrap_or(MINUTES_PER_DAY))
            }
        };
        Duration::from_secs(u64::from(minutes) * 60)
    }

    /// The interval, if it is an interval schedule.
    pub fn interval(&self) -> Option<Duration> {
        matches!(self.0, ScheduleForm::Every(_)).then(|| self.longest_gap())
    }
}

/// The latest daily time at or before `now`: today's, else yesterday's last one. `None` only near
/// the minimum time.
fn latest_daily_time(minutes: &[u16], now: UtcMicros) -> Option<UtcMicros> {
    [0, MICROS_PER_DAY]
        .into_iter()
        .filter_map(|earlier| now.0.checked_sub(earlier))
        .find_map(|day| {
            times_of_day(minutes, UtcMicros(day))
                .filter(|&at| at <= now)
                .max()
        })
}

/// These minutes on the day of `day`.
fn times_of_day(minutes: &[u16], day: UtcMicros) -> impl Iterator<Item = UtcMicros> {
    let midnight = day.0.saturating_sub(day.0.rem_euclid(MICROS_PER_DAY));
    minutes.iter().map(move |&minute| {
        UtcMicros(midnight.saturating_add(i64::from(minute) * MICROS_PER_MINUTE))
    })
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ScheduleForm::Every(minutes) if *minutes > 0 && minutes.is_multiple_of(60) => {
                write!(f, "every {}h", minutes / 60)
            }
            ScheduleForm::Every(minutes) => write!(f, "every {minutes}m"),
            ScheduleForm::Daily(minutes) => {
                f.write_str("daily ")?;
                for (index, minute) in minutes.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{:02}:{:02}", minute / 60, minute % 60)?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let form = if let Some(rest) = text.strip_prefix("every ") {
            interval(rest)
        } else if let Some(rest) = text.strip_prefix("daily ") {
            times(rest)
        } else {
            return Err(ScheduleError {
                text: session_pipeline_host::fault::printable(text),
                column: fitting(text, "every ").max(fitting(text, "daily ")) + 1,
                expected: "part of `every ` or `daily `, with one space",
            });
        };
        form.map(Self).map_err(|(offset, expected)| ScheduleError {
            text: session_pipeline_host::fault::printable(text),
            column: "every ".len() + offset + 1,
            expected,
        })
    }
}

/// The length of the common prefix in characters.
fn fitting(text: &str, word: &str) -> usize {
    let pairs = text.chars().zip(word.chars());
    pairs.take_while(|(text, word)| text == word).count()
}

/// The offset of the first invalid character, and what was expected.
type Misfit = (usize, &'static str);

/// `15m`, `2h`.
fn interval(text: &str) -> Result<ScheduleForm, Misfit> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err((0, "a digit"));
    }
    let minutes_per_unit = match unit.chars().next() {
        Some('m') => 1,
        Some('h') => 60,
        _ => return Err((digits, "`m` for minutes or `h` for hours")),
    };
    if unit.len() > 1 {
        return Err((digits + 1, "the end"));
    }
    number
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(minutes_per_unit))
        .filter(|&minutes| minutes <= INTERVAL_MINUTES_MAX)
        .map(ScheduleForm::Every)
        .ok_or((0, "the start of an interval of at most a year"))
}

/// `04:15,16:00`.
fn times(text: &str) -> Result<ScheduleForm, Misfit> {
    let mut minutes = Vec::new();
    let mut offset = 0;
    for time in text.split(',') {
        minutes.push(minute_of_day(time).map_err(|(at, expected)| (offset + at, expected))?);
        offset += time.chars().count() + 1;
    }
    minutes.sort_unstable();
    minutes.dedup();
    Ok(ScheduleForm::Daily(minutes))
}

fn minute_of_day(text: &str) -> Result<u16, Misfit> {
    let mut minute = 0;
    let mut characters = text.chars();
    for (index, (expected, value)) in [
        ("the first digit of an hour from 00 to 23", 600),
        ("the second digit of an hour from 00 to 23", 60),
        ("`:`", 0),
        ("the first digit of a minute from 00 to 59", 10),
        ("the second digit of a minute from 00 to 59", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let misfit = (index, expected);
        let character = characters.next().ok_or(misfit)?;
        let digit = match character.to_digit(10) {
            None if value == 0 && character == ':' => 0,
            Some(digit) if value > 0 => u16::try_from(digit).map_err(|_| misfit)?,
            _ => return Err(misfit),
        };
        minute += digit * value;
        // The digit that exceeds the limit is the invalid one.
        if minute >= MINUTES_PER_DAY || (value == 10 && digit > 5) {
            return Err(misfit);
        }
    }
    match characters.next() {
        None => Ok(minute),
        Some(_) => Err((5, "`,` or the end")),
    }
}

/// The name of the job that runs a processor.
pub fn job_name(processor: &str) -> String {
    format!("session-processor:{processor}")
}

/// The tick is longer than the interval of a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the scheduler's tick of {} s is longer than the interval of `{job}`, {} s; lower the tick (SCHEDULER_TICK_SECONDS), or raise the interval",
    tick.as_secs(),
    interval.as_secs()
)]
pub struct TickTooLong {
    /// The job.
    pub job: String,
    /// The tick.
    pub tick: Duration,
    /// The interval.
    pub interval: Duration,
}

impl TickTooLong {
    /// Checks a tick against an interval. Without an interval, every tick is valid.
    ///
    /// # Errors
    /// If the job would run less often than its interval.
    pub fn check(processor: &str, tick: Duration, interval: Option<Duration>) -> Result<(), Self> {
        match interval.filter(|interval| !interval.is_zero() && *interval < tick) {
            Some(interval) => Err(Self {
                job: job_name(processor),
                tick,
                interval,
            }),
            None => Ok(()),
        }
    }
}
