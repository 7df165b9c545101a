//! The host side of a guest's calls: one value per session, and the faults that stop a guest.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::component::ResourceTable;
use wasmtime::{
    AsContextMut as _, CallHook, ResourceLimiter, Store, StoreContextMut, Trap, WasmBacktrace,
};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};

use crate::content::{ReadError, Snapshot};
use crate::fault::{Fault, FaultKind, printable};
use crate::limits::Limits;
use crate::manifest::TableSpec;
use crate::rows::TableRows;
use crate::sandbox::contract::session_pipeline::processor::{log, transcript, types};
use crate::sandbox::llm::SessionModel;
use crate::sandbox::log::{LogLevel, LogLine, SessionLog};
use crate::sandbox::resumption::SettledRows;
use crate::sandbox::{Engine, wasi};
use crate::shared::SharedRows;

/// WASI resources that a guest can have at the same time. Each uses host memory.
const RESOURCES_MAX: usize = 1_000;
/// Fuel between two checks of the clock, which takes between 1 and 100 ms.
const FUEL_SLICE: u64 = 10_000_000;
/// Host calls between two checks of the clock. An expensive call takes milliseconds but little
/// fuel.
const CALLS_SLICE: u64 = 64;

/// Fuel for each host call, about the cost of a call in guest instructions.
const FUEL_PER_CALL: u64 = 100;
/// Fuel for each byte that is copied between the guest and the host, in a message or a transcript.
pub(super) const FUEL_PER_BYTE: u64 = 1;
/// Host calls are charged once their cost reaches this amount, because charging takes time, too.
const FUEL_OWED_MAX: u64 = 100_000;

/// What one session can access.
pub(crate) struct SessionGrant {
    pub(crate) snapshot: Snapshot,
    pub(crate) tables: Arc<[TableSpec]>,
    pub(crate) rows: Vec<TableRows>,
    /// The largest state of a checkpoint that is stored, in bytes. 0: none.
    pub(crate) checkpoint_bytes_max: usize,
    /// The checkpoint of this session, if the guest made one.
    pub(crate) settled: Option<SettledRows>,
    /// The committed rows of the shared tables. `None`: no rows.
    pub(crate) shared: Option<Arc<dyn SharedRows>>,
    /// Access to a language model.
    pub(crate) model: Option<SessionModel>,
}

/// The host's side of one instance.
pub(crate) struct HostState {
    /// `None` during `describe`.
    pub(crate) grant: Option<SessionGrant>,
    pub(crate) log: SessionLog,
    pub(super) limits: Arc<Limits>,
    wasi: WasiCtx,
    resources: ResourceTable,
    memory: MemoryLimiter,
    pub(super) rows_recorded: u64,
    pub(super) bytes_recorded: u64,
    host_calls: u64,
    /// The cost of host calls that is not charged yet.
    fuel_owed: u64,
    pub(crate) deadline: Deadline,
    /// The first fault that the host found.
    fault: Option<Fault>,
}

impl HostState {
    /// Creates a store with all limits set. No guest code has run yet.
    pub(crate) fn store(
        engine: &Engine,
        limits: &Arc<Limits>,
        seed: [u8; 32],
        bytes: u64,
        grant: Option<SessionGrant>,
    ) -> wasmtime::Result<Store<Self>> {
        let log = SessionLog::new(limits.log_bytes_max);
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(RESOURCES_MAX);
        let state = Self {
            grant,
            wasi: wasi::context(seed, &log),
            log,
            limits: Arc::clone(limits),
            resources,
            memory: MemoryLimiter {
                bytes_max: limits.memory_bytes_max,
                elements_max: limits.table_elements_max,
                bytes: 0,
                elements: 0,
                denied: None,
            },
            rows_recorded: 0,
            bytes_recorded: 0,
            host_calls: 0,
            fuel_owed: 0,
            deadline: Deadline {
                started: thread_cpu(),
                cpu_max: limits.cpu(bytes),
            },
            fault: None,
        };
        let mut store = Store::new(engine.wasmtime(), state);
        store.set_fuel(limits.fuel(bytes))?;
        store.set_hostcall_fuel(limits.call_bytes_max);
        store.limiter(|state| &mut state.memory);
        store.call_hook(|store, hook| {
            if matches!(hook, CallHook::CallingHost) {
                count_call(store)
            } else {
                Ok(())
            }
        });
        store.fuel_async_yield_interval(Some(FUEL_SLICE))?;
        Ok(store)
    }

