//! Checks that uploads contain no secrets, for servers that accept only redacted sessions.

use session_pipeline_host::redaction::{LINE_BYTES_MAX, redact_line};

use super::UploadError;

/// Checks the lines of an upload while they arrive. Memory is limited to one line.
#[derive(Debug)]
pub(super) struct RedactionCheck {
    line: Vec<u8>,
    /// Whether each line is a document. Otherwise, the whole file is one.
    has_lines: bool,
    found: u64,
}

impl RedactionCheck {
    pub(super) fn new(has_lines: bool) -> Self {
        Self {
            line: Vec::new(),
            has_lines,
            found: 0,
        }
    }

    /// Checks further bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > LINE_BYTES_MAX + 1 {
                return Err(UploadError::LongLine(LINE_BYTES_MAX as u64));
            }
            self.line.extend_from_slice(part);
            if self.has_lines && part.ends_with(b"\n") {
                self.check_line();
            }
        }
        Ok(())
    }

    /// Checks the end of an upload. `stores_rest`: whether a line without an end is stored, too.
    pub(super) fn finish(mut self, stores_rest: bool) -> Result<(), UploadError> {
        if stores_rest && !self.line.is_empty() {
            self.check_line();
        }
        match self.found {
            0 => Ok(()),
            found => Err(UploadError::Secrets(found)),
        }
    }

    /// Whether the last line has no end yet.
    pub(super) fn is_within_line(&self) -> bool {
        self.has_lines && !self.line.is_empty()
    }

    fn check_line(&mut self) {
        self.found += redact_line(&self.line).found as u64;
        self.line.clear();
    }
}
