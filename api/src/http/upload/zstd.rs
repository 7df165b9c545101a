//! Decompresses zstd while it arrives.

use std::io::{self, Write};

use zstd::stream::raw::{DParameter, Decoder, Operation as _};

/// The largest window of a frame, as a power of two: 8 MiB, which every decoder must support. A
/// larger one would let a client use as much memory as it likes.
const WINDOW_LOG_MAX: u32 = 23;
const BUFFER_BYTES: usize = 64 << 10;

/// A zstd stream of one or more frames (RFC 8878).
pub(super) struct ZstdFrames<W> {
    decoder: Decoder<'static>,
    writer: W,
    buffer: Vec<u8>,
    /// Whether the last frame has not ended. An empty stream has no frame.
    is_within_frame: bool,
}

impl<W: Write> ZstdFrames<W> {
    pub(super) fn new(writer: W) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
        Ok(Self {
            decoder,
            writer,
            buffer: vec![0; BUFFER_BYTES],
            is_within_frame: true,
        })
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            let status = self.decoder.run_on_buffers(bytes, &mut self.buffer)?;
            let written = self.buffer.get(..status.bytes_written).unwrap_or_default();
            self.writer.write_all(written)?;
            if status.bytes_read > 0 || status.bytes_written > 0 {
                self.is_within_frame = status.remaining > 0;
            }
            bytes = bytes.get(status.bytes_read..).unwrap_or_default();
            // A full buffer can mean that the decoder has more.
            let has_more = status.bytes_written == self.buffer.len();
            if bytes.is_empty() && !has_more {
                return Ok(());
            }
            if status.bytes_read == 0 && status.bytes_written == 0 {
                return Err(io::Error::other("it cannot be decompressed"));
            }
        }
    }

    /// Returns the writer.
    ///
    /// # Errors
    /// The last frame is incomplete.
    pub(super) fn finish(self) -> io::Result<W> {
        match self.is_within_frame {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(self.writer),
        }
    }
}
