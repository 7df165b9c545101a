//! The time after which a server wants to be asked again.

use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, HeaderName, header};

/// A longer time is cut, because a wrong clock of a proxy must not end sending.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// The pause that a response asks for with `Retry-After`, in seconds or as a date. A date is relative
/// to the `Date` of the response, because the clocks of both machines can differ.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let value = text(header::RETRY_AFTER)?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long time.
        return Some(
            value
                .parse()
                .map_or(PAUSE_MAX, Duration::from_secs)
                .min(PAUSE_MAX),
        );
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let sent = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    let pause = at.duration_since(sent.unwrap_or(now)).unwrap_or_default();
    Some(pause.min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use ureq::http::HeaderValue;

    use super::*;

    #[test]
    fn a_pause_is_a_number_of_seconds_or_a_date_and_is_at_most_an_hour() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let later = |seconds: u64| httpdate::fmt_http_date(now + Duration::from_secs(seconds));
        for (value, date, expected) in [
            ("0".to_owned(), None, Some(0)),
            (" 7 ".to_owned(), None, Some(7)),
            ("3601".to_owned(), None, Some(3600)),
            ("99999999999999999999999".to_owned(), None, Some(3600)),
            (later(30), None, Some(30)),
            (later(999_999), None, Some(3600)),
            (later(30), Some(later(20)), Some(10)),
            // The clock of the server is behind, and no pause is in the past.
            (later(30), Some(later(60)), Some(0)),
            ("-1".to_owned(), None, None),
            ("1.5".to_owned(), None, None),
            (String::new(), None, None),
            ("soon".to_owned(), None, None),
        ] {
            let mut headers = HeaderMap::new();
            let insert = |headers: &mut HeaderMap, name, value: &str| {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            };
            insert(&mut headers, header::RETRY_AFTER, &value);
            if let Some(date) = date {
                insert(&mut headers, header::DATE, &date);
            }
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), expected, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
