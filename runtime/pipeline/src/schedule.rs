//! When a job is due: a small grammar, and arithmetic over times that are passed in.
//!
//! The grammar is that of BEHAVIOUR.md 6.3 without cron: `every 15m`, `every 2h`,
//! `daily 04:15,16:00`. All times are UTC.
//! No clock is asked and nothing is started here: the jobs and what a tick starts are in
//! [`crate::scheduler`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;

const MICROS_PER_MINUTE: i64 = 60_000_000;
const MINUTES_PER_DAY: u16 = 24 * 60;
const MICROS_PER_DAY: i64 = MINUTES_PER_DAY as i64 * MICROS_PER_MINUTE;
/// A leap year: whoever asks for more has counted in seconds.
const INTERVAL_MINUTES_MAX: u32 = 366 * 24 * 60;

/// What a schedule may be, in words that fit after "give".
pub const ALLOWED: &str = "a schedule: `every 15m`, `every 2h` or `daily 04:15,16:00` (in UTC)";

/// When a job runs.
///
/// ```
/// use session_pipeline_host::clock::UtcMicros;
/// use crate::schedule::Schedule;
///
/// let schedule: Schedule = "every 15m".parse()?;
/// let start = UtcMicros(0);
/// assert!(schedule.is_due(None, start), "what never ran is due");
/// assert!(!schedule.is_due(Some(start), UtcMicros(14 * 60_000_000)));
/// assert!(schedule.is_due(Some(start), UtcMicros(15 * 60_000_000)));
/// # Ok::<(), crate::schedule::ScheduleError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// So many minutes after the last run; 0: at every tick.
    Every(u32),
    /// Minutes of the day, rising, at least one.
    Daily(Vec<u16>),
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no schedule; give {}", self.remedy())]
pub struct ScheduleError {
    /// The text, fit for a terminal.
    pub text: String,
    /// The first character that does not fit, from 1; one past the end where the text is too short.
    pub column: usize,
    /// What is to stand there.
    pub expected: &'static str,
}

impl ScheduleError {
    /// What to give instead, and where the text went wrong.
    pub fn remedy(&self) -> String {
        let Self {
            column, expected, ..
        } = self;
        format!("{ALLOWED}; its character {column} is to be {expected}")
    }
}

impl Schedule {
    /// A schedule that never runs more often than once in `interval`: whole hours where it is a
    /// multiple of one, else minutes, rounded up (BEHAVIOUR.md 6.2).
    pub fn every(interval: Duration) -> Self {
        let minutes = interval.as_secs().div_ceil(60).max(1);
        let minutes = u32::try_from(minutes).unwrap_or(u32::MAX);
        Self(Form::Every(minutes.min(INTERVAL_MINUTES_MAX)))
    }

    /// Whether a job is due (BEHAVIOUR.md 6.3). A job that never ran is due. An interval is due
    /// from its last moment on. A daily schedule is due if one of its times has passed since the
    /// last run, on whatever day: times missed between two ticks or while the server was down are
    /// caught up by one run.
    ///
    /// A last run ahead of `now` is one of a clock that has been set back: see [`Schedule::settle`].
    pub fn is_due(&self, last_run_at: Option<UtcMicros>, now: UtcMicros) -> bool {
        let Some(last_run_at) = last_run_at else {
            return true;
        };
        match &self.0 {
            Form::Every(minutes) => {
                let interval = i64::from(*minutes) * MICROS_PER_MINUTE;
                last_run_at <= now && now.0.saturating_sub(last_run_at.0) >= interval
            }
            Form::Daily(minutes) => {
                latest_daily_time(minutes, now).is_some_and(|at| last_run_at < at)
            }
        }
    }

    /// The last run as it is to be taken at `now`, where the clock was set back since.
    ///
    /// An interval begins anew, so that the job neither runs at once nor waits for the clock to
    /// come back to where it was. A time of the day that was served is not served again when the
    /// clock passes it a second time; but a last run more than a day ahead was never a true time.
    #[must_use]
    pub fn settle(&self, last_run_at: UtcMicros, now: UtcMicros) -> UtcMicros {
        let ahead_max = match &self.0 {
            Form::Every(_) => 0,
            Form::Daily(_) => MICROS_PER_DAY,
        };
        if last_run_at.0.saturating_sub(now.0) > ahead_max {
            now
        } else {
            last_run_at
        }
    }

