//! The record of an append to a session.
//!
//! An upload appends to a session while it has a record: a hidden file next to the session, with the
//! new bytes and the length of the session before them. If the process dies before it removes the
//! record, the session can end with a part of the new bytes. A reader then sees the session as it was
//! before the append.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The beginning of the name of a record, before the name of the session.
const PREFIX: &str = ".upload-append-";
/// The beginning of the last line of a record, before the length.
const TRAILER: &str = "append-after ";
/// The number of digits of the length.
const DIGITS: usize = 20;
/// The size of the last line: its beginning, the digits and a line end.
const TRAILER_BYTES: usize = TRAILER.len() + DIGITS + 1;
const COMPARED_BYTES: usize = 64 << 10;

/// The record of an append that is not complete, or whose process did not remove it.
#[derive(Debug)]
pub struct AppendRecord {
    file: File,
    length: u64,
    appended: u64,
}

impl AppendRecord {
    /// The name of the record of a session, in the same folder.
    pub fn name(session: &str) -> String {
        format!("{PREFIX}{session}")
    }

    /// The name of the session of a record. `None` if no record has this name.
    pub fn session_of(record: &str) -> Option<&str> {
        record.strip_prefix(PREFIX)
    }

    /// The last line of a record, after the new bytes. `length` is the length of the session before
    /// them.
    pub fn trailer(length: u64) -> String {
        format!("{TRAILER}{length:0DIGITS$}\n")
    }

    /// Opens the record of a session. `None` if there is none, or if it has no valid last line,
    /// because the process died before it began to append.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn open(folder: BorrowedFd<'_>, session: &str) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(folder, Self::name(session), flags, Mode::empty());
        let file = match opened {
            Ok(file) => File::from(file),
            // No upload creates links or special files. A session whose record would have too long
            // a name was not uploaded.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::NAMETOOLONG) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let metadata = file.metadata()?;
        let appended = metadata.len().checked_sub(TRAILER_BYTES as u64);
        let Some(appended) = appended.filter(|_| metadata.is_file()) else {
            return Ok(None);
        };
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact_at(&mut trailer, appended)?;
        let digits = trailer
            .strip_prefix(TRAILER.as_bytes())
            .and_then(|rest| rest.strip_suffix(b"\n"))
            .filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let length = digits
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok());
        Ok(length.map(|length| Self {
            file,
            length,
            appended,
        }))
    }

    /// The new bytes, followed by the last line of the record.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The length of the session before the append.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The number of new bytes.
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// Whether a session of this size ends with a part of the new bytes. If not, the append has not
    /// begun or is complete, or someone else has replaced the session.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn is_unfinished(&self, session: &File, size: u64) -> io::Result<bool> {
        let written = size.checked_sub(self.length);
        let Some(written) = written.filter(|written| (1..self.appended).contains(written)) else {
            return Ok(false);
        };
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < written {
            let wanted = (written - at).min(COMPARED_BYTES as u64);
            read_at(&self.file, at, wanted, &mut expected)?;
            read_at(session, self.length + at, wanted, &mut found)?;
            if expected != found || expected.is_empty() {
                return Ok(false);
            }
            at += wanted;
        }
        Ok(true)
    }
}

/// Replaces the contents of the buffer with this many bytes of the file, or fewer at its end. Does not
/// move the position of the file.
fn read_at(file: &File, at: u64, wanted: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    buffer.resize(usize::try_from(wanted).unwrap_or(0), 0);
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    buffer.truncate(filled);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn an_append_is_unfinished_while_the_session_ends_with_a_part_of_the_new_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = File::open(dir.path()).unwrap();
        let open = || AppendRecord::open(folder.as_fd(), "s.jsonl").unwrap();
        assert!(open().is_none());
        let path = dir.path().join(AppendRecord::name("s.jsonl"));
        let part = |bytes| vec![b'x'; bytes];
        let new = part(3 * COMPARED_BYTES);
        std::fs::write(&path, [&new, AppendRecord::trailer(4).as_bytes()].concat()).unwrap();
        let record = open().unwrap();
        assert_eq!((record.length(), record.appended()), (4, new.len() as u64));
        let session = dir.path().join("s.jsonl");
        for (content, is_unfinished) in [
            (b"old\n".to_vec(), false),
            (b"old\nx".to_vec(), true),
            ([b"old\n", &part(new.len() - 1)[..]].concat(), true),
            ([b"old\n", &new[..]].concat(), false),
            ([b"old\n", &part(COMPARED_BYTES)[..], b"y"].concat(), false),
            (b"old\nnew".to_vec(), false),
            (b"o".to_vec(), false),
        ] {
            std::fs::write(&session, &content).unwrap();
            let file = File::open(&session).unwrap();
            let found = record.is_unfinished(&file, content.len() as u64).unwrap();
            assert_eq!(found, is_unfinished, "{} bytes", content.len());
        }
        for invalid in [
            "",
            "x",
            "append-after 1\n",
            "append-after 0000000000000000000x\n",
        ] {
            std::fs::write(&path, invalid).unwrap();
            assert!(open().is_none(), "{invalid}");
        }
        assert!(
            AppendRecord::open(folder.as_fd(), &"a".repeat(250))
                .unwrap()
                .is_none()
        );
        assert_eq!(
            AppendRecord::session_of(".upload-append-a-b.jsonl"),
            Some("a-b.jsonl")
        );
        assert_eq!(AppendRecord::session_of(".upload-12-3"), None);
    }
}
