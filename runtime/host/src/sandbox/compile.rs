//! Turning components into machine code: in a child process with limits, since nothing inside the
//! compiler bounds its memory or time.
//!
//! Compiled code is native code: only what we compiled ourselves is loaded, by its digest.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use rustix::process::{Resource, Rlimit, setrlimit};
#[cfg(target_os = "linux")]
use rustix::process::{Signal, set_parent_process_death_signal};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::fault::{Fault, FaultKind, chain, printable};
use crate::limits::{Compiler, Limits};
use crate::sandbox::{Engine, code, confine, fingerprint_of, tuned};

/// Of a child's standard error this much is kept.
const ERROR_BYTES_MAX: u64 = 4096;
/// A child that has closed its standard error is looked at this often until it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Descriptors of a child: the standard three, its two files, and some room.
const DESCRIPTORS_MAX: u64 = 16;

/// Machine code for one engine, with its digest.
#[derive(Debug)]
pub struct Compiled {
    /// What [`load`] takes.
    pub code: Vec<u8>,
    /// The SHA-256 of `code`, in hexadecimal.
    pub sha256: String,
}

impl Compiled {
    /// Code that was kept, with its digest worked out anew.
    pub fn from_kept(code: Vec<u8>) -> Self {
        let sha256 = sha256_hex(&code);
        Self { code, sha256 }
    }
}

/// Why a component could not be compiled or loaded.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The file is too large to be tried.
    #[error("the component has {bytes} bytes; {bytes_max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The compiler refuses it, or ran into a limit.
    #[error("the component does not compile: {0}")]
    Refused(String),
    /// The compiler could not be started, or its files could not be read or written.
    #[error("the compiler can't be run on `{path}`; check permissions and free space")]
    Io {
        /// The file or program at hand.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl From<CompileError> for Fault {
    fn from(error: CompileError) -> Self {
        // A failure of our own can pass with the next attempt.
        let kind = match error {
            CompileError::TooLarge { .. } | CompileError::Refused(_) => FaultKind::Component,
            CompileError::Io { .. } => FaultKind::Host,
        };
        Self::new(kind, chain(&error))
    }
}

/// Compiles a component, for an [`Engine`] of the same limits. `scratch` is a folder of ours for
/// what goes between us and the child.
///
/// # Errors
/// When the component is too large, is refused or crosses a limit, or the child can't be run.
pub fn compile(
    compiler: &Compiler,
    limits: &Limits,
    component: &[u8],
    scratch: &Path,
) -> Result<Compiled, CompileError> {
    let bytes = component.len() as u64;
    if bytes > limits.component_bytes_max {
        return Err(CompileError::TooLarge {
            bytes,
            bytes_max: limits.component_bytes_max,
        });
    }
    let code = match compiler {
        Compiler::InProcess => precompile(limits, component).map_err(CompileError::Refused)?,
        Compiler::Shared { folder, compiler } => {
            return code::shared(folder, compiler, limits, component, scratch);
        }
        Compiler::Child { program, arguments } => {
            let at = |path: &Path| {
                let path = path.to_owned();
                move |source| CompileError::Io { path, source }
            };
            let folder = tempfile::Builder::new()
                .prefix(".tmp")
                .tempdir_in(scratch)
                .map_err(at(scratch))?;
            let (input, output) = (
                folder.path().join("component.wasm"),
                folder.path().join("component.code"),
            );
            fs::write(&input, component).map_err(at(&input))?;
            run_child(program, arguments, limits, &input, &output).map_err(
                |error| match error {
                    ChildError::Start(source) => CompileError::Io {
                        path: program.clone(),
                        source,
                    },
                    ChildError::Failed(reason) => [input.clone(), output.clone()]
                        .into_iter()
                        .find_map(|path| of_a_file(path, &reason))
                        .unwrap_or(CompileError::Refused(reason)),
                },
            )?;
            fs::read(&output).map_err(at(&output))?
        }
    };
    Ok(Compiled::from_kept(code))
}

