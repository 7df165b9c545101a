//! Where the bytes of an uploaded file go: decompressed where they are gzip, and never more of them
//! than is allowed.

use std::io::{self, Write};

use flate2::write::GzDecoder;
use session_pipeline_pipeline::upload::{IncomingUpload, UploadError};

use crate::http::problem::ApiError;
use crate::problem::ProblemClass;

/// Members of one gzip file: each costs a few microseconds, even an empty one. A program that flushes
/// each line as a member writes fewer in a file of the largest size.
const MEMBERS_MAX: u32 = 100_000;

/// A file on its way to the disk.
pub(super) enum UploadFile {
    /// As it is sent.
    Plain(LimitedWriter),
    /// Decompressed.
    Gzip(GzipMembers),
}

impl UploadFile {
    pub(super) fn new(incoming: IncomingUpload, bytes_max: u64, is_gzip: bool) -> Self {
        let limited = LimitedWriter {
            incoming,
            bytes_max,
        };
        if is_gzip {
            Self::Gzip(GzipMembers {
                decoder: Some(Box::new(GzDecoder::new(limited))),
                members: 1,
                is_at_start: true,
            })
        } else {
            Self::Plain(limited)
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        match self {
            Self::Plain(limited) => limited.write_all(bytes).map_err(|error| refusal(error, 1)),
            Self::Gzip(members) => members.write_all(bytes),
        }
    }

    /// The whole file, as it is to be kept.
    ///
    /// # Errors
    /// When a gzip is not complete.
    pub(super) fn finish(self) -> Result<IncomingUpload, ApiError> {
        match self {
            Self::Plain(limited) => Ok(limited.incoming),
            Self::Gzip(mut members) => members.end_member().map(|limited| limited.incoming),
        }
    }
}

/// A gzip file: one member or several, one after the other (RFC 1952).
pub(super) struct GzipMembers {
    decoder: Option<Box<GzDecoder<LimitedWriter>>>,
    members: u32,
    /// Whether the present member has no bytes yet.
    is_at_start: bool,
}

impl GzipMembers {
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let decoder = self.decoder.as_mut().ok_or_else(|| invalid("it is over"))?;
            let taken = decoder.write(rest);
            let taken = taken.map_err(|error| refusal(error, self.members))?;
            if taken == 0 {
                // A decoder takes nothing more once its member is over.
                self.begin_member()?;
                continue;
            }
            self.is_at_start = false;
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    fn begin_member(&mut self) -> Result<(), ApiError> {
        if self.is_at_start {
            return Err(invalid("it can't be decompressed"));
        }
        if self.members == MEMBERS_MAX {
            return Err(invalid(&format!("it has more than {MEMBERS_MAX} members")));
        }
        let limited = self.end_member()?;
        self.decoder = Some(Box::new(GzDecoder::new(limited)));
        self.members += 1;
        self.is_at_start = true;
        Ok(())
    }

    fn end_member(&mut self) -> Result<LimitedWriter, ApiError> {
        let decoder = self.decoder.take().ok_or_else(|| invalid("it is over"))?;
        let ended = decoder.finish();
        ended.map_err(|error| refusal(error, self.members))
    }
}

/// Stops a file at its limit, also one that was small before it was decompressed.
pub(super) struct LimitedWriter {
    incoming: IncomingUpload,
    bytes_max: u64,
}

/// Why a file could not be written, carried through the decoder.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("the session is larger than {0} bytes, decompressed; split it")]
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
        let written = self.incoming.write_all(bytes);
        written.map_err(|error| io::Error::other(WriteError::Upload(error)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn refusal(error: io::Error, members: u32) -> ApiError {
    match error.downcast::<WriteError>() {
        Ok(error @ WriteError::TooLarge(_)) => {
            ApiError::new(ProblemClass::TooLarge, error.to_string())
        }
        Ok(WriteError::Upload(error)) => error.into(),
        Err(error) if members > 1 => invalid(&format!(
            "what comes after member {} is not another complete member: {error}",
            members - 1
        )),
        Err(error) => invalid(&error.to_string()),
    }
}

fn invalid(reason: &str) -> ApiError {
    ApiError::bad(format!(
        "invalid_gzip: the file is not a complete gzip ({reason}); compress the session again"
    ))
}
