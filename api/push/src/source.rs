//! Reads a local file and produces the bytes to send: the same bytes, or redacted lines.
//!
//! Both are a function of the beginning of the file, so an upload can continue at any offset that it
//! reached before. Memory is limited to a few parts, however large the file is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use session_pipeline_redaction::{LINE_BYTES_MAX, LONG_LINE_MARKER, redact_line};
use sha2::{Digest as _, Sha256};

use crate::ends::FileEnds;
use crate::hash::{HashState, Hex};
use crate::walk::LocalStat;

/// Size of a part, which is sent with one request and lost if the connection is cut.
const PART_BYTES: usize = 4 << 20;
/// A part is not cut within a line unless the line is longer than this. The server stores longer
/// lines in pieces, because readers skip them.
const LONG_LINE_BYTES: usize = 20 << 20;
const READ_BYTES: usize = 256 << 10;

/// How far a file was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Number of bytes of the local file.
    pub read: u64,
    /// The hash of these bytes.
    pub read_state: HashState,
    /// Number of bytes that the server got for them.
    pub sent: u64,
    /// The hash of the bytes that the server got.
    pub sent_state: HashState,
}

impl Position {
    /// The beginning of a file.
    pub fn start() -> Self {
        Self {
            read: 0,
            read_state: HashState::default(),
            sent: 0,
            sent_state: HashState::default(),
        }
    }
}

/// A position that an earlier run recorded.
#[derive(Clone, Copy, Debug)]
pub struct RecordedPosition<'r> {
    /// Number of bytes of the local file.
    pub read: u64,
    /// The hash of these bytes.
    pub read_sha256: &'r Hex,
    /// The ends of these bytes, if it is enough to compare them. `None`: all bytes are compared.
    pub ends: Option<&'r FileEnds>,
    /// Number of bytes that the server got for them.
    pub sent: u64,
    /// The hash of the bytes that the server got.
    pub sent_state: &'r HashState,
}

/// Bytes for one request.
#[derive(Debug)]
pub struct Part {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether they reach the end that the file had when it was opened.
    pub is_last: bool,
    /// The position after them.
    pub end: Position,
}

/// What is read next.
enum Line {
    /// A line with its line end.
    Whole(Vec<u8>),
    /// A line that is too long to be redacted, with its length and the hash after it.
    Long(u64, Sha256),
    /// The file ends here, or within a line.
    End,
}

/// A file up to the length that it had when it was opened.
#[derive(Debug)]
pub struct Source {
    file: File,
    length: u64,
    form: Form,
    position: Position,
    /// Bytes after the position that were read already.
    ahead: Vec<u8>,
}

/// What is sent of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The same bytes.
    Unchanged,
    /// Its whole lines without secrets.
    RedactedLines,
    /// One document without secrets.
    RedactedDocument,
}

