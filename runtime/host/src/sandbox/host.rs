//! What a guest finds on the other side of its calls: one value for each session, and the faults
//! that it runs into.

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
use crate::sandbox::log::{Level, LogLine, SessionLog};
use crate::sandbox::{Engine, wasi};
use crate::shared::SharedRows;

/// Resources of WASI that a guest may hold at once; each costs the host some memory.
const RESOURCES_MAX: usize = 1_000;
/// Fuel between two looks at the clock: from a millisecond to a tenth of a second.
const FUEL_SLICE: u64 = 10_000_000;
/// Calls of the host between two looks at the clock: a dear one costs no fuel to speak of, and
/// takes milliseconds.
const CALLS_SLICE: u64 = 64;

/// Fuel for a call of the host, whatever it does: about what it takes in instructions of a guest.
const FUEL_PER_CALL: u64 = 100;
/// Fuel for a byte that goes from the guest to the host or back, in a message or a transcript.
pub(super) const FUEL_PER_BYTE: u64 = 1;
/// What host calls cost is taken from the fuel when it has come to so much: to take it is not free.
const FUEL_OWED_MAX: u64 = 100_000;

/// What a session may use.
pub(crate) struct SessionGrant {
    pub(crate) snapshot: Snapshot,
    pub(crate) tables: Arc<[TableSpec]>,
    pub(crate) rows: Vec<TableRows>,
    /// What is committed of the shared tables; `None`: nothing.
    pub(crate) shared: Option<Arc<dyn SharedRows>>,
    /// The way to a language model.
    pub(crate) model: Option<SessionModel>,
}

/// The host's side of one instance.
pub(crate) struct HostState {
    /// Nothing while the processor describes itself.
    pub(crate) grant: Option<SessionGrant>,
    pub(crate) log: SessionLog,
    pub(super) limits: Arc<Limits>,
    wasi: WasiCtx,
    resources: ResourceTable,
    memory: MemoryLimiter,
    pub(super) rows_recorded: u64,
    pub(super) bytes_recorded: u64,
    host_calls: u64,
    /// Fuel that host calls cost and that was not taken yet.
    fuel_owed: u64,
    pub(crate) deadline: Deadline,
    /// The first fault that the host itself found.
    fault: Option<Fault>,
}

impl HostState {
    /// A store with all limits set, before anything of the guest has run.
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

    /// Notes what a host call costs beside the call itself. The same work costs the same on any
    /// machine, so that no session ends by its deadline on a slow one and not on a quick one.
    pub(super) fn owe(&mut self, fuel: u64) {
        self.fuel_owed = self.fuel_owed.saturating_add(fuel);
    }

    /// The highest that all memories together have reached.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory.bytes as u64
    }

    /// Notes a fault, and gives the error that stops the guest.
    pub(crate) fn fail(&mut self, kind: FaultKind, detail: &str) -> wasmtime::Error {
        let fault = self.fault.get_or_insert_with(|| Fault::new(kind, detail));
        wasmtime::format_err!("{fault}")
    }

    pub(crate) fn into_grant_and_log(self) -> (Option<SessionGrant>, Vec<LogLine>) {
        // The streams hold the log too.
        drop((self.wasi, self.resources));
        (self.grant, self.log.into_lines())
    }

    pub(super) fn granted(&mut self, call: &str) -> wasmtime::Result<&mut SessionGrant> {
        if self.grant.is_none() {
            return Err(self.fail(
                FaultKind::Component,
                &format!("`describe` may call no import, and called `{call}`"),
            ));
        }
        self.grant
            .as_mut()
            .ok_or_else(|| wasmtime::format_err!("there is no session"))
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
    // A refused `memory.grow` looks like a panic, or like any trap, to the guest.
    if let Some(denied) = &state.memory.denied {
        return Fault::new(FaultKind::MemoryLimit, denied);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            return Fault::new(
                FaultKind::OutOfFuel,
                "the fuel for a session of this size is used up",
            );
        }
        Some(Trap::StackOverflow) => {
            let limit = state.limits.stack_bytes_max;
            return Fault::new(
                FaultKind::StackOverflow,
                format!("the stack of {limit} bytes is used up\n{error:#}"),
            );
        }
        _ => {}
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Fault::new(
            FaultKind::Trap,
            format!("the guest ended itself with exit status {}", exit.0),
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
            format!("one call handed over more than {limit} bytes"),
        );
    }
    let code = error
        .downcast_ref::<Trap>()
        .map(|trap| format!("{trap}; "))
        .unwrap_or_default();
    Fault::new(FaultKind::Trap, format!("{code}{text}"))
}

/// Where in the guest an error happened: its functions by name, the innermost first. Empty where no
/// call was under way, or where the guest was dropped as it stood.
pub(crate) fn backtrace_of(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    // Only its text has the names as people write them: `  0: 0x1a2b - module!function`.
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

/// Takes the fuel that host calls cost.
pub(super) fn pay(store: &mut StoreContextMut<'_, HostState>) -> wasmtime::Result<()> {
    let owed = std::mem::take(&mut store.data_mut().fuel_owed);
    let left = store.get_fuel()?.checked_sub(owed);
    store.set_fuel(left.unwrap_or(0))?;
    if left.is_none() {
        return Err(store.data_mut().fail(
            FaultKind::OutOfFuel,
            "the fuel for a session of this size is used up, the last of it by calls of the host",
        ));
    }
    Ok(())
}

/// The fuel that is left when a guest has ended, with all its host calls paid; an error where they
/// cost more than there was.
pub(crate) fn fuel_left(store: &mut Store<HostState>) -> wasmtime::Result<u64> {
    pay(&mut store.as_context_mut())?;
    store.get_fuel()
}

/// How much of its thread's CPU time a store may use.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    /// The thread's CPU clock when the store was made.
    started: Duration,
    cpu_max: Duration,
}

impl Deadline {
    /// CPU time since the store was made.
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
            format!("the CPU time of {limit} s is used up"),
        ))
    }
}

/// Runs a guest to its end on this thread, looking at the thread's CPU clock after each slice of
/// fuel. Where its time is over the guest is dropped where it stands.
///
/// Fuel alone would do neither for deadlines nor for what epochs are usually taken for: the same
/// fuel takes a hundred times longer where every access misses the caches. But a slice of it ends
/// soon on any terms, and a check at each slice saves the guest a second check on every loop.
pub(crate) fn run_to_end<T>(
    deadline: Deadline,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> Result<wasmtime::Result<T>, Fault> {
    let mut call = pin!(call);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        // Nothing in a guest waits: whoever is not ready has used up a slice.
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

/// Sums all memories and tables of a store, and remembers what it refused.
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
                "the guest wanted {bytes} bytes of memory; the limit is {limit}"
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
                "the guest wanted {elements} table elements; the limit is {limit}"
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
                    passed_over: chunk.passed_over,
                })
            }
            Err(error) => Err(self.fail(FaultKind::Input, &read_detail(&error))),
        }
    }
}

/// A read error as a detail, with its cause.
pub fn read_detail(error: &ReadError) -> String {
    match error {
        ReadError::Shrunk => error.to_string(),
        ReadError::Io(cause) => format!("{error}: {cause}"),
    }
}

impl log::Host for HostState {
    fn log(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.granted("log.log")?;
        self.owe((message.len() as u64).saturating_mul(FUEL_PER_BYTE));
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.log.write(level, &message);
        Ok(())
    }
}
