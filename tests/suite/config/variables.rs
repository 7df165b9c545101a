//! Tests the environment variables: their effects, their precedence, and the errors for invalid
//! values.

use std::time::Duration;

use session_pipeline::shipped::SHIPPED;
use session_pipeline_pipeline::config::{Config, ConfigOverrides, variable_names};

use super::named;

/// Loads a configuration with these environment variables and a file with this text.
fn environment(file: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let named_variable = |name: &str| {
        let mut known = variable_names(&SHIPPED).into_iter();
        let found = known.find(|known| *known == name);
        found.unwrap_or_else(|| panic!("`{name}` is not a known variable"))
    };
    let variables = variables.iter();
    let given = ConfigOverrides {
        variables: variables
            .map(|(name, value)| (named_variable(name), (*value).into()))
            .collect(),
        shipped: SHIPPED.to_vec(),
        ..named(&folder, file)
    };
    Config::load(&given).map_err(|error| error.to_string())
}

fn scheduled(config: &Config, processor: &str) -> String {
    let manifest = Duration::from_secs(600);
    config.schedule_of(processor, manifest).to_string()
}

#[test]
fn without_variables_the_scheduler_uses_its_defaults() {
    let config = environment("", &[]).unwrap();
    assert_eq!(config.scheduler.tick, Duration::from_secs(30));
    assert_eq!(config.scheduler.startup_grace, Duration::from_secs(60));
    assert_eq!(config.stuck_file_grace, None);
    assert_eq!(
        scheduled(&config, "usage"),
        "every 10m",
        "the cadence of the manifest"
    );
}

#[test]
fn an_interval_variable_sets_the_schedule_and_cadence_of_its_processor_only() {
    let minute = Duration::from_secs(60);
    for (variable, processor, other) in [
        (
            "SCHEDULER_VERIFICATION_DETECTOR_INTERVAL",
            "verification",
            "usage",
        ),
        (
            "SCHEDULER_USAGE_PROCESSOR_INTERVAL",
            "usage",
            "verification",
        ),
    ] {
        for (seconds, text) in [
            ("1800", "every 30m"),
            ("61", "every 2m"),
            ("7200", "every 2h"),
        ] {
            let config = environment("", &[(variable, seconds)]).unwrap();
            assert_eq!(scheduled(&config, processor), text);
            let seconds = Duration::from_secs(seconds.parse().unwrap());
            assert_eq!(config.cadence_of(processor, minute), seconds);
            assert_eq!(scheduled(&config, other), "every 10m");
            assert_eq!(config.cadence_of(other, minute), minute);
        }
    }
}

#[test]
fn the_environment_takes_precedence_over_the_file_and_a_schedule_over_an_interval() {
    let file = "[processors.verification]\nschedule = \"every 5m\"\n[scheduler]\ntick = \"20 s\"\n";
    let config = environment(file, &[]).unwrap();
    assert_eq!(scheduled(&config, "verification"), "every 5m");
    assert_eq!(config.scheduler.tick, Duration::from_secs(20));
    let interval = ("SCHEDULER_VERIFICATION_DETECTOR_INTERVAL", "1800");
    let schedule = ("SCHEDULER_VERIFICATION_SCHEDULE", "daily 04:15");
    let tick = ("SCHEDULER_TICK_SECONDS", "10");
    let config = environment(file, &[interval, tick]).unwrap();
    assert_eq!(scheduled(&config, "verification"), "every 30m");
    assert_eq!(config.scheduler.tick, Duration::from_secs(10));
    let config = environment(file, &[interval, schedule]).unwrap();
    assert_eq!(scheduled(&config, "verification"), "daily 04:15");
    let manifest = Duration::from_secs(600);
    let cadence = config.cadence_of("verification", manifest);
    assert_eq!(
        cadence,
        Duration::from_secs(1800),
        "with both variables, the interval is the cadence"
    );
    let config = environment(file, &[schedule]).unwrap();
    let cadence = config.cadence_of("verification", manifest);
    assert_eq!(
        cadence,
        Duration::from_secs(24 * 3600),
        "with a schedule only, its longest gap is the cadence"
    );
}

