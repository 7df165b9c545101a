//! Files with compiled code: their names, atomic writes, the folders with the code of shipped
//! components, and a cache folder that processes share.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::limits::{Compiler, Limits};
use crate::sandbox::compile::{CompileError, Compiled, compile, compiler_fingerprint, sha256_hex};

/// The prefix of unfinished files and of the compiler's temporary folders.
pub const TEMPORARY_PREFIX: &str = ".tmp";

/// The extension of files with compiled code.
const EXTENSION: &str = "code";

/// Length of a SHA-256 in hexadecimal.
const DIGEST_LENGTH: usize = 64;

/// The name of the file with the code of a component for engines with this fingerprint.
pub fn file_name(digest: &str, fingerprint: &str) -> String {
    format!("{digest}-{fingerprint}.{EXTENSION}")
}

/// Writes and syncs a temporary file in `folder`. Once the caller gives it a name, it is complete.
pub fn write_temporary(folder: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix_in(TEMPORARY_PREFIX, folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// The name of the file with the code of a component for engines with these limits.
fn name_of(limits: &Limits, component: &[u8]) -> Result<String, CompileError> {
    let fingerprint = compiler_fingerprint(limits).map_err(CompileError::Rejected)?;
    Ok(file_name(&sha256_hex(component), &fingerprint))
}

/// The code in a file, if it is complete.
fn read(path: &Path) -> Option<Compiled> {
    let bytes = crate::regular::read(path, u64::MAX).ok()?;
    unpacked(bytes)
}

/// Returns the code of a component from the first folder that has it. The name of a file contains
/// the fingerprint of the engine, so code of another version or for another CPU is not found.
pub(super) fn installed(
    folders: &[PathBuf],
    limits: &Limits,
    component: &[u8],
) -> Result<Option<Compiled>, CompileError> {
    if folders.iter().all(|folder| !folder.is_dir()) {
        return Ok(None);
    }
    let name = name_of(limits, component)?;
    Ok(folders.iter().find_map(|folder| read(&folder.join(&name))))
}

/// Compiles shipped components in this process for [`Compiler::Installed`], into one folder. Keeps
/// code that is there, and removes code of other components and engines.
///
/// # Errors
/// A component does not compile, or the folder cannot be written.
pub fn install(
    folder: &Path,
    limits: &Limits,
    components: &[&[u8]],
) -> Result<Vec<PathBuf>, CompileError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| CompileError::Io { path, source }
    };
    fs::create_dir_all(folder).map_err(at(folder))?;
    let mut current = Vec::new();
    for component in components {
        let path = folder.join(name_of(limits, component)?);
        if read(&path).is_none() {
            let compiled = compile(&Compiler::InProcess, limits, component, folder)?;
            let write = || -> std::io::Result<()> {
                let file = write_temporary(folder, &packed(&compiled))?;
                // Every user who can run the program can read it.
                let mode = fs::Permissions::from_mode(0o644);
                file.as_file().set_permissions(mode)?;
                file.persist(&path)?;
                Ok(())
            };
            write().map_err(at(&path))?;
        }
        current.push(path);
    }
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let is_code = path
            .extension()
            .is_some_and(|extension| extension == EXTENSION);
        if is_code && !current.contains(&path) {
            fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    Ok(current)
}

/// Returns cached code from the folder. On a miss, compiles the component and adds the code.
pub(super) fn shared(
    folder: &Path,
    compiler: &Compiler,
    limits: &Limits,
    component: &[u8],
    scratch: &Path,
) -> Result<Compiled, CompileError> {
    let path = folder.join(name_of(limits, component)?);
    if let Some(compiled) = read(&path) {
        return Ok(compiled);
    }
    let compiled = compile(compiler, limits, component, scratch)?;
    // Errors are ignored. If the code cannot be cached, another process compiles it again.
    let _ = fs::create_dir_all(folder)
        .and_then(|()| write_temporary(folder, &packed(&compiled)))
        .and_then(|file| Ok(file.persist(&path)?));
    Ok(compiled)
}

/// The digest, followed by the code.
fn packed(compiled: &Compiled) -> Vec<u8> {
    [compiled.sha256.as_bytes(), &compiled.code].concat()
}

/// The code, if it matches its digest.
fn unpacked(mut digest: Vec<u8>) -> Option<Compiled> {
    if digest.len() < DIGEST_LENGTH {
        return None;
    }
    let code = digest.split_off(DIGEST_LENGTH);
    let compiled = Compiled::from_stored(code);
    (compiled.sha256.as_bytes() == digest).then_some(compiled)
}
