//! The detector `phrases`: what a user corrected, confirmed or defined, told by signal phrases.
//!
//! It needs no model and no account. What it looks at is what the user wrote, and of that the
//! prose: code, logs, quotations and pasted documents are somebody else's words ([`prose`],
//! [`lines`], [`quotations`]).
//! [`sentences`] and [`words`] take the prose apart, [`signals`] has the phrases, [`mood`] tells
//! statements from questions and errands. [`statements`] puts it together, and [`title`],
//! [`domains`] and [`entities`] describe what was found. The rules are written down in
//! `docs/verification.md`; who changes one changes that too.

pub mod domains;
pub mod entities;
pub mod lines;
pub mod mood;
pub mod prose;
pub mod quotations;
pub mod sentences;
pub mod signals;
pub mod statements;
pub mod title;
pub mod words;

use crate::turns::{Role, Turn};
use crate::verification::Verification;
use statements::Statement;

/// So much of a text is what stands around its statements.
const AROUND_BYTES: usize = 4_000;

/// What a user said in a turn; nothing where it is the model's.
pub fn detect(turn: &Turn) -> Vec<Verification> {
    if turn.role != Role::User {
        return Vec::new();
    }
    let found = statements::of(&turn.text);
    let around = &turn.text[..turn.text.floor_char_boundary(AROUND_BYTES)];
    let verification = |statement: Statement<'_>| Verification {
        detection: statement.kind.name().to_owned(),
        title: title::of(&statement),
        domain: Some(domains::of(&statement.content, around).to_owned()),
        entities: entities::of(statement.quote),
        content: statement.content,
        quote: statement.quote.to_owned(),
        line: turn.line,
        line_uuid: turn.uuid.clone(),
    };
    found.into_iter().map(verification).collect()
}
