//! Sessions that an agent compressed with zstd, such as idle ones of Codex CLI.
//!
//! They are sent decompressed, under the name of the plain file. So the server has the same session
//! whether or not the agent has compressed it, and secrets in it can be found.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use zstd::stream::read::Decoder;

/// The suffix of a compressed session.
const SUFFIX: &str = ".zst";
/// The largest window of a frame, as a power of two: 8 MiB, which every decoder must support. A
/// larger one would let a file determine how much memory the program uses.
const WINDOW_LOG_MAX: u32 = 23;
/// A larger session is not sent, in bytes.
const BYTES_MAX: u64 = 4 << 30;

/// The name of a compressed session without its suffix. `None` for any other name.
pub fn plain_name(name: &str) -> Option<&str> {
    let plain = name.strip_suffix(SUFFIX)?;
    plain.ends_with(".jsonl").then_some(plain)
}

/// Decompresses a file into an unnamed temporary one. Returns it with its length in bytes.
///
/// # Errors
/// The file is damaged or too large ([`io::ErrorKind::InvalidData`]), or the disk is full.
pub fn decompress(file: File) -> io::Result<(File, u64)> {
    let mut decoder = Decoder::new(file)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    let mut plain = tempfile::tempfile()?;
    let copied = io::copy(&mut decoder.take(BYTES_MAX + 1), &mut plain);
    let length = copied.map_err(|error| match error.raw_os_error() {
        Some(_) => error,
        None => invalid(&format!(
            "the file is not complete zstd data with windows of at most 8 MiB ({error}); compress it again"
        )),
    })?;
    if length > BYTES_MAX {
        return Err(invalid(&format!(
            "the session has more than {}, decompressed",
            bytesize::ByteSize(BYTES_MAX).display().iec()
        )));
    }
    plain.seek(SeekFrom::Start(0))?;
    Ok((plain, length))
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn complete_data_is_decompressed_and_damaged_data_is_an_error() {
        let plain = b"{\"a\":1}\n".repeat(1000);
        let frame = zstd::encode_all(plain.as_slice(), 3).unwrap();
        let two_frames = [frame.as_slice(), &frame].concat();
        for (bytes, expected) in [(&frame, plain.len()), (&two_frames, 2 * plain.len())] {
            let (mut decompressed, length) = decompress(file(bytes)).unwrap();
            let mut read = Vec::new();
            decompressed.read_to_end(&mut read).unwrap();
            assert_eq!((read.len(), length), (expected, expected as u64));
            assert!(read.starts_with(&plain));
        }
        let garbage = [frame.as_slice(), b"garbage"].concat();
        for damaged in [&frame[..frame.len() - 1], &garbage, b"", b"{}\n"] {
            let error = decompress(file(damaged)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            assert!(error.to_string().contains("not complete zstd data"));
        }
    }

    #[test]
    fn only_sessions_of_lines_are_compressed() {
        for (name, plain) in [
            ("a.jsonl.zst", Some("a.jsonl")),
            ("a.json.zst", None),
            ("a.zst", None),
            ("a.jsonl", None),
        ] {
            assert_eq!(plain_name(name), plain, "{name}");
        }
    }
}
