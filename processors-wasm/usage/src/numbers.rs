//! Numbers that the agent or a tool reports.

use session_pipeline_processor::json::Json;

/// A larger number is not plausible, and sums of it could overflow.
const NUMBER_MAX: i64 = 1_000_000_000_000_000;

/// A count.
pub fn count(json: Option<Json<'_>>) -> Option<i64> {
    json?.s64().filter(|count| (0..=NUMBER_MAX).contains(count))
}

/// A duration in milliseconds. The agent writes some with fractions.
pub fn milliseconds(json: Option<Json<'_>>) -> Option<i64> {
    let millis = json?.f64()?.round();
    let is_plausible = (0.0..=NUMBER_MAX as f64).contains(&millis);
    is_plausible.then_some(millis as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plausible_numbers_are_read() {
        for (text, whole, millis) in [
            ("7", Some(7), Some(7)),
            ("7.0", Some(7), Some(7)),
            ("7.6", None, Some(8)),
            ("0", Some(0), Some(0)),
            ("-1", None, None),
            (
                "1e15",
                Some(1_000_000_000_000_000),
                Some(1_000_000_000_000_000),
            ),
            ("1e16", None, None),
            ("9223372036854775807", None, None),
            ("null", None, None),
            (r#""7""#, None, None),
        ] {
            let json = Json::parse(text);
            assert_eq!((count(json), milliseconds(json)), (whole, millis), "{text}");
        }
    }
}
