//! Appends received bytes to a session so that readers see all of them or none.
//!
//! The bytes are first written to a hidden file. Its name then records the length of the session
//! before the append, and the bytes are copied while the session is locked for readers
//! ([`SessionsRoot::open_session`](session_pipeline_host::sessions::SessionsRoot::open_session)
//! waits). If the process dies in between, the next start of the server completes the append.
//! Nothing but the new bytes is written, however long the session is.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use session_pipeline_store::kill_point::kill_point;

use super::{UNFINISHED, UploadError};
use crate::upload::place::Place;

const COPY_BYTES: usize = 256 << 10;
/// The infix of the name of an append in progress, before the length and the name of the session.
const APPEND: &str = "append-";

/// The name that marks a staged file as an append in progress.
fn record_name(length: u64, name: &str) -> String {
    format!("{UNFINISHED}{APPEND}{length}-{name}")
}

/// The length of the session before an append, and its name.
fn parse_record(record: &str) -> Option<(u64, &str)> {
    let rest = record.strip_prefix(UNFINISHED)?.strip_prefix(APPEND)?;
    let (length, name) = rest.split_once('-')?;
    Some((length.parse().ok()?, name))
}

/// Appends the staged bytes to the target, which has this length, durably.
pub(super) fn append(
    place: &Place,
    target: &File,
    length: u64,
    staged: &File,
    staged_name: &str,
) -> Result<(), UploadError> {
    let record = record_name(length, place.name());
    place.rename(staged_name, &record)?;
    kill_point("append recorded");
    let appended = copy_locked(staged, target, length).and_then(|()| target.sync_data());
    if let Err(error) = appended {
        // The reader must not see a part of the bytes.
        let undone = target.set_len(length);
        if undone.is_ok() {
            place.remove(&record);
        }
        return Err(UploadError::Io(error.kind().into()));
    }
    kill_point("append written");
    place.remove(&record);
    Ok(())
}

/// Copies the target and the staged bytes to a new staged file, to replace the target with it. Returns
/// the file and its name.
pub(super) fn copied(
    place: &Place,
    target: &File,
    staged: &File,
) -> Result<(File, String), UploadError> {
    let (mut file, name) = place.stage()?;
    let mut copy = || -> io::Result<()> {
        for (mut source, bytes) in [(target, target.metadata()?.len()), (staged, u64::MAX)] {
            source.rewind()?;
            // The kernel copies, so the bytes do not pass through this process.
            io::copy(&mut source.take(bytes), &mut file)?;
        }
        Ok(())
    };
    match copy() {
        Ok(()) => Ok((file, name)),
        Err(error) => {
            place.remove(&name);
            Err(UploadError::Io(error.kind().into()))
        }
    }
}

fn copy_locked(staged: &File, target: &File, length: u64) -> io::Result<()> {
    // The lock is released with the descriptor, and when the process dies.
    let lock = rustix::fs::flock(target, FlockOperation::LockExclusive);
    // Without locks on this file system, a reader can see the bytes before all are written.
    let copied = copy(staged, target, length);
    if lock.is_ok() {
        let _ = rustix::fs::flock(target, FlockOperation::Unlock);
    }
    copied
}

fn copy(staged: &File, target: &File, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let read = staged.read_at(&mut buffer, at)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        // Two writes, so that a test can kill the process between them.
        let (first, rest) = bytes.split_at_checked(read / 2).unwrap_or((bytes, b""));
        target.write_all_at(first, length + at)?;
        kill_point("append half written");
        target.write_all_at(rest, length + at + first.len() as u64)?;
        at += read as u64;
    }
}

/// Completes an append that a process did not finish. Returns whether the file is the record of
/// one. Removes the record in any case, unless the disk fails.
pub(super) fn recover(folder: BorrowedFd<'_>, record: &str) -> io::Result<bool> {
    let Some((length, name)) = parse_record(record) else {
        return Ok(false);
    };
    let open = |name: &str, access| {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(folder, name, flags, Mode::empty()).map(File::from)
    };
    if let (Ok(staged), Ok(target)) = (open(record, OFlags::RDONLY), open(name, OFlags::RDWR))
        && is_unfinished(&staged, &target, length)?
    {
        copy_locked(&staged, &target, length)?;
        target.sync_data()?;
    }
    rustix::fs::unlinkat(folder.as_fd(), record, AtFlags::empty())?;
    Ok(true)
}

/// Whether the target ends within the staged bytes. Otherwise, the append is complete, or an
/// operator has replaced the file.
fn is_unfinished(staged: &File, target: &File, length: u64) -> io::Result<bool> {
    let (bytes, target_length) = (staged.metadata()?.len(), target.metadata()?.len());
    let Some(written) = target_length.checked_sub(length).filter(|n| *n < bytes) else {
        return Ok(false);
    };
    let (mut expected, mut found) = (vec![0; COPY_BYTES], vec![0; COPY_BYTES]);
    let mut at = 0;
    while at < written {
        let wanted = usize::try_from(written - at).unwrap_or(usize::MAX);
        let wanted = wanted.min(COPY_BYTES);
        let (Some(expected), Some(found)) = (expected.get_mut(..wanted), found.get_mut(..wanted))
        else {
            return Ok(false);
        };
        staged.read_exact_at(expected, at)?;
        target.read_exact_at(found, length + at)?;
        if expected != found {
            return Ok(false);
        }
        at += wanted as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_record_has_the_length_and_the_name() {
        let record = record_name(42, "a-b.jsonl");
        assert_eq!(parse_record(&record), Some((42, "a-b.jsonl")));
        for other in [
            ".upload-12-3",
            ".upload-append-x-a",
            ".upload-append-1",
            "a",
        ] {
            assert_eq!(parse_record(other), None, "{other}");
        }
    }
}
