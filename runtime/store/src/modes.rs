//! File modes below the data directory. Only its owner can access transcripts, tokens and rows.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use session_pipeline_host::fault::printable;

use crate::error::StoreError;

const PRIVATE_FOLDER: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// The permissions of everyone except the owner.
const OF_OTHERS: u32 = 0o077;
/// Maximum depth of nested folders that are checked. There are two levels below `state/`.
const DEPTH_MAX: usize = 4;
/// The file with the first admin token.
const ADMIN_TOKEN: &str = "admin-token";

/// Creates a folder and its missing parents.
pub(crate) fn folder(path: &Path, mode: u32) -> Result<(), StoreError> {
    let created = DirBuilder::new().recursive(true).mode(mode).create(path);
    created.map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Creates a folder that only its owner can access. If the folder exists and other users can access
/// it, removes their permissions and logs a warning. Returns whether other users could access it.
pub fn private_folder(path: &Path) -> Result<bool, StoreError> {
    folder(path, PRIVATE_FOLDER)?;
    // If the metadata cannot be read, the first access to the folder reports the error.
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(false);
    };
    let found = metadata.permissions().mode() & 0o7777;
    let was_open = close(path, &metadata, PRIVATE_FOLDER);
    if was_open {
        tracing::warn!(
            "`{}` was accessible to other users (mode {found:o}); changed its mode to {PRIVATE_FOLDER:o}",
            printable(&path.display().to_string())
        );
    }
    Ok(was_open)
}

/// Removes the permissions of other users on everything below a folder. If the folder was
/// accessible to them, logs a warning about the affected files.
pub(crate) fn close_below(path: &Path, was_open: bool) {
    let mut closed = Vec::new();
    close_entries(path, DEPTH_MAX, &mut closed);
    if !was_open || closed.is_empty() {
        return;
    }
    let advice = match closed.contains(&path.join(ADMIN_TOKEN)) {
        true => "; other users may have read the admin token: revoke it",
        false => "",
    };
    let closed = match closed.len() {
        1 => "1 file or folder".to_owned(),
        count => format!("{count} files and folders"),
    };
    tracing::warn!(
        "removed the permissions of other users on {closed} in `{}`{advice}",
        printable(&path.display().to_string())
    );
}

/// Restricts the access to a file to its owner.
pub(crate) fn private_file(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(PRIVATE_FILE))
}

fn close_entries(path: &Path, depth: usize, closed: &mut Vec<PathBuf>) {
    // If the folder cannot be listed, the first access to it reports the error.
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries {
        // `metadata` does not follow links. The targets of links do not belong to us.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let path = entry.path();
        let mode = match metadata.file_type() {
            kind if kind.is_dir() => PRIVATE_FOLDER,
            kind if kind.is_file() => PRIVATE_FILE,
            _ => continue,
        };
        if metadata.is_dir() && depth > 1 {
            close_entries(&path, depth - 1, closed);
        }
        if close(&path, &metadata, mode) {
            closed.push(path);
        }
    }
}

/// Removes the permissions of other users. Returns whether they had any and have none now.
fn close(path: &Path, metadata: &Metadata, mode: u32) -> bool {
    let found = metadata.permissions().mode() & 0o7777;
    if found & OF_OTHERS == 0 {
        return false;
    }
    let closed = fs::set_permissions(path, Permissions::from_mode(mode));
    if let Err(error) = &closed {
        tracing::warn!(
            "`{}` is accessible to other users (mode {found:o}) and its mode cannot be changed ({error}); run `chmod {mode:o}` on it as its owner",
            printable(&path.display().to_string())
        );
    }
    closed.is_ok()
}
