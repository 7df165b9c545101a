//! The detector `llm`: requests to a language model, and parsing of its answers.
//!
//! This module does not call the model. [`request`] and [`judgement`] create requests, [`extraction`]
//! and [`judgement`] parse answers, and [`quotes`] finds quotes in the conversation. Text in prompts and answers is untrusted. Everything from a transcript or
//! table is encoded as JSON ([`encode`]), and only the fields that are parsed here have an effect.

pub mod encode;
pub mod extraction;
pub mod judgement;
pub mod quotes;
pub mod request;

use session_pipeline_processor::llm::ErrorClass;

/// Whether the model answered but the answer is invalid. Asking again would return the same.
/// Otherwise, the model could not be reached.
pub fn is_of_the_answer(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Refused | ErrorClass::Malformed | ErrorClass::TooLarge
    )
}