/// Why a file could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is shorter than it was when it was opened.
    #[error("the file was truncated while it was read")]
    Truncated,
    /// A document without lines is too long to be redacted.
    #[error(
        "the file is longer than {LINE_BYTES_MAX} bytes and has no lines, so it cannot be redacted"
    )]
    TooLong,
    /// The operating system reports an error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Source {
    /// A file of this length, from its beginning.
    pub fn new(file: File, length: u64, form: Form) -> Self {
        Self {
            file,
            length,
            form,
            position: Position::start(),
            ahead: Vec::new(),
        }
    }

    /// Continues after a position that an earlier run reached. Returns whether the file still begins
    /// with the same bytes. If not, the source is at the beginning.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn resume(&mut self, recorded: &RecordedPosition<'_>) -> Result<bool, SourceError> {
        self.rewind();
        let read = recorded.read;
        // A document is sent as a whole, so a part of it is of no use.
        let is_part = self.form == Form::RedactedDocument && read < self.length;
        if read > self.length || is_part {
            return Ok(false);
        }
        let by_ends = recorded
            .ends
            .and_then(|ends| ends.state(&self.file, read))
            .filter(|state| Hex::of(&state.0) == *recorded.read_sha256);
        let state = match by_ends {
            Some(state) => state.0.clone(),
            None => self.hash(read)?,
        };
        if Hex::of(&state) != *recorded.read_sha256 {
            return Ok(false);
        }
        self.position = Position {
            read,
            sent_state: match self.form {
                Form::Unchanged => HashState(state.clone()),
                _ => recorded.sent_state.clone(),
            },
            read_state: HashState(state),
            sent: recorded.sent,
        };
        Ok(true)
    }

    /// The ends of the bytes before the position. `None` if all of them have to be compared.
    pub fn ends(&self, opened: LocalStat) -> Option<FileEnds> {
        FileEnds::of(
            &self.file,
            opened,
            self.position.read,
            &self.position.read_state,
        )
    }

    /// Continues after the bytes that a server has. Returns whether they are the beginning of what
    /// would be sent. If not, the source is at the beginning. `None`: the hash is not known, and the
    /// server checks it with the next part.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn resume_at(&mut self, sent: u64, sent_sha256: Option<&Hex>) -> Result<bool, SourceError> {
        self.rewind();
        self.advance_to(sent)?;
        let found = Hex::of(&self.position.sent_state.0);
        let is_same = self.position.sent == sent && sent_sha256.is_none_or(|hash| *hash == found);
        if !is_same {
            self.rewind();
        }
        Ok(is_same)
    }

    /// Moves the position from the beginning towards an offset on the server. It stops elsewhere if
    /// nothing that is sent ends there.
    fn advance_to(&mut self, sent: u64) -> Result<(), SourceError> {
        match self.form {
            Form::Unchanged if sent <= self.length => {
                let state = HashState(self.hash(sent)?);
                self.position = Position {
                    read: sent,
                    read_state: state.clone(),
                    sent,
                    sent_state: state,
                };
            }
            Form::RedactedLines => {
                while self.position.sent < sent {
                    let line = self.next_line()?;
                    if self.take_line(line).is_none() {
                        break;
                    }
                }
            }
            Form::Unchanged | Form::RedactedDocument => {}
        }
        Ok(())
    }

    /// Returns to the beginning.
    pub fn rewind(&mut self) {
        self.position = Position::start();
        self.ahead = Vec::new();
    }

    /// The current position.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Whether a file without bytes to send exists on the server nevertheless. A file without a whole
    /// line does not if it is redacted.
    pub fn is_stored_if_empty(&self) -> bool {
        self.form != Form::RedactedLines
    }

    /// Returns the next bytes.
    ///
    /// # Errors
    /// The file was truncated or cannot be read.
    pub fn next_part(&mut self) -> Result<Part, SourceError> {
        let (bytes, is_last) = match self.form {
            Form::Unchanged => self.unchanged_part()?,
            Form::RedactedLines => self.redacted_part()?,
            Form::RedactedDocument => (self.redacted_document()?, true),
        };
        Ok(Part {
            bytes,
            is_last,
            end: self.position.clone(),
        })
    }

    fn unchanged_part(&mut self) -> Result<(Vec<u8>, bool), SourceError> {
        let mut bytes = std::mem::take(&mut self.ahead);
        let mut end = None;
        while end.is_none() {
            let start = self.position.read + bytes.len() as u64;
            let left = self.length.saturating_sub(start);
            let wanted = usize::try_from(left).unwrap_or(usize::MAX);
            let wanted = wanted.min(PART_BYTES.saturating_sub(bytes.len()).max(READ_BYTES));
            self.read_exact(&mut bytes, wanted, start)?;
            let is_last = left <= wanted as u64;
            end = match bytes.iter().rposition(|byte| *byte == b'\n') {
                _ if is_last => Some(bytes.len()),
                _ if bytes.len() < PART_BYTES => None,
                Some(newline) => Some(newline + 1),
                None if bytes.len() >= LONG_LINE_BYTES => Some(bytes.len()),
                None => None,
            };
        }
        let end = end.unwrap_or(bytes.len());
        self.ahead = bytes.split_off(end);
        self.position.read += bytes.len() as u64;
        self.position.sent = self.position.read;
        self.position.read_state.0.update(&bytes);
        self.position.sent_state = self.position.read_state.clone();
        Ok((bytes, self.position.read >= self.length))
    }

    fn redacted_part(&mut self) -> Result<(Vec<u8>, bool), SourceError> {
        let mut bytes = Vec::new();
        while bytes.len() < PART_BYTES {
            let line = self.next_line()?;
            match self.take_line(line) {
                Some(line) => bytes.extend_from_slice(&line),
                None => return Ok((bytes, true)),
            }
        }
        Ok((bytes, false))
    }

    fn redacted_document(&mut self) -> Result<Vec<u8>, SourceError> {
        if self.length > 0 && self.position.read == self.length {
            return Ok(Vec::new());
        }
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        if length > LINE_BYTES_MAX {
            return Err(SourceError::TooLong);
        }
        let mut document = Vec::new();
        self.read_exact(&mut document, length, 0)?;
        let bytes = redact_line(&document).bytes.into_owned();
        let state = |bytes: &[u8]| HashState(Sha256::new_with_prefix(bytes));
        self.position = Position {
            read: self.length,
            read_state: state(&document),
            sent: bytes.len() as u64,
            sent_state: state(&bytes),
        };
        Ok(bytes)
    }

    /// Moves the position after a line. Returns what is sent for it.
    fn take_line(&mut self, line: Line) -> Option<Vec<u8>> {
        let bytes = match line {
            Line::Whole(line) => {
                self.position.read += line.len() as u64;
                self.position.read_state.0.update(&line);
                redact_line(&line).bytes.into_owned()
            }
            Line::Long(length, state) => {
                self.position.read += length;
                self.position.read_state = HashState(state);
                [LONG_LINE_MARKER, b"\n"].concat()
            }
            Line::End => return None,
        };
        self.position.sent += bytes.len() as u64;
        self.position.sent_state.0.update(&bytes);
        Some(bytes)
    }

    fn next_line(&mut self) -> Result<Line, SourceError> {
        let mut searched = 0;
        loop {
            let rest = self.ahead.get(searched..).unwrap_or_default();
            if let Some(newline) = rest.iter().position(|byte| *byte == b'\n') {
                let after = self.ahead.split_off(searched + newline + 1);
                return Ok(Line::Whole(std::mem::replace(&mut self.ahead, after)));
            }
            searched = self.ahead.len();
            if searched > LINE_BYTES_MAX {
                return self.long_line();
            }
            let start = self.position.read + searched as u64;
            let left = usize::try_from(self.length.saturating_sub(start)).unwrap_or(usize::MAX);
            if left == 0 {
                return Ok(Line::End);
            }
            let mut ahead = std::mem::take(&mut self.ahead);
            let read = self.read_exact(&mut ahead, left.min(READ_BYTES), start);
            self.ahead = ahead;
            read?;
        }
    }

    /// Reads a long line to its end without keeping it.
    fn long_line(&mut self) -> Result<Line, SourceError> {
        let mut state = self.position.read_state.0.clone();
        state.update(&self.ahead);
        let mut length = self.ahead.len() as u64;
        self.ahead = Vec::new();
        loop {
            let start = self.position.read + length;
            let left = usize::try_from(self.length.saturating_sub(start)).unwrap_or(usize::MAX);
            let mut bytes = Vec::new();
            self.read_exact(&mut bytes, left.min(READ_BYTES), start)?;
            if bytes.is_empty() {
                // The next run reads the line again.
                return Ok(Line::End);
            }
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            let end = newline.map_or(bytes.len(), |newline| newline + 1);
            let after = bytes.split_off(end);
            state.update(&bytes);
            length += bytes.len() as u64;
            if newline.is_some() {
                self.ahead = after;
                return Ok(Line::Long(length, state));
            }
        }
    }

    /// The hash of the first bytes.
    fn hash(&self, length: u64) -> Result<Sha256, SourceError> {
        let mut state = Sha256::new();
        let mut buffer = Vec::with_capacity(READ_BYTES);
        let mut at = 0;
        while at < length {
            buffer.clear();
            let wanted = usize::try_from(length - at).unwrap_or(usize::MAX);
            self.read_exact(&mut buffer, wanted.min(READ_BYTES), at)?;
            state.update(&buffer);
            at += buffer.len() as u64;
        }
        Ok(state)
    }

    /// Appends exactly this many bytes of the file.
    fn read_exact(&self, bytes: &mut Vec<u8>, wanted: usize, at: u64) -> Result<(), SourceError> {
        let start = bytes.len();
        bytes.resize(start + wanted, 0);
        let Some(target) = bytes.get_mut(start..) else {
            return Ok(());
        };
        self.file
            .read_exact_at(target, at)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => SourceError::Truncated,
                _ => SourceError::Io(error),
            })
    }
}

#[cfg(test)]
mod tests;
