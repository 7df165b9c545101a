//! File modes below the data directory: transcripts, tokens and rows are for its owner alone.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use super::StoreError;
use crate::fault::printable;

const PRIVATE_FOLDER: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// What everybody but the owner may do.
const OF_OTHERS: u32 = 0o077;
/// Folders within folders that are looked into: there are two levels below `state/`.
const DEPTH_MAX: usize = 4;
/// How the names of the files begin that DuckDB creates by itself, with the mode of any new file.
const OF_DUCKDB: &str = "system.duckdb";

/// Creates a folder with everything above it, where there is none.
pub(super) fn folder(path: &Path, mode: u32) -> Result<(), StoreError> {
    let created = DirBuilder::new().recursive(true).mode(mode).create(path);
    created.map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Creates a folder that only its owner can enter, or takes the rights of others away, with a
/// warning.
pub(crate) fn private_folder(path: &Path) -> Result<(), StoreError> {
    folder(path, PRIVATE_FOLDER)?;
    // What can't be looked at says so to the first who needs something in it.
    if let Ok(metadata) = fs::metadata(path) {
        close(path, &metadata, PRIVATE_FOLDER, true);
    }
    Ok(())
}

/// Takes the rights of others to everything below a folder away.
pub(super) fn close_below(path: &Path) {
    close_entries(path, DEPTH_MAX);
}

/// Makes a new file private.
pub(super) fn private_file(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(PRIVATE_FILE))
}

fn close_entries(path: &Path, depth: usize) {
    // What can't be listed can't be used either, and whoever needs it says so.
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries {
        // Never through a link: what it leads to is not ours.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let path = entry.path();
        if metadata.is_dir() {
            close(&path, &metadata, PRIVATE_FOLDER, true);
            if depth > 1 {
                close_entries(&path, depth - 1);
            }
        } else if metadata.is_file() {
            let is_of_duckdb = entry.file_name().to_string_lossy().starts_with(OF_DUCKDB);
            close(&path, &metadata, PRIVATE_FILE, !is_of_duckdb);
        }
    }
}

fn close(path: &Path, metadata: &Metadata, mode: u32, warns: bool) {
    let found = metadata.permissions().mode() & 0o7777;
    if found & OF_OTHERS == 0 {
        return;
    }
    let shown = printable(&path.display().to_string());
    match fs::set_permissions(path, Permissions::from_mode(mode)) {
        Ok(()) if warns => tracing::warn!(
            "`{shown}` was open to other users (mode {found:o}); its mode is {mode:o} now. Revoke tokens that others may have read"
        ),
        Ok(()) => {}
        Err(error) => tracing::warn!(
            "`{shown}` is open to other users (mode {found:o}), and its mode can't be changed ({error}); run `chmod {mode:o}` on it as its owner"
        ),
    }
}
