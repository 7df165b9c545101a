//! Days as people write them, for the bounds of reports and prices.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub(crate) Date);

/// The text is not a day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a day; expected a value like 2026-01-31")]
pub struct InvalidDay;

impl Day {
    /// The day as a date.
    pub fn date(self) -> Date {
        self.0
    }
}

impl FromStr for Day {
    type Err = InvalidDay;

    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        parse(text).map(Self).ok_or(InvalidDay)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Parses `YYYY-MM-DD`. Other spellings of a date are ambiguous and rejected.
pub fn parse(text: &str) -> Option<Date> {
    let is_well_formed = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    is_well_formed.then(|| text.parse().ok())?
}
