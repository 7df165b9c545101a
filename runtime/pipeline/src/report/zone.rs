//! Local times in SQL. DuckDB knows time zones only with an extension, so the offsets come from
//! here.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Maximum number of changes of an offset. Far more than a zone has in the years of transcripts.
const CHANGES_MAX: usize = 400;

/// SQL for the local time of a UTC timestamp. `first` and `last` are the range of the column in
/// microseconds since the epoch. Beyond it, and beyond the changes that fit, the nearest offset
/// applies.
pub(super) fn local_time(zone: &TimeZone, column: &str, first: i64, last: i64) -> String {
    if *zone == TimeZone::UTC {
        return column.to_owned();
    }
    let instant = |micros| Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH);
    let (first, last) = (instant(first), instant(last));
    let mut offset = zone.to_offset(first).seconds();
    let mut branches = String::new();
    for change in zone.following(first).take(CHANGES_MAX) {
        let at = change.timestamp();
        if at > last {
            break;
        }
        if change.offset().seconds() != offset {
            branches.push_str(&format!(
                "WHEN {column} < make_timestamp({}) THEN {offset} ",
                at.as_microsecond()
            ));
            offset = change.offset().seconds();
        }
    }
    if branches.is_empty() {
        return format!("({column} + to_seconds({offset}))");
    }
    format!("({column} + to_seconds(CASE {branches}ELSE {offset} END))")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    #[test]
    fn a_zone_becomes_a_case_with_the_changes_of_its_offset() {
        let sql = |name: &str, first: &str, last: &str| {
            let zone = TimeZone::get(name).unwrap();
            local_time(&zone, "at", micros(first), micros(last))
        };
        assert_eq!(sql("UTC", "2026-01-01T00:00Z", "2026-12-31T00:00Z"), "at");
        assert_eq!(
            sql("Asia/Kolkata", "2026-01-01T00:00Z", "2026-12-31T00:00Z"),
            "(at + to_seconds(19800))"
        );
        let spring = micros("2026-03-29T01:00Z");
        assert_eq!(
            sql("Europe/Berlin", "2026-01-01T00:00Z", "2026-06-30T00:00Z"),
            format!(
                "(at + to_seconds(CASE WHEN at < make_timestamp({spring}) THEN 3600 ELSE 7200 END))"
            )
        );
        // A transcript can claim any time.
        let long = sql("Europe/Berlin", "0001-01-01T00:00Z", "9999-12-30T00:00Z");
        assert!(long.matches("WHEN").count() <= CHANGES_MAX);
    }
}
