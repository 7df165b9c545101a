//! Files with compiled code: their names, atomic writes, and a cache folder that processes share.

use std::fs;
use std::io::Write;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::limits::{Compiler, Limits};
use crate::sandbox::compile::{CompileError, Compiled, compile, compiler_fingerprint, sha256_hex};

/// The prefix of unfinished files and of the compiler's temporary folders.
pub const TEMPORARY_PREFIX: &str = ".tmp";

/// Length of a SHA-256 in hexadecimal.
const DIGEST_LENGTH: usize = 64;

/// The name of the file with the code of a component for engines with this fingerprint.
pub fn file_name(digest: &str, fingerprint: &str) -> String {
    format!("{digest}-{fingerprint}.code")
}

/// Writes and syncs a temporary file in `folder`. Once the caller gives it a name, it is complete.
pub fn write_temporary(folder: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix_in(TEMPORARY_PREFIX, folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Returns cached code from the folder. On a miss, compiles the component and adds the code.
pub(super) fn shared(
    folder: &Path,
    compiler: &Compiler,
    limits: &Limits,
    component: &[u8],
    scratch: &Path,
) -> Result<Compiled, CompileError> {
    let fingerprint = compiler_fingerprint(limits).map_err(CompileError::Rejected)?;
    let path = folder.join(file_name(&sha256_hex(component), &fingerprint));
    if let Some(compiled) = crate::regular::read(&path, u64::MAX)
        .ok()
        .and_then(unpacked)
    {
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
