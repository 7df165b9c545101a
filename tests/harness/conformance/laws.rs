//! The laws and the inputs of their checks.

use std::fmt;

use proptest::prelude::*;
use session_pipeline_host::manifest::{Manifest, Order};

use super::checks::{self, LawFailure};
use super::{growth, resumption};
use crate::strategies::{
    damaged_transcript, growing_transcript, transcript, two_transcripts, unknown_event_transcript,
    valid_transcript,
};
use crate::subject::Subject;

/// The input of a check: one session, several versions of a growing session, or several sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LawInput {
    /// The transcripts.
    pub sessions: Vec<Vec<u8>>,
}

impl LawInput {
    /// An input with one session.
    pub fn single(session: Vec<u8>) -> Self {
        Self {
            sessions: vec![session],
        }
    }

    pub(super) fn empty() -> Self {
        Self::default()
    }
}

/// A law of the contract.
pub struct Law {
    /// The name that reports and regression files use.
    pub name: &'static str,
    /// The law, in one sentence.
    pub statement: &'static str,
    pub(super) input: InputKind,
    pub(super) check: fn(&Subject, &LawInput) -> Result<(), LawFailure>,
}

/// The inputs that a law is checked with.
pub(super) enum InputKind {
    /// No sessions. The law is about the component itself.
    Component,
    /// One fixed input.
    Fixed(fn() -> LawInput),
    /// Generated sessions and session files.
    Sessions {
        generated: fn() -> BoxedStrategy<LawInput>,
        /// Converts a session file to an input. `None` skips the file.
        from_file: fn(&SessionFile<'_>) -> Option<LawInput>,
        /// Divides the number of generated cases. Larger than 1 for slow checks.
        cases_divisor: u32,
    },
}

/// A session file from [`Options::sessions`](super::Options::sessions).
pub(super) struct SessionFile<'a> {
    pub(super) session: &'a [u8],
    /// The content of the previous file.
    pub(super) before: Option<&'a [u8]>,
    /// The manifest of the component under test.
    pub(super) manifest: &'a Manifest,
}

impl Law {
    /// Whether the law is about the component itself and needs no session.
    pub fn is_about_component(&self) -> bool {
        matches!(self.input, InputKind::Component)
    }
}

impl fmt::Debug for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Law").field(&self.name).finish()
    }
}

/// A session that has grown, in two or more versions.
const A_SESSION_THAT_GREW: InputKind = InputKind::Sessions {
    generated: || {
        let versions = growing_transcript();
        versions.prop_map(|sessions| LawInput { sessions }).boxed()
    },
    from_file: |file| {
        let sessions = vec![half(file.session).to_vec(), file.session.to_vec()];
        Some(LawInput { sessions })
    },
    cases_divisor: 1,
};

/// All laws.
pub const LAWS: [Law; 13] = [
    Law {
        name: "describes-itself",
        statement: "It describes itself validly, and the same each time.",
        input: InputKind::Component,
        check: checks::describes_itself,
    },
    Law {
        name: "empty-session",
        statement: "The empty session does not fail it.",
        input: InputKind::Fixed(|| LawInput::single(Vec::new())),
        check: checks::does_not_fail,
    },
    Law {
        name: "unknown-events",
        statement: "Events of types that it does not know do not fail it.",
        input: InputKind::Sessions {
            generated: || {
                unknown_event_transcript()
                    .prop_map(LawInput::single)
                    .boxed()
            },
            from_file: unchanged,
            cases_divisor: 1,
        },
        check: checks::does_not_fail,
    },
    Law {
        name: "damaged-lines",
        statement: "Lines that are damaged, half written or no text at all do not fail it.",
        input: InputKind::Sessions {
            generated: || damaged_transcript().prop_map(damaged).boxed(),
            from_file: |file| Some(damaged(half(file.session).to_vec())),
            cases_divisor: 1,
        },
        check: checks::does_not_fail,
    },
    Law {
        name: "same-rows",
        statement: "The same bytes give the same rows, whatever chance says.",
        input: InputKind::Sessions {
            generated: || transcript().prop_map(LawInput::single).boxed(),
            from_file: unchanged,
            cases_divisor: 1,
        },
        check: checks::is_deterministic,
    },
    Law {
        name: "chunks",
        statement: "It does not matter in which portions the lines are read.",
        input: InputKind::Sessions {
            generated: || transcript().prop_map(LawInput::single).boxed(),
            from_file: unchanged,
            cases_divisor: 1,
        },
        check: checks::ignores_chunk_sizes,
    },
    Law {
        name: "once",
        statement: "A session that is processed twice counts once, in shared tables too.",
        input: InputKind::Sessions {
            generated: || transcript().prop_map(LawInput::single).boxed(),
            from_file: unchanged,
            cases_divisor: 1,
        },
        check: checks::counts_once,
    },
    Law {
        name: "growth",
        statement: "A session that grew gives the rows that it would give if it were new.",
        input: A_SESSION_THAT_GREW,
        check: growth::is_incremental,
    },
    Law {
        name: "resumption",
        statement: "A session that grew and is continued has the rows that it would have if it were new.",
        input: A_SESSION_THAT_GREW,
        check: resumption::resumes_exactly,
    },
    Law {
        name: "order",
        statement: "The order of sessions that have nothing to do with each other does not matter.",
        input: InputKind::Sessions {
            generated: || {
                let sessions = two_transcripts();
                sessions
                    .prop_map(|sessions| LawInput {
                        sessions: sessions.into(),
                    })
                    .boxed()
            },
            from_file: |file| {
                // Real sessions can be related, and a serial processor can use data of earlier
                // sessions.
                let is_independent = file.manifest.order == Order::Independent;
                let sessions = vec![file.before?.to_vec(), file.session.to_vec()];
                is_independent.then_some(LawInput { sessions })
            },
            cases_divisor: 1,
        },
        check: growth::ignores_order,
    },
    Law {
        name: "fuel",
        statement: "What it burns grows no worse than the session does.",
        input: InputKind::Sessions {
            generated: || valid_transcript().prop_map(LawInput::single).boxed(),
            from_file: |file| Some(LawInput::single(growth::beginning(file.session).to_vec())),
            cases_divisor: 8,
        },
        check: growth::uses_linear_fuel,
    },
    Law {
        name: "memory",
        statement: "It stays within its memory, also with long sessions.",
        input: InputKind::Sessions {
            generated: || {
                let long = |session: Vec<u8>| LawInput::single(growth::long(&session));
                transcript().prop_map(long).boxed()
            },
            from_file: unchanged,
            cases_divisor: 8,
        },
        check: checks::stays_within_memory,
    },
    Law {
        name: "tables",
        statement: "It records no row that does not fit its tables.",
        input: InputKind::Sessions {
            generated: || transcript().prop_map(LawInput::single).boxed(),
            from_file: unchanged,
            cases_divisor: 1,
        },
        check: checks::records_valid_rows,
    },
];

fn unchanged(file: &SessionFile<'_>) -> Option<LawInput> {
    Some(LawInput::single(file.session.to_vec()))
}

/// Replaces an empty session, because another law covers empty sessions.
fn damaged(session: Vec<u8>) -> LawInput {
    LawInput::single(match session.is_empty() {
        true => b"{".to_vec(),
        false => session,
    })
}

/// The first half of a session. It usually ends within a line, as if the agent were still writing.
fn half(session: &[u8]) -> &[u8] {
    session.get(..session.len() / 2).unwrap_or_default()
}
