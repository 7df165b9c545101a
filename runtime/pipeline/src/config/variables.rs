//! Environment variables without a flag.
//!
//! `main` looks up the names in [`VARIABLES`] and passes the values it finds. An empty value is an
//! error, because it is usually a mistake in a script.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use session_pipeline_host::redaction::without_secrets;

use crate::config::file::{HIDDEN, may_be_a_secret, short};
use crate::config::{Config, ConfigError};
use crate::schedule::{Schedule, ScheduleError};
use crate::shipped::VERIFICATION;

/// Values of environment variables, by name.
pub type Variables = BTreeMap<&'static str, OsString>;

/// The names of all variables in the table.
pub const VARIABLES: [&str; 6] = {
    let mut names = [""; TABLE.len()];
    let mut index = 0;
    while index < TABLE.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            names[index] = TABLE[index].name;
        }
        index += 1;
    }
    names
};

struct Variable {
    name: &'static str,
    value: VariableValue,
}

enum VariableValue {
    /// An integer number of seconds, with minimum and maximum.
    Seconds(u64, u64, fn(&mut Config, Duration)),
    /// A schedule.
    Schedule(fn(&mut Config, Schedule)),
}

const DAY: u64 = 24 * 3600;
const YEAR: u64 = 366 * DAY;

/// A later entry takes precedence over an earlier one.
const TABLE: [Variable; 6] = [
    Variable {
        name: "SCHEDULER_TICK_SECONDS",
        value: VariableValue::Seconds(1, DAY, |config, time| config.scheduler.tick = time),
    },
    Variable {
        name: "SCHEDULER_STARTUP_GRACE_SECONDS",
        value: VariableValue::Seconds(0, DAY, |config, time| config.scheduler.startup_grace = time),
    },
    Variable {
        // The name is older than processors. It stays for compatibility.
        name: "SCHEDULER_VERIFICATION_DETECTOR_INTERVAL",
        value: VariableValue::Seconds(1, YEAR, |config, time| {
            set_interval(config, VERIFICATION, time);
        }),
    },
    Variable {
        name: "SCHEDULER_USAGE_PROCESSOR_INTERVAL",
        value: VariableValue::Seconds(1, YEAR, |config, time| set_interval(config, "usage", time)),
    },
    Variable {
        name: "SCHEDULER_VERIFICATION_SCHEDULE",
        value: VariableValue::Schedule(|config, schedule| {
            let own = config
                .processors
                .entry(VERIFICATION.to_owned())
                .or_default();
            own.schedule = Some(schedule);
        }),
    },
    Variable {
        name: "SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS",
        value: VariableValue::Seconds(1, YEAR, |config, time| config.stuck_file_grace = Some(time)),
    },
];

fn set_interval(config: &mut Config, processor: &str, interval: Duration) {
    let own = config.processors.entry(processor.to_owned()).or_default();
    own.interval = Some(interval);
    own.schedule = Some(Schedule::every(interval));
}

/// Applies the environment variables to a configuration that already includes the file.
///
/// # Errors
/// If a value is not allowed.
pub(super) fn apply(variables: &Variables, config: &mut Config) -> Result<(), ConfigError> {
    for variable in &TABLE {
        let Some(value) = variables.get(variable.name) else {
            continue;
        };
        let text = value.to_string_lossy();
        let bad = |allowed: String| ConfigError::BadVariable {
            name: variable.name,
            value: match may_be_a_secret(variable.name) {
                true => HIDDEN.to_owned(),
                false => format!("`{}`", short(&without_secrets(&text))),
            },
            allowed,
        };
        match variable.value {
            VariableValue::Seconds(min, max, put) => {
                // Only digits: the standard parser accepts a sign.
                let digits = Some(&*text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                let seconds = digits.and_then(|digits| digits.parse::<u64>().ok());
                let seconds = seconds.filter(|seconds| (min..=max).contains(seconds));
                let allowed = || format!("a whole number of seconds from {min} to {max}");
                put(
                    config,
                    Duration::from_secs(seconds.ok_or_else(|| bad(allowed()))?),
                );
            }
            VariableValue::Schedule(put) => {
                let schedule = text
                    .parse()
                    .map_err(|error: ScheduleError| bad(error.expectation()))?;
                put(config, schedule);
            }
        }
    }
    Ok(())
}
