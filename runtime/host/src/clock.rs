//! Time as an argument: only the binary's `main` chooses the system's clock.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

/// An instant in microseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UtcMicros(pub i64);

impl UtcMicros {
    /// The same instant in nanoseconds, the unit of file times.
    pub fn as_nanos(self) -> i64 {
        self.0.saturating_mul(1000)
    }

    /// This instant moved by a duration.
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// This instant as date and time in UTC; `None` outside of the years -9999 to 9999.
    fn civil(self) -> Option<jiff::civil::DateTime> {
        let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
        let since = jiff::SignedDuration::from_micros(self.0);
        epoch.checked_add(since).ok()
    }

    /// This instant moved back by a duration.
    pub fn minus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for UtcMicros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => timestamp.fmt(f),
            // The last hours of the year 9999 are beyond a timestamp, and not beyond a date.
            Err(_) => match self.civil() {
                Some(civil) => write!(f, "{civil}Z"),
                None => write!(f, "{} µs", self.0),
            },
        }
    }
}

/// Why a text is no instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no time; write one like 2026-12-31 or 2026-12-31T00:00:00Z")]
pub struct NoInstant;

/// A day, which begins at midnight in UTC, or a time with its zone.
impl FromStr for UtcMicros {
    type Err = NoInstant;

    fn from_str(text: &str) -> Result<Self, NoInstant> {
        let is_day = text.parse::<crate::day::Day>().is_ok();
        let midnight = is_day.then(|| format!("{text}T00:00:00Z"));
        let timestamp = midnight.as_deref().unwrap_or(text).parse();
        timestamp
            .map(|timestamp: jiff::Timestamp| Self(timestamp.as_microsecond()))
            .map_err(|_| NoInstant)
    }
}

/// The two clocks that a run looks at.
pub trait Clock: Send + Sync {
    /// The time of day, which may jump.
    fn now(&self) -> UtcMicros;

    /// A time that only rises, for budgets and durations.
    fn monotonic(&self) -> Duration;
}

/// The clocks of this machine.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> UtcMicros {
        let micros = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        UtcMicros(micros)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}
