//! File modes below the data directory: transcripts, tokens and rows are for its owner alone.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use session_pipeline_host::fault::printable;

use crate::error::StoreError;

const PRIVATE_FOLDER: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// What everybody but the owner may do.
const OF_OTHERS: u32 = 0o077;
/// Folders within folders that are looked into: there are two levels below `state/`.
const DEPTH_MAX: usize = 4;
/// The first token, which lets its reader in.
const ADMIN_TOKEN: &str = "admin-token";

/// Creates a folder with everything above it, where there is none.
pub(crate) fn folder(path: &Path, mode: u32) -> Result<(), StoreError> {
    let created = DirBuilder::new().recursive(true).mode(mode).create(path);
    created.map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Creates a folder that only its owner can enter, or takes the rights of others away, with a
/// warning. Gives whether it was open to others.
pub fn private_folder(path: &Path) -> Result<bool, StoreError> {
    folder(path, PRIVATE_FOLDER)?;
    // What can't be looked at says so to the first who needs something in it.
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(false);
    };
    let found = metadata.permissions().mode() & 0o7777;
    let was_open = close(path, &metadata, PRIVATE_FOLDER);
    if was_open {
        tracing::warn!(
            "`{}` was open to other users (mode {found:o}); its mode is {PRIVATE_FOLDER:o} now",
            printable(&path.display().to_string())
        );
    }
    Ok(was_open)
}

/// Takes the rights of others to everything below a folder away. Of files that others could reach,
/// since the folder was open to them, a warning tells.
pub(crate) fn close_below(path: &Path, was_open: bool) {
    let mut closed = Vec::new();
    close_entries(path, DEPTH_MAX, &mut closed);
    if !was_open || closed.is_empty() {
        return;
    }
    let advice = match closed.contains(&path.join(ADMIN_TOKEN)) {
        true => "; others may have read the admin token: revoke it",
        false => "",
    };
    tracing::warn!(
        "{} files and folders in `{}` were open to other users, and are private now{advice}",
        closed.len(),
        printable(&path.display().to_string())
    );
}

/// Makes a new file private.
pub(crate) fn private_file(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(PRIVATE_FILE))
}

fn close_entries(path: &Path, depth: usize, closed: &mut Vec<PathBuf>) {
    // What can't be listed can't be used either, and whoever needs it says so.
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries {
        // Never through a link: what it leads to is not ours.
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

/// Takes the rights of others away; gives whether they had any, and have none now.
fn close(path: &Path, metadata: &Metadata, mode: u32) -> bool {
    let found = metadata.permissions().mode() & 0o7777;
    if found & OF_OTHERS == 0 {
        return false;
    }
    let closed = fs::set_permissions(path, Permissions::from_mode(mode));
    if let Err(error) = &closed {
        tracing::warn!(
            "`{}` is open to other users (mode {found:o}), and its mode can't be changed ({error}); run `chmod {mode:o}` on it as its owner",
            printable(&path.display().to_string())
        );
    }
    closed.is_ok()
}