#[test]
fn invalid_values_of_variables_are_rejected() {
    for name in variable_names(&SHIPPED) {
        let bad = match name {
            "SCHEDULER_VERIFICATION_SCHEDULE" => {
                vec!["", "hourly", "every 15", "daily 24:00", "cron 0 5 * * 1"]
            }
            "SCHEDULER_STARTUP_GRACE_SECONDS" => vec!["", "-1", "abc", "1.5", "+1", " 1"],
            _ => vec!["", "0", "-5", "abc", "1.5", "+1", "99999999999999999999"],
        };
        for value in bad {
            let error = environment("", &[(name, value)]).expect_err(value);
            let expected =
                format!("invalid value `{value}` for environment variable `{name}`: expected ");
            assert!(error.starts_with(&expected), "{error}");
            assert!(error.ends_with("; unset it to use the default"), "{error}");
        }
    }
    let none = environment("", &[("SCHEDULER_STARTUP_GRACE_SECONDS", "0")]).unwrap();
    assert_eq!(none.scheduler.startup_grace, Duration::ZERO);
    let bad = [("SCHEDULER_VERIFICATION_SCHEDULE", "daily 4:15")];
    insta::assert_snapshot!(environment("", &bad).unwrap_err(), @"invalid value `daily 4:15` for environment variable `SCHEDULER_VERIFICATION_SCHEDULE`: expected a schedule: `every 15m`, `every 2h` or `daily 04:15,16:00` (in UTC); character 7 should be the first digit of an hour from 00 to 23; unset it to use the default");
}

#[test]
fn a_number_of_seconds_is_accepted_up_to_the_stated_maximum() {
    let bounds = variable_names(&SHIPPED).into_iter().filter_map(|name| {
        let error = environment("", &[(name, "x")]).unwrap_err();
        let (_, bounds) = error.split_once("seconds from ")?;
        let (bounds, _) = bounds.split_once(';')?;
        let (_, max) = bounds.split_once(" to ")?;
        // A tick must not be longer than an interval, so set all intervals to their maximum.
        let given = [
            "SCHEDULER_USAGE_PROCESSOR_INTERVAL",
            "SCHEDULER_VERIFICATION_DETECTOR_INTERVAL",
        ];
        let intervals = given.map(|interval| (interval, "31622400"));
        let with = |value: &str| environment("", &[&intervals[..], &[(name, value)]].concat());
        with(max).unwrap();
        let more = max.parse::<u64>().unwrap() + 1;
        with(&more.to_string()).unwrap_err();
        Some(format!("{name}: {bounds}"))
    });
    insta::assert_snapshot!(bounds.collect::<Vec<_>>().join("\n"), @r"
    SCHEDULER_TICK_SECONDS: 1 to 86400
    SCHEDULER_STARTUP_GRACE_SECONDS: 0 to 86400
    SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS: 1 to 31622400
    SCHEDULER_USAGE_PROCESSOR_INTERVAL: 1 to 31622400
    SCHEDULER_VERIFICATION_DETECTOR_INTERVAL: 1 to 31622400
    ");
}

#[test]
fn a_tick_longer_than_an_interval_is_rejected_but_daily_schedules_have_no_interval() {
    let tick = ("SCHEDULER_TICK_SECONDS", "120");
    let interval = ("SCHEDULER_USAGE_PROCESSOR_INTERVAL", "119");
    let error = environment("", &[tick, interval]).unwrap_err();
    assert!(
        error.contains("tick of 120 s") && error.contains("119 s"),
        "{error}"
    );
    let interval = ("SCHEDULER_USAGE_PROCESSOR_INTERVAL", "120");
    let schedule = ("SCHEDULER_VERIFICATION_SCHEDULE", "daily 04:15");
    environment("", &[tick, interval, schedule]).unwrap();
    let file = "[processors.usage]\nschedule = \"every 1m\"\n";
    assert!(environment(file, &[tick]).unwrap_err().contains("tick"));
}