    /// The first moment from `now` on at which the job is due, if nothing else happens.
    pub fn next_due_at(&self, last_run_at: Option<UtcMicros>, now: UtcMicros) -> UtcMicros {
        let Some(last_run_at) = last_run_at.filter(|_| !self.is_due(last_run_at, now)) else {
            return now;
        };
        match &self.0 {
            Form::Every(minutes) => UtcMicros(
                last_run_at
                    .0
                    .saturating_add(i64::from(*minutes) * MICROS_PER_MINUTE),
            )
            .max(now),
            Form::Daily(minutes) => {
                let after = last_run_at.max(now);
                // Each day has all the times, so one of that day, else of the next.
                [0, MICROS_PER_DAY]
                    .map(|later| UtcMicros(after.0.saturating_add(later)))
                    .into_iter()
                    .find_map(|day| times_of_day(minutes, day).find(|&at| at > after))
                    .unwrap_or(after)
            }
        }
    }

    /// The longest time between two runs that go as they should.
    pub fn longest_gap(&self) -> Duration {
        let minutes = match &self.0 {
            Form::Every(minutes) => *minutes,
            Form::Daily(minutes) => {
                let after_midnight = minutes.first().map(|first| first + MINUTES_PER_DAY);
                let next = minutes.iter().copied().skip(1).chain(after_midnight);
                let gaps = minutes.iter().zip(next).map(|(at, next)| next - at);
                u32::from(gaps.max().unwrap_or(MINUTES_PER_DAY))
            }
        };
        Duration::from_secs(u64::from(minutes) * 60)
    }

    /// The interval, where it has one.
    pub fn interval(&self) -> Option<Duration> {
        matches!(self.0, Form::Every(_)).then(|| self.longest_gap())
    }
}

/// The latest of the daily times up to and including `now`: one of the same day, else the last of
/// the day before. `None` only at the beginning of time.
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

/// These minutes of the day in which an instant lies.
fn times_of_day(minutes: &[u16], day: UtcMicros) -> impl Iterator<Item = UtcMicros> {
    let midnight = day.0.saturating_sub(day.0.rem_euclid(MICROS_PER_DAY));
    minutes.iter().map(move |&minute| {
        UtcMicros(midnight.saturating_add(i64::from(minute) * MICROS_PER_MINUTE))
    })
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Every(minutes) if *minutes > 0 && minutes.is_multiple_of(60) => {
                write!(f, "every {}h", minutes / 60)
            }
            Form::Every(minutes) => write!(f, "every {minutes}m"),
            Form::Daily(minutes) => {
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

/// How many characters a text has in common with a word, from the first on.
fn fitting(text: &str, word: &str) -> usize {
    let pairs = text.chars().zip(word.chars());
    pairs.take_while(|(text, word)| text == word).count()
}

/// What does not fit: how many characters are before it, and what is to stand there.
type Misfit = (usize, &'static str);

/// `15m`, `2h`.
fn interval(text: &str) -> Result<Form, Misfit> {
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
        .map(Form::Every)
        .ok_or((0, "the beginning of a time of at most a year"))
}

/// `04:15,16:00`.
fn times(text: &str) -> Result<Form, Misfit> {
    let mut minutes = Vec::new();
    let mut offset = 0;
    for time in text.split(',') {
        minutes.push(minute_of_day(time).map_err(|(at, expected)| (offset + at, expected))?);
        offset += time.chars().count() + 1;
    }
    minutes.sort_unstable();
    minutes.dedup();
    Ok(Form::Daily(minutes))
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
        // As soon as it is too much, this digit is where.
        if minute >= MINUTES_PER_DAY || (value == 10 && digit > 5) {
            return Err(misfit);
        }
    }
    match characters.next() {
        None => Ok(minute),
        Some(_) => Err((5, "`,` or the end")),
    }
}

/// The job that runs a processor.
pub fn job_name(processor: &str) -> String {
    format!("session-processor:{processor}")
}

/// Why there can be no timetable.
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
    /// Holds a tick against an interval; none at all fits every tick.
    ///
    /// # Errors
    /// When the job would run less often than it should.
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
