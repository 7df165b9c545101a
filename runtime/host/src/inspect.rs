//! Inspects an untrusted component in the sandbox, under limits, without a database.
//!
//! Inspection registers nothing and reads no session. It runs only the component's `describe`
//! function.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultKind};
use crate::limits::{Compiler, Limits};
use crate::manifest::Manifest;
use crate::processor::Processor;
use crate::sandbox::{self, Compiled, Engines, ImportsAndExports, sha256_hex};

/// The result of an inspection.
#[derive(Debug)]
pub struct Inspection {
    /// SHA-256 in lowercase hexadecimal.
    pub digest: String,
    /// File size in bytes.
    pub bytes: u64,
    /// Imports. Empty if the component does not compile.
    pub imports: Vec<Import>,
    /// Exports. Empty if the component does not compile.
    pub exports: Vec<String>,
    /// The description, or the reason why the component is rejected.
    pub description: Result<Description, Fault>,
}

/// The description that a component returns.
#[derive(Debug)]
pub struct Description {
    /// The validated manifest.
    pub manifest: Manifest,
    /// Fuel that `describe` used.
    pub fuel: u64,
}

/// An import of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The interface with its version, such as `wasi:io/poll@0.2.0`.
    pub name: String,
    /// What implements the import.
    pub kind: ImportKind,
}

/// What implements an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportKind {
    /// The contract. The host implements it.
    Contract,
    /// WASI, which toolchains import on their own. The sandbox stubs it.
    Inert,
    /// An interface that is not allowed. The component is rejected.
    Forbidden,
}

impl ImportKind {
    /// Classifies an import by its name.
    pub fn of(name: &str) -> Self {
        match name {
            _ if !sandbox::is_allowed_import(name) => Self::Forbidden,
            name if name.starts_with("wasi:") => Self::Inert,
            _ => Self::Contract,
        }
    }

    /// The name in JSON output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::Inert => "inert",
            Self::Forbidden => "refused",
        }
    }
}

/// Inspects a component under these limits and settings. Compiles it in the folder `scratch`.
pub fn inspect(
    compiler: &Compiler,
    limits: &Limits,
    settings: Vec<(String, String)>,
    component: &[u8],
    scratch: &Path,
) -> Inspection {
    let digest = sha256_hex(component);
    let mut names = ImportsAndExports::default();
    let described = compile(compiler, limits, component, scratch)
        .and_then(|compiled| describe(limits, settings, &compiled, &digest, &mut names));
    let import = |name: String| Import {
        kind: ImportKind::of(&name),
        name,
    };
    Inspection {
        digest,
        bytes: component.len() as u64,
        imports: names.imports.into_iter().map(import).collect(),
        exports: names.exports,
        description: described,
    }
}

fn compile(
    compiler: &Compiler,
    limits: &Limits,
    component: &[u8],
    scratch: &Path,
) -> Result<Compiled, Fault> {
    check_header(component)?;
    Ok(sandbox::compile(compiler, limits, component, scratch)?)
}

/// Rejects files that are clearly not components. The compiler's own errors for them are hard to
/// understand.
///
/// # Errors
/// A fault of kind `component` with the reason.
pub fn check_header(component: &[u8]) -> Result<(), Fault> {
    let rejected = |detail| Err(Fault::new(FaultKind::Component, detail));
    if !component.starts_with(b"\0asm") {
        return rejected("the file is not WebAssembly");
    }
    if component.starts_with(b"\0asm\x01\0\0\0") {
        return rejected("the file is a core module, not a component; build it for wasm32-wasip2");
    }
    Ok(())
}

fn describe(
    limits: &Limits,
    settings: Vec<(String, String)>,
    compiled: &Compiled,
    digest: &str,
    names: &mut ImportsAndExports,
) -> Result<Description, Fault> {
    let limits = Arc::new(limits.clone());
    let engine = Engines::new(limits.as_ref().clone(), 0).for_limits(&limits)?;
    // List the names before loading, so that the report for a forbidden import includes all
    // imports.
    *names = sandbox::names(&engine, compiled)?;
    let digest = digest.to_owned();
    let processor = Processor::load(&engine, &limits, compiled, digest, settings)?;
    Ok(Description {
        manifest: processor.manifest().clone(),
        fuel: processor.describe_fuel(),
    })
}
