//! Configuration: one typed value with every setting and limit, built once at startup and passed
//! in.
//!
//! Precedence: flag, environment variable, config file, default. The binary reads flags and
//! environment variables and passes them as [`ConfigOverrides`]. The `file` module reads the config file with
//! the key tables in `keys`. The table in `variables` defines the environment variables.

mod address;
mod file;
mod keys;
mod llm;
mod monitoring;
mod network;
mod proxy_auth;
mod variables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use address::ProviderUrl;
pub use file::{ConfigError, ConfigOverrides, FilePosition};
pub use keys::{ConfigKey, ConfigValueKind, config_keys};
pub use llm::{LlmConfig, Provider, StructuredOutput};
pub use monitoring::{
    BudgetPeriod, BudgetScope, CostBudget, MetricsConfig, NotifyConfig, WebhookFormat, WebhookUrl,
};
pub use network::{InvalidNetwork, IpNetwork};
pub use proxy_auth::ProxyAuth;
pub use variables::{Variables, variable_names};

use session_pipeline_host::limits::{Compiler, Limits};
use session_pipeline_store::StoreOptions;

use crate::schedule::Schedule;

/// All paths, limits and settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The data directory. The program writes only below its `state/` and `export/`, and to
    /// `user_sessions/`.
    pub data_dir: PathBuf,
    /// The folder with `<user>/*.jsonl`. Default: `user_sessions` in the data directory.
    pub sessions_root: PathBuf,
    /// Number of sessions processed in parallel.
    pub workers: usize,
    /// Limits for processors without their own. Use [`Config::limits_of`] to read them.
    pub limits: Limits,
    /// Settings of single processors, by name.
    pub processors: BTreeMap<String, ProcessorConfig>,
    /// Days after which the rows of a session without a file are removed. `None`: never.
    pub keep_missing_days: Option<u32>,
    /// The operator's own prices. `None`: `prices.toml` in the data directory, if it exists.
    pub prices_file: Option<PathBuf>,
    /// How long a file must be unchanged before a read for its observed times to be trusted. Raise
    /// it for file systems with coarse timestamps.
    pub quiet_window: Duration,
    /// How outcomes are grouped into transactions.
    pub group: GroupLimits,
    /// Memory limit of the database's buffer pool, in bytes.
    pub database_memory_bytes: u64,
    /// Settings of the HTTP service.
    pub service: ServiceConfig,
    /// What uploads are accepted.
    pub upload: UploadConfig,
    /// Where components are compiled: in this process or in a child process.
    pub compiler: Compiler,
    /// Timing of the scheduler.
    pub scheduler: SchedulerConfig,
    /// Age at which health reports a session without a state row. `None`: four times the
    /// processor's grace.
    pub stuck_file_grace: Option<Duration>,
    /// Minimum score, in percent, of the pending knowledge items that lists contain by default.
    pub knowledge_score_min: u8,
    /// The language model that processors can use.
    pub llm: LlmConfig,
    /// What `GET /metrics` returns, and where.
    pub metrics: MetricsConfig,
    /// Limits for the cost of the agents.
    pub budgets: Vec<CostBudget>,
    /// Where to send a message when a budget is reached.
    pub notify: NotifyConfig,
}

