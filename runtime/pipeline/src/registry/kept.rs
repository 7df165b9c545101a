//! Components and their compiled forms in `state/components`: what is kept there, and what of it is
//! believed.
//!
//! A compiled form is run as machine code, so only one that we wrote is taken: by the SHA-256 that
//! stands in the database. Nothing that lies elsewhere is ever taken for one.

use std::fs;
use std::path::{Path, PathBuf};

use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::regular;
use session_pipeline_host::sandbox::{Compiled, Engine, UNFINISHED, file_name, sha256_hex, whole};
use session_pipeline_store::KnownComponent;
use session_pipeline_store::kill_point::reached;

use crate::config::Config;

/// The folder of what is kept.
fn folder(config: &Config) -> PathBuf {
    config.state_dir().join("components")
}

fn component_path(config: &Config, digest: &str) -> PathBuf {
    folder(config).join(format!("{digest}.wasm"))
}

fn code_path(config: &Config, engine: &Engine, digest: &str) -> PathBuf {
    folder(config).join(file_name(digest, &engine.fingerprint()))
}

/// The compiled form that is kept, if it is the one that we wrote.
pub(super) fn code(
    config: &Config,
    engine: &Engine,
    digest: &str,
    known: Option<&KnownComponent>,
) -> Option<Compiled> {
    let sha256 = known?.compiled_sha256.as_deref()?;
    let code = regular::read(&code_path(config, engine, digest), u64::MAX).ok()?;
    let compiled = Compiled::from_kept(code);
    (compiled.sha256 == sha256).then_some(compiled)
}

/// The component that is kept under a digest, if it is still what it was.
pub(super) fn component(config: &Config, digest: &str) -> Option<Vec<u8>> {
    let bytes = regular::read(&component_path(config, digest), u64::MAX).ok()?;
    (sha256_hex(&bytes) == digest).then_some(bytes)
}

/// Whether a component is kept under a digest.
pub(super) fn has_component(config: &Config, digest: &str) -> bool {
    component_path(config, digest).is_file()
}

/// Keeps a component with its compiled form.
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

/// Removes what a process left that ended while it compiled or wrote, and what is kept of these
/// components. Only for whoever holds the data dir, before anything is made ready in it.
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
        if name.starts_with(UNFINISHED) && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if name.starts_with(UNFINISHED) || superseded.iter().any(is_of) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A folder of ours for what goes between us and the compiler: on the disk of what is kept.
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

/// Writes a file that is complete or not there at all.
fn keep_at(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let write = || -> std::io::Result<()> {
        let file = whole(folder, bytes)?;
        reached("before cache write");
        file.persist(path)?;
        reached("after cache write");
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(
        FaultKind::Host,
        format!(
            "`{}` can't be written: {error}; check permissions and free space",
            path.display()
        ),
    )
}
