//! The sandbox: the Wasmtime engine, the limits, and everything that a guest can access.
//!
//! A guest can read the lines of its own session, write its own tables and write a bounded log. It
//! has no other access. [`crate::processor`] loads and calls components. The module `wasi` stubs
//! WASI, `records` accepts rows, `compile` compiles components, and `worker` restricts the system
//! calls of threads that run guests.

mod baseline;
mod code;
mod compile;
mod confine;
pub(crate) mod contract;
mod engines;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod filter;
mod host;
mod llm;
mod log;
mod records;
mod resumption;
mod wasi;
mod worker;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{
    Config as EngineConfig, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

use crate::limits::Limits;

pub use code::{TEMPORARY_PREFIX, file_name, install, write_temporary};
pub use compile::sha256_hex;
pub use compile::{
    CompileError, Compiled, ImportsAndExports, compile, compile_as_child, load, names,
};
pub use engines::Engines;
pub use host::read_detail;
pub(crate) use host::{HostState, SessionGrant, backtrace_of, fault_of, fuel_left, run_to_end};
pub use llm::{ModelGrant, WorkerSlot};
pub(crate) use llm::{SessionModel, blamed};
pub use log::{LogLevel, LogLine};
pub(crate) use wasi::is_allowed_import;
pub use worker::confine_if_possible;
pub use worker::{Confinement, FileAccess, confine_thread};

/// Memory that stays resident in a pool slot, so that the next session in the slot does not fault
/// it in again. Twice what a Rust guest needs.
const KEEP_RESIDENT_BYTES: usize = 4 << 20;
/// Stack memory that stays resident in a pool slot: what a Rust guest uses.
const STACK_KEEP_RESIDENT_BYTES: usize = 64 << 10;
/// Core instances of one component. Python has 38.
const CORE_INSTANCES_MAX: u32 = 64;
/// Memories and tables of one component.
const MEMORIES_MAX: u32 = 8;
const TABLES_MAX: u32 = 32;
/// Metadata of one instance, in bytes.
const INSTANCE_BYTES_MAX: usize = 4 << 20;

/// The Wasmtime engine that runs guests, shared by all processors.
pub struct Engine(wasmtime::Engine);

impl Engine {
    /// Creates an engine for `workers` concurrent sessions and one concurrent `describe`.
    ///
    /// # Errors
    /// The address space for the pool cannot be reserved.
    pub fn new(limits: &Limits, workers: usize) -> wasmtime::Result<Self> {
        let mut config = tuned(limits);
        let slots = u32::try_from(workers).unwrap_or(u32::MAX).saturating_add(1);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(slots)
            .total_core_instances(slots.saturating_mul(CORE_INSTANCES_MAX))
            .total_memories(slots.saturating_mul(MEMORIES_MAX))
            .total_stacks(slots)
            .async_stack_keep_resident(STACK_KEEP_RESIDENT_BYTES)
            .total_tables(slots.saturating_mul(TABLES_MAX))
            .max_core_instances_per_component(CORE_INSTANCES_MAX)
            .max_memories_per_component(MEMORIES_MAX)
            .max_memories_per_module(MEMORIES_MAX)
            .max_tables_per_component(TABLES_MAX)
            .max_tables_per_module(TABLES_MAX)
            .max_component_instance_size(INSTANCE_BYTES_MAX)
            .max_core_instance_size(INSTANCE_BYTES_MAX)
            .max_memory_size(limits.memory_bytes_max)
            .table_elements(limits.table_elements_max)
            .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
            .table_keep_resident(64 << 10)
            // If the kernel supports PAGEMAP_SCAN, only written pages are cleared.
            .pagemap_scan(Enabled::Auto);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        wasmtime::Engine::new(&config).map(Self)
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0
    }

    /// Identifies everything that compiled code depends on. An engine does not load code with
    /// another fingerprint.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(&self.0)
    }
}

fn fingerprint_of(engine: &wasmtime::Engine) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Links everything that a guest can call: stubbed WASI and the contract.
pub(crate) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasi::link(linker)?;
    contract::AnyProcessor::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    records::link(linker)
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// The settings that affect compiled code. The compiler and the runtime must use the same ones.
fn tuned(limits: &Limits) -> EngineConfig {
    let mut config = EngineConfig::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .consume_fuel(true)
        // The same bytes must produce the same rows on any machine.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_simd(true)
        .concurrency_support(false)
        .max_wasm_stack(limits.stack_bytes_max)
        .async_stack_size(limits.stack_bytes_max + (1 << 20))
        // Reserves the whole address space of a 32-bit memory. Accesses then need no bounds checks,
        // which saves a third of the run time. Reserved memory is not used memory. The limiter
        // bounds the latter.
        .memory_reservation(4 << 30);
    baseline::apply(&mut config);
    config
}
