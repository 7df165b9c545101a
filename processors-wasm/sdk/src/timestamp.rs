//! Points in time, as written in transcripts and stored by the host.

/// Microseconds since 1970-01-01T00:00:00Z, in the years 1 to 9999.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The range that the host accepts: 0001-01-01T00:00:00Z to the last microsecond of the year 9999.
const RANGE: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

impl Timestamp {
    /// Creates a timestamp from microseconds since 1970, if the host can store it.
    pub fn from_micros(micros: i64) -> Option<Self> {
        RANGE.contains(&micros).then_some(Self(micros))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339 text, truncated to microseconds. Text without an offset returns `None`.
    ///
    /// ```
    /// use session_pipeline_processor::Timestamp;
    ///
    /// let at = Timestamp::parse("2026-02-13T14:32:15.839Z").unwrap();
    /// assert_eq!(at.micros(), 1_770_993_135_839_000);
    /// assert_eq!(Timestamp::parse("2026-02-13T15:32:15.839+01:00"), Some(at));
    /// assert_eq!(Timestamp::parse("2026-02-30T00:00:00Z"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (date_time, rest) = bytes.split_first_chunk::<19>()?;
        let number = |from: usize, to: usize| digits(&date_time[from..to]);
        let marks = [4, 7, 10, 13, 16].map(|at| date_time[at]);
        if !matches!(marks, [b'-', b'-', b'T' | b't' | b' ', b':', b':']) {
            return None;
        }
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
            return None;
        }
        // 60 is a leap second. It maps to the last second of its minute, because this type has no
        // leap seconds.
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let seconds = days_since_1970(year, month, day) * 86_400
            + hour * 3_600
            + minute * 60
            + second.min(59);
        let (micros, rest) = fraction(rest)?;
        Self::from_micros((seconds - offset(rest)?) * 1_000_000 + micros)
    }
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i64::from(byte - b'0'))
    })
}

/// The fraction of a second in microseconds, and the rest of the text.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = bytes.strip_prefix(b".") else {
        return Some((0, bytes));
    };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let digits = rest[..length].iter().chain(std::iter::repeat(&b'0'));
    let micros = digits
        .take(6)
        .fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
    Some((micros, &rest[length..]))
}

/// The offset of local time from UTC in seconds.
fn offset(bytes: &[u8]) -> Option<i64> {
    match bytes {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), hours @ .., b':', m1, m2] if hours.len() == 2 => {
            let (hours, minutes) = (digits(hours)?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3_600 + minutes * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days between 1970-01-01 and a Gregorian date. Years begin in March, so that the leap day is the
/// last day of a year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 1970-01-01 is day 719468 of a calendar that begins with 0000-03-01.
    days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, micros: Option<i64>) {
        assert_eq!(
            Timestamp::parse(text).map(Timestamp::micros),
            micros,
            "{text}"
        );
    }

    #[test]
    fn rfc_3339_is_read_to_the_microsecond() {
        check("1970-01-01T00:00:00Z", Some(0));
        check("1970-01-01t00:00:00.000001z", Some(1));
        check("1970-01-01 00:00:00.1234567Z", Some(123_456));
        check("1969-12-31T23:59:59.5Z", Some(-500_000));
        check("2024-02-29T12:00:00Z", Some(1_709_208_000_000_000));
        check("2000-03-01T00:00:00-05:30", Some(951_888_600_000_000));
        check("2016-12-31T23:59:60Z", Some(1_483_228_799_000_000));
        check("0001-01-01T00:00:00Z", Some(*RANGE.start()));
        check("9999-12-31T23:59:59.999999Z", Some(*RANGE.end()));
    }

    #[test]
    fn what_is_no_point_in_time_is_none() {
        for text in [
            "",
            "yesterday",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+0100",
            "2024-01-01T00:00:00Zulu",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "2024-01-01T00:00:00+é:00",
            "２024-01-01T00:00:00Z",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn invariant_each_day_follows_the_one_before() {
        let mut expected = days_since_1970(1, 1, 1);
        for year in 1..=9999 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    assert_eq!(days_since_1970(year, month, day), expected);
                    expected += 1;
                }
            }
        }
    }
}
