//! Writes an uploaded file to disk, decompressed, and enforces the size limit.

use std::io::{self, Write};

use session_pipeline_pipeline::upload::{IncomingUpload, ResumableUpload, UploadError};

use super::decoder::{BodyDecoder, ContentCoding};
use super::resumable;
use crate::http::problem::ApiError;
use crate::problem::ProblemClass;

/// What the bytes of an upload are added to.
pub(super) trait UploadTarget {
    /// The number of bytes received.
    fn received(&self) -> u64;

    /// Adds bytes.
    fn add(&mut self, bytes: &[u8]) -> Result<(), UploadError>;

    /// The error of a request.
    fn to_api_error(error: UploadError) -> ApiError;
}

impl UploadTarget for IncomingUpload {
    fn received(&self) -> u64 {
        self.size()
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        self.write_all(bytes)
    }

    fn to_api_error(error: UploadError) -> ApiError {
        error.into()
    }
}

impl UploadTarget for ResumableUpload {
    fn received(&self) -> u64 {
        Self::received(self)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        self.write_all(bytes)
    }

    fn to_api_error(error: UploadError) -> ApiError {
        resumable::to_api_error(error)
    }
}

/// A file that is being written to disk.
pub(super) struct UploadFile<T: UploadTarget> {
    decoder: BodyDecoder<LimitedWriter<T>>,
    coding: ContentCoding,
}

impl<T: UploadTarget> UploadFile<T> {
    pub(super) fn new(
        incoming: T,
        bytes_max: u64,
        coding: ContentCoding,
    ) -> Result<Self, ApiError> {
        let writer = LimitedWriter {
            incoming,
            bytes_max,
        };
        let decoder = BodyDecoder::new(coding, writer);
        let decoder = decoder.map_err(|error| ApiError::internal(&error))?;
        Ok(Self { decoder, coding })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        let written = self.decoder.write_all(bytes);
        written.map_err(|error| to_api_error::<T>(error, self.coding))
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The compressed data is incomplete.
    pub(super) fn finish(self) -> Result<T, ApiError> {
        let finished = self.decoder.finish();
        finished
            .map(|writer| writer.incoming)
            .map_err(|error| to_api_error::<T>(error, self.coding))
    }
}

/// A writer that fails at the size limit, which applies to the decompressed size.
pub(super) struct LimitedWriter<T> {
    incoming: T,
    bytes_max: u64,
}

/// A write error, which passes through the decoder as an I/O error.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("the session is larger than the limit of {0} bytes, decompressed; split it")]
    TooLarge(u64),
    #[error(transparent)]
    Upload(UploadError),
}

impl<T: UploadTarget> Write for LimitedWriter<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.incoming.received().saturating_add(bytes.len() as u64);
        if size > self.bytes_max {
            return Err(io::Error::other(WriteError::TooLarge(self.bytes_max)));
        }
        self.incoming
            .add(bytes)
            .map_err(|error| io::Error::other(WriteError::Upload(error)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn to_api_error<T: UploadTarget>(error: io::Error, coding: ContentCoding) -> ApiError {
    match error.downcast::<WriteError>() {
        Ok(error @ WriteError::TooLarge(_)) => {
            ApiError::new(ProblemClass::TooLarge, error.to_string())
        }
        Ok(WriteError::Upload(error)) => T::to_api_error(error),
        Err(error) if coding == ContentCoding::Zstd => ApiError::bad_request(format!(
            "invalid_zstd: the body is not complete zstd data with windows of at most 8 MiB ({error}); compress the session again"
        )),
        Err(error) => ApiError::bad_request(format!(
            "invalid_gzip: the file is not complete gzip data ({error}); compress the session again"
        )),
    }
}
