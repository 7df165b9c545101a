//! Turning components into machine code: in a child process with limits, since nothing inside the
//! compiler bounds its memory or time.
//!
//! Compiled code is native code: only what we compiled ourselves is loaded, by its digest.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
#[cfg(target_os = "linux")]
use rustix::process::{Signal, set_parent_process_death_signal};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use super::{Engine, code, fingerprint_of, tuned};
use crate::config::{Compiler, Limits};
use crate::fault::{Fault, FaultKind, printable};

/// Of a child's standard error this much is kept.
const ERROR_BYTES_MAX: u64 = 4096;

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
    for (resource, most) in [
        (Resource::As, limits.compile_memory_bytes_max),
        (Resource::Cpu, limits.compile_cpu_max.as_secs()),
        (Resource::Core, 0),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)
            .map_err(|error| format!("the compiler's limits can't be set: {error}"))?;
    }
    let code = precompile(&limits, &component)?;
    fs::write(output, code).map_err(|error| format!("`{output}` can't be written: {error}"))
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
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
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
    let mut child = Command::new(program)
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
    let mut text = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // A child that can't tell why it failed has failed all the same.
        let _ = stderr.take(ERROR_BYTES_MAX).read_to_end(&mut text);
    }
    let status = child.wait().map_err(ChildError::Start)?;
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
