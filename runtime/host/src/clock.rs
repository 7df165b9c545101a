//! Wall-clock and monotonic time, passed in as an argument. Only the binary's `main` chooses the
//! system clock.

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
    /// This instant in nanoseconds, the unit of file times. Saturates.
    pub fn as_nanos(self) -> i64 {
        self.0.saturating_mul(1000)
    }

    /// This instant plus `duration`. Saturates.
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// This instant as a date and time in UTC. `None` outside of the years -9999 to 9999.
    fn civil(self) -> Option<jiff::civil::DateTime> {
        let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
        let since = jiff::SignedDuration::from_micros(self.0);
        epoch.checked_add(since).ok()
    }

    /// This instant minus `duration`. Saturates.
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
            // A `Timestamp` ends some hours before the year 9999 does. A `DateTime` covers them.
            Err(_) => match self.civil() {
                Some(civil) => write!(f, "{civil}Z"),
                None => write!(f, "{} µs", self.0),
            },
        }
    }
}

/// The text is not a day or a timestamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a date or time; expected a value like 2026-12-31 or 2026-12-31T00:00:00Z")]
pub struct InvalidTimestamp;

/// Accepts a day, which means midnight UTC, or an RFC 3339 timestamp with a time zone.
impl FromStr for UtcMicros {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let is_day = text.parse::<crate::day::Day>().is_ok();
        let midnight = is_day.then(|| format!("{text}T00:00:00Z"));
        let timestamp = midnight.as_deref().unwrap_or(text).parse();
        timestamp
            .map(|timestamp: jiff::Timestamp| Self(timestamp.as_microsecond()))
            .map_err(|_| InvalidTimestamp)
    }
}

/// Wall-clock and monotonic time.
pub trait Clock: Send + Sync {
    /// Wall-clock time. It can jump.
    fn now(&self) -> UtcMicros;

    /// Monotonic time since an arbitrary origin, for budgets and durations.
    fn monotonic(&self) -> Duration;
}

/// The clocks of the operating system.
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
