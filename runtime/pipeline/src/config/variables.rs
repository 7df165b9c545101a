//! Environment variables without a flag.
//!
//! `main` looks up the names in [`variable_names`] and passes the values it finds. An empty value is an
//! error, because it is usually a mistake in a script.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use session_pipeline_host::redaction::without_secrets;

use crate::config::file::{HIDDEN, may_be_a_secret, short};
use crate::config::{Config, ConfigError, ProcessorConfig};
use crate::schedule::{Schedule, ScheduleError};
use crate::shipped::ShippedProcessor;

/// Values of environment variables, by name.
pub type Variables = BTreeMap<&'static str, OsString>;

/// The names of all variables, including those of shipped processors.
pub fn variable_names(shipped: &[ShippedProcessor]) -> Vec<&'static str> {
    all(shipped).map(|variable| variable.name).collect()
}

struct Variable {
    name: &'static str,
    value: VariableValue,
}

enum VariableValue {
    /// An integer number of seconds, with minimum and maximum.
    Seconds(u64, u64, fn(&mut Config, Duration)),
    /// The interval of this processor, in seconds.
    Interval(&'static str),
    /// The schedule of this processor.
    Schedule(&'static str),
}

const DAY: u64 = 24 * 3600;
const YEAR: u64 = 366 * DAY;

const TABLE: [Variable; 3] = [
    Variable {
        name: "SCHEDULER_TICK_SECONDS",
        value: VariableValue::Seconds(1, DAY, |config, time| config.scheduler.tick = time),
    },
    Variable {
        name: "SCHEDULER_STARTUP_GRACE_SECONDS",
        value: VariableValue::Seconds(0, DAY, |config, time| config.scheduler.startup_grace = time),
    },
    Variable {
        name: "SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS",
        value: VariableValue::Seconds(1, YEAR, |config, time| config.stuck_file_grace = Some(time)),
    },
];

/// All variables. A later one takes precedence over an earlier one.
fn all(shipped: &[ShippedProcessor]) -> impl Iterator<Item = Variable> {
    let of_processor = |shipped: &ShippedProcessor| {
        let (interval, schedule) = (shipped.interval_variable, shipped.schedule_variable);
        let interval = interval.map(|name| (name, VariableValue::Interval(shipped.name)));
        let schedule = schedule.map(|name| (name, VariableValue::Schedule(shipped.name)));
        [interval, schedule].into_iter().flatten()
    };
    let of_processors = shipped.iter().flat_map(of_processor);
    TABLE
        .into_iter()
        .chain(of_processors.map(|(name, value)| Variable { name, value }))
}

fn of_processor<'a>(config: &'a mut Config, processor: &str) -> &'a mut ProcessorConfig {
    config.processors.entry(processor.to_owned()).or_default()
}

/// Parses a number of seconds. Accepts only digits: the standard parser also accepts a sign.
fn seconds(text: &str, min: u64, max: u64) -> Result<Duration, String> {
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds = digits.and_then(|digits| digits.parse().ok());
    let seconds = seconds.filter(|seconds| (min..=max).contains(seconds));
    let expected = || format!("a whole number of seconds from {min} to {max}");
    seconds.map(Duration::from_secs).ok_or_else(expected)
}

/// Applies the environment variables to a configuration that already includes the file.
///
/// # Errors
/// If a value is not allowed.
pub(super) fn apply(
    variables: &Variables,
    shipped: &[ShippedProcessor],
    config: &mut Config,
) -> Result<(), ConfigError> {
    for variable in all(shipped) {
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
                put(config, seconds(&text, min, max).map_err(bad)?);
            }
            VariableValue::Interval(processor) => {
                let interval = seconds(&text, 1, YEAR).map_err(bad)?;
                let own = of_processor(config, processor);
                own.interval = Some(interval);
                own.schedule = Some(Schedule::every(interval));
            }
            VariableValue::Schedule(processor) => {
                let schedule = text.parse();
                let schedule = schedule.map_err(|error: ScheduleError| bad(error.expectation()))?;
                of_processor(config, processor).schedule = Some(schedule);
            }
        }
    }
    Ok(())
}
