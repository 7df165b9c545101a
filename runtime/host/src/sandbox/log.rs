//! The bounded log of a session: log messages, standard output and standard error of the guest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::fault::redacted_and_printable;

/// The severity of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For the author of the processor.
    Debug,
    /// For an interested operator. Standard output uses this level.
    Info,
    /// Something unexpected.
    Warn,
    /// An error. Standard error uses this level.
    Error,
}

/// One log message of a guest, safe to print.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The severity.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

/// The log of one session, shared with the WASI output streams.
#[derive(Clone)]
pub(crate) struct SessionLog(Arc<Mutex<LogState>>);

struct LogState {
    lines: Vec<LogLine>,
    bytes_left: usize,
    /// Bytes written to streams since the last `take_stream_bytes`.
    stream_bytes: u64,
    is_cut: bool,
    /// Lines without a line break so far.
    open_stdout: Vec<u8>,
    open_stderr: Vec<u8>,
    /// The end of standard error, which contains the message of a panic.
    stderr_tail: Vec<u8>,
}

/// Cost of a line in addition to its text, so that empty lines are not free.
const LINE_OVERHEAD: usize = 32;
/// Stream lines are split at this length. It is also the size of the standard error tail.
const STREAM_LINE_BYTES_MAX: usize = 8 << 10;

impl SessionLog {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Mutex::new(LogState {
            lines: Vec::new(),
            bytes_left: bytes_max,
            stream_bytes: 0,
            is_cut: false,
            open_stdout: Vec::new(),
            open_stderr: Vec::new(),
            stderr_tail: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        // Guest traps do not unwind through this lock, and the log only contains whole lines in any
        // case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, level: LogLevel, message: &str) {
        self.state().push(level, message);
    }

    /// Appends bytes of standard output or standard error. Each whole line becomes a message.
    pub(crate) fn write_stream(&self, stream: Stream, bytes: &[u8]) {
        let mut state = self.state();
        state.stream_bytes = state.stream_bytes.saturating_add(bytes.len() as u64);
        if stream == Stream::Stderr {
            state.stderr_tail.extend_from_slice(bytes);
            let surplus = state
                .stderr_tail
                .len()
                .saturating_sub(STREAM_LINE_BYTES_MAX);
            state.stderr_tail.drain(..surplus);
        }
        let mut text = std::mem::take(state.open_line(stream));
        text.extend_from_slice(bytes);
        let end = match memchr::memrchr(b'\n', &text) {
            _ if text.len() > STREAM_LINE_BYTES_MAX => text.len(),
            Some(newline) => newline + 1,
            None => 0,
        };
        *state.open_line(stream) = text.split_off(end);
        state.push_lines(stream, &text);
    }

    /// Returns the number of bytes written to streams since the last call.
    pub(crate) fn take_stream_bytes(&self) -> u64 {
        std::mem::take(&mut self.state().stream_bytes)
    }

    /// The end of standard error, lossily decoded.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.state().stderr_tail).into_owned()
    }

    /// Flushes unfinished lines and returns the log.
    pub(crate) fn into_lines(self) -> Vec<LogLine> {
        let mut state = self.state();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(state.open_line(stream));
            state.push_lines(stream, &rest);
        }
        std::mem::take(&mut state.lines)
    }
}

impl LogState {
    fn open_line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.open_stdout,
            Stream::Stderr => &mut self.open_stderr,
        }
    }

    fn push_lines(&mut self, stream: Stream, text: &[u8]) {
        let level = if stream == Stream::Stderr {
            LogLevel::Error
        } else {
            LogLevel::Info
        };
        for line in text
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            self.push(level, &String::from_utf8_lossy(line));
        }
    }

    fn push(&mut self, level: LogLevel, message: &str) {
        let cost = message.len().min(crate::fault::DETAIL_BYTES_MAX) + LINE_OVERHEAD;
        if cost > self.bytes_left {
            self.bytes_left = 0;
            if !std::mem::replace(&mut self.is_cut, true) {
                self.lines.push(LogLine {
                    level: LogLevel::Warn,
                    message: "the log reached its size limit; later messages are dropped"
                        .to_owned(),
                });
            }
            return;
        }
        self.bytes_left -= cost;
        self.lines.push(LogLine {
            level,
            message: redacted_and_printable(message),
        });
    }
}

/// A standard output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}
