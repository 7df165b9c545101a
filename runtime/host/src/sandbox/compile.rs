//! Compiles components to machine code in a child process with limits, because nothing inside the
//! compiler limits its memory or time.
//!
//! Compiled code is native code. Only code that this program compiled is loaded, verified by its
//! digest.

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

use crate::fault::{Fault, FaultKind, error_chain, printable};
use crate::limits::{Compiler, Limits};
use crate::sandbox::{Engine, code, confine, fingerprint_of, tuned};

/// Maximum number of bytes stored from a child's standard error.
const ERROR_BYTES_MAX: u64 = 4096;
/// Poll interval for the exit of a child that closed its standard error.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// File descriptors of a child: three standard streams, two files, and a reserve.
const DESCRIPTORS_MAX: u64 = 16;

/// Machine code for one engine, with its digest.
#[derive(Debug)]
pub struct Compiled {
    /// The input of [`load`].
    pub code: Vec<u8>,
    /// The SHA-256 of `code`, in hexadecimal.
    pub sha256: String,
}

impl Compiled {
    /// Wraps stored code and computes its digest.
    pub fn from_stored(code: Vec<u8>) -> Self {
        let sha256 = sha256_hex(&code);
        Self { code, sha256 }
    }
}

/// A component that could not be compiled or loaded.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The file is larger than the limit.
    #[error("the component has {bytes} bytes; the limit is {bytes_max}")]
    TooLarge {
        /// The size of the component.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The compiler rejected the component or exceeded a limit.
    #[error("the component does not compile: {0}")]
    Rejected(String),
    /// The compiler could not be started, or its files could not be read or written.
    #[error("the compiler cannot use `{path}`; check permissions and free space")]
    Io {
        /// The affected file or program.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: std::io::Error,
    },
}

impl From<CompileError> for Fault {
    fn from(error: CompileError) -> Self {
        // A failure of the host can go away, so it is not blamed on the component.
        let kind = match error {
            CompileError::TooLarge { .. } | CompileError::Rejected(_) => FaultKind::Component,
            CompileError::Io { .. } => FaultKind::Host,
        };
        Self::new(kind, error_chain(&error))
    }
}

/// Compiles a component for an [`Engine`] with the same limits. `scratch` is a private folder for
/// the files that are exchanged with the child.
///
/// # Errors
/// The component is too large, is rejected or exceeds a limit, or the child cannot be run.
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
        Compiler::InProcess => precompile(limits, component).map_err(CompileError::Rejected)?,
        Compiler::Shared { folder, compiler } => {
            return code::shared(folder, compiler, limits, component, scratch);
        }
        Compiler::Installed { folders, compiler } => {
            return match code::installed(folders, limits, component)? {
                Some(compiled) => Ok(compiled),
                None => compile(compiler, limits, component, scratch),
            };
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
                        .find_map(|path| file_error(path, &reason))
                        .unwrap_or_else(|| CompileError::Rejected(explained(reason))),
                },
            )?;
            fs::read(&output).map_err(at(&output))?
        }
    };
    Ok(Compiled::from_stored(code))
}

/// The reason of a compiler that could not start its threads, which need memory for their stacks.
fn explained(reason: String) -> String {
    match reason.contains("ThreadPoolBuildError") {
        true => "there is not enough memory for the threads of the compiler".to_owned(),
        false => reason,
    }
}

/// Separates errors about the child's own files from errors about the component.
fn file_error(path: PathBuf, reason: &str) -> Option<CompileError> {
    let shown = path.display();
    let cause = reason
        .strip_prefix(&format!("cannot read `{shown}`: "))
        .or_else(|| reason.strip_prefix(&format!("cannot write `{shown}`: ")))?;
    let source = std::io::Error::other(cause.to_owned());
    Some(CompileError::Io { path, source })
}

/// The child's side of [`compile`]: sets its own limits, then compiles.
///
/// `arguments` are the ones that [`compile`] appends: input, output, memory in bytes and CPU
/// seconds.
///
/// # Errors
/// A message for the parent, which reports it.
pub fn compile_as_child(arguments: &[String]) -> Result<(), String> {
    let [input, output, memory, cpu_seconds] = arguments else {
        return Err("this command is internal".to_owned());
    };
    let number = |text: &String| {
        text.parse::<u64>()
            .map_err(|error| format!("invalid number `{text}`: {error}"))
    };
    let limits = Limits {
        compile_memory_bytes_max: number(memory)?,
        compile_cpu_max: Duration::from_secs(number(cpu_seconds)?),
        ..Limits::default()
    };
    // If the parent dies, no process would use the result.
    #[cfg(target_os = "linux")]
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot bind the compiler to its parent process: {error}"))?;
    let component = fs::read(input).map_err(|error| format!("cannot read `{input}`: {error}"))?;
    let mut compiled = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(output)
        .map_err(|error| format!("cannot write `{output}`: {error}"))?;
    for (resource, most) in [
        (Resource::As, limits.compile_memory_bytes_max),
        (Resource::Cpu, limits.compile_cpu_max.as_secs()),
        (Resource::Core, 0),
        // The output is written from memory, so it needs no separate limit.
        (Resource::Fsize, limits.compile_memory_bytes_max),
        (Resource::Nofile, DESCRIPTORS_MAX),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)
            .map_err(|error| format!("cannot set the limits of the compiler: {error}"))?;
    }
    // From here on, the process only computes. Even if a component exploits the compiler, it cannot
    // open files or sockets or start programs.
    confine::to_computing()?;
    let code = precompile(&limits, &component)?;
    compiled
        .write_all(&code)
        .map_err(|error| format!("cannot write `{output}`: {error}"))
}

