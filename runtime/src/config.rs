//! One typed value with every setting and limit, made once at the start and passed in.
//!
//! Where a value comes from (flag, environment, file) is the binary's affair.

use std::path::PathBuf;
use std::time::Duration;

/// Where things lie and how much of everything is allowed.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder that holds what we keep, below `state/`.
    pub data_dir: PathBuf,
    /// The folder of `<user>/*.jsonl`; by default `user_sessions` below the data dir.
    pub sessions_root: PathBuf,
    /// How many sessions are processed at once.
    pub workers: usize,
    /// The limits of every processor.
    pub limits: Limits,
    /// How long before a read a file must have been quiet for its observed times to be trusted
    /// (BEHAVIOUR.md A3). Raise it for file systems with coarse times.
    pub quiet_window: Duration,
    /// How outcomes are put together into transactions.
    pub group: GroupLimits,
    /// Memory of the database's buffer pool, in bytes.
    pub database_memory_bytes: u64,
    /// The operator's own prices; by default `prices.toml` below the data dir, where it exists.
    pub prices_file: Option<PathBuf>,
    /// Who compiles components.
    pub compiler: Compiler,
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
            quiet_window: Duration::from_millis(50),
            group: GroupLimits::default(),
            database_memory_bytes: 256 << 20,
            prices_file: None,
            compiler: Compiler::InProcess,
        }
    }

    /// The folder of everything that we write.
    pub fn state_dir(&self) -> PathBuf {
        self.data_dir.join("state")
    }
}

/// Who turns components into machine code.
#[derive(Clone, Debug)]
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
            memory_bytes_max: 256 << 20,
            table_elements_max: 100_000,
            stack_bytes_max: 1 << 20,
            session_bytes_max: 1 << 30,
            rows_max: 1_000_000,
            row_bytes_max: 64 << 20,
            one_row_bytes_max: 1 << 20,
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
#[derive(Clone, Debug)]
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
