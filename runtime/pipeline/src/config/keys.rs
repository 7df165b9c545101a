//! The keys of the config file: the type, bounds and target of each value.
//!
//! Each section has one table. Reading, the list of known keys, suggestions and the test of
//! `docs/config.example.toml` all use these tables, so they cannot diverge.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::SignedDuration;
use session_pipeline_host::limits::Limits;

use crate::config::address::ALLOWED as ADDRESS_ALLOWED;
use crate::config::{
    Config, GroupLimits, LlmConfig, ProcessorConfig, Provider, ProviderUrl, StructuredOutput,
};

use crate::schedule::{self, Schedule};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The largest integer in TOML.
const COUNT_MAX: u64 = i64::MAX as u64;

/// Values read from a file, before they become a [`Config`].
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) sessions_root: Option<PathBuf>,
}

/// A key in a section.
pub(super) struct Key<T> {
    pub(super) name: &'static str,
    pub(super) value: ConfigValue<T>,
}

/// The type of a key's value, its bounds, and the setter.
pub(super) enum ConfigValue<T> {
    /// An integer.
    Count(u64, u64, fn(&mut T, u64)),
    /// A size in bytes.
    Size(u64, u64, fn(&mut T, u64)),
    /// A duration.
    Time(Duration, Duration, fn(&mut T, Duration)),
    /// A Boolean.
    Flag(fn(&mut T, bool)),
    /// A schedule.
    Schedule(fn(&mut T, Schedule)),
    /// A path.
    Path(fn(&mut T, PathBuf)),
    /// A string with a description of what is allowed. The setter returns `None` for an invalid
    /// one.
    Text(&'static str, fn(&mut T, &str) -> Option<()>),
}

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigValueKind {
    /// An integer.
    Count,
    /// A size in bytes: `"256 MiB"`, or an integer.
    Size,
    /// A duration: `"30 s"`.
    Time,
    /// `true` or `false`.
    Flag,
    /// A schedule: `"every 15m"`.
    Schedule,
    /// A path, absolute or relative to the directory of the file.
    Path,
    /// A string in a format of its own.
    Text,
}

/// Documentation of one key in the config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigKey {
    /// The full name, with `<name>` for the name of a processor.
    pub key: String,
    /// The type of the value.
    pub kind: ConfigValueKind,
    /// The accepted values, as a noun phrase.
    pub allowed: String,
}

/// The table of a processor's settings, in which every key is allowed.
pub(super) const SETTINGS: &str = "settings";

pub(super) const TOP: &[Key<Draft>] = &[
    Key {
        name: "data_dir",
        value: ConfigValue::Path(|draft, path| draft.data_dir = Some(path)),
    },
    Key {
        name: "sessions",
        value: ConfigValue::Path(|draft, path| draft.sessions_root = Some(path)),
    },
    Key {
        name: "workers",
        // Each worker reserves 32 GiB of address space, of which a process has 128 TiB.
        value: ConfigValue::Count(1, 512, |draft, count| draft.config.workers = size(count)),
    },
    Key {
        name: "quiet_window",
        value: ConfigValue::Time(Duration::ZERO, Duration::from_secs(3600), |draft, time| {
            draft.config.quiet_window = time;
        }),
    },
    Key {
        name: "keep_missing_days",
        value: ConfigValue::Count(1, 36_500, |draft, days| {
            draft.config.keep_missing_days = u32::try_from(days).ok();
        }),
    },
];

pub(super) const DATABASE: &[Key<Draft>] = &[Key {
    name: "memory_limit",
    value: ConfigValue::Size(64 * MIB, 1024 * GIB, |draft, bytes| {
        draft.config.database_memory_bytes = bytes;
    }),
}];

