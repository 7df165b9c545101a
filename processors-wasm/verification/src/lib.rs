//! The shipped processor `verification`: statements that users corrected, confirmed or defined,
//! stored as knowledge with evidence.
//!
//! [`turns`] extracts the conversation of a session, and in it the words that the user typed. A detector finds verified statements in it:
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
use crate::llm::{extraction, request};
use crate::tables::{Contradiction, Evidence, Item, Relation};
use crate::turns::Conversation;
use crate::verification::{Detector, Verification};

/// Raise it when the same transcript produces other rows than before.
pub const VERSION: u32 = 5;

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
        let conversation = Conversation::read(session);
        if conversation.dropped > 0 {
            let count = conversation.dropped;
            let message = format!("the session is too long: its first {count} turns are ignored");
            session.log(Level::Warn, &message);
        }
        let found = match detector {
            Detector::Phrases => conversation.of_user().flat_map(phrases::detect).collect(),
            Detector::Llm => find_by_llm(session, &conversation)?,
        };
        let mut knowledge = Knowledge::new(session, detector, conversation);
        let mut items = 0;
        for verification in &found {
            items += u64::from(knowledge.keep(verification)?);
        }
        Ok(Summary::items(items))
    }
}

/// Sends one request to the model. Sends none if the user typed nothing.
fn find_by_llm(
    session: &Session<'_>,
    conversation: &Conversation,
) -> Result<Vec<Verification>, String> {
    if conversation.of_user().all(|turn| turn.typed.is_empty()) {
        return Ok(Vec::new());
    }
    let session_id = knowledge::session_id(session, conversation);
    let prompt = request::prompt(&session.info().username, &session_id, conversation);
    let request = Request::new(prompt)
        .max_tokens(request::ANSWER_TOKENS)
        .json_schema(request::SCHEMA);
    let answer = session.llm().complete(&request);
    let answer = answer.map_err(|error| format!("the model gave no answer: {error}"))?;
    let extraction = extraction::read(&answer.text, conversation)?;
    let left_out = [
        (
            Level::Warn,
            extraction.unquoted,
            "the user did not type their quotes",
        ),
        (Level::Info, extraction.proposals, "they are proposals"),
        (
            Level::Info,
            extraction.unshared,
            "they concern one person or this session only",
        ),
    ];
    for (level, count, reason) in left_out.into_iter().filter(|(_, count, _)| *count > 0) {
        session.log(level, &format!("{count} statements left out: {reason}"));
    }
    Ok(extraction.verifications)
}
