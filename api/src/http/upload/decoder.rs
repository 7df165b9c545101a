//! Decompresses the body of an upload while it arrives. Memory is limited, whatever the body contains.
//!
//! The writer limits the size of the result. Its errors are returned unchanged, with the kind `Other`.

use std::io::{self, Write};

use flate2::write::GzDecoder;

use super::zstd::ZstdFrames;

/// Maximum number of gzip members in a body. Even an empty member costs a few microseconds. A program
/// that writes each line as a member stays below this number in a file of the maximum size.
const MEMBERS_MAX: u32 = 100_000;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    /// Not at all.
    Identity,
    /// As gzip.
    Gzip,
    /// As zstd.
    Zstd,
}

impl ContentCoding {
    /// Parses the value of `Content-Encoding`. `None` if it is not supported.
    pub fn parse(value: &[u8]) -> Option<Self> {
        match value {
            b"identity" => Some(Self::Identity),
            b"gzip" => Some(Self::Gzip),
            b"zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A body that is being decompressed into a writer.
pub struct BodyDecoder<W: Write>(Decoder<W>);

enum Decoder<W: Write> {
    Identity(W),
    Gzip(GzipMembers<W>),
    Zstd(Box<ZstdFrames<W>>),
}

impl<W: Write> BodyDecoder<W> {
    /// A decoder at the beginning of a body.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(coding: ContentCoding, writer: W) -> io::Result<Self> {
        Ok(Self(match coding {
            ContentCoding::Identity => Decoder::Identity(writer),
            ContentCoding::Gzip => Decoder::Gzip(GzipMembers::new(writer)),
            ContentCoding::Zstd => Decoder::Zstd(Box::new(ZstdFrames::new(writer)?)),
        }))
    }

    /// Adds the next bytes of the body.
    ///
    /// # Errors
    /// They cannot be decompressed, or the writer fails.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Decoder::Identity(writer) => writer.write_all(bytes),
            Decoder::Gzip(members) => members.write_all(bytes),
            Decoder::Zstd(frames) => frames.write_all(bytes),
        }
    }

    /// Ends the body, and returns the writer.
    ///
    /// # Errors
    /// The body is incomplete, or the writer fails.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Decoder::Identity(writer) => Ok(writer),
            Decoder::Gzip(members) => members.finish(),
            Decoder::Zstd(frames) => frames.finish(),
        }
    }
}

/// A gzip stream of one or more members (RFC 1952).
struct GzipMembers<W: Write> {
    /// `None` after an error.
    decoder: Option<Box<GzDecoder<W>>>,
    members: u32,
    /// Whether the current member has no bytes yet.
    is_at_start: bool,
}

impl<W: Write> GzipMembers<W> {
    fn new(writer: W) -> Self {
        Self {
            decoder: Some(Box::new(GzDecoder::new(writer))),
            members: 1,
            is_at_start: true,
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let members = self.members;
            let decoder = self.decoder.as_mut().ok_or_else(ended)?;
            let taken = decoder
                .write(rest)
                .map_err(|error| in_member(error, members))?;
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

    fn start_member(&mut self) -> io::Result<()> {
        if self.is_at_start {
            return Err(invalid("it cannot be decompressed".to_owned()));
        }
        if self.members == MEMBERS_MAX {
            return Err(invalid(format!("it has more than {MEMBERS_MAX} members")));
        }
        let writer = self.end_member()?;
        self.decoder = Some(Box::new(GzDecoder::new(writer)));
        self.members += 1;
        self.is_at_start = true;
        Ok(())
    }

    fn end_member(&mut self) -> io::Result<W> {
        let decoder = self.decoder.take().ok_or_else(ended)?;
        decoder
            .finish()
            .map_err(|error| in_member(error, self.members))
    }

    fn finish(mut self) -> io::Result<W> {
        self.end_member()
    }
}

fn ended() -> io::Error {
    invalid("it ended already".to_owned())
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Adds the place to an error of the decoder, but not to one of the writer.
fn in_member(error: io::Error, members: u32) -> io::Error {
    match error.kind() {
        io::ErrorKind::Other => error,
        _ if members > 1 => invalid(format!(
            "the data after member {} is not a complete member: {error}",
            members - 1
        )),
        _ => error,
    }
}
