//! Sessions that an agent compressed with zstd, such as idle ones of Codex CLI.
//!
//! The content of such a session is its decompressed bytes, so its hash, its size and its rows are
//! those of the plain file. Its compressed bytes are read twice: once to check them and to find the
//! size, and once to read the content. Nothing is held in memory but the window of the decoder.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::sync::Arc;

use zstd::stream::read::Decoder;

use super::unnamed_file;

/// The largest window of a frame, as a power of two: 8 MiB, which every decoder must support. A
/// larger one would let a file determine how much memory the program uses.
const WINDOW_LOG_MAX: u32 = 23;
/// Bytes that are decompressed at a time to find the size.
const BUFFER_BYTES: usize = 128 << 10;

/// The decompressed bytes of a file of one or more frames (RFC 8878).
pub(super) struct ZstdContent {
    file: Arc<File>,
    decoder: Decoder<'static, BufReader<Arc<File>>>,
}

impl ZstdContent {
    /// The content of a file, from its beginning.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let file = Arc::new(file);
        Ok(Self {
            decoder: decoder(&file)?,
            file,
        })
    }

    /// Returns to the first byte.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        self.decoder = decoder(&self.file)?;
        Ok(())
    }

    /// The number of bytes up to the end, at most `bytes_max` and one more. Checks them.
    pub(super) fn count(&mut self, bytes_max: u64) -> io::Result<u64> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut counted = 0;
        loop {
            match self.read(&mut buffer)? {
                0 => return Ok(counted),
                read => counted += read as u64,
            }
            if counted > bytes_max {
                return Ok(bytes_max.saturating_add(1));
            }
        }
    }
}

impl Read for ZstdContent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.decoder.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error().is_none() => return Err(damaged(&error)),
                read => return read,
            }
        }
    }
}

fn decoder(file: &Arc<File>) -> io::Result<Decoder<'static, BufReader<Arc<File>>>> {
    let mut file = Arc::clone(file);
    file.seek(SeekFrom::Start(0))?;
    let mut decoder = Decoder::new(file)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}

fn damaged(reason: &io::Error) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "the file is not complete zstd data with windows of at most 8 MiB ({reason}); compress the session again"
        ),
    )
}

/// Decompresses a file into an unnamed one, in memory where the system supports it.
///
/// # Errors
/// The file is damaged or has more than `bytes_max` bytes, decompressed.
pub fn decompress(file: File, bytes_max: u64) -> io::Result<File> {
    let mut content = ZstdContent::new(file)?.take(bytes_max.saturating_add(1));
    let mut decompressed = unnamed_file()?;
    if io::copy(&mut content, &mut decompressed)? > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!(
                "the session has more than {bytes_max} bytes, decompressed; decompress the file with `zstd -d`"
            ),
        ));
    }
    decompressed.seek(SeekFrom::Start(0))?;
    Ok(decompressed)
}
