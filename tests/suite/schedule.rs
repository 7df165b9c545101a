//! Tests how schedules are parsed, and when they are due.

mod timetable;

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{cases, clock};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::schedule::Schedule;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A time (`HH:MM` or `HH:MM:SS`) on a day. Day 0 is the day on which test clocks start.
fn at(day: i64, time: &str) -> UtcMicros {
    let units = [3600, 60, 1];
    let seconds = time.split(':').zip(units);
    let seconds: i64 = seconds
        .map(|(part, unit)| part.parse::<i64>().unwrap() * unit)
        .sum();
    UtcMicros(clock::START.0 + (day * 86_400 + seconds) * 1_000_000)
}

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// Whether a job of this schedule is due.
fn check(text: &str, last_run_at: Option<UtcMicros>, now: UtcMicros) -> bool {
    schedule(text).is_due(last_run_at, now)
}

fn parse_error(text: &str) -> String {
    let error = text.parse::<Schedule>().expect_err(text);
    error.to_string()
}

// Parsing.

#[test]
fn an_interval_is_a_number_of_minutes_or_hours() {
    for (text, minutes) in [
        ("every 15m", 15),
        ("every 5m", 5),
        ("every 120m", 120),
        ("every 2h", 120),
        ("every 1h", 60),
        ("every 24h", 1440),
        ("every 0m", 0),
        ("every 015m", 15),
    ] {
        let interval = schedule(text).interval();
        assert_eq!(interval, Some(MINUTE * minutes), "{text}");
    }
    assert_eq!(schedule("daily 03:00").interval(), None);
    assert_eq!(schedule("every 0m").to_string(), "every 0m");
}

#[test]
fn daily_times_have_two_digits_each_and_are_sorted() {
    for text in ["daily 00:00", "daily 23:59", "daily 07:00,13:00,18:00"] {
        assert_eq!(schedule(text).to_string(), text);
    }
    assert_eq!(
        schedule("daily 18:00,07:00,18:00").to_string(),
        "daily 07:00,18:00",
        "sorted, without duplicates"
    );
}

#[test]
fn an_invalid_schedule_is_rejected_with_the_position_of_the_error() {
    let errors: Vec<String> = [
        "",
        "hourly",
        "every",
        "every15m",
        "Every 15m",
        "every  15m",
        "every m",
        "every -5m",
        "every 15",
        "every 15x",
        "every 15m ",
        "every 1.5h",
        "every 99999h",
        "every 99999999999999999999m",
        "daily ",
        "daily 7:00",
        "daily 07:0",
        "daily 24:00",
        "daily 30:00",
        "daily 12:60",
        "daily 12-30",
        "daily 12345",
        "daily 12:300",
        "daily 07:00,",
        "daily 07:00, 13:00",
        "daily 07:00,1３:00",
        "cron 0 5 * * 1",
    ]
    .into_iter()
    .map(|text| {
        let error = parse_error(text);
        let place = error.rsplit_once("; ").unwrap().1;
        format!("`{text}`: {place}")
    })
    .collect();
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(errors.join("\n"));
    });
    insta::assert_snapshot!(parse_error("every \u{1b}[1m"), @r"invalid schedule `every \u{1b}[1m`: expected a schedule: `every 15m`, `every 2h` or `daily 04:15,16:00` (in UTC); character 7 should be a digit");
}

#[test]
fn an_interval_in_seconds_is_rounded_up_to_minutes() {
    for (seconds, text) in [
        (60, "every 1m"),
        (90, "every 2m"),
        (61, "every 2m"),
        (150, "every 3m"),
        (600, "every 10m"),
        (900, "every 15m"),
        (3600, "every 1h"),
        (7200, "every 2h"),
        (3601, "every 61m"),
        (30, "every 1m"),
        (1, "every 1m"),
        (0, "every 1m"),
    ] {
        let schedule = Schedule::every(Duration::from_secs(seconds));
        assert_eq!(schedule.to_string(), text, "{seconds} s");
    }
}

#[test]
fn the_longest_gap_is_the_maximum_time_between_two_due_times() {
    for (text, gap) in [
        ("every 15m", MINUTE * 15),
        ("every 0m", Duration::ZERO),
        ("daily 04:15", DAY),
        ("daily 07:00,13:00,18:00", HOUR * 13),
        ("daily 00:00,12:00", HOUR * 12),
    ] {
        assert_eq!(schedule(text).longest_gap(), gap, "{text}");
    }
}

