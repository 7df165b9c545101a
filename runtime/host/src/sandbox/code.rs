//! Compiled code in files: what they are called, how they come to be there whole, and a folder of
//! them that processes share.

use std::fs;
use std::io::Write;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::limits::{Compiler, Limits};
use crate::sandbox::compile::{CompileError, Compiled, compile, compiler_fingerprint, sha256_hex};

/// How names begin that are not yet those of anything; so do those of the compiler's folders.
pub const UNFINISHED: &str = ".tmp";

/// Characters of a SHA-256 in hexadecimal.
const DIGEST_LENGTH: usize = 64;

/// What the file is called of a component that was compiled for engines of this fingerprint.
pub fn file_name(digest: &str, fingerprint: &str) -> String {
    format!("{digest}-{fingerprint}.code")
}

/// Lays bytes down in a folder, without a name yet: what is then given one is whole, or not there.
pub fn whole(folder: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix_in(UNFINISHED, folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// What was compiled before is taken from the folder; what was not is compiled and laid there.
pub(super) fn shared(
    folder: &Path,
    compiler: &Compiler,
    limits: &Limits,
    component: &[u8],
    scratch: &Path,
) -> Result<Compiled, CompileError> {
    let fingerprint = compiler_fingerprint(limits).map_err(CompileError::Refused)?;
    let path = folder.join(file_name(&sha256_hex(component), &fingerprint));
    if let Some(compiled) = crate::regular::read(&path, u64::MAX)
        .ok()
        .and_then(unpacked)
    {
        return Ok(compiled);
    }
    let compiled = compile(compiler, limits, component, scratch)?;
    // Whoever finds nothing compiles: that it can't be kept costs time and nothing else.
    let _ = fs::create_dir_all(folder)
        .and_then(|()| whole(folder, &packed(&compiled)))
        .and_then(|file| Ok(file.persist(&path)?));
    Ok(compiled)
}

/// The digest, then the code.
fn packed(compiled: &Compiled) -> Vec<u8> {
    [compiled.sha256.as_bytes(), &compiled.code].concat()
}

/// The code, where it is what was packed.
fn unpacked(mut digest: Vec<u8>) -> Option<Compiled> {
    if digest.len() < DIGEST_LENGTH {
        return None;
    }
    let code = digest.split_off(DIGEST_LENGTH);
    let compiled = Compiled::from_kept(code);
    (compiled.sha256.as_bytes() == digest).then_some(compiled)
}
