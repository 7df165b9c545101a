//! One typed value with every setting and limit, made once at the start and passed in.
//!
//! A flag wins over the environment, that over the file, that over the default. Flags and
//! environment are the binary's affair, which hands them over as [`Given`]; the file is read in the
//! `file` room, by the table of keys in the `keys` room, and what stands in the environment by the
//! table in the `variables` room.

mod address;
mod file;
mod keys;
mod llm;
mod network;
mod variables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use address::Address;
pub use file::{ConfigError, Given, Place};
pub use keys::{KeyKind, KnownKey, known_keys};
pub use llm::{LlmConfig, Provider, StructuredOutput};
pub use network::{Network, NoNetwork};
pub use variables::{VARIABLES, Variables};

use session_pipeline_host::limits::{Compiler, Limits};
use session_pipeline_store::StoreOptions;

use crate::schedule::Schedule;

/// Where things lie and how much of everything is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The folder that holds what we keep, below `state/`.
    pub data_dir: PathBuf,
    /// The folder of `<user>/*.jsonl`; by default `user_sessions` below the data dir.
    pub sessions_root: PathBuf,
    /// How many sessions are processed at once.
    pub workers: usize,
    /// The limits of every processor that has none of its own; ask [`Config::limits_of`].
    pub limits: Limits,
    /// What holds for single processors, by name.
    pub processors: BTreeMap<String, ProcessorConfig>,
    /// After how many days the rows of a vanished session are removed; `None`: never
    /// (BEHAVIOUR.md A11).
    pub keep_missing_days: Option<u32>,
    /// The operator's own prices; `None`: `prices.toml` below the data dir, where it exists.
    pub prices_file: Option<PathBuf>,
    /// How long before a read a file must have been quiet for its observed times to be trusted
    /// (BEHAVIOUR.md A3). Raise it for file systems with coarse times.
    pub quiet_window: Duration,
    /// How outcomes are put together into transactions.
    pub group: GroupLimits,
    /// Memory of the database's buffer pool, in bytes.
    pub database_memory_bytes: u64,
    /// What holds where the program serves requests.
    pub service: ServiceConfig,
    /// Who compiles components.
    pub compiler: Compiler,
    /// How the scheduler ticks.
    pub scheduler: SchedulerConfig,
    /// How old a session without any state row may grow before health speaks of it; `None`: four
    /// times the grace (BEHAVIOUR.md 5.4).
    pub stuck_file_grace: Option<Duration>,
    /// Who answers where a processor asks a language model.
    pub llm: LlmConfig,
}

