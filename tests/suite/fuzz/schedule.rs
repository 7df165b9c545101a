//! The parser of schedules.

use proptest::prelude::*;
use session_pipeline_harness::fuzz::{fuzz, mutated_text};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::schedule::Schedule;

#[test]
fn invariant_a_schedule_is_rejected_with_a_valid_column_or_round_trips() {
    let valid = [
        "every 15m",
        "every 2h",
        "every 0m",
        "daily 04:15",
        "daily 00:00,16:00,23:59",
    ];
    let words = [
        "every ",
        "daily ",
        "m",
        "h",
        ",",
        ":",
        "00",
        "24",
        "60",
        " ",
        "4294967296",
        "-1",
    ];
    let texts = mutated_text(&valid, &words);
    fuzz(
        file!(),
        &(texts, any::<i64>(), any::<i64>()),
        |(text, last, now)| {
            let schedule = match text.parse::<Schedule>() {
                Ok(schedule) => schedule,
                Err(error) => {
                    prop_assert!(
                        (1..=text.chars().count() + 1).contains(&error.column),
                        "{error}"
                    );
                    return Ok(());
                }
            };
            let written = schedule.to_string();
            let again = written.parse();
            prop_assert_eq!(again.as_ref(), Ok(&schedule), "written as `{}`", written);
            // There is a next time at any clock time, and nothing overflows.
            let (last, now) = (UtcMicros(last), UtcMicros(now));
            let next = schedule.next_due_at(Some(last), now);
            prop_assert!(next >= now);
            prop_assert!(schedule.is_due(None, now));
            prop_assert!(schedule.settle(last, now) <= last.max(now));
            Ok(())
        },
    );
}