// Due times.

#[test]
fn a_job_that_never_ran_is_always_due() {
    for text in ["every 15m", "every 24h", "daily 14:00"] {
        assert!(check(text, None, at(0, "10:00")), "{text}");
    }
}

#[test]
fn a_job_is_due_exactly_one_interval_after_its_last_run() {
    let now = at(0, "12:00");
    for (text, last, is_due) in [
        ("every 15m", "11:50", false),
        ("every 15m", "11:45:01", false),
        ("every 15m", "11:45", true),
        ("every 15m", "11:40", true),
        ("every 1h", "11:30", false),
        ("every 1h", "11:01", false),
        ("every 1h", "11:00", true),
        ("every 1h", "10:30", true),
        ("every 2h", "09:00", true),
        ("every 0m", "12:00", true),
        ("every 15m", "12:30", false),
        ("every 0m", "12:30", false),
    ] {
        assert_eq!(check(text, Some(at(0, last)), now), is_due, "{text} {last}");
    }
}

#[test]
fn a_daily_time_is_due_once_after_it_has_passed() {
    for (text, last, now, is_due) in [
        ("daily 09:00", (-1, "09:00"), "08:59:59", false),
        ("daily 09:00", (-1, "09:00"), "09:00", true),
        ("daily 09:00", (-1, "09:00"), "20:00", true),
        ("daily 09:00", (0, "08:59:59"), "09:00", true),
        ("daily 09:00", (0, "09:00"), "09:00", false),
        ("daily 09:00", (0, "09:00"), "20:00", false),
        ("daily 20:30", (-1, "20:30"), "20:29", false),
        ("daily 20:30", (-1, "20:30"), "20:30", true),
        ("daily 00:00", (-1, "23:59"), "00:00", true),
        ("daily 00:00", (0, "00:00"), "23:59", false),
        ("daily 23:59", (-1, "23:59"), "23:58", false),
        ("daily 23:59", (-1, "23:59"), "23:59", true),
        // A missed time is caught up, even if it was on an earlier day.
        ("daily 09:00", (-3, "09:00"), "08:00", true),
        ("daily 09:00", (-3, "09:00"), "10:00", true),
        ("daily 09:00", (-1, "09:00"), "08:00", false),
        ("daily 23:59", (-1, "23:58:31"), "00:00:31", true),
        ("daily 23:59", (-1, "23:59"), "00:00:31", false),
        ("daily 22:00,23:00", (-1, "21:59"), "00:30", true),
    ] {
        let (day, time) = last;
        let found = check(text, Some(at(day, time)), at(0, now));
        assert_eq!(found, is_due, "{text}, last {last:?}, now {now}");
    }
}

#[test]
fn each_of_several_daily_times_is_due_once() {
    let text = "daily 07:00,13:00,18:00";
    for (last, now, is_due) in [
        ((-1, "18:00"), "06:59", false),
        ((-1, "18:00"), "07:00", true),
        ((0, "07:00"), "12:59", false),
        ((0, "07:00"), "13:00", true),
        ((0, "07:00"), "19:00", true),
        ((0, "13:00"), "18:00", true),
        ((0, "18:00"), "23:00", false),
    ] {
        let (day, time) = last;
        let found = check(text, Some(at(day, time)), at(0, now));
        assert_eq!(found, is_due, "last {last:?}, now {now}");
    }
}

#[test]
fn the_next_due_time_is_after_a_last_run_in_the_future() {
    let last = at(1, "00:00");
    let next = schedule("daily 00:00").next_due_at(Some(last), at(0, "12:00"));
    assert_eq!(next, at(2, "00:00"));
}

#[test]
fn after_the_clock_is_set_back_intervals_restart_and_no_daily_time_runs_twice() {
    let now = at(0, "12:00");
    let later = |by: UtcMicros| UtcMicros(by.0 + 1);
    for (text, last, settled) in [
        ("every 15m", at(0, "11:00"), at(0, "11:00")),
        ("every 15m", now, now),
        ("every 15m", later(now), now),
        ("daily 14:00", at(0, "11:00"), at(0, "11:00")),
        ("daily 14:00", at(0, "14:00"), at(0, "14:00")),
        ("daily 14:00", at(1, "12:00"), at(1, "12:00")),
        ("daily 14:00", later(at(1, "12:00")), now),
    ] {
        let found = schedule(text).settle(last, now);
        assert_eq!(found, settled, "{text}, last {last:?}");
    }
}