pub(super) const SERVICE: &[Key<Draft>] = &[
    Key {
        name: "llm_sessions_max",
        value: ConfigValue::Count(1, COUNT_MAX, |draft, count| {
            draft.config.service.llm_sessions_max = Some(count);
        }),
    },
    Key {
        name: "run_time_max",
        value: ConfigValue::Time(
            Duration::from_secs(1),
            Duration::from_secs(24 * 3600),
            |draft, time| draft.config.service.run_time_max = time,
        ),
    },
    Key {
        name: "query_time_max",
        value: ConfigValue::Time(
            Duration::from_secs(1),
            Duration::from_secs(3600),
            |draft, time| draft.config.service.query_time_max = time,
        ),
    },
    Key {
        name: "usage_retention_days",
        value: ConfigValue::Count(1, 36_500, |draft, days| {
            draft.config.service.usage_retention_days = u32::try_from(days).ok();
        }),
    },
    Key {
        name: "trusted_proxies",
        value: ConfigValue::Text(
            "addresses or networks with commas between them, such as \"127.0.0.1, 10.0.0.0/8\"",
            |draft, text| {
                let networks = text.split(',').map(|network| network.trim().parse().ok());
                draft.config.service.trusted_proxies = networks.collect::<Option<_>>()?;
                Some(())
            },
        ),
    },
    Key {
        name: "hosts",
        value: ConfigValue::Text(
            "host names with commas between them, such as \"pipeline.example.com, pipeline\"",
            |draft, text| {
                let is_host = |host: &String| {
                    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
                    !host.is_empty() && host.chars().all(is_allowed)
                };
                let hosts = text.split(',').map(|host| host.trim().to_ascii_lowercase());
                let hosts: Vec<String> = hosts.collect();
                let is_good = hosts.iter().all(is_host);
                is_good.then(|| draft.config.service.hosts = hosts)
            },
        ),
    },
    Key {
        name: "user_bytes_max",
        value: ConfigValue::Size(MIB, 1 << 60, |draft, bytes| {
            draft.config.service.user_bytes_max = bytes;
        }),
    },
    Key {
        name: "user_files_max",
        value: ConfigValue::Count(1, 1 << 40, |draft, count| {
            draft.config.service.user_files_max = count;
        }),
    },
    Key {
        name: "free_space_min",
        value: ConfigValue::Size(0, 1 << 50, |draft, bytes| {
            draft.config.service.free_space_min = bytes;
        }),
    },
];

pub(super) const REPORT: &[Key<Draft>] = &[Key {
    name: "prices",
    value: ConfigValue::Path(|draft, path| draft.config.prices_file = Some(path)),
}];

pub(super) const SCHEDULER: &[Key<Draft>] = &[
    Key {
        name: "tick",
        value: ConfigValue::Time(
            Duration::from_secs(1),
            Duration::from_secs(24 * 3600),
            |draft, time| draft.config.scheduler.tick = time,
        ),
    },
    Key {
        name: "startup_grace",
        value: ConfigValue::Time(
            Duration::ZERO,
            Duration::from_secs(24 * 3600),
            |draft, time| {
                draft.config.scheduler.startup_grace = time;
            },
        ),
    },
];

pub(super) const HEALTH: &[Key<Draft>] = &[Key {
    name: "stuck_file_grace",
    value: ConfigValue::Time(
        Duration::from_secs(1),
        Duration::from_secs(366 * 24 * 3600),
        |draft, time| draft.config.stuck_file_grace = Some(time),
    ),
}];

pub(super) const LLM: &[Key<LlmConfig>] = &[
    Key {
        name: "provider",
        value: ConfigValue::Text("\"anthropic\" or \"openai_compat\"", |llm, text| {
            let known = [Provider::Anthropic, Provider::OpenAiCompat];
            llm.provider = Some(known.into_iter().find(|known| known.as_str() == text)?);
            Some(())
        }),
    },
    Key {
        name: "model",
        value: ConfigValue::Text(
            "the model's id as its provider writes it, without spaces",
            |llm, text| {
                let is_id = text.len() <= 200 && text.chars().all(|c| c.is_ascii_graphic());
                is_id.then(|| llm.model = text.to_owned())
            },
        ),
    },
    Key {
        name: "base_url",
        value: ConfigValue::Text(ADDRESS_ALLOWED, |llm, text| {
            llm.base_url = Some(ProviderUrl::parse(text)?);
            Some(())
        }),
    },
    Key {
        name: "api_key_file",
        value: ConfigValue::Path(|llm, path| llm.api_key_file = Some(path)),
    },
    Key {
        name: "api_key_env",
        value: ConfigValue::Text("the name of an environment variable", |llm, text| {
            let is_name = !text.starts_with(|c: char| c.is_ascii_digit())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            is_name.then(|| llm.api_key_env = Some(text.to_owned()))
        }),
    },
    Key {
        name: "structured_output",
        value: ConfigValue::Text("\"strict\", \"json\" or \"auto\"", |llm, text| {
            llm.structured_output = match text {
                "strict" => StructuredOutput::Strict,
                "json" => StructuredOutput::Json,
                "auto" => StructuredOutput::Auto,
                _ => return None,
            };
            Some(())
        }),
    },
    Key {
        name: "verify_ssl",
        value: ConfigValue::Flag(|llm, verify| llm.verify_ssl = verify),
    },
    Key {
        name: "allow_http",
        value: ConfigValue::Flag(|llm, allow| llm.allow_http = allow),
    },
    Key {
        name: "proxy",
        value: ConfigValue::Text(ADDRESS_ALLOWED, |llm, text| {
            llm.proxy = Some(ProviderUrl::parse(text)?);
            Some(())
        }),
    },
    Key {
        name: "timeout",
        value: ConfigValue::Time(
            Duration::from_secs(1),
            Duration::from_secs(3600),
            |llm, time| {
                llm.timeout = time;
            },
        ),
    },
    Key {
        name: "attempts_max",
        value: ConfigValue::Count(1, 10, |llm, count| {
            llm.attempts_max = u32::try_from(count).unwrap_or(u32::MAX);
        }),
    },
    Key {
        name: "session_calls_max",
        value: ConfigValue::Count(0, COUNT_MAX, |llm, count| {
            llm.budgets.session.calls_max = count
        }),
    },
    Key {
        name: "session_tokens_max",
        value: ConfigValue::Count(0, COUNT_MAX, |llm, count| {
            llm.budgets.session.tokens_max = count
        }),
    },
    Key {
        name: "run_calls_max",
        value: ConfigValue::Count(0, COUNT_MAX, |llm, count| llm.budgets.run.calls_max = count),
    },
    Key {
        name: "run_tokens_max",
        value: ConfigValue::Count(0, COUNT_MAX, |llm, count| {
            llm.budgets.run.tokens_max = count
        }),
    },
    Key {
        name: "day_calls_max",
        value: ConfigValue::Count(0, COUNT_MAX, |llm, count| llm.budgets.day.calls_max = count),
    },
    Key {
        name: "day_tokens_max",
        value: ConfigValue::Count(0, COUNT_MAX, |llm, count| {
            llm.budgets.day.tokens_max = count
        }),
    },
];

