//! When people work: the days of the period, weekdays, and hours in the zone of each person.

use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;

use super::random::Random;
use super::team::Person;

pub(super) const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// How much is begun at each hour of the local day.
const HOURS: [u64; 24] = [
    1, 0, 0, 0, 0, 0, 0, 2, 8, 17, 20, 17, 7, 11, 19, 18, 16, 11, 6, 3, 3, 4, 3, 2,
];

/// The same for a program: at night and in the morning, and with each push.
const PROGRAM_HOURS: [u64; 24] = [
    4, 3, 40, 25, 3, 3, 8, 3, 3, 4, 5, 5, 4, 4, 5, 5, 5, 4, 3, 2, 2, 2, 2, 2,
];

/// How much is begun on each day of the week, from Monday.
const WEEKDAYS: [u64; 7] = [92, 104, 108, 100, 78, 9, 7];

/// The days of the period.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    /// The beginning of the first day.
    first: i64,
    days: i64,
    end: UtcMicros,
    /// The weight of each day for people, and for programs.
    weights: [Vec<u64>; 2],
}

impl Calendar {
    pub(super) fn new(seed: u64, days: u32, end: UtcMicros) -> Self {
        let days = i64::from(days.max(1));
        let first = (end.0.div_euclid(DAY) - days + 1) * DAY;
        let mut random = Random::new(seed, 0xca1e);
        let weights = (0..days).map(|day| {
            // 1970-01-01 was a Thursday.
            let weekday = (first.div_euclid(DAY) + day + 3).rem_euclid(7);
            // The use grows by three quarters, and no two weeks are the same.
            let growth = 100 + 75 * day.unsigned_abs() / days.unsigned_abs();
            let mood = random.between(75, 125);
            (WEEKDAYS[weekday as usize] * growth * mood, mood)
        });
        let (people, programs) = weights.unzip();
        Self {
            first,
            days,
            end,
            weights: [people, programs],
        }
    }

    /// A time at which a session of this person begins.
    pub(super) fn start(&self, random: &mut Random, person: &Person) -> UtcMicros {
        let hours = match person.is_program {
            true => &PROGRAM_HOURS,
            false => &HOURS,
        };
        let latest = self.end.0 - 2 * HOUR;
        let mut start = self.first;
        for _ in 0..8 {
            let day = random.weighted(&self.weights[usize::from(person.is_program)]);
            let hour = random.weighted(hours) as i64 + person.hours_later;
            let minute = i64::from(person.zone_minutes);
            let into_hour = random.below(3_600_000).cast_signed() * 1_000;
            let local = self.first + day as i64 * DAY + hour * HOUR + into_hour;
            start = (local - minute * MINUTE).max(self.first);
            if start <= latest {
                return UtcMicros(start);
            }
        }
        // Almost all days are over, so this is rare.
        UtcMicros(start.min(latest).max(self.first - DAY))
    }

    /// The part of the period before this time, per mille.
    pub(super) fn elapsed(&self, at: UtcMicros) -> u64 {
        let elapsed = (at.0 - self.first).clamp(0, self.days * DAY);
        (elapsed / self.days * 1_000 / DAY).unsigned_abs()
    }

    /// The number of days before this time.
    pub(super) fn day(&self, at: UtcMicros) -> u64 {
        ((at.0 - self.first).max(0) / DAY).unsigned_abs()
    }

    /// The number of days from this time until the end.
    pub(super) fn days_left(&self, at: UtcMicros) -> u64 {
        ((self.end.0 - at.0).max(0) / DAY).unsigned_abs()
    }

    /// The time after which nothing happened.
    pub(super) fn end(&self) -> UtcMicros {
        self.end
    }
}

/// Seconds as a duration.
pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