/// How the scheduler ticks (BEHAVIOUR.md 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// How often it looks what is due.
    pub tick: Duration,
    /// How long after the start it begins, so that a server comes up before it works.
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
    /// The defaults for a data dir.
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
            compiler: Compiler::InProcess,
            scheduler: SchedulerConfig::default(),
            stuck_file_grace: None,
            llm: LlmConfig::default(),
        }
    }

    /// The folder of everything that we write.
    pub fn state_dir(&self) -> PathBuf {
        self.data_dir.join("state")
    }

    /// The folder where operators put components of others.
    pub fn processors_dir(&self) -> PathBuf {
        self.data_dir.join("processors")
    }

    /// The one folder into which the database may write files.
    pub fn export_dir(&self) -> PathBuf {
        self.data_dir.join("export")
    }

    /// How the store opens the database.
    pub fn store_options(&self) -> StoreOptions {
        StoreOptions {
            data_dir: self.data_dir.clone(),
            memory_bytes: self.database_memory_bytes,
            group_sessions_max: self.group.sessions_max,
        }
    }

    /// The limits of one processor.
    pub fn limits_of(&self, processor: &str) -> &Limits {
        self.processors
            .get(processor)
            .and_then(|own| own.limits.as_ref())
            .unwrap_or(&self.limits)
    }

    /// Whether a processor may ask a language model: as its operator says, or else where it ships
    /// with the program.
    pub fn grants_llm(&self, processor: &str, is_shipped: bool) -> bool {
        let own = self.processors.get(processor);
        own.and_then(|own| own.llm).unwrap_or(is_shipped)
    }

    /// The operator's settings for one processor, by key.
    pub fn settings_of(&self, processor: &str) -> Vec<(String, String)> {
        let own = self.processors.get(processor);
        own.map(|own| own.settings.clone().into_iter().collect())
            .unwrap_or_default()
    }

    /// Whether a processor may run in a lower version than one that ran here before.
    pub fn may_go_back(&self, processor: &str) -> bool {
        let own = self.processors.get(processor);
        own.is_some_and(|own| own.may_go_back)
    }

    /// When a processor runs whose manifest says this cadence.
    pub fn schedule_of(&self, processor: &str, cadence: Duration) -> Schedule {
        let own = self.processors.get(processor);
        own.and_then(|own| own.schedule.clone())
            .unwrap_or_else(|| Schedule::every(cadence))
    }

    /// How often a processor runs, for those who judge whether it does: one setting moves both the
    /// scheduler and health.
    pub fn cadence_of(&self, processor: &str, cadence: Duration) -> Duration {
        let own = self.processors.get(processor);
        let interval = own.and_then(|own| own.interval);
        let scheduled = || {
            let schedule = own?.schedule.as_ref()?;
            // At every tick is no length of time.
            Some(schedule.longest_gap().max(self.scheduler.tick))
        };
        interval.or_else(scheduled).unwrap_or(cadence)
    }

    /// Limits for what all processors share: memory and tables as large as the largest of them
    /// (ARCHITECTURE.md §5), all else as for everybody.
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

/// What holds for runs that a request or the scheduler starts, and for the administration of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Attempts at most in one run of a processor that uses a language model, so that a backlog
    /// does not spend a day's budget at once; `None`: all (BEHAVIOUR.md 4.1).
    pub llm_sessions_max: Option<u64>,
    /// Time after which a run begins no further session, so that it ends before callers give up.
    pub run_time_max: Duration,
    /// Time after which a report or a list that a request asks for is cancelled.
    pub query_time_max: Duration,
    /// Events older than so many days are removed when somebody asks to prune; `None`: never
    /// (BEHAVIOUR.md 8.8).
    pub usage_retention_days: Option<u32>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Host names that requests may be sent to, beside those of loopback and the addresses of the
    /// server; in lower case.
    pub hosts: Vec<String>,
    /// Bytes that the uploaded sessions of one user may take.
    pub user_bytes_max: u64,
    /// How many sessions one user may upload.
    pub user_files_max: u64,
    /// Uploads are rejected while the disk of the sessions has less free space than this; 0: never.
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
            hosts: Vec::new(),
            user_bytes_max: 20 << 30,
            user_files_max: 100_000,
            free_space_min: 512 << 20,
        }
    }
}

/// What holds for one processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessorConfig {
    /// Whether it may use a language model; `None`: only if it ships with the program.
    pub llm: Option<bool>,
    /// Whether a component of a lower version may take over from one that ran here.
    pub may_go_back: bool,
    /// When it runs; `None`: at the cadence of its manifest.
    pub schedule: Option<Schedule>,
    /// The interval that its environment variable gives, to the second; where the variable for its
    /// schedule does not say otherwise, `schedule` is made of it.
    pub interval: Option<Duration>,
    /// Limits of its own, complete; `None`: those of everybody.
    pub limits: Option<Limits>,
    /// What its `describe` and `process` are handed.
    pub settings: BTreeMap<String, String>,
}

/// When a group of outcomes is committed (PERFORMANCE.md part 2): whichever comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLimits {
    /// Sessions in one transaction.
    pub sessions_max: usize,
    /// Rows in one transaction.
    pub rows_max: u64,
    /// Bytes in one transaction.
    pub bytes_max: u64,
    /// The longest that a finished session waits for others.
    pub wait_max: Duration,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            sessions_max: 100,
            rows_max: 20_000,
            bytes_max: 16 << 20,
            wait_max: Duration::from_millis(100),
        }
    }
}
