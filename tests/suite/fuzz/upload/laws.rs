//! Laws of the decoder of uploads, which needs neither DuckDB nor wasmtime. cargo-fuzz checks them, too.

use std::io::{self, Read as _, Write};

use super::decoder::{BodyDecoder, ContentCoding};

/// Maximum size of what a body contains.
pub const DECODED_MAX: usize = 1 << 20;

/// Collects bytes up to the limit.
#[derive(Default)]
struct LimitedBuffer(Vec<u8>);

impl Write for &mut LimitedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > DECODED_MAX {
            return Err(io::Error::other("too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes a body that arrives in chunks of this size. Returns what was written, and whether the body
/// was complete.
pub fn decode(coding: ContentCoding, body: &[u8], chunk_bytes: usize) -> (Vec<u8>, bool) {
    let mut buffer = LimitedBuffer::default();
    let decode = |buffer| {
        let mut decoder = BodyDecoder::new(coding, buffer)?;
        let mut chunks = body.chunks(chunk_bytes.max(1));
        chunks.try_for_each(|chunk| decoder.write_all(chunk))?;
        decoder.finish().map(|_| ())
    };
    let is_complete = decode(&mut buffer).is_ok();
    (buffer.0, is_complete)
}

/// Decodes a body with another decoder. `None`: it is not complete, or too large.
fn decode_otherwise(coding: ContentCoding, body: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let limit = DECODED_MAX as u64 + 1;
    let read = match coding {
        ContentCoding::Identity => body.take(limit).read_to_end(&mut decoded),
        ContentCoding::Gzip => {
            let decoder = flate2::read::MultiGzDecoder::new(body);
            decoder.take(limit).read_to_end(&mut decoded)
        }
        ContentCoding::Zstd => {
            let decoder = zstd::stream::read::Decoder::new(body).ok()?;
            decoder.take(limit).read_to_end(&mut decoded)
        }
    };
    (read.is_ok() && decoded.len() <= DECODED_MAX).then_some(decoded)
}

/// The result does not depend on the chunks, is never too large, and is that of another decoder.
///
/// # Errors
/// The law that is broken.
pub fn check_body(coding: ContentCoding, body: &[u8], chunk_bytes: usize) -> Result<(), String> {
    let (whole, is_complete) = decode(coding, body, usize::MAX);
    let (parts, are_complete) = decode(coding, body, chunk_bytes);
    if is_complete != are_complete {
        return Err(format!(
            "complete at once: {is_complete}, in chunks of {chunk_bytes} bytes: {are_complete}"
        ));
    }
    if whole.len() > DECODED_MAX || parts.len() > DECODED_MAX {
        return Err("the limit was exceeded".to_owned());
    }
    if !is_complete {
        return match whole.starts_with(&parts) || parts.starts_with(&whole) {
            true => Ok(()),
            false => Err("two different beginnings".to_owned()),
        };
    }
    match decode_otherwise(coding, body) {
        Some(expected) if expected == whole && expected == parts => Ok(()),
        Some(_) => Err("two different results".to_owned()),
        None => Err("another decoder rejects the body".to_owned()),
    }
}
