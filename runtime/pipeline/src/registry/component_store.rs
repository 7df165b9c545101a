//! Stored components and their compiled code in `state/components`.
//!
//! Compiled code runs as machine code, so only code that this program wrote is loaded. The SHA-256
//! in the database identifies it. Code from other places is never loaded.

use std::fs;
use std::path::{Path, PathBuf};

use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::regular;
use session_pipeline_host::sandbox::{
    Compiled, Engine, TEMPORARY_PREFIX, file_name, sha256_hex, write_temporary,
};
use session_pipeline_store::ComponentRecord;
use session_pipeline_store::kill_point::kill_point;

use crate::config::Config;

/// The folder of stored components.
fn folder(config: &Config) -> PathBuf {
    config.state_dir().join("components")
}

fn component_path(config: &Config, digest: &str) -> PathBuf {
    folder(config).join(format!("{digest}.wasm"))
}

fn code_path(config: &Config, engine: &Engine, digest: &str) -> PathBuf {
    folder(config).join(file_name(digest, &engine.fingerprint()))
}

/// The stored compiled code, if its hash matches the database.
pub(super) fn code(
    config: &Config,
    engine: &Engine,
    digest: &str,
    known: Option<&ComponentRecord>,
) -> Option<Compiled> {
    let sha256 = known?.compiled_sha256.as_deref()?;
    let code = regular::read(&code_path(config, engine, digest), u64::MAX).ok()?;
    let compiled = Compiled::from_stored(code);
    (compiled.sha256 == sha256).then_some(compiled)
}

/// The stored component, if its hash matches the digest.
pub(super) fn component(config: &Config, digest: &str) -> Option<Vec<u8>> {
    let bytes = regular::read(&component_path(config, digest), u64::MAX).ok()?;
    (sha256_hex(&bytes) == digest).then_some(bytes)
}

/// Whether a component with this digest is stored.
pub(super) fn has_component(config: &Config, digest: &str) -> bool {
    component_path(config, digest).is_file()
}

/// Stores a component with its compiled code.
pub(super) fn keep(
    config: &Config,
    engine: &Engine,
    digest: &str,
    component: &[u8],
    compiled: &Compiled,
) -> Result<(), Fault> {
    let folder = scratch(config)?;
    keep_at(&folder, &component_path(config, digest), component)?;
    keep_at(&folder, &code_path(config, engine, digest), &compiled.code)
}

/// Removes incomplete files of interrupted processes, and the stored files of `superseded`
/// components. Call it only with the lock on the data directory, before any component is loaded.
pub(super) fn discard(config: &Config, superseded: &[String]) -> std::io::Result<()> {
    let entries = match fs::read_dir(folder(config)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_of = |digest: &String| {
            let rest = name.strip_prefix(digest.as_str());
            rest.is_some_and(|rest| rest == ".wasm" || rest.ends_with(".code"))
        };
        if name.starts_with(TEMPORARY_PREFIX) && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if name.starts_with(TEMPORARY_PREFIX) || superseded.iter().any(is_of) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Creates the folder, which is also the scratch folder of the compiler: a rename must stay on the
/// same disk.
pub(super) fn scratch(config: &Config) -> Result<PathBuf, Fault> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = folder(config);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| unwritable(&folder, &error))?;
    Ok(folder)
}

/// Writes a file atomically and durably.
fn keep_at(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let write = || -> std::io::Result<()> {
        let file = write_temporary(folder, bytes)?;
        kill_point("before cache write");
        file.persist(path)?;
        kill_point("after cache write");
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(
        FaultKind::Host,
        format!(
            "cannot write `{}`: {error}; check permissions and free space",
            path.display()
        ),
    )
}