/// What the child says of its own files is nothing that it says of the component.
fn of_a_file(path: PathBuf, reason: &str) -> Option<CompileError> {
    let told = reason.strip_prefix(&format!("`{}` ", path.display()))?;
    let source = std::io::Error::other(told.to_owned());
    Some(CompileError::Io { path, source })
}

/// The child's side of [`compile`]: takes its limits upon itself, and compiles.
///
/// `arguments` are those that [`compile`] appends: input, output, memory and CPU seconds.
///
/// # Errors
/// A sentence for the parent, which passes it on.
pub fn compile_as_child(arguments: &[String]) -> Result<(), String> {
    let [input, output, memory, cpu_seconds] = arguments else {
        return Err("this command is for the pipeline's own use".to_owned());
    };
    let number = |text: &String| {
        text.parse::<u64>()
            .map_err(|error| format!("`{text}` is no number: {error}"))
    };
    let limits = Limits {
        compile_memory_bytes_max: number(memory)?,
        compile_cpu_max: Duration::from_secs(number(cpu_seconds)?),
        ..Limits::default()
    };
    // Nobody is left to take what it would go on to make.
    #[cfg(target_os = "linux")]
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("the compiler can't follow its parent: {error}"))?;
    let component = fs::read(input).map_err(|error| format!("`{input}` can't be read: {error}"))?;
    let mut compiled = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(output)
        .map_err(|error| format!("`{output}` can't be written: {error}"))?;
    for (resource, most) in [
        (Resource::As, limits.compile_memory_bytes_max),
        (Resource::Cpu, limits.compile_cpu_max.as_secs()),
        (Resource::Core, 0),
        // What it writes came out of that memory.
        (Resource::Fsize, limits.compile_memory_bytes_max),
        (Resource::Nofile, DESCRIPTORS_MAX),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)
            .map_err(|error| format!("the compiler's limits can't be set: {error}"))?;
    }
    // From here on it computes: what the compiler might be talked into finds no file, no socket and
    // no other program.
    confine::to_computing()?;
    let code = precompile(&limits, &component)?;
    compiled
        .write_all(&code)
        .map_err(|error| format!("`{output}` can't be written: {error}"))
}

/// Makes a component of code that [`compile`] gave for an engine of the same limits, on this machine.
///
/// # Errors
/// When the code is for another engine.
pub fn load(engine: &Engine, compiled: &Compiled) -> Result<Component, CompileError> {
    #[expect(
        unsafe_code,
        reason = "wasmtime runs this as native code; callers hand over only what `compile` gave, checked by digest"
    )]
    // SAFETY: `Compiled` holds what `compile` produced; what was kept on disk between is compared
    // with the SHA-256 in the database by the registry, which is the only one to call this with it.
    // Of a shared folder only tests know: it holds what `compile` gave to another one of them.
    let component = unsafe { Component::deserialize(engine.wasmtime(), &compiled.code) };
    component.map_err(|error| CompileError::Refused(printable(&format!("{error:#}"))))
}

/// What a component imports and exports, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The imports, fit for a terminal.
    pub imports: Vec<String>,
    /// The exports, fit for a terminal.
    pub exports: Vec<String>,
}

/// Reads the names in what [`compile`] gave; nothing of the component runs.
///
/// # Errors
/// A fault of kind `component` when the code is for another engine.
pub fn names(engine: &Engine, compiled: &Compiled) -> Result<Names, Fault> {
    let component = load(engine, compiled)
        .map_err(|error| Fault::new(FaultKind::Component, error.to_string()))?;
    let component_type = component.component_type();
    let imports = component_type.imports(engine.wasmtime());
    let exports = component_type.exports(engine.wasmtime());
    Ok(Names {
        imports: imports.map(|(name, _)| printable(name)).collect(),
        exports: exports.map(|(name, _)| printable(name)).collect(),
    })
}

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Names everything but the component that the code depends on.
pub(super) fn compiler_fingerprint(limits: &Limits) -> Result<String, String> {
    compiler_engine(limits).map(|engine| fingerprint_of(&engine))
}

