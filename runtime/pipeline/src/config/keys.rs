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
use session_pipeline_store::Role;

use crate::config::monitoring::{BudgetDraft, WEBHOOK_ALLOWED, usd_of};
use crate::config::{
    BudgetPeriod, BudgetScope, Config, GroupLimits, LlmConfig, MetricsConfig, NotifyConfig,
    ProcessorConfig, Provider, ProviderUrl, ProxyAuth, StructuredOutput, WebhookFormat, WebhookUrl,
};

use crate::schedule::{self, Schedule};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
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
    /// A number, with or without decimals.
    Number(f64, f64, fn(&mut T, f64)),
    /// A Boolean.
    Flag(fn(&mut T, bool)),
    /// A schedule.
    Schedule(fn(&mut T, Schedule)),
    /// A path.
    Path(fn(&mut T, PathBuf)),
    /// A string with a description of what is allowed. The setter returns `None` for an invalid
    /// one.
    Text(&'static str, fn(&mut T, &str) -> Option<()>),
    /// An array of strings that is not empty, with a description of what is allowed. The setter
    /// returns `None` for an invalid one.
    List(&'static str, fn(&mut T, &[&str]) -> Option<()>),
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
    /// A number, with or without decimals.
    Number,
    /// `true` or `false`.
    Flag,
    /// A schedule: `"every 15m"`.
    Schedule,
    /// A path, absolute or relative to the directory of the file.
    Path,
    /// A string in a format of its own.
    Text,
    /// An array of strings: `["127.0.0.1/32"]`.
    List,
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

/// A table of keys: for each, its name, the type and bounds of its value, and in brackets the field
/// that it sets, or a setter. Without brackets, it sets the field with its name.
macro_rules! keys {
    ($table:ident: $target:ty {
        $($name:ident: $kind:ident($($bound:expr),*) $([$($set:tt)+])?,)*
    }) => {
        pub(super) const $table: &[Key<$target>] = &[$(Key {
            name: stringify!($name),
            value: ConfigValue::$kind($($bound,)* set!($name $([$($set)+])?)),
        }),*];
    };
}

macro_rules! set {
    ($name:ident) => { set!($name [$name]) };
    ($name:ident [as usize]) => { set!($name [$name as usize]) };
    ($name:ident [$($field:ident).+]) => { |target, value| target.$($field).+ = value.into() };
    ($name:ident [$($field:ident).+ as usize]) => {
        |target, value| target.$($field).+ = usize::try_from(value).unwrap_or(usize::MAX)
    };
    ($name:ident [$set:expr]) => { $set };
}

keys! { TOP: Draft {
    data_dir: Path(),
    sessions: Path() [sessions_root],
    // Each worker reserves 32 GiB of address space, of which a process has 128 TiB.
    workers: Count(1, 512) [config.workers as usize],
    quiet_window: Time(Duration::ZERO, HOUR) [config.quiet_window],
    keep_missing_days: Count(1, 36_500) [|draft, days| {
        draft.config.keep_missing_days = u32::try_from(days).ok()
    }],
} }

keys! { DATABASE: Draft {
    memory_limit: Size(64 * MIB, 1024 * GIB) [config.database_memory_bytes],
} }

keys! { SERVICE: Draft {
    llm_sessions_max: Count(1, COUNT_MAX) [config.service.llm_sessions_max],
    run_time_max: Time(SECOND, DAY) [config.service.run_time_max],
    query_time_max: Time(SECOND, HOUR) [config.service.query_time_max],
    usage_retention_days: Count(1, 36_500) [|draft, days| {
        draft.config.service.usage_retention_days = u32::try_from(days).ok()
    }],
    trusted_proxies: Text(
        "addresses or networks with commas between them, such as \"127.0.0.1, 10.0.0.0/8\""
    ) [|draft, text| {
        let networks = text.split(',').map(|network| network.trim().parse().ok());
        draft.config.service.trusted_proxies = networks.collect::<Option<_>>()?;
        Some(())
    }],
    hosts: Text(
        "host names with commas between them, such as \"pipeline.example.com, pipeline\""
    ) [|draft, text| {
        let is_host = |host: &String| {
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
            !host.is_empty() && host.chars().all(is_allowed)
        };
        let hosts = text.split(',').map(|host| host.trim().to_ascii_lowercase());
        let hosts: Vec<String> = hosts.collect();
        let is_good = hosts.iter().all(is_host);
        is_good.then(|| draft.config.service.hosts = hosts)
    }],
    user_bytes_max: Size(MIB, 1 << 60) [config.service.user_bytes_max],
    user_files_max: Count(1, 1 << 40) [config.service.user_files_max],
    free_space_min: Size(0, 1 << 50) [config.service.free_space_min],
} }

keys! { UPLOAD: Draft {
    require_redacted: Flag() [config.upload.require_redacted],
} }

/// Headers that the server itself or every client uses for something else.
const OTHER_HEADERS: [&str; 7] = [
    "authorization",
    "connection",
    "content-type",
    "cookie",
    "host",
    "origin",
    "x-forwarded-for",
];

keys! { PROXY_AUTH: ProxyAuth {
    header: Text("the name of a header that only the proxy sets, such as \"X-Forwarded-Email\"") [
        |proxy_auth, text| {
            let is_name = text.len() <= 100
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            let name = text.to_ascii_lowercase();
            let is_allowed = is_name && !OTHER_HEADERS.contains(&name.as_str());
            is_allowed.then(|| proxy_auth.header = name)
        }
    ],
    from: List("addresses or networks, such as [\"127.0.0.1/32\"]") [|proxy_auth, texts| {
        let networks = texts.iter().map(|network| network.parse().ok());
        proxy_auth.from = networks.collect::<Option<_>>()?;
        Some(())
    }],
    role: Text("\"member\", \"analyst\" or \"admin\"") [|proxy_auth, text| {
        proxy_auth.role = Role::from_word(text)?;
        Some(())
    }],
} }

keys! { REPORT: Draft {
    prices: Path() [config.prices_file],
} }

keys! { SCHEDULER: Draft {
    tick: Time(SECOND, DAY) [config.scheduler.tick],
    startup_grace: Time(Duration::ZERO, DAY) [config.scheduler.startup_grace],
} }

keys! { HEALTH: Draft {
    stuck_file_grace: Time(SECOND, YEAR) [config.stuck_file_grace],
} }

keys! { METRICS: MetricsConfig {
    listen: Text("an address with a port, such as \"127.0.0.1:9464\"") [|metrics, text| {
        metrics.listen = Some(text.parse().ok()?);
        Some(())
    }],
    max_age: Time(SECOND, HOUR),
    per_user: Flag(),
} }

keys! { NOTIFY: NotifyConfig {
    webhook: Text(WEBHOOK_ALLOWED) [|notify, text| {
        notify.webhook = Some(WebhookUrl::parse(text)?);
        Some(())
    }],
    format: Text("\"json\" or \"slack\"") [|notify, text| {
        notify.format = match text {
            "json" => WebhookFormat::Json,
            "slack" => WebhookFormat::Slack,
            _ => return None,
        };
        Some(())
    }],
    allow_http: Flag(),
} }

keys! { BUDGET: BudgetDraft {
    scope: Text("\"user\", \"project\" or \"total\"") [|budget, text| {
        let scopes = BudgetScope::ALL.into_iter();
        budget.scope = Some(scopes.into_iter().find(|scope| scope.as_str() == text)?);
        Some(())
    }],
    usd: Number(0.01, 1e9) [|budget, dollars| budget.limit = Some(usd_of(dollars))],
    per: Text("\"day\", \"week\" or \"month\"") [|budget, text| {
        let periods = BudgetPeriod::ALL.into_iter();
        budget.period = Some(periods.into_iter().find(|period| period.as_str() == text)?);
        Some(())
    }],
    warn_at: Number(0.01, 1.0) [|budget, share| {
        budget.warn_at_permille = (share * 1000.0).round() as u32
    }],
} }

keys! { KNOWLEDGE: Draft {
    score_min: Count(0, 100) [|draft, percent| {
        draft.config.knowledge_score_min = u8::try_from(percent).unwrap_or(100)
    }],
} }

keys! { LLM: LlmConfig {
    provider: Text("\"anthropic\" or \"openai_compat\"") [|llm, text| {
        let known = [Provider::Anthropic, Provider::OpenAiCompat];
        llm.provider = Some(known.into_iter().find(|known| known.as_str() == text)?);
        Some(())
    }],
    model: Text("the model's id as its provider writes it, without spaces") [|llm, text| {
        let is_id = text.len() <= 200 && text.chars().all(|c| c.is_ascii_graphic());
        is_id.then(|| llm.model = text.to_owned())
    }],
    base_url: Text(ADDRESS_ALLOWED) [|llm, text| {
        llm.base_url = Some(ProviderUrl::parse(text)?);
        Some(())
    }],
    api_key_file: Path(),
    api_key_env: Text("the name of an environment variable") [|llm, text| {
        let is_name = !text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        is_name.then(|| llm.api_key_env = Some(text.to_owned()))
    }],
    structured_output: Text("\"strict\", \"json\" or \"auto\"") [|llm, text| {
        llm.structured_output = match text {
            "strict" => StructuredOutput::Strict,
            "json" => StructuredOutput::Json,
            "auto" => StructuredOutput::Auto,
            _ => return None,
        };
        Some(())
    }],
    verify_ssl: Flag(),
    allow_http: Flag(),
    proxy: Text(ADDRESS_ALLOWED) [|llm, text| {
        llm.proxy = Some(ProviderUrl::parse(text)?);
        Some(())
    }],
    timeout: Time(SECOND, HOUR),
    attempts_max: Count(1, 10) [|llm, count| {
        llm.attempts_max = u32::try_from(count).unwrap_or(u32::MAX)
    }],
    concurrency: Count(1, 64) [|llm, count| {
        llm.concurrency = usize::try_from(count).unwrap_or(1)
    }],
    session_calls_max: Count(0, COUNT_MAX) [budgets.session.calls_max],
    session_tokens_max: Count(0, COUNT_MAX) [budgets.session.tokens_max],
    run_calls_max: Count(0, COUNT_MAX) [budgets.run.calls_max],
    run_tokens_max: Count(0, COUNT_MAX) [budgets.run.tokens_max],
    day_calls_max: Count(0, COUNT_MAX) [budgets.day.calls_max],
    day_tokens_max: Count(0, COUNT_MAX) [budgets.day.tokens_max],
} }

keys! { GROUP: GroupLimits {
    sessions_max: Count(1, 10_000) [as usize],
    rows_max: Count(1, 10_000_000),
    bytes_max: Size(64 * KIB, GIB),
    wait_max: Time(Duration::ZERO, Duration::from_secs(10)),
} }

keys! { LIMITS: Limits {
    fuel_base: Count(1, COUNT_MAX),
    fuel_per_byte: Count(0, COUNT_MAX),
    cpu_base: Time(Duration::from_millis(10), DAY),
    bytes_per_cpu_second: Size(KIB, 1024 * GIB),
    wall_max: Time(SECOND, DAY),
    // From one page of WebAssembly to the whole 32-bit address space.
    memory_bytes_max: Size(64 * KIB, 4 * GIB) [as usize],
    table_elements_max: Count(1, 10_000_000) [as usize],
    stack_bytes_max: Size(64 * KIB, 64 * MIB) [as usize],
    session_bytes_max: Size(1, 1024 * GIB),
    rows_max: Count(1, 100_000_000),
    // All texts of a column are in one array, which is limited to 2 GiB.
    row_bytes_max: Size(KIB, GIB),
    one_row_bytes_max: Size(KIB, 64 * MIB),
    lookup_rows_max: Count(1, 1_000_000) [as usize],
    lookup_bytes_max: Size(64 * KIB, GIB),
    call_bytes_max: Size(64 * KIB, GIB) [as usize],
    checkpoint_bytes_max: Size(0, 64 * MIB) [as usize],
    checkpoint_session_bytes_min: Size(0, 1024 * GIB),
    log_bytes_max: Size(0, 64 * MIB) [as usize],
    host_calls_max: Count(1, COUNT_MAX),
    line_bytes_max: Size(KIB, GIB) [as usize],
    component_bytes_max: Size(KIB, GIB),
    compile_memory_bytes_max: Size(64 * MIB, 1024 * GIB),
    // The operating system counts CPU time limits in whole seconds.
    compile_cpu_max: Time(SECOND, HOUR),
} }

keys! { PROCESSOR: ProcessorConfig {
    llm: Flag(),
    allow_lower_version: Flag(),
    schedule: Schedule(),
} }

/// Every key that a config file can contain, except the free keys of `processors.<name>.settings`.
pub fn config_keys() -> Vec<ConfigKey> {
    let mut keys = Vec::new();
    describe("", TOP, &mut keys);
    describe("database.", DATABASE, &mut keys);
    describe("report.", REPORT, &mut keys);
    describe("service.", SERVICE, &mut keys);
    describe("service.proxy_auth.", PROXY_AUTH, &mut keys);
    describe("upload.", UPLOAD, &mut keys);
    describe("scheduler.", SCHEDULER, &mut keys);
    describe("health.", HEALTH, &mut keys);
    describe("metrics.", METRICS, &mut keys);
    describe("notify.", NOTIFY, &mut keys);
    describe("budget.", BUDGET, &mut keys);
    describe("knowledge.", KNOWLEDGE, &mut keys);
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
            Self::Number(..) => ConfigValueKind::Number,
            Self::Flag(..) => ConfigValueKind::Flag,
            Self::Schedule(..) => ConfigValueKind::Schedule,
            Self::Path(..) => ConfigValueKind::Path,
            Self::Text(..) => ConfigValueKind::Text,
            Self::List(..) => ConfigValueKind::List,
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
            Self::Number(min, max, _) => format!("a number from {min} to {max}"),
            Self::Flag(_) => "true or false".to_owned(),
            Self::Schedule(_) => schedule::ALLOWED.to_owned(),
            Self::Path(_) => {
                "an absolute path, or a path relative to the directory of this file".to_owned()
            }
            Self::Text(allowed, _) | Self::List(allowed, _) => (*allowed).to_owned(),
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
