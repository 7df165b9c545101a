//! The shipped processor `verification`: statements that users corrected, confirmed or defined,
//! stored as knowledge with evidence.
//!
//! [`turns`] extracts the conversation of a session. A detector finds verified statements in it:
//! [`phrases`] in the guest itself, or [`llm`] with a model. Both produce a [`verification`].
//! [`knowledge`] stores it in the [`tables`], as a new item or as evidence for an existing one.
//! [`ids`], [`confidence`] and [`similarity`] are computed from it. `docs/verification.md` explains
//! the rules for users.

pub mod confidence;
pub mod ids;
pub mod knowledge;
pub mod llm;
pub mod phrases;
pub mod settings;
pub mod similarity;
pub mod tables;
pub mod turns;
pub mod verification;

#[cfg(test)]
mod tests;

use session_pipeline_processor::llm::Request;
use session_pipeline_processor::{Level, Manifest, Processor, Session, Settings, Summary, export};

use crate::knowledge::Knowledge;
use crate::llm::extraction;
use crate::tables::{Contradiction, Evidence, Item, Relation};
use crate::turns::{LastTurns, Role, Turn};
use crate::verification::{Detector, Verification};

/// Raise it when the same transcript produces other rows than before.
pub const VERSION: u32 = 3;

/// The processor.
pub struct Verifications;

export!(Verifications);

impl Processor for Verifications {
    fn manifest(settings: &Settings) -> Result<Manifest, String> {
        let detector = settings::detector(settings)?;
        let description = "Keeps what users corrected, confirmed and defined, with its evidence.";
        let manifest = Manifest::new("verification", VERSION, description)
            .every_seconds(900)
            .serial()
            .table::<Item>()
            .table::<Evidence<'_>>()
            .table::<Relation>()
            .table::<Contradiction>()
            .redact_secrets();
        Ok(match detector {
            Detector::Phrases => manifest,
            Detector::Llm => manifest.uses_llm(),
        })
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        let detector = settings::detector(session.settings())?;
        let mut knowledge = Knowledge::new(session, detector);
        let found = match detector {
            Detector::Phrases => find_by_phrases(session),
            Detector::Llm => find_by_llm(session, knowledge.session_id())?,
        };
        let mut items = 0;
        for verification in &found {
            items += u64::from(knowledge.keep(verification)?);
        }
        Ok(Summary::items(items))
    }
}

fn find_by_phrases(session: &Session<'_>) -> Vec<Verification> {
    let mut found = Vec::new();
    session.transcript().for_each(|line, entry| {
        if let Some(turn) = Turn::of(line, entry) {
            found.extend(phrases::detect(&turn));
        }
    });
    found
}

/// Sends one request to the model. Sends none if the user said nothing.
fn find_by_llm(session: &Session<'_>, session_id: &str) -> Result<Vec<Verification>, String> {
    let mut last = LastTurns::default();
    session.transcript().for_each(|line, entry| {
        if let Some(turn) = Turn::of(line, entry) {
            last.push(turn);
        }
    });
    let turns = last.into_turns();
    if turns.iter().all(|turn| turn.role != Role::User) {
        return Ok(Vec::new());
    }
    let prompt = extraction::prompt(&session.info().username, session_id, &turns);
    let request = Request::new(prompt)
        .max_tokens(extraction::ANSWER_TOKENS)
        .json_schema(extraction::SCHEMA);
    let answer = session.llm().complete(&request);
    let answer = answer.map_err(|error| format!("the model gave no answer: {error}"))?;
    let extraction = extraction::read(&answer.text, &turns)?;
    if extraction.unquoted > 0 {
        let count = extraction.unquoted;
        let message = format!("{count} left out: the user said no such thing in these words");
        session.log(Level::Warn, &message);
    }
    Ok(extraction.verifications)
}
