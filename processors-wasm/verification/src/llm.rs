//! The detector `llm`: what is asked of a language model, and what is taken from its answers.
//!
//! Nothing here speaks to a model: [`extraction`] and [`judgement`] make requests and read
//! answers, as texts. What goes into a prompt is somebody's text, and so is what comes out:
//! everything from a transcript or a table is JSON when it goes in ([`encode`]), and no answer
//! has an effect but the fields that are read here.

pub mod encode;
pub mod extraction;
pub mod judgement;

use session_pipeline_processor::llm::ErrorClass;

/// Whether somebody answered, and the answer is none: asking again gives the same. Else nobody
/// could be asked, or not now.
pub fn is_of_the_answer(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Refused | ErrorClass::Malformed | ErrorClass::TooLarge
    )
}
