//! The bounded log of a session: messages, standard output and standard error of the guest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::fault::shown;

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For the author.
    Debug,
    /// For the curious operator; standard output too.
    Info,
    /// Something odd.
    Warn,
    /// Something wrong; standard error too.
    Error,
}

/// One message of a guest, fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How important it is.
    pub level: Level,
    /// What it says.
    pub message: String,
}

/// The log of one session, shared with the streams that WASI writes to.
#[derive(Clone)]
pub(crate) struct SessionLog(Arc<Mutex<Kept>>);

struct Kept {
    lines: Vec<LogLine>,
    bytes_left: usize,
    /// Bytes that streams took since somebody asked.
    stream_bytes: u64,
    is_cut: bool,
    /// Lines that have not ended yet.
    open_stdout: Vec<u8>,
    open_stderr: Vec<u8>,
    /// The end of standard error, where a panic leaves its message.
    stderr_tail: Vec<u8>,
}

/// Costs of a line beside its text, so that empty lines are not free.
const LINE_OVERHEAD: usize = 32;
/// A line of a stream is broken here; of standard error this much is kept for a panic's message.
const STREAM_LINE_BYTES_MAX: usize = 8 << 10;

impl SessionLog {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Kept {
            lines: Vec::new(),
            bytes_left: bytes_max,
            stream_bytes: 0,
            is_cut: false,
            open_stdout: Vec::new(),
            open_stderr: Vec::new(),
            stderr_tail: Vec::new(),
        })))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A guest's trap unwinds nothing here; what is in the log is whole lines in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, level: Level, message: &str) {
        self.kept().push(level, message);
    }

    /// Takes bytes of standard output or standard error; whole lines become messages.
    pub(crate) fn write_stream(&self, stream: Stream, bytes: &[u8]) {
        let mut kept = self.kept();
        kept.stream_bytes = kept.stream_bytes.saturating_add(bytes.len() as u64);
        if stream == Stream::Stderr {
            kept.stderr_tail.extend_from_slice(bytes);
            let surplus = kept.stderr_tail.len().saturating_sub(STREAM_LINE_BYTES_MAX);
            kept.stderr_tail.drain(..surplus);
        }
        let mut text = std::mem::take(kept.open_line(stream));
        text.extend_from_slice(bytes);
        let end = match memchr::memrchr(b'\n', &text) {
            _ if text.len() > STREAM_LINE_BYTES_MAX => text.len(),
            Some(newline) => newline + 1,
            None => 0,
        };
        *kept.open_line(stream) = text.split_off(end);
        kept.push_lines(stream, &text);
    }

    /// How many bytes the streams took since the last call.
    pub(crate) fn take_stream_bytes(&self) -> u64 {
        std::mem::take(&mut self.kept().stream_bytes)
    }

    /// The end of what was written to standard error.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.kept().stderr_tail).into_owned()
    }

    /// Ends the log.
    pub(crate) fn into_lines(self) -> Vec<LogLine> {
        let mut kept = self.kept();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(kept.open_line(stream));
            kept.push_lines(stream, &rest);
        }
        std::mem::take(&mut kept.lines)
    }
}

impl Kept {
    fn open_line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.open_stdout,
            Stream::Stderr => &mut self.open_stderr,
        }
    }

    fn push_lines(&mut self, stream: Stream, text: &[u8]) {
        let level = if stream == Stream::Stderr {
            Level::Error
        } else {
            Level::Info
        };
        for line in text
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            self.push(level, &String::from_utf8_lossy(line));
        }
    }

    fn push(&mut self, level: Level, message: &str) {
        let cost = message.len().min(crate::fault::DETAIL_BYTES_MAX) + LINE_OVERHEAD;
        if cost > self.bytes_left {
            self.bytes_left = 0;
            if !std::mem::replace(&mut self.is_cut, true) {
                self.lines.push(LogLine {
                    level: Level::Warn,
                    message: "the log is cut here: it reached its limit".to_owned(),
                });
            }
            return;
        }
        self.bytes_left -= cost;
        self.lines.push(LogLine {
            level,
            message: shown(message),
        });
    }
}

/// Which stream of WASI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}
