//! Writes an uploaded file to disk, decompresses gzip, and enforces the size limit.

use std::io::{self, Write};

use flate2::write::GzDecoder;
use session_pipeline_pipeline::upload::{IncomingUpload, UploadError};

use crate::http::problem::ApiError;
use crate::problem::ProblemClass;

/// Maximum number of gzip members in a file. Even an empty member costs a few microseconds. A
/// program that writes each line as a member stays below this number in a file of the maximum size.
const MEMBERS_MAX: u32 = 100_000;

/// A file that is being written to disk.
pub(super) enum UploadFile {
    /// Written unchanged.
    Plain(LimitedWriter),
    /// Decompressed from gzip.
    Gzip(GzipMembers),
}

impl UploadFile {
    pub(super) fn new(incoming: IncomingUpload, bytes_max: u64, is_gzip: bool) -> Self {
        let writer = LimitedWriter {
            incoming,
            bytes_max,
        };
        if is_gzip {
            Self::Gzip(GzipMembers {
                decoder: Some(Box::new(GzDecoder::new(writer))),
                members: 1,
                is_at_start: true,
            })
        } else {
            Self::Plain(writer)
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        match self {
            Self::Plain(writer) => writer
                .write_all(bytes)
                .map_err(|error| to_api_error(error, 1)),
            Self::Gzip(members) => members.write_all(bytes),
        }
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The gzip data is incomplete.
    pub(super) fn finish(self) -> Result<IncomingUpload, ApiError> {
        match self {
            Self::Plain(writer) => Ok(writer.incoming),
            Self::Gzip(mut members) => members.end_member().map(|writer| writer.incoming),
        }
    }
}

/// A gzip file of one or more consecutive members (RFC 1952).
pub(super) struct GzipMembers {
    decoder: Option<Box<GzDecoder<LimitedWriter>>>,
    members: u32,
    /// Whether the current member has no bytes yet.
    is_at_start: bool,
}

impl GzipMembers {
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let decoder = self
                .decoder
                .as_mut()
                .ok_or_else(|| invalid("it ended already"))?;
            let taken = decoder
                .write(rest)
                .map_err(|error| to_api_error(error, self.members))?;
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

    fn end_member(&mut self) -> Result<LimitedWriter, ApiError> {
        let decoder = self
            .decoder
            .take()
            .ok_or_else(|| invalid("it ended already"))?;
        decoder
            .finish()
            .map_err(|error| to_api_error(error, self.members))
    }
}

/// A writer that fails at the size limit, which applies to the decompressed size.
pub(super) struct LimitedWriter {
    incoming: IncomingUpload,
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

impl Write for LimitedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.incoming.size().saturating_add(bytes.len() as u64);
        if size > self.bytes_max {
            return Err(io::Error::other(WriteError::TooLarge(self.bytes_max)));
        }
        self.incoming
            .write_all(bytes)
            .map_err(|error| io::Error::other(WriteError::Upload(error)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn to_api_error(error: io::Error, members: u32) -> ApiError {
    match error.downcast::<WriteError>() {
        Ok(error @ WriteError::TooLarge(_)) => {
            ApiError::new(ProblemClass::TooLarge, error.to_string())
        }
        Ok(WriteError::Upload(error)) => error.into(),
        Err(error) if members > 1 => invalid(&format!(
            "the data after member {} is not a complete member: {error}",
            members - 1
        )),
        Err(error) => invalid(&error.to_string()),
    }
}

fn invalid(reason: &str) -> ApiError {
    ApiError::bad_request(format!(
        "invalid_gzip: the file is not complete gzip data ({reason}); compress the session again"
    ))
}
