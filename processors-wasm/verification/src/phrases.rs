//! The detector `phrases`, which finds corrections, confirmations and definitions by signal
//! phrases.
//!
//! It needs no model and no account. It searches the prose in what the user typed ([`prose`],
//! [`quotations`]). [`sentences`] and [`words`] split the prose. [`rules`] has the phrases and [`signs`]
//! the signs as data, [`matching`] finds them, [`score`] adds them up, [`form`] finds the subject and
//! the tense of a sentence, and [`mood`] distinguishes statements from questions and errands.
//! [`statements`] combines these steps. [`title`], [`domains`] and [`entities`] describe the result.
//! [`docs`] generates the tables in `docs/verification.md`.

pub mod docs;
pub mod domains;
pub mod entities;
pub mod form;
pub mod matching;
pub mod mood;
pub mod prose;
pub mod quotations;
pub mod rule;
pub mod rules;
pub mod score;
pub mod sentences;
pub mod signs;
pub mod statements;
pub mod title;
pub mod words;

#[cfg(test)]
mod laws;

use crate::turns::{Role, Turn};
use crate::verification::{Source, Verification};
use statements::Statement;

/// Number of bytes at the beginning of a text that are searched for words of a domain.
const AROUND_BYTES: usize = 4_000;

/// The verifications in a turn of the user. Empty for a turn of the model.
pub fn detect(turn: &Turn) -> Vec<Verification> {
    if turn.role != Role::User {
        return Vec::new();
    }
    let found = statements::of(&turn.text, &turn.typed);
    let around = &turn.text[..turn.text.floor_char_boundary(AROUND_BYTES)];
    let verification = |statement: Statement<'_>| Verification {
        detection: statement.kind.name().to_owned(),
        title: title::of(&statement),
        domain: Some(domains::of(&statement.content, around).to_owned()),
        entities: entities::of(statement.quote),
        content: statement.content,
        quote: statement.quote.to_owned(),
        assistant_quote: None,
        claim: None,
        scope: None,
        score: statement.score,
        source: Source::of(turn),
    };
    found.into_iter().map(verification).collect()
}