/// A wrong clock can have stored any time. The days up to the last run must not be iterated.
#[test]
fn the_next_due_time_after_a_run_in_the_far_future_is_computed_without_a_loop() {
    let daily = schedule("daily 04:15");
    let last = UtcMicros(i64::MAX);
    assert_eq!(daily.next_due_at(Some(last), UtcMicros(i64::MIN)), last);
    let last = at(100_000_000, "03:00");
    assert_eq!(
        daily.next_due_at(Some(last), at(0, "00:00")),
        at(100_000_000, "04:15")
    );
}

fn any_schedule() -> impl Strategy<Value = String> {
    prop_oneof![
        (0_u32..400, prop::sample::select(vec!["m", "h"]))
            .prop_map(|(number, unit)| format!("every {number}{unit}")),
        vec((0_u32..24, 0_u32..60), 1..4).prop_map(|times| {
            let times = times.iter();
            let times: Vec<String> = times.map(|(h, m)| format!("{h:02}:{m:02}")).collect();
            format!("daily {}", times.join(","))
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 8))]

    /// A job is due exactly if one of its daily times is after the last run and not after now.
    #[test]
    fn invariant_a_daily_schedule_is_due_as_soon_as_one_of_its_times_has_passed(
        times in vec((0_i64..24, 0_i64..60), 1..4),
        last_seconds in -400_000_i64..100_000,
        now_seconds in 0_i64..86_400,
    ) {
        let text: Vec<String> = times.iter().map(|(h, m)| format!("{h:02}:{m:02}")).collect();
        let schedule = schedule(&format!("daily {}", text.join(",")));
        let second = |seconds: i64| UtcMicros(clock::START.0 + seconds * 1_000_000);
        let expected = (-6..=1).any(|day| {
            times.iter().any(|(hour, minute)| {
                let at = day * 86_400 + hour * 3600 + minute * 60;
                last_seconds < at && at <= now_seconds
            })
        });
        let found = schedule.is_due(Some(second(last_seconds)), second(now_seconds));
        prop_assert_eq!(found, expected, "{}", schedule);
    }

    #[test]
    fn invariant_a_schedule_survives_formatting_and_parsing(text in any_schedule()) {
        let first = schedule(&text);
        let again = schedule(&first.to_string());
        prop_assert_eq!(again.to_string(), first.to_string());
        prop_assert_eq!(again, first);
    }

    /// Parsing never panics. The column of an error is in the text or directly after it.
    #[test]
    fn invariant_every_text_is_a_schedule_or_an_error_with_a_valid_column(
        text in prop_oneof![
            ".*",
            "(every|daily) [0-9mh:, ]{0,12}",
            any_schedule().prop_flat_map(|text| (Just(text), any::<prop::sample::Index>(), any::<char>()))
                .prop_map(|(text, index, c)| {
                    let mut chars: Vec<char> = text.chars().collect();
                    let index = index.index(chars.len());
                    chars[index] = c;
                    chars.into_iter().collect()
                }),
        ],
    ) {
        if let Err(error) = text.parse::<Schedule>() {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.column), "{error}");
        }
    }

    #[test]
    fn invariant_the_next_due_time_is_the_first_at_which_a_job_is_due(
        text in any_schedule(),
        last_seconds in -300_000_i64..300_000,
        has_run: bool,
        between: prop::sample::Index,
    ) {
        let schedule = schedule(&text);
        let now = at(0, "12:00");
        let last = has_run.then_some(UtcMicros(now.0 + last_seconds * 1_000_000));
        let next = schedule.next_due_at(last, now);
        prop_assert!(next >= now);
        prop_assert!(schedule.is_due(last, next), "{next} of {schedule}, last {last:?}");
        let seconds = usize::try_from((next.0 - now.0) / 1_000_000).unwrap();
        if seconds > 0 {
            let before = UtcMicros(now.0 + i64::try_from(between.index(seconds)).unwrap() * 1_000_000);
            prop_assert!(!schedule.is_due(last, before), "{before} of {schedule}, last {last:?}");
        }
    }
}
