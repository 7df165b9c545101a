//! Shared libraries of DuckDB: their version, where systems install them, and the copy in the target
//! directory.

use std::env::consts;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::VERSION;

/// The name of the library on this system.
pub const FILE_NAME: &str = if cfg!(target_os = "macos") {
    "libduckdb.dylib"
} else {
    "libduckdb.so"
};

/// The version of a library file, or `None` if the file has no version of DuckDB 1 or later.
///
/// The library is not loaded: it could be anything. It contains its own version and those of earlier
/// storage formats, each as a string that ends with a NUL. The highest is its own.
///
/// # Errors
/// The file cannot be read.
pub fn version(path: &Path) -> Result<Option<String>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(highest_version(&bytes))
}

fn highest_version(bytes: &[u8]) -> Option<String> {
    let strings = bytes.split(|byte| *byte == 0);
    let versions = strings.filter_map(|string| {
        // `v1.5.6` has 6 bytes. Most strings of a library are longer or shorter.
        let text = std::str::from_utf8(string)
            .ok()
            .filter(|text| text.len() <= 16)?;
        let mut numbers = text.strip_prefix('v')?.split('.').map(str::parse::<u32>);
        let version = [
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
        ];
        numbers.next().is_none().then_some(version)
    });
    let [major, minor, patch] = versions.max().filter(|version| version[0] > 0)?;
    Some(format!("{major}.{minor}.{patch}"))
}

/// The folder of a library that the system's package manager installed, if it has the right version
/// and the system's loader finds it.
pub fn in_system() -> Option<PathBuf> {
    let mut folders = Vec::new();
    let pkg_config = Command::new("pkg-config")
        .args(["--variable=libdir", "duckdb"])
        .output();
    if let Ok(output) = pkg_config
        && output.status.success()
    {
        folders.push(PathBuf::from(
            String::from_utf8_lossy(&output.stdout).trim(),
        ));
    }
    let architecture = consts::ARCH;
    folders.extend(
        if cfg!(target_os = "macos") {
            vec!["/opt/homebrew/lib".to_owned(), "/usr/local/lib".to_owned()]
        } else {
            vec![
                format!("/usr/lib/{architecture}-linux-gnu"),
                "/usr/lib64".to_owned(),
                "/usr/lib".to_owned(),
            ]
        }
        .into_iter()
        .map(PathBuf::from),
    );
    folders.into_iter().find(|folder| {
        let path = folder.join(FILE_NAME);
        path.is_file() && matches!(version(&path), Ok(Some(version)) if version == VERSION)
    })
}

/// Copies a library to a folder, unless that folder has the same file. The copy appears atomically,
/// because a running program can have the old one open.
pub fn copy(library: &Path, folder: &Path) -> Result<()> {
    let name = library
        .file_name()
        .context("the library has no file name")?;
    let target = folder.join(name);
    let bytes =
        fs::read(library).with_context(|| format!("cannot read `{}`", library.display()))?;
    if fs::read(&target).is_ok_and(|existing| existing == bytes) {
        return Ok(());
    }
    ensure!(!bytes.is_empty(), "`{}` is empty", library.display());
    fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let temporary = folder.join(format!(".{FILE_NAME}.{}", std::process::id()));
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, &target))
        .with_context(|| format!("cannot write `{}`", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_library_is_its_highest_version_string() {
        let bytes = b"\x7fELF\0v0.10.2\0v1.5.6\0v1.5.0\0v1.10\0see v9.9.9\0v2.0.0-dev\0v7\0";
        assert_eq!(highest_version(bytes).as_deref(), Some("1.5.6"));
        assert_eq!(
            highest_version(b"v1.9.0\0v1.10.0\0").as_deref(),
            Some("1.10.0")
        );
        assert_eq!(highest_version(b"v0.10.2\0"), None);
        assert_eq!(highest_version(b""), None);
    }
}