    /// Adds to the cost of host calls. The same work costs the same fuel on every machine, so that
    /// a session does not exceed its deadline only on slow machines.
    pub(super) fn owe(&mut self, fuel: u64) {
        self.fuel_owed = self.fuel_owed.saturating_add(fuel);
    }

    /// Counts rows that were recorded before this instance was created.
    pub(crate) fn count_recorded(&mut self, rows: u64, bytes: u64) {
        (self.rows_recorded, self.bytes_recorded) = (rows, bytes);
    }

    /// The peak size of all memories together, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory.bytes as u64
    }

    /// Records a fault and returns the error that stops the guest.
    pub(crate) fn fail(&mut self, kind: FaultKind, detail: &str) -> wasmtime::Error {
        let fault = self.fault.get_or_insert_with(|| Fault::new(kind, detail));
        wasmtime::format_err!("{fault}")
    }

    pub(crate) fn into_grant_and_log(self) -> (Option<SessionGrant>, Vec<LogLine>) {
        // The streams share the log.
        drop((self.wasi, self.resources));
        (self.grant, self.log.into_lines())
    }

    pub(super) fn granted(&mut self, call: &str) -> wasmtime::Result<&mut SessionGrant> {
        if self.grant.is_none() {
            return Err(self.fail(
                FaultKind::Component,
                &format!(
                    "`describe` called the import `{call}`, but only `process` can call imports"
                ),
            ));
        }
        self.grant
            .as_mut()
            .ok_or_else(|| wasmtime::format_err!("internal error: no session"))
    }
}

/// The fault that stopped a guest.
pub(crate) fn fault_of(store: &Store<HostState>, error: &wasmtime::Error) -> Fault {
    let state = store.data();
    if let Some(fault) = &state.fault {
        return fault.clone();
    }
    let stderr = state.log.stderr();
    let panic = stderr
        .find("panicked at")
        .map(|start| stderr.get(start..).unwrap_or_default().trim());
    // The guest sees a denied `memory.grow` as a panic or as any other trap.
    if let Some(denied) = &state.memory.denied {
        return Fault::new(FaultKind::MemoryLimit, denied);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            return Fault::new(
                FaultKind::OutOfFuel,
                "the session used all the fuel for its size",
            );
        }
        Some(Trap::StackOverflow) => {
            let limit = state.limits.stack_bytes_max;
            return Fault::new(
                FaultKind::StackOverflow,
                format!("the guest used all of its {limit} bytes of stack\n{error:#}"),
            );
        }
        _ => {}
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Fault::new(
            FaultKind::Trap,
            format!("the guest exited with status {}", exit.0),
        );
    }
    if let Some(panic) = panic {
        return Fault::new(FaultKind::Panic, panic);
    }
    let text = format!("{error:#}");
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        let limit = state.limits.call_bytes_max;
        return Fault::new(
            FaultKind::OutputLimit,
            format!("one call passed more than {limit} bytes"),
        );
    }
    let code = error
        .downcast_ref::<Trap>()
        .map(|trap| format!("{trap}; "))
        .unwrap_or_default();
    Fault::new(FaultKind::Trap, format!("{code}{text}"))
}

/// The guest functions on the call stack of an error, innermost first. Empty if no call was active
/// or the guest was dropped.
pub(crate) fn backtrace_of(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    // Only the formatted backtrace contains demangled names: `  0: 0x1a2b - module!function`.
    let text = backtrace.to_string();
    let function = |line: &str| {
        let (number, rest) = line.trim_start().split_once(": ")?;
        number.parse::<u32>().ok()?;
        let name = rest.split_once(" - ").map_or(rest, |(_, name)| name);
        Some(printable(name))
    };
    text.lines().filter_map(function).collect()
}

fn count_call(mut store: StoreContextMut<'_, HostState>) -> wasmtime::Result<()> {
    let state = store.data_mut();
    state.host_calls += 1;
    let bytes = state.log.take_stream_bytes();
    state.owe(FUEL_PER_CALL.saturating_add(bytes.saturating_mul(FUEL_PER_BYTE)));
    if state.host_calls > state.limits.host_calls_max {
        let limit = state.limits.host_calls_max;
        return Err(state.fail(
            FaultKind::HostCallLimit,
            &format!("the guest called the host more than {limit} times"),
        ));
    }
    if state.host_calls.is_multiple_of(CALLS_SLICE)
        && let Err(fault) = state.deadline.check()
    {
        return Err(state.fail(fault.kind, &fault.detail));
    }
    if state.fuel_owed >= FUEL_OWED_MAX {
        return pay(&mut store);
    }
    Ok(())
}