pub(super) const GROUP: &[Key<GroupLimits>] = &[
    Key {
        name: "sessions_max",
        value: ConfigValue::Count(1, 10_000, |group, count| group.sessions_max = size(count)),
    },
    Key {
        name: "rows_max",
        value: ConfigValue::Count(1, 10_000_000, |group, count| group.rows_max = count),
    },
    Key {
        name: "bytes_max",
        value: ConfigValue::Size(64 * KIB, GIB, |group, bytes| group.bytes_max = bytes),
    },
    Key {
        name: "wait_max",
        value: ConfigValue::Time(Duration::ZERO, Duration::from_secs(10), |group, time| {
            group.wait_max = time;
        }),
    },
];

pub(super) const LIMITS: &[Key<Limits>] = &[
    Key {
        name: "fuel_base",
        value: ConfigValue::Count(1, COUNT_MAX, |limits, count| limits.fuel_base = count),
    },
    Key {
        name: "fuel_per_byte",
        value: ConfigValue::Count(0, COUNT_MAX, |limits, count| limits.fuel_per_byte = count),
    },
    Key {
        name: "cpu_base",
        value: ConfigValue::Time(
            Duration::from_millis(10),
            Duration::from_secs(24 * 3600),
            |limits, time| limits.cpu_base = time,
        ),
    },
    Key {
        name: "bytes_per_cpu_second",
        value: ConfigValue::Size(KIB, 1024 * GIB, |limits, bytes| {
            limits.bytes_per_cpu_second = bytes;
        }),
    },
    Key {
        name: "wall_max",
        value: ConfigValue::Time(
            Duration::from_secs(1),
            Duration::from_secs(24 * 3600),
            |limits, time| limits.wall_max = time,
        ),
    },
    Key {
        name: "memory_bytes_max",
        // From one page of WebAssembly to the whole 32-bit address space.
        value: ConfigValue::Size(64 * KIB, 4 * GIB, |limits, bytes| {
            limits.memory_bytes_max = size(bytes);
        }),
    },
    Key {
        name: "table_elements_max",
        value: ConfigValue::Count(1, 10_000_000, |limits, count| {
            limits.table_elements_max = size(count);
        }),
    },
    Key {
        name: "stack_bytes_max",
        value: ConfigValue::Size(64 * KIB, 64 * MIB, |limits, bytes| {
            limits.stack_bytes_max = size(bytes);
        }),
    },
    Key {
        name: "session_bytes_max",
        value: ConfigValue::Size(1, 1024 * GIB, |limits, bytes| {
            limits.session_bytes_max = bytes
        }),
    },
    Key {
        name: "rows_max",
        value: ConfigValue::Count(1, 100_000_000, |limits, count| limits.rows_max = count),
    },
    Key {
        name: "row_bytes_max",
        // All texts of a column are in one array, which is limited to 2 GiB.
        value: ConfigValue::Size(KIB, GIB, |limits, bytes| limits.row_bytes_max = bytes),
    },
    Key {
        name: "one_row_bytes_max",
        value: ConfigValue::Size(KIB, 64 * MIB, |limits, bytes| {
            limits.one_row_bytes_max = bytes
        }),
    },
    Key {
        name: "lookup_rows_max",
        value: ConfigValue::Count(1, 1_000_000, |limits, count| {
            limits.lookup_rows_max = size(count);
        }),
    },
    Key {
        name: "lookup_bytes_max",
        value: ConfigValue::Size(64 * KIB, GIB, |limits, bytes| {
            limits.lookup_bytes_max = bytes
        }),
    },
    Key {
        name: "call_bytes_max",
        value: ConfigValue::Size(64 * KIB, GIB, |limits, bytes| {
            limits.call_bytes_max = size(bytes)
        }),
    },
    Key {
        name: "log_bytes_max",
        value: ConfigValue::Size(0, 64 * MIB, |limits, bytes| {
            limits.log_bytes_max = size(bytes)
        }),
    },
    Key {
        name: "host_calls_max",
        value: ConfigValue::Count(1, COUNT_MAX, |limits, count| limits.host_calls_max = count),
    },
    Key {
        name: "line_bytes_max",
        value: ConfigValue::Size(KIB, GIB, |limits, bytes| {
            limits.line_bytes_max = size(bytes)
        }),
    },
    Key {
        name: "component_bytes_max",
        value: ConfigValue::Size(KIB, GIB, |limits, bytes| limits.component_bytes_max = bytes),
    },
    Key {
        name: "compile_memory_bytes_max",
        value: ConfigValue::Size(64 * MIB, 1024 * GIB, |limits, bytes| {
            limits.compile_memory_bytes_max = bytes;
        }),
    },
    Key {
        name: "compile_cpu_max",
        // The operating system counts CPU time limits in whole seconds.
        value: ConfigValue::Time(
            Duration::from_secs(1),
            Duration::from_secs(3600),
            |limits, time| {
                limits.compile_cpu_max = time;
            },
        ),
    },
];

