//! Appends received bytes to a session so that readers see all of them or none.
//!
//! The bytes are first written to a hidden file, which then becomes the record of the append
//! ([`AppendRecord`]). The bytes are copied while the session is locked for readers.
//! [`SessionsRoot::open_session`](session_pipeline_host::sessions::SessionsRoot::open_session) waits,
//! and ignores the new bytes if the process has died in between. The next start of the server, or the
//! next upload to the session, completes the append. Nothing but the new bytes is written, however long
//! the session is.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use session_pipeline_host::sessions::AppendRecord;
use session_pipeline_store::kill_point::kill_point;

use super::UploadError;
use crate::upload::place::Place;

const COPY_BYTES: usize = 256 << 10;

/// Appends the staged bytes to the target, which has this length, durably. `appended` is the number of
/// staged bytes.
pub(super) fn append(
    place: &Place,
    target: &File,
    length: u64,
    (staged, appended): (&File, u64),
    staged_name: &str,
) -> Result<(), UploadError> {
    staged
        .write_all_at(AppendRecord::trailer(length).as_bytes(), appended)
        .map_err(|error| UploadError::Io(error.kind().into()))?;
    let record = AppendRecord::name(place.name());
    place.rename(staged_name, &record)?;
    kill_point("append recorded");
    let copied = locked(target, || copy((staged, appended), target, length));
    if let Err(error) = copied.and_then(|()| target.sync_data()) {
        let undone = locked(target, || target.set_len(length));
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

/// Changes the target while no reader opens it.
fn locked(target: &File, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // The lock is released with the descriptor, and when the process dies. Without locks on this file
    // system, readers depend on the record alone.
    let lock = rustix::fs::flock(target, FlockOperation::LockExclusive);
    let changed = change();
    if lock.is_ok() {
        let _ = rustix::fs::flock(target, FlockOperation::Unlock);
    }
    changed
}

fn copy((staged, appended): (&File, u64), target: &File, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < appended {
        let wanted = usize::try_from(appended - at).unwrap_or(usize::MAX);
        let wanted = buffer.get_mut(..wanted.min(COPY_BYTES)).unwrap_or_default();
        let read = staged.read_at(wanted, at)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Two writes, so that a test can kill the process between them.
        let (first, rest) = bytes.split_at_checked(read / 2).unwrap_or((bytes, b""));
        target.write_all_at(first, length + at)?;
        kill_point("append half written");
        target.write_all_at(rest, length + at + first.len() as u64)?;
        at += read as u64;
    }
    Ok(())
}

/// Completes the append to a session that was not completed, and removes its record. Does nothing if
/// the session has no record.
pub(super) fn complete(folder: BorrowedFd<'_>, session: &str) -> io::Result<()> {
    let Some(record) = AppendRecord::open(folder, session)? else {
        return Ok(());
    };
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(target) = rustix::fs::openat(folder, session, flags, Mode::empty()) {
        let target = File::from(target);
        locked(&target, || {
            let size = target.metadata()?.len();
            match record.is_unfinished(&target, size)? {
                true => copy((record.file(), record.appended()), &target, record.length()),
                false => Ok(()),
            }
        })?;
        target.sync_data()?;
    }
    remove(folder, &AppendRecord::name(session))
}

/// Completes the append of a record, and removes it. Returns whether the file is a record.
pub(super) fn recover(folder: BorrowedFd<'_>, record: &str) -> io::Result<bool> {
    let Some(session) = AppendRecord::session_of(record) else {
        return Ok(false);
    };
    complete(folder, session)?;
    // A record without a valid last line.
    remove(folder, record)?;
    Ok(true)
}

fn remove(folder: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        removed => Ok(removed?),
    }
}