fn compiler_engine(limits: &Limits) -> Result<wasmtime::Engine, String> {
    wasmtime::Engine::new(&tuned(limits)).map_err(|error| printable(&format!("{error:#}")))
}

fn precompile(limits: &Limits, component: &[u8]) -> Result<Vec<u8>, String> {
    compiler_engine(limits)?
        .precompile_component(component)
        .map_err(|error| printable(&format!("{error:#}")))
}

/// The compiler runs at most this long, and this many times the CPU time that it may use: on a busy
/// machine it waits for its turn.
const WALL_BASE: Duration = Duration::from_secs(10);
const WALL_PER_CPU: u32 = 10;

/// The longest that a child may take, whatever it does.
fn wall_max(limits: &Limits) -> Duration {
    let share = limits.compile_cpu_max.saturating_mul(WALL_PER_CPU);
    share.saturating_add(WALL_BASE)
}

/// How a child ended.
struct Ended {
    /// `None` where it was stopped at the end of its time.
    status: Option<ExitStatus>,
    /// What it wrote to standard error.
    text: Vec<u8>,
}

/// Waits for a child, and ends it after so much time: also one that sleeps or was stopped, which no
/// CPU time ends.
fn supervise(mut child: Child, wall_max: Duration) -> std::io::Result<Ended> {
    let stderr = child.stderr.take();
    let child = Mutex::new(child);
    let locked = || child.lock().unwrap_or_else(PoisonError::into_inner);
    let is_over = AtomicBool::new(false);
    let (done, waits) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let watchdog = || {
            if waits.recv_timeout(wall_max) == Err(RecvTimeoutError::Timeout) {
                is_over.store(true, Ordering::SeqCst);
                // One that has ended meanwhile is none to kill.
                let _ = locked().kill();
            }
        };
        std::thread::Builder::new()
            .name("compile-watchdog".to_owned())
            .spawn_scoped(scope, watchdog)
            .inspect_err(|_| {
                let _ = locked().kill();
            })?;
        let mut text = Vec::new();
        if let Some(stderr) = stderr {
            // A child that can't tell why it failed has failed all the same.
            let _ = stderr.take(ERROR_BYTES_MAX).read_to_end(&mut text);
        }
        let status = loop {
            // Never waited for with the lock in hand, which the watchdog needs.
            let ended = locked().try_wait();
            match ended.transpose() {
                Some(status) => break status,
                None => std::thread::sleep(LOOK_EVERY),
            }
        };
        drop(done);
        let is_over = is_over.load(Ordering::SeqCst);
        let status = status.map(|status| Some(status).filter(|_| !is_over));
        status.map(|status| Ended { status, text })
    })
}

enum ChildError {
    Start(std::io::Error),
    Failed(String),
}

fn run_child(
    program: &Path,
    arguments: &[String],
    limits: &Limits,
    input: &Path,
    output: &Path,
) -> Result<(), ChildError> {
    let child = Command::new(program)
        .args(arguments)
        .args([input, output])
        .arg(limits.compile_memory_bytes_max.to_string())
        .arg(limits.compile_cpu_max.as_secs().to_string())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(ChildError::Start)?;
    let wall_max = wall_max(limits);
    let Ended { status, text } = supervise(child, wall_max).map_err(ChildError::Start)?;
    let Some(status) = status else {
        let seconds = wall_max.as_secs();
        return Err(ChildError::Failed(format!(
            "the compiler did not end within {seconds} s and was stopped"
        )));
    };
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&text);
    let said = printable(said.trim().trim_start_matches("error: "));
    let limits = format!(
        "it may use {} MiB of memory and {} s of CPU time",
        limits.compile_memory_bytes_max >> 20,
        limits.compile_cpu_max.as_secs()
    );
    Err(ChildError::Failed(match status.code() {
        Some(_) if said.contains("out of memory") => format!("{said}; {limits}"),
        Some(_) if !said.is_empty() => said,
        _ => format!("the compiler ended with {status}; {limits}"),
    }))
}