pub(super) const PROCESSOR: &[Key<ProcessorConfig>] = &[
    Key {
        name: "llm",
        value: ConfigValue::Flag(|processor, is_granted| processor.llm = Some(is_granted)),
    },
    Key {
        name: "allow_lower_version",
        value: ConfigValue::Flag(|processor, is_allowed| {
            processor.allow_lower_version = is_allowed
        }),
    },
    Key {
        name: "schedule",
        value: ConfigValue::Schedule(|processor, schedule| processor.schedule = Some(schedule)),
    },
];

/// Every key that a config file can contain, except the free keys of `processors.<name>.settings`.
pub fn config_keys() -> Vec<ConfigKey> {
    let mut keys = Vec::new();
    describe("", TOP, &mut keys);
    describe("database.", DATABASE, &mut keys);
    describe("report.", REPORT, &mut keys);
    describe("service.", SERVICE, &mut keys);
    describe("scheduler.", SCHEDULER, &mut keys);
    describe("health.", HEALTH, &mut keys);
    describe("llm.", LLM, &mut keys);
    describe("group.", GROUP, &mut keys);
    describe("limits.", LIMITS, &mut keys);
    describe("processors.<name>.", PROCESSOR, &mut keys);
    describe("processors.<name>.limits.", LIMITS, &mut keys);
    keys
}

fn describe<T>(section: &str, table: &[Key<T>], keys: &mut Vec<ConfigKey>) {
    keys.extend(table.iter().map(|key| ConfigKey {
        key: format!("{section}{}", key.name),
        kind: key.value.kind(),
        allowed: key.value.allowed(),
    }));
}

impl<T> ConfigValue<T> {
    fn kind(&self) -> ConfigValueKind {
        match self {
            Self::Count(..) => ConfigValueKind::Count,
            Self::Size(..) => ConfigValueKind::Size,
            Self::Time(..) => ConfigValueKind::Time,
            Self::Flag(..) => ConfigValueKind::Flag,
            Self::Schedule(..) => ConfigValueKind::Schedule,
            Self::Path(..) => ConfigValueKind::Path,
            Self::Text(..) => ConfigValueKind::Text,
        }
    }

    /// The accepted values, as a noun phrase for error messages.
    pub(super) fn allowed(&self) -> String {
        match self {
            Self::Count(min, max, _) => format!("a whole number from {min} to {max}"),
            Self::Size(min, max, _) => format!(
                "a size from {} to {}, such as \"16 MiB\"",
                size_in_words(*min),
                size_in_words(*max)
            ),
            Self::Time(min, max, _) => {
                let (min, max) = (time_in_words(*min), time_in_words(*max));
                format!("a duration from {min} to {max}, such as \"30 s\"")
            }
            Self::Flag(_) => "true or false".to_owned(),
            Self::Schedule(_) => schedule::ALLOWED.to_owned(),
            Self::Path(_) => {
                "an absolute path, or a path relative to the directory of this file".to_owned()
            }
            Self::Text(allowed, _) => (*allowed).to_owned(),
        }
    }
}

fn time_in_words(time: Duration) -> String {
    // Cannot fail: every bound fits.
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    format!("{time:#}")
}

fn size_in_words(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
