//! What a component is, before anybody trusts it: looked at in the sandbox, under limits, without
//! a database.
//!
//! Nothing is registered and no session is read; all that runs of the component is `describe`.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultKind};
use crate::limits::{Compiler, Limits};
use crate::manifest::Manifest;
use crate::processor::Processor;
use crate::sandbox::{self, Compiled, Engines, Names, sha256_hex};

/// What there is to know of a component.
#[derive(Debug)]
pub struct Inspection {
    /// Its SHA-256.
    pub digest: String,
    /// Its size.
    pub bytes: u64,
    /// What it imports; empty where it does not compile.
    pub imports: Vec<Import>,
    /// What it exports; empty where it does not compile.
    pub exports: Vec<String>,
    /// What it says of itself, or why it is refused.
    pub described: Result<Described, Fault>,
}

/// What a component says of itself.
#[derive(Debug)]
pub struct Described {
    /// Its checked manifest.
    pub manifest: Manifest,
    /// Fuel that this took.
    pub fuel: u64,
}

/// A name that a component imports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The interface with its version.
    pub name: String,
    /// What lies behind it.
    pub kind: ImportKind,
}

/// What lies behind an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportKind {
    /// The contract: what is served.
    Contract,
    /// WASI, which toolchains pull in: there is nothing behind it.
    Inert,
    /// Something that is not allowed; the component is refused for it.
    Refused,
}

impl ImportKind {
    /// The kind of an import by its name.
    pub fn of(name: &str) -> Self {
        match name {
            _ if !sandbox::is_allowed_import(name) => Self::Refused,
            name if name.starts_with("wasi:") => Self::Inert,
            _ => Self::Contract,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::Inert => "inert",
            Self::Refused => "refused",
        }
    }
}

/// Looks at a component under these limits and settings; it is compiled in `scratch`.
pub fn inspect(
    compiler: &Compiler,
    limits: &Limits,
    settings: Vec<(String, String)>,
    component: &[u8],
    scratch: &Path,
) -> Inspection {
    let digest = sha256_hex(component);
    let mut names = Names::default();
    let described = compile(compiler, limits, component, scratch)
        .and_then(|compiled| look(limits, settings, &compiled, &digest, &mut names));
    let import = |name: String| Import {
        kind: ImportKind::of(&name),
        name,
    };
    Inspection {
        digest,
        bytes: component.len() as u64,
        imports: names.imports.into_iter().map(import).collect(),
        exports: names.exports,
        described,
    }
}

fn compile(
    compiler: &Compiler,
    limits: &Limits,
    component: &[u8],
    scratch: &Path,
) -> Result<Compiled, Fault> {
    recognise(component)?;
    Ok(sandbox::compile(compiler, limits, component, scratch)?)
}

/// Refuses what plainly is no component: the compiler would say so in its own tongue.
///
/// # Errors
/// A fault of kind `component`, with the reason.
pub fn recognise(component: &[u8]) -> Result<(), Fault> {
    let refused = |detail| Err(Fault::new(FaultKind::Component, detail));
    if !component.starts_with(b"\0asm") {
        return refused("the file is no WebAssembly");
    }
    if component.starts_with(b"\0asm\x01\0\0\0") {
        return refused("the file is a core module and no component; build it for wasm32-wasip2");
    }
    Ok(())
}

fn look(
    limits: &Limits,
    settings: Vec<(String, String)>,
    compiled: &Compiled,
    digest: &str,
    names: &mut Names,
) -> Result<Described, Fault> {
    let limits = Arc::new(limits.clone());
    let engine = Engines::new(limits.as_ref().clone(), 0).under(&limits)?;
    // Before it is loaded: what is refused for an import is told with all of them.
    *names = sandbox::names(&engine, compiled)?;
    let digest = digest.to_owned();
    let processor = Processor::load(&engine, &limits, compiled, digest, settings)?;
    Ok(Described {
        manifest: processor.manifest().clone(),
        fuel: processor.describe_fuel(),
    })
}
