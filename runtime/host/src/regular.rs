//! Opens files that must be regular files.
//!
//! Opening a FIFO blocks until another process opens it for writing. A device can be endless. A
//! directory has no bytes to read. Therefore files are opened without blocking, and their type is
//! checked before the first read or write.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file with these options.
///
/// # Errors
/// An I/O error, or an error with the file type if it is not a regular file.
pub fn open_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    check(path)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = options.custom_flags(flags).open(path)?;
    // The path can point to another file by now. On a regular file, the flags have no effect.
    must_be_regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// Opens a file for reading.
///
/// # Errors
/// See [`open_with`].
pub fn open(path: &Path) -> io::Result<File> {
    open_with(OpenOptions::new().read(true), path)
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// See [`open_with`]. Also fails if the file is larger.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open(path)?;
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("the file is larger than {bytes_max} bytes"),
        ));
    }
    Ok(bytes)
}

/// Like [`read`], for a text file.
///
/// # Errors
/// See [`read`]. Also fails if the file is not UTF-8.
pub fn read_to_string(path: &Path, bytes_max: u64) -> io::Result<String> {
    String::from_utf8(read(path, bytes_max)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the file is not UTF-8"))
}

/// Checks a file that other code opens: it must be a regular file or missing. If the metadata
/// cannot be read, the check passes, and opening reports the error.
///
/// # Errors
/// An error with the file type if it is not a regular file.
pub fn check(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) => must_be_regular(metadata.file_type()),
        Err(_) => Ok(()),
    }
}

fn must_be_regular(kind: FileType) -> io::Result<()> {
    if kind.is_file() {
        return Ok(());
    }
    let (name, error) = if kind.is_dir() {
        ("a directory", io::ErrorKind::IsADirectory)
    } else if kind.is_fifo() {
        ("a FIFO", io::ErrorKind::InvalidInput)
    } else if kind.is_socket() {
        ("a socket", io::ErrorKind::InvalidInput)
    } else {
        ("a device", io::ErrorKind::InvalidInput)
    };
    let text = format!("the path is {name}, not a regular file; replace it with a regular file");
    Err(io::Error::new(error, text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_the_kind_of_others_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink(at("fifo"), at("link")).unwrap();
        for (path, kind) in [
            (at("folder"), "a directory"),
            (at("fifo"), "a FIFO"),
            (at("link"), "a FIFO"),
            (at("socket"), "a socket"),
            ("/dev/zero".into(), "a device"),
        ] {
            let mut writable = OpenOptions::new();
            writable.read(true).write(true);
            for error in [
                open(&path).unwrap_err(),
                open_with(&mut writable, &path).unwrap_err(),
                check(&path).unwrap_err(),
                read(&path, 10).unwrap_err(),
            ] {
                assert!(error.to_string().contains(kind), "{path:?}: {error}");
            }
        }
        assert_eq!(
            open(&at("absent")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        check(&at("absent")).unwrap();
        fs::write(at("file"), "text").unwrap();
        assert_eq!(read_to_string(&at("file"), 4).unwrap(), "text");
        read(&at("file"), 3).unwrap_err();
    }
}
