//! Days in UTC, as people write them: the bounds of a report and of a price.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

/// A day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub(crate) Date);

/// Why a text is no day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no day; write one like 2026-01-31")]
pub struct NoDay;

impl FromStr for Day {
    type Err = NoDay;

    fn from_str(text: &str) -> Result<Self, NoDay> {
        parse(text).map(Self).ok_or(NoDay)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `YYYY-MM-DD` and nothing else; other spellings of a date leave room for mistakes.
pub fn parse(text: &str) -> Option<Date> {
    let is_spelt = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    is_spelt.then(|| text.parse().ok())?
}
