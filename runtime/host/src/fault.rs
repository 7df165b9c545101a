//! Why an attempt failed: one word each, the same in HTTP, command line, audit and database.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{ErrorClass, LlmError};
use crate::redaction::without_secrets;

/// Guest text kept anywhere is cut at this many bytes.
pub const DETAIL_BYTES_MAX: usize = 4096;

/// A kind of failure (ARCHITECTURE.md §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The guest burned all its fuel.
    OutOfFuel,
    /// The guest used up its CPU time.
    Deadline,
    /// The guest wanted more memory or tables than it may have.
    MemoryLimit,
    /// The guest recursed too deep.
    StackOverflow,
    /// The session is larger than the limit; it was not read.
    TooLarge,
    /// The guest recorded too much, or handed over too much at once.
    OutputLimit,
    /// The guest called the host too often.
    HostCallLimit,
    /// The guest panicked.
    Panic,
    /// The guest trapped.
    Trap,
    /// The guest called into WASI where nothing is served.
    Denied,
    /// The guest itself gave the session back with a reason.
    Rejected,
    /// The guest recorded something that does not fit its tables.
    BadRecord,
    /// The language model gave no usable answer.
    Llm,
    /// The session can't be read.
    Input,
    /// The component does not compile, link or describe itself.
    Component,
    /// Our process died while it was at this session.
    Crash,
    /// The host itself is at a limit.
    Host,
}

impl FaultKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfFuel => "out-of-fuel",
            Self::Deadline => "deadline",
            Self::MemoryLimit => "memory-limit",
            Self::StackOverflow => "stack-overflow",
            Self::TooLarge => "too-large",
            Self::OutputLimit => "output-limit",
            Self::HostCallLimit => "host-call-limit",
            Self::Panic => "panic",
            Self::Trap => "trap",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::BadRecord => "bad-record",
            Self::Llm => "llm",
            Self::Input => "input",
            Self::Component => "component",
            Self::Crash => "crash",
            Self::Host => "host",
        }
    }

    /// The kind behind a word; one that this version does not know was the host's affair.
    pub fn from_word(word: &str) -> Self {
        serde_json::from_value(serde_json::Value::String(word.to_owned())).unwrap_or(Self::Host)
    }

    /// Whether the session or the component caused it, so that repeating it is pointless and the
    /// session ends in quarantine. An outage must not cost anyone a session. Of an answer that a
    /// language model did not give, only [`Fault::is_of_own_making`] knows.
    pub fn is_of_own_making(self) -> bool {
        match self {
            Self::OutOfFuel
            | Self::Deadline
            | Self::MemoryLimit
            | Self::StackOverflow
            | Self::OutputLimit
            | Self::HostCallLimit
            | Self::Panic
            | Self::Trap
            | Self::Denied
            | Self::Rejected
            | Self::BadRecord
            | Self::Crash => true,
            Self::TooLarge | Self::Llm | Self::Input | Self::Component | Self::Host => false,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure with what is known about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// What happened, and what helps; cut and without control characters.
    pub detail: String,
    /// Why a language model gave no answer, where that is the fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_error: Option<ErrorClass>,
}

impl Fault {
    /// A fault whose detail may hold text of a guest or a file.
    pub fn new(kind: FaultKind, detail: impl AsRef<str>) -> Self {
        Self {
            kind,
            detail: shown(detail.as_ref()),
            model_error: None,
        }
    }

    /// A fault because a language model gave no answer.
    pub fn llm(error: &LlmError, detail: impl AsRef<str>) -> Self {
        Self {
            model_error: Some(error.class),
            ..Self::new(FaultKind::Llm, detail)
        }
    }

    /// A fault as it was stored. The stored detail of a fault of a language model begins with the
    /// class.
    pub fn stored(kind: &str, detail: String) -> Self {
        let kind = FaultKind::from_word(kind);
        let class = match kind {
            FaultKind::Llm => detail.split(": ").next(),
            _ => None,
        };
        Self {
            kind,
            model_error: class.and_then(ErrorClass::from_word),
            detail,
        }
    }

    /// Whether the session or the component caused it. An answer that was refused, or that is none,
    /// counts; a model that is out of reach does not.
    pub fn is_of_own_making(&self) -> bool {
        self.kind.is_of_own_making() || self.model_error.is_some_and(ErrorClass::is_of_own_making)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.detail)
    }
}

impl std::error::Error for Fault {}

/// Text of a guest as it is kept and shown to others: without what looks like a secret, since a
/// guest may repeat what a transcript says.
pub fn shown(text: &str) -> String {
    // Enough that what is cut off below has been looked at.
    let mut end = text.len().min(2 * DETAIL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = text.get(..end).unwrap_or_default();
    let cleaned = without_secrets(cut);
    match end < text.len() {
        // Longer than what is kept, so that it is marked as cut.
        true if cleaned.len() <= DETAIL_BYTES_MAX => printable(&format!("{cleaned}…")),
        _ => printable(&cleaned),
    }
}

/// Hostile text made fit for terminals and logs: cut at [`DETAIL_BYTES_MAX`], control characters
/// escaped (line breaks and tabs too: one detail is one line).
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(DETAIL_BYTES_MAX));
    for c in text.chars() {
        let start = out.len();
        if paints(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > DETAIL_BYTES_MAX - '…'.len_utf8() {
            out.truncate(start);
            out.push('…');
            break;
        }
    }
    out
}

/// Whether a character does more on a terminal than show itself: control characters, line and
/// paragraph separators, and the bidirectional marks and overrides, which can make a terminal show
/// other text than the stored text.
pub fn paints(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Text of any length made fit for a terminal: as [`printable`], but not cut, and with its line
/// breaks.
pub fn printable_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            c if paints(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// An error with all its causes, each printed once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
