//! Reasons why an attempt failed. Each kind has one name, which HTTP, the command line, the audit
//! log and the database share.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{LlmError, LlmErrorClass};
use crate::redaction::without_secrets;

/// Stored guest text is cut to this many bytes.
pub const DETAIL_BYTES_MAX: usize = 4096;

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The guest used all its fuel.
    OutOfFuel,
    /// The guest used up its CPU time.
    Deadline,
    /// The guest requested more memory or tables than its limit.
    MemoryLimit,
    /// The guest recursed too deeply.
    StackOverflow,
    /// The session is larger than the limit. It was not read.
    TooLarge,
    /// The guest recorded too much in total, or passed too much in one call.
    OutputLimit,
    /// The guest called the host too often.
    HostCallLimit,
    /// The guest panicked.
    Panic,
    /// The guest trapped.
    Trap,
    /// The guest called a WASI function that the sandbox does not implement.
    Denied,
    /// The guest rejected the session and returned a reason.
    Rejected,
    /// The guest recorded a row that does not fit its tables.
    BadRecord,
    /// The language model returned no usable answer.
    Llm,
    /// The session cannot be read.
    Input,
    /// The component does not compile or link, or its `describe` failed.
    Component,
    /// The host process died while it processed this session.
    Crash,
    /// The host itself reached a limit.
    Host,
}

impl FaultKind {
    /// The name in the API, the command line and the database, such as `out-of-fuel`.
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

    /// Parses a name. A name from a newer version maps to [`FaultKind::Host`].
    pub fn parse(word: &str) -> Self {
        serde_json::from_value(serde_json::Value::String(word.to_owned())).unwrap_or(Self::Host)
    }

    /// Whether the session or the component caused the failure. Retrying such a failure is
    /// pointless, so the session goes to quarantine. An outage must not quarantine sessions. For
    /// [`FaultKind::Llm`] the answer depends on the class: use [`Fault::is_permanent`].
    pub fn is_permanent(self) -> bool {
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

/// A failure with its details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind of failure.
    pub kind: FaultKind,
    /// What happened and how to fix it. Truncated, without control characters.
    pub detail: String,
    /// Why a language model gave no answer, where that is the fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_error: Option<LlmErrorClass>,
}

impl Fault {
    /// Creates a fault. `detail` can contain untrusted text from a guest or a file.
    pub fn new(kind: FaultKind, detail: impl AsRef<str>) -> Self {
        Self {
            kind,
            detail: redacted_and_printable(detail.as_ref()),
            model_error: None,
        }
    }

    /// A fault because the model returned no answer. The detail begins with the error class, so
    /// that the class survives wherever the fault is stored.
    pub fn llm(error: &LlmError, detail: impl AsRef<str>) -> Self {
        Self {
            model_error: Some(error.class),
            ..Self::new(FaultKind::Llm, detail)
        }
    }

    /// A fault as it was stored. The stored detail of a fault of a language model begins with the
    /// class.
    pub fn stored(kind: &str, detail: String) -> Self {
        let kind = FaultKind::parse(kind);
        let class = match kind {
            FaultKind::Llm => detail.split(": ").next(),
            _ => None,
        };
        Self {
            kind,
            model_error: class.and_then(LlmErrorClass::parse),
            detail,
        }
    }

    /// Whether the session or the component caused the failure. A refused or malformed answer
    /// counts. An unreachable model does not.
    pub fn is_permanent(&self) -> bool {
        self.kind.is_permanent() || self.model_error.is_some_and(LlmErrorClass::is_permanent)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.detail)
    }
}

impl std::error::Error for Fault {}

/// Prepares guest text for storage and display. Removes what looks like a secret, because a guest
/// can repeat text from a transcript.
pub fn redacted_and_printable(text: &str) -> String {
    // The redaction must see more than the result keeps, so that no secret is cut in half at the
    // end.
    let mut end = text.len().min(2 * DETAIL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = text.get(..end).unwrap_or_default();
    let cleaned = without_secrets(cut);
    match end < text.len() {
        // Too long even though the redacted part fits: mark it as cut.
        true if cleaned.len() <= DETAIL_BYTES_MAX => printable(&format!("{cleaned}…")),
        _ => printable(&cleaned),
    }
}

/// Makes untrusted text safe for terminals and logs. Cuts it at [`DETAIL_BYTES_MAX`] and escapes
/// control characters, including line breaks and tabs, so that a detail is always one line.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(DETAIL_BYTES_MAX));
    for c in text.chars() {
        let start = out.len();
        if is_unsafe_for_terminal(c) {
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

/// Whether a terminal does more than print this character: control characters, line and paragraph
/// separators, and bidirectional marks and overrides. The latter can make a terminal show a
/// different text than the stored one.
pub fn is_unsafe_for_terminal(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Makes untrusted text of any length safe for terminals. Unlike [`printable`], it does not cut the
/// text and keeps line breaks.
pub fn printable_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            c if is_unsafe_for_terminal(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Formats an error and its causes, separated by `: `. Skips a cause whose text is already
/// included.
pub fn error_chain(error: &dyn std::error::Error) -> String {
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