/// Charges the pending cost of host calls.
pub(super) fn pay(store: &mut StoreContextMut<'_, HostState>) -> wasmtime::Result<()> {
    let owed = std::mem::take(&mut store.data_mut().fuel_owed);
    let left = store.get_fuel()?.checked_sub(owed);
    store.set_fuel(left.unwrap_or(0))?;
    if left.is_none() {
        return Err(store.data_mut().fail(
            FaultKind::OutOfFuel,
            "the session used all the fuel for its size; host calls used the last of it",
        ));
    }
    Ok(())
}

/// The remaining fuel after a guest returned, once all host calls are charged. An error if they
/// cost more than what was left.
pub(crate) fn fuel_left(store: &mut Store<HostState>) -> wasmtime::Result<u64> {
    pay(&mut store.as_context_mut())?;
    store.get_fuel()
}

/// The CPU time limit of a store's thread.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    /// The thread's CPU clock when the store was created.
    started: Duration,
    cpu_max: Duration,
}

impl Deadline {
    /// CPU time since the store was created.
    pub(crate) fn used(self) -> Duration {
        thread_cpu().saturating_sub(self.started)
    }

    pub(super) fn check(self) -> Result<(), Fault> {
        if self.used() <= self.cpu_max {
            return Ok(());
        }
        let limit = self.cpu_max.as_secs_f64();
        Err(Fault::new(
            FaultKind::Deadline,
            format!("the session used all of its {limit} s of CPU time"),
        ))
    }
}

/// Runs a guest on this thread until it returns. Checks the thread's CPU clock after each slice of
/// fuel. If the time is up, drops the guest.
///
/// Fuel alone cannot replace the deadline: the same fuel takes 100 times longer if every access
/// misses the caches. Epochs are not needed: a slice always ends soon, and checking after each
/// slice avoids a second check in every guest loop.
pub(crate) fn run_to_end<T>(
    deadline: Deadline,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> Result<wasmtime::Result<T>, Fault> {
    let mut call = pin!(call);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        // Guests never wait, so a pending future has used up its slice.
        if let Poll::Ready(result) = call.as_mut().poll(&mut context) {
            return Ok(result);
        }
        deadline.check()?;
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.resources,
        }
    }
}

/// Sums all memories and tables of a store, and records the first denied growth.
struct MemoryLimiter {
    bytes_max: usize,
    elements_max: usize,
    bytes: usize,
    elements: usize,
    denied: Option<String>,
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        if bytes > self.bytes_max {
            let limit = self.bytes_max;
            self.denied = Some(format!(
                "the guest requested {bytes} bytes of memory; the limit is {limit}"
            ));
            return Ok(false);
        }
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements = self
            .elements
            .saturating_add(desired.saturating_sub(current));
        if elements > self.elements_max {
            let limit = self.elements_max;
            self.denied = Some(format!(
                "the guest requested {elements} table elements; the limit is {limit}"
            ));
            return Ok(false);
        }
        self.elements = elements;
        Ok(true)
    }
}

impl types::Host for HostState {}

impl transcript::Host for HostState {
    fn read_lines(&mut self, max_bytes: u32) -> wasmtime::Result<transcript::Chunk> {
        let grant = self.granted("transcript.read-lines")?;
        match grant
            .snapshot
            .next_chunk(usize::try_from(max_bytes).unwrap_or(usize::MAX))
        {
            Ok(chunk) => {
                self.owe((chunk.bytes.len() as u64).saturating_mul(FUEL_PER_BYTE));
                Ok(transcript::Chunk {
                    bytes: chunk.bytes,
                    first_line: chunk.first_line,
                    passed_over: chunk.skipped_lines,
                })
            }
            Err(error) => Err(self.fail(FaultKind::Input, &read_detail(&error))),
        }
    }
}

/// Formats a read error with its cause, for a fault's detail.
pub fn read_detail(error: &ReadError) -> String {
    match error {
        ReadError::Truncated | ReadError::Changed => error.to_string(),
        ReadError::Io(cause) => format!("{error}: {cause}"),
    }
}

impl log::Host for HostState {
    fn log(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.granted("log.log")?;
        self.owe((message.len() as u64).saturating_mul(FUEL_PER_BYTE));
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        self.log.write(level, &message);
        Ok(())
    }
}
