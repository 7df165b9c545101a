//! What one session can cost, and who compiles components.
//!
//! The configuration fills these in. They live here because the sandbox applies them and knows no
//! configuration.

use std::path::PathBuf;
use std::time::Duration;

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
