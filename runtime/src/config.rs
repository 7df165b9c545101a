//! One typed value with every setting and limit, made once at the start and passed in.
//!
//! A flag wins over the environment, that over the file, that over the default. Flags and
//! environment are the binary's affair, which hands them over as [`Given`]; the file is read in the
//! `file` room, by the table of keys in the `keys` room, and what stands in the environment by the
//! table in the `variables` room.

mod file;
mod keys;
mod llm;
mod network;
mod variables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use file::{ConfigError, Given, Place};
pub use keys::{KeyKind, KnownKey, known_keys};
pub use llm::{Budget, Budgets, LlmConfig, Provider, StructuredOutput};
pub use network::{Network, NoNetwork};
pub use variables::{VARIABLES, Variables};

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

/// Who turns components into machine code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// This process, without limits: for components that are trusted not to be bombs.
    InProcess,
    /// A child: `<program> <arguments> <component> <compiled>`, which sets its own limits by
    /// [`crate::sandbox::compile_as_child`].
    Child {
        /// The program.
        program: PathBuf,
        /// Its first arguments.
        arguments: Vec<String>,
    },
    /// Another one, asked only for what is not in this folder yet: for tests, whose processes begin
    /// with empty data dirs by the hundred. Whoever may write there says what machine code runs.
    Shared {
        /// The folder, made where it is missing; several processes may use it at once.
        folder: PathBuf,
        /// Who compiles what is not there.
        compiler: Box<Compiler>,
    },
}

/// What a session may cost; ARCHITECTURE.md §5 has the table, and the faults when crossed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fuel that every session gets: about what a Rust guest burns on 10 MB.
    pub fuel_base: u64,
    /// Fuel for each byte of input: a hundred times what Rust needs, seven times what JS needs.
    pub fuel_per_byte: u64,
    /// CPU time that every session gets.
    pub cpu_base: Duration,
    /// Input that buys one more second of CPU time: half of what an interpreter reads in one.
    pub bytes_per_cpu_second: u64,
    /// Time for a session that asks a language model, waiting included.
    pub wall_max: Duration,
    /// All linear memories together.
    pub memory_bytes_max: usize,
    /// Elements of all tables together; Python and JavaScript need 8,000.
    pub table_elements_max: usize,
    /// The guest's stack.
    pub stack_bytes_max: usize,
    /// The largest session that is tried.
    pub session_bytes_max: u64,
    /// Rows recorded for one session.
    pub rows_max: u64,
    /// Bytes recorded for one session.
    pub row_bytes_max: u64,
    /// One row.
    pub one_row_bytes_max: u64,
    /// Rows that one look-up may find.
    pub lookup_rows_max: usize,
    /// Bytes that one look-up may find; the guest needs as much memory for them.
    pub lookup_bytes_max: u64,
    /// What one host call may lift out of the guest.
    pub call_bytes_max: usize,
    /// Log kept for one session; what is beyond is cut with a note.
    pub log_bytes_max: usize,
    /// Host calls of one session, WASI's included.
    pub host_calls_max: u64,
    /// A transcript line; longer ones are passed over and counted.
    pub line_bytes_max: usize,
    /// A component file.
    pub component_bytes_max: u64,
    /// Memory for compiling a component, where a child does it.
    pub compile_memory_bytes_max: u64,
    /// CPU time for compiling a component, where a child does it.
    pub compile_cpu_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel_base: 200_000_000,
            fuel_per_byte: 2_000,
            cpu_base: Duration::from_secs(30),
            bytes_per_cpu_second: 2_000_000,
            wall_max: Duration::from_secs(180),
            memory_bytes_max: 256 << 20,
            table_elements_max: 100_000,
            stack_bytes_max: 1 << 20,
            session_bytes_max: 1 << 30,
            rows_max: 1_000_000,
            row_bytes_max: 64 << 20,
            one_row_bytes_max: 1 << 20,
            lookup_rows_max: 10_000,
            lookup_bytes_max: 16 << 20,
            call_bytes_max: 16 << 20,
            log_bytes_max: 256 << 10,
            host_calls_max: 1_000_000,
            line_bytes_max: 16 << 20,
            component_bytes_max: 32 << 20,
            compile_memory_bytes_max: 1 << 30,
            compile_cpu_max: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Fuel for a session of that many bytes.
    pub fn fuel(&self, bytes: u64) -> u64 {
        self.fuel_base
            .saturating_add(self.fuel_per_byte.saturating_mul(bytes))
    }

    /// CPU time for a session of that many bytes.
    pub fn cpu(&self, bytes: u64) -> Duration {
        self.cpu_base + Duration::from_secs(bytes / self.bytes_per_cpu_second.max(1))
    }
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