/// Loads code that [`compile`] produced for an engine with the same limits on this machine.
///
/// # Errors
/// The code was compiled for another engine.
pub fn load(engine: &Engine, compiled: &Compiled) -> Result<Component, CompileError> {
    #[expect(
        unsafe_code,
        reason = "wasmtime runs this as native code; callers only pass code from `compile`, verified by its digest"
    )]
    // SAFETY: `Compiled` contains output of `compile`. The registry is the only caller that passes
    // stored code, and it compares that code with the SHA-256 in the database. Installed code is
    // output of `compile` in the folder of the program, next to its shared libraries. Whoever can
    // change it can change the program. Only tests use a shared folder, which contains output of
    // `compile` from other tests.
    let component = unsafe { Component::deserialize(engine.wasmtime(), &compiled.code) };
    component.map_err(|error| CompileError::Rejected(printable(&format!("{error:#}"))))
}

/// The names of the imports and exports of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportsAndExports {
    /// The imports, safe to print.
    pub imports: Vec<String>,
    /// The exports, safe to print.
    pub exports: Vec<String>,
}

/// Reads the names from compiled code. Runs no code of the component.
///
/// # Errors
/// A fault of kind `component` if the code was compiled for another engine.
pub fn names(engine: &Engine, compiled: &Compiled) -> Result<ImportsAndExports, Fault> {
    let component = load(engine, compiled)
        .map_err(|error| Fault::new(FaultKind::Component, error.to_string()))?;
    let component_type = component.component_type();
    let imports = component_type.imports(engine.wasmtime());
    let exports = component_type.exports(engine.wasmtime());
    Ok(ImportsAndExports {
        imports: imports.map(|(name, _)| printable(name)).collect(),
        exports: exports.map(|(name, _)| printable(name)).collect(),
    })
}

/// The SHA-256 of `bytes`, in lowercase hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Identifies everything that compiled code depends on, except the component.
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

/// The wall time limit is this base plus a multiple of the CPU time limit, because the compiler
/// waits for a CPU on a busy machine.
const WALL_BASE: Duration = Duration::from_secs(10);
const WALL_PER_CPU: u32 = 10;

/// The wall time limit of a child.
fn wall_max(limits: &Limits) -> Duration {
    let share = limits.compile_cpu_max.saturating_mul(WALL_PER_CPU);
    share.saturating_add(WALL_BASE)
}

/// The exit of a child.
struct ChildExit {
    /// `None` if the child was killed because it exceeded its wall time.
    status: Option<ExitStatus>,
    /// Its standard error, truncated.
    text: Vec<u8>,
}

/// Waits for a child and kills it after `wall_max`. The CPU limit does not stop a child that sleeps
/// or is suspended.
fn supervise(mut child: Child, wall_max: Duration) -> std::io::Result<ChildExit> {
    let stderr = child.stderr.take();
    let child = Mutex::new(child);
    let locked = || child.lock().unwrap_or_else(PoisonError::into_inner);
    let is_over = AtomicBool::new(false);
    let (done, waits) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let watchdog = || {
            if waits.recv_timeout(wall_max) == Err(RecvTimeoutError::Timeout) {
                is_over.store(true, Ordering::SeqCst);
                // If the child has exited in the meantime, there is nothing to kill.
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
            // If reading fails, the exit status is still reported.
            let _ = stderr.take(ERROR_BYTES_MAX).read_to_end(&mut text);
        }
        let status = loop {
            // Poll instead of waiting, because the watchdog needs the lock.
            let ended = locked().try_wait();
            match ended.transpose() {
                Some(status) => break status,
                None => std::thread::sleep(LOOK_EVERY),
            }
        };
        drop(done);
        let is_over = is_over.load(Ordering::SeqCst);
        let status = status.map(|status| Some(status).filter(|_| !is_over));
        status.map(|status| ChildExit { status, text })
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
    let ChildExit { status, text } = supervise(child, wall_max).map_err(ChildError::Start)?;
    let Some(status) = status else {
        let seconds = wall_max.as_secs();
        return Err(ChildError::Failed(format!(
            "the compiler did not finish within {seconds} s and was killed"
        )));
    };
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&text);
    let said = printable(said.trim().trim_start_matches("error: "));
    let limits = format!(
        "the limit is {} MiB of memory and {} s of CPU time",
        limits.compile_memory_bytes_max >> 20,
        limits.compile_cpu_max.as_secs()
    );
    Err(ChildError::Failed(match status.code() {
        Some(_) if said.contains("out of memory") => format!("{said}; {limits}"),
        Some(_) if !said.is_empty() => said,
        _ => format!("the compiler exited with {status}; {limits}"),
    }))
}