/// Timing of the scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Interval between two checks for due jobs.
    pub tick: Duration,
    /// Delay before the first check, so that the server answers requests before it starts to work.
    pub startup_grace: Duration,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(30),
            startup_grace: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// The defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            sessions_root: data_dir.join("user_sessions"),
            data_dir,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            limits: Limits::default(),
            processors: BTreeMap::new(),
            keep_missing_days: None,
            prices_file: None,
            quiet_window: Duration::from_millis(50),
            group: GroupLimits::default(),
            database_memory_bytes: 256 << 20,
            service: ServiceConfig::default(),
            upload: UploadConfig::default(),
            compiler: Compiler::InProcess,
            scheduler: SchedulerConfig::default(),
            stuck_file_grace: None,
            knowledge_score_min: 50,
            llm: LlmConfig::default(),
            metrics: MetricsConfig::default(),
            budgets: Vec::new(),
            notify: NotifyConfig::default(),
        }
    }

    /// The folder for the database and all other state.
    pub fn state_dir(&self) -> PathBuf {
        self.store_options().state_dir()
    }

    /// The folder with third-party components.
    pub fn processors_dir(&self) -> PathBuf {
        self.data_dir.join("processors")
    }

    /// The only folder into which the database can export files.
    pub fn export_dir(&self) -> PathBuf {
        self.store_options().export_dir()
    }

    /// Options for opening the database.
    pub fn store_options(&self) -> StoreOptions {
        StoreOptions {
            data_dir: self.data_dir.clone(),
            memory_bytes: self.database_memory_bytes,
            group_sessions_max: self.group.sessions_max,
        }
    }

    /// The limits of a processor: its own, or the common ones.
    pub fn limits_of(&self, processor: &str) -> &Limits {
        self.processors
            .get(processor)
            .and_then(|own| own.limits.as_ref())
            .unwrap_or(&self.limits)
    }

    /// Whether a processor can use a language model. The operator's setting takes precedence; by
    /// default, only shipped processors can.
    pub fn grants_llm(&self, processor: &str, is_shipped: bool) -> bool {
        let own = self.processors.get(processor);
        own.and_then(|own| own.llm).unwrap_or(is_shipped)
    }

    /// The operator's settings for a processor, as key and value.
    pub fn settings_of(&self, processor: &str) -> Vec<(String, String)> {
        let own = self.processors.get(processor);
        own.map(|own| own.settings.clone().into_iter().collect())
            .unwrap_or_default()
    }

    /// Whether a processor can run in a lower version than one that ran here before.
    pub fn allows_lower_version(&self, processor: &str) -> bool {
        let own = self.processors.get(processor);
        own.is_some_and(|own| own.allow_lower_version)
    }

    /// The schedule of a processor whose manifest has this cadence.
    pub fn schedule_of(&self, processor: &str, cadence: Duration) -> Schedule {
        let own = self.processors.get(processor);
        own.and_then(|own| own.schedule.clone())
            .unwrap_or_else(|| Schedule::every(cadence))
    }

    /// How often a processor runs. Health uses it to judge lag, so a change of the schedule also
    /// changes the alarm.
    pub fn cadence_of(&self, processor: &str, cadence: Duration) -> Duration {
        let own = self.processors.get(processor);
        let interval = own.and_then(|own| own.interval);
        let scheduled = || {
            let schedule = own?.schedule.as_ref()?;
            // A schedule shorter than a tick runs once per tick.
            Some(schedule.longest_gap().max(self.scheduler.tick))
        };
        interval.or_else(scheduled).unwrap_or(cadence)
    }

    /// Limits for resources that all processors share. Memory and tables are as large as the
    /// largest limit of any processor. All other limits are the common ones.
    pub fn pool_limits(&self) -> Limits {
        let own = self
            .processors
            .values()
            .filter_map(|own| own.limits.as_ref());
        own.fold(self.limits.clone(), |pool, own| Limits {
            memory_bytes_max: pool.memory_bytes_max.max(own.memory_bytes_max),
            table_elements_max: pool.table_elements_max.max(own.table_elements_max),
            ..pool
        })
    }
}

/// Settings for runs started by a request or the scheduler, for uploads, and for pruning usage
/// events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Maximum attempts in one run of a processor that uses a language model, so that a backlog
    /// does not spend a day's budget at once. `None`: no cap.
    pub llm_sessions_max: Option<u64>,
    /// Time after which a run starts no new session, so that it ends before callers time out.
    pub run_time_max: Duration,
    /// Time after which a requested report or list is canceled.
    pub query_time_max: Duration,
    /// `prune` removes events older than this many days. `None`: never.
    pub usage_retention_days: Option<u32>,
    /// Proxies whose `X-Forwarded-For` header is trusted.
    pub trusted_proxies: Vec<IpNetwork>,
    /// How a proxy in front of the dashboard signs users in.
    pub proxy_auth: ProxyAuth,
    /// Accepted host names in lower case, in addition to loopback names and the server's addresses.
    pub hosts: Vec<String>,
    /// Quota for the uploaded sessions of one user, in bytes.
    pub user_bytes_max: u64,
    /// Quota for the uploaded sessions of one user, in files.
    pub user_files_max: u64,
    /// Uploads are rejected while the disk of the sessions has less free space than this, in bytes.
    /// 0: no check.
    pub free_space_min: u64,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            llm_sessions_max: Some(50),
            run_time_max: Duration::from_secs(150),
            query_time_max: Duration::from_secs(30),
            usage_retention_days: None,
            trusted_proxies: Vec::new(),
            proxy_auth: ProxyAuth::default(),
            hosts: Vec::new(),
            user_bytes_max: 20 << 30,
            user_files_max: 100_000,
            free_space_min: 512 << 20,
        }
    }
}

/// What uploads are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadConfig {
    /// Whether uploads with values that look like secrets are rejected.
    pub require_redacted: bool,
}

/// Settings of one processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessorConfig {
    /// Whether it can use a language model. `None`: only if it ships with the program.
    pub llm: Option<bool>,
    /// Whether a lower version of the component can replace one that ran here.
    pub allow_lower_version: bool,
    /// When it runs. `None`: at the cadence in its manifest.
    pub schedule: Option<Schedule>,
    /// The interval from its environment variable, to the second. `schedule` is derived from it
    /// unless the variable for the schedule is also set.
    pub interval: Option<Duration>,
    /// Its own complete limits. `None`: the common limits.
    pub limits: Option<Limits>,
    /// The settings passed to its `describe` and `process`.
    pub settings: BTreeMap<String, String>,
}

/// Thresholds for committing a group of outcomes. The first one reached triggers the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLimits {
    /// Sessions per transaction.
    pub sessions_max: usize,
    /// Rows per transaction.
    pub rows_max: u64,
    /// Bytes per transaction.
    pub bytes_max: u64,
    /// Maximum time that a finished session waits for others.
    pub wait_max: Duration,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            sessions_max: 1_000,
            rows_max: 200_000,
            bytes_max: 32 << 20,
            wait_max: Duration::from_secs(1),
        }
    }
}
