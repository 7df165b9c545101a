//! A language model with scripted answers.

use std::collections::VecDeque;

use crate::llm::{ErrorClass, LlmError, Request, Response};

/// The remaining answers, in order, and the recorded requests.
#[derive(Default)]
pub(super) struct ScriptedModel {
    pub(super) answers: VecDeque<Result<Response, LlmError>>,
    pub(super) requests: Vec<Request>,
}

impl ScriptedModel {
    pub(super) fn complete(&mut self, request: &Request) -> Result<Response, LlmError> {
        self.requests.push(request.clone());
        self.answers.pop_front().unwrap_or_else(|| {
            let reason = "no answer is scripted for this request";
            Err(LlmError::new(ErrorClass::Unavailable, reason))
        })
    }
}
