//! The detector `llm`: what is asked of a language model, and what is taken from its answers.
//!
//! Nothing here speaks to a model: [`extraction`] and [`judgement`] make requests and read
//! answers, as texts. What goes into a prompt is somebody's text, and so is what comes out:
//! everything from a transcript or a table is JSON when it goes in ([`encode`]), and no answer
//! has an effect but the fields that are read here.

pub mod encode;
pub mod extraction;
pub mod judgement;

/// What is asked of a model.
pub struct Request {
    /// The whole of it.
    pub prompt: String,
    /// The most tokens of the answer.
    pub max_tokens: u32,
    /// What the answer must fit.
    pub json_schema: &'static str,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody could be asked, or not now.
    OfTheService(String),
    /// Somebody was asked, and the answer is none: refused, malformed, too large.
    OfTheAnswer(String),
}

impl Failure {
    /// The reason, for people.
    pub fn into_reason(self) -> String {
        match self {
            Failure::OfTheService(reason) | Failure::OfTheAnswer(reason) => reason,
        }
    }
}

/// Somebody who answers requests: the host, or whoever stands for it in a test.
pub trait Model {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When there is none.
    fn complete(&self, request: &Request) -> Result<String, Failure>;
}
