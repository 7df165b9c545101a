//! Writes an uploaded file to disk, decompresses it, and enforces the size limit.

use std::io::{self, Write};

use flate2::write::GzDecoder;
use session_pipeline_pipeline::upload::{IncomingUpload, ResumableUpload, UploadError};

use super::resumable;
use super::zstd::ZstdFrames;
use crate::http::problem::ApiError;
use crate::problem::ProblemClass;

/// Maximum number of gzip members in a file. Even an empty member costs a few microseconds. A
/// program that writes each line as a member stays below this number in a file of the maximum size.
const MEMBERS_MAX: u32 = 100_000;

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

/// How the bytes of an upload are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentCoding {
    /// Not at all.
    Identity,
    /// As gzip.
    Gzip,
    /// As zstd.
    Zstd,
}

/// A file that is being written to disk.
pub(super) enum UploadFile<T: UploadTarget> {
    /// Written unchanged.
    Plain(LimitedWriter<T>),
    /// Decompressed from gzip.
    Gzip(GzipMembers<T>),
    /// Decompressed from zstd.
    Zstd(Box<ZstdFrames<LimitedWriter<T>>>),
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
        Ok(match coding {
            ContentCoding::Identity => Self::Plain(writer),
            ContentCoding::Gzip => Self::Gzip(GzipMembers {
                decoder: Some(Box::new(GzDecoder::new(writer))),
                members: 1,
                is_at_start: true,
            }),
            ContentCoding::Zstd => {
                let frames = ZstdFrames::new(writer);
                Self::Zstd(Box::new(
                    frames.map_err(|error| ApiError::internal(&error))?,
                ))
            }
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        match self {
            Self::Plain(writer) => writer
                .write_all(bytes)
                .map_err(|error| to_api_error::<T>(error, 1)),
            Self::Gzip(members) => members.write_all(bytes),
            Self::Zstd(frames) => frames.write_all(bytes).map_err(zstd_error::<T>),
        }
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The compressed data is incomplete.
    pub(super) fn finish(self) -> Result<T, ApiError> {
        match self {
            Self::Plain(writer) => Ok(writer.incoming),
            Self::Gzip(mut members) => members.end_member().map(|writer| writer.incoming),
            Self::Zstd(frames) => {
                let writer = frames.finish().map_err(zstd_error::<T>);
                writer.map(|writer| writer.incoming)
            }
        }
    }
}

/// A gzip file of one or more consecutive members (RFC 1952).
pub(super) struct GzipMembers<T: UploadTarget> {
    decoder: Option<Box<GzDecoder<LimitedWriter<T>>>>,
    members: u32,
    /// Whether the current member has no bytes yet.
    is_at_start: bool,
}

impl<T: UploadTarget> GzipMembers<T> {
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let decoder = self
                .decoder
                .as_mut()
                .ok_or_else(|| invalid("it ended already"))?;
            let taken = decoder
                .write(rest)
                .map_err(|error| to_api_error::<T>(error, self.members))?;
            if taken == 0 {
                // A decoder accepts no bytes after the end of its member.
                self.start_member()?;
                continue;
            }
            self.is_at_start = false;
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    fn start_member(&mut self) -> Result<(), ApiError> {
        if self.is_at_start {
            return Err(invalid("it cannot be decompressed"));
        }
        if self.members == MEMBERS_MAX {
            return Err(invalid(&format!("it has more than {MEMBERS_MAX} members")));
        }
        let writer = self.end_member()?;
        self.decoder = Some(Box::new(GzDecoder::new(writer)));
        self.members += 1;
        self.is_at_start = true;
        Ok(())
    }

    fn end_member(&mut self) -> Result<LimitedWriter<T>, ApiError> {
        let decoder = self
            .decoder
            .take()
            .ok_or_else(|| invalid("it ended already"))?;
        decoder
            .finish()
            .map_err(|error| to_api_error::<T>(error, self.members))
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

fn to_api_error<T: UploadTarget>(error: io::Error, members: u32) -> ApiError {
    match error.downcast::<WriteError>() {
        Ok(error @ WriteError::TooLarge(_)) => {
            ApiError::new(ProblemClass::TooLarge, error.to_string())
        }
        Ok(WriteError::Upload(error)) => T::to_api_error(error),
        Err(error) if members > 1 => invalid(&format!(
            "the data after member {} is not a complete member: {error}",
            members - 1
        )),
        Err(error) => invalid(&error.to_string()),
    }
}

fn zstd_error<T: UploadTarget>(error: io::Error) -> ApiError {
    match error.downcast::<WriteError>() {
        Ok(error @ WriteError::TooLarge(_)) => {
            ApiError::new(ProblemClass::TooLarge, error.to_string())
        }
        Ok(WriteError::Upload(error)) => T::to_api_error(error),
        Err(error) => ApiError::bad_request(format!(
            "invalid_zstd: the body is not complete zstd data with windows of at most 8 MiB ({error}); compress the session again"
        )),
    }
}

fn invalid(reason: &str) -> ApiError {
    ApiError::bad_request(format!(
        "invalid_gzip: the file is not complete gzip data ({reason}); compress the session again"
    ))
}
