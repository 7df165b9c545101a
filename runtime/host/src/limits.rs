//! Resource limits per session, and the choice of compiler.
//!
//! The configuration fills in these values. They are defined here because the sandbox applies them
//! and does not depend on the configuration.

use std::path::PathBuf;
use std::time::Duration;

/// How components are compiled to machine code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, without limits. Only for trusted components.
    InProcess,
    /// In a child process: `<program> <arguments> <component> <compiled>`. The child sets its own
    /// limits in [`crate::sandbox::compile_as_child`].
    Child {
        /// The program.
        program: PathBuf,
        /// The arguments that precede the two paths.
        arguments: Vec<String>,
    },
    /// Code of the shipped components that was installed with the program, in front of another
    /// compiler. Anyone with write access to the folders controls the machine code that runs, as
    /// with the program itself.
    Installed {
        /// The folders, in order. A folder or a file in it can be missing.
        folders: Vec<PathBuf>,
        /// The compiler for all other components.
        compiler: Box<Compiler>,
    },
    /// A cache folder in front of another compiler. For tests, which start hundreds of processes
    /// with empty data directories. Anyone with write access to the folder controls the machine
    /// code that runs.
    Shared {
        /// The cache folder. Created if missing. Several processes can use it at the same time.
        folder: PathBuf,
        /// The compiler for components that are not cached.
        compiler: Box<Compiler>,
    },
}

/// Resource limits for one session. Exceeding a limit produces the matching
/// [`crate::fault::FaultKind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fuel for every session, about what a Rust guest uses for 10 MB of input.
    pub fuel_base: u64,
    /// Additional fuel per input byte: 100 times what Rust needs, 7 times what JavaScript needs.
    pub fuel_per_byte: u64,
    /// CPU time for every session.
    pub cpu_base: Duration,
    /// Input bytes per additional second of CPU time: half of what an interpreter reads in a
    /// second.
    pub bytes_per_cpu_second: u64,
    /// Wall time for a session that uses a language model, including waiting.
    pub wall_max: Duration,
    /// All linear memories together, in bytes.
    pub memory_bytes_max: usize,
    /// Elements of all tables together. Python and JavaScript need 8,000.
    pub table_elements_max: usize,
    /// The guest's stack, in bytes.
    pub stack_bytes_max: usize,
    /// The largest session that is processed, in bytes.
    pub session_bytes_max: u64,
    /// Rows recorded for one session.
    pub rows_max: u64,
    /// Bytes recorded for one session.
    pub row_bytes_max: u64,
    /// Bytes in one row.
    pub one_row_bytes_max: u64,
    /// Rows that one lookup can return.
    pub lookup_rows_max: usize,
    /// Bytes that one lookup can return. The guest needs the same amount of memory for them.
    pub lookup_bytes_max: u64,
    /// Bytes that one host call can copy out of the guest.
    pub call_bytes_max: usize,
    /// Bytes of the state that a processor can store with a checkpoint of a session. 0: no
    /// checkpoints.
    pub checkpoint_bytes_max: usize,
    /// The smallest session for which checkpoints are stored, in bytes. A smaller one is processed
    /// faster than continued.
    pub checkpoint_session_bytes_min: u64,
    /// Bytes of log stored for one session. The rest is cut, with a note.
    pub log_bytes_max: usize,
    /// Host calls of one session, including WASI calls.
    pub host_calls_max: u64,
    /// Bytes in one transcript line. Longer lines are skipped and counted.
    pub line_bytes_max: usize,
    /// Bytes in a component file.
    pub component_bytes_max: u64,
    /// Memory for compiling a component in a child process, in bytes.
    pub compile_memory_bytes_max: u64,
    /// CPU time for compiling a component in a child process.
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
            checkpoint_bytes_max: 8 << 20,
            checkpoint_session_bytes_min: 1 << 20,
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
    /// Fuel for a session of `bytes` bytes.
    pub fn fuel(&self, bytes: u64) -> u64 {
        self.fuel_base
            .saturating_add(self.fuel_per_byte.saturating_mul(bytes))
    }

    /// CPU time for a session of `bytes` bytes.
    pub fn cpu(&self, bytes: u64) -> Duration {
        self.cpu_base + Duration::from_secs(bytes / self.bytes_per_cpu_second.max(1))
    }
}
