//! The laws, each with the sessions that it is tried on.

use std::fmt;

use proptest::prelude::*;
use session_pipeline_host::manifest::{Manifest, Order};

use super::checks::{self, LawFailure};
use super::growth;
use crate::strategies::{
    damaged_transcript, growing_transcript, transcript, two_transcripts, unheard_of_transcript,
    valid_transcript,
};
use crate::subject::Subject;

/// What a law is tried on: mostly one session; else the moments of one that grows, or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LawInput {
    /// The transcripts.
    pub sessions: Vec<Vec<u8>>,
}

impl LawInput {
    /// One session.
    pub fn of(session: Vec<u8>) -> Self {
        Self {
            sessions: vec![session],
        }
    }

    pub(super) fn none() -> Self {
        Self::default()
    }
}

/// A law of the contract.
pub struct Law {
    /// Its name, as reports and regression files bear it.
    pub name: &'static str,
    /// What it says, in a line.
    pub says: &'static str,
    pub(super) tries: InputKind,
    pub(super) check: fn(&Subject, &LawInput) -> Result<(), LawFailure>,
}

/// On what a law is tried.
pub(super) enum InputKind {
    /// On nothing but the component.
    Itself,
    /// On this one session.
    Once(fn() -> LawInput),
    /// On sessions made by chance, and on those that are given.
    Many {
        made: fn() -> BoxedStrategy<LawInput>,
        /// What becomes of a session that somebody gives.
        given: fn(&GivenSession<'_>) -> Option<LawInput>,
        /// How many times fewer cases: for those that take long.
        seldom: u32,
    },
}

/// A session that somebody gives.
pub(super) struct GivenSession<'a> {
    pub(super) session: &'a [u8],
    /// The one that was given before it.
    pub(super) before: Option<&'a [u8]>,
    /// Of the component that is tried.
    pub(super) manifest: &'a Manifest,
}

impl Law {
    /// Whether it is about the component and no session.
    pub fn is_of_itself(&self) -> bool {
        matches!(self.tries, InputKind::Itself)
    }
}

impl fmt::Debug for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Law").field(&self.name).finish()
    }
}

/// All laws.
pub const LAWS: [Law; 12] = [
    Law {
        name: "describes-itself",
        says: "It describes itself validly, and the same each time.",
        tries: InputKind::Itself,
        check: checks::describes_itself,
    },
    Law {
        name: "empty-session",
        says: "The empty session does not fail it.",
        tries: InputKind::Once(|| LawInput::of(Vec::new())),
        check: checks::does_not_fail,
    },
    Law {
        name: "unknown-events",
        says: "Events of types that it does not know do not fail it.",
        tries: InputKind::Many {
            made: || unheard_of_transcript().prop_map(LawInput::of).boxed(),
            given: as_it_is,
            seldom: 1,
        },
        check: checks::does_not_fail,
    },
    Law {
        name: "damaged-lines",
        says: "Lines that are damaged, half written or no text at all do not fail it.",
        tries: InputKind::Many {
            made: || damaged_transcript().prop_map(damaged).boxed(),
            given: |given| Some(damaged(half(given.session).to_vec())),
            seldom: 1,
        },
        check: checks::does_not_fail,
    },
    Law {
        name: "same-rows",
        says: "The same bytes give the same rows, whatever chance says.",
        tries: InputKind::Many {
            made: || transcript().prop_map(LawInput::of).boxed(),
            given: as_it_is,
            seldom: 1,
        },
        check: checks::gives_the_same_rows,
    },
    Law {
        name: "chunks",
        says: "It does not matter in which portions the lines are read.",
        tries: InputKind::Many {
            made: || transcript().prop_map(LawInput::of).boxed(),
            given: as_it_is,
            seldom: 1,
        },
        check: checks::heeds_no_chunks,
    },
    Law {
        name: "once",
        says: "A session that is processed twice counts once, in shared tables too.",
        tries: InputKind::Many {
            made: || transcript().prop_map(LawInput::of).boxed(),
            given: as_it_is,
            seldom: 1,
        },
        check: checks::counts_once,
    },
    Law {
        name: "growth",
        says: "A session that grew gives the rows that it would give if it were new.",
        tries: InputKind::Many {
            made: || {
                let moments = growing_transcript();
                moments.prop_map(|sessions| LawInput { sessions }).boxed()
            },
            given: |given| {
                let sessions = vec![half(given.session).to_vec(), given.session.to_vec()];
                Some(LawInput { sessions })
            },
            seldom: 1,
        },
        check: growth::grows,
    },
    Law {
        name: "order",
        says: "The order of sessions that have nothing to do with each other does not matter.",
        tries: InputKind::Many {
            made: || {
                let sessions = two_transcripts();
                sessions
                    .prop_map(|sessions| LawInput {
                        sessions: sessions.into(),
                    })
                    .boxed()
            },
            given: |given| {
                // Of real sessions nobody knows that they have nothing to do with each other, and a
                // processor that remembers may make something of what they have.
                let is_independent = given.manifest.order == Order::Independent;
                let sessions = vec![given.before?.to_vec(), given.session.to_vec()];
                is_independent.then_some(LawInput { sessions })
            },
            seldom: 1,
        },
        check: growth::heeds_no_order,
    },
    Law {
        name: "fuel",
        says: "What it burns grows no worse than the session does.",
        tries: InputKind::Many {
            made: || valid_transcript().prop_map(LawInput::of).boxed(),
            given: |given| Some(LawInput::of(growth::beginning(given.session).to_vec())),
            seldom: 8,
        },
        check: growth::burns_in_proportion,
    },
    Law {
        name: "memory",
        says: "It stays within its memory, also with long sessions.",
        tries: InputKind::Many {
            made: || {
                let long = |session: Vec<u8>| LawInput::of(growth::long(&session));
                transcript().prop_map(long).boxed()
            },
            given: as_it_is,
            seldom: 8,
        },
        check: checks::stays_within_memory,
    },
    Law {
        name: "tables",
        says: "It records no row that does not fit its tables.",
        tries: InputKind::Many {
            made: || transcript().prop_map(LawInput::of).boxed(),
            given: as_it_is,
            seldom: 1,
        },
        check: checks::keeps_to_its_tables,
    },
];

fn as_it_is(given: &GivenSession<'_>) -> Option<LawInput> {
    Some(LawInput::of(given.session.to_vec()))
}

/// A session of which nothing is left is the affair of a law of its own.
fn damaged(session: Vec<u8>) -> LawInput {
    LawInput::of(match session.is_empty() {
        true => b"{".to_vec(),
        false => session,
    })
}

/// The first half; mostly it ends within a line, as if somebody were still writing it.
fn half(session: &[u8]) -> &[u8] {
    session.get(..session.len() / 2).unwrap_or_default()
}
