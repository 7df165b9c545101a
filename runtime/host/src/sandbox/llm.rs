//! What a guest calls to ask a language model: `llm` of the contract.
//!
//! Whoever answers takes seconds, so the worker's place goes to others meanwhile, and the session
//! has so much wall time for all of its waiting. An answer that did not come is remembered: where
//! the session then fails, that is why.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::fault::{Fault, FaultKind};
use crate::model::what_to_set;
use crate::model::{Caller, ErrorClass, LanguageModel, LlmError, Request, Response};
use crate::sandbox::contract::session_pipeline::processor::llm;
use crate::sandbox::host::{FUEL_PER_BYTE, HostState};

/// A place to work that is given to others while its owner only waits.
pub trait Aside: Send + Sync {
    /// Does what only waits, and gives the place to others meanwhile.
    fn aside(&self, wait: &mut dyn FnMut());
}

/// A language model, and all that is needed to ask it.
#[derive(Clone)]
pub struct ModelGrant {
    /// Who answers; `None` where nobody is configured.
    pub model: Option<Arc<dyn LanguageModel>>,
    /// By which the session's time is measured.
    pub clock: Arc<dyn Clock>,
    /// The worker's place.
    pub place: Arc<dyn Aside>,
    /// The run.
    pub run_id: Arc<str>,
}

impl std::fmt::Debug for ModelGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelGrant")
            .field("model", &self.model)
            .field("run_id", &self.run_id)
            .finish_non_exhaustive()
    }
}

/// A session's way to a language model.
pub(crate) struct SessionModel {
    pub(crate) grant: ModelGrant,
    pub(crate) processor: String,
    pub(crate) session: String,
    /// The clock when the session began.
    pub(crate) started: Duration,
    /// The last answer, if there was none.
    pub(crate) unanswered: Option<LlmError>,
}

impl SessionModel {
    fn ask(
        &self,
        request: &Request,
        wall_max: Duration,
        bytes_max: usize,
    ) -> Result<Response, LlmError> {
        let failed = |class, reason: String| Err(LlmError { class, reason });
        let Some(model) = &self.grant.model else {
            return failed(ErrorClass::Unavailable, what_to_set());
        };
        let used = self.grant.clock.monotonic().saturating_sub(self.started);
        let time_left = wall_max.saturating_sub(used);
        if time_left.is_zero() {
            let seconds = wall_max.as_secs_f64();
            return failed(
                ErrorClass::TimeOut,
                format!("the session's {seconds} s of time are used up"),
            );
        }
        let caller = Caller {
            run_id: &self.grant.run_id,
            processor: &self.processor,
            session: &self.session,
            time_left,
        };
        let mut answer = None;
        self.grant
            .place
            .aside(&mut || answer = Some(model.complete(request, caller)));
        let response = match answer {
            Some(answer) => answer?,
            None => return failed(ErrorClass::Failed, "nobody was asked".to_owned()),
        };
        let bytes = response.text.len();
        if bytes > bytes_max {
            return failed(
                ErrorClass::TooLarge,
                format!("the answer has {bytes} bytes; {bytes_max} are allowed"),
            );
        }
        Ok(response)
    }
}

impl llm::Host for HostState {
    fn complete(
        &mut self,
        request: llm::Request,
    ) -> wasmtime::Result<Result<llm::Response, llm::LlmError>> {
        let (wall_max, bytes_max) = (self.limits.wall_max, self.limits.call_bytes_max);
        let schema = request.json_schema.as_ref().map_or(0, String::len);
        let asked = request.system.as_ref().map_or(0, String::len) + request.prompt.len() + schema;
        self.owe((asked as u64).saturating_mul(FUEL_PER_BYTE));
        let grant = self.granted("llm.complete")?;
        let request = Request {
            system: request.system,
            prompt: request.prompt,
            max_tokens: request.max_tokens,
            json_schema: request.json_schema,
        };
        let answer = match &grant.model {
            Some(model) => model.ask(&request, wall_max, bytes_max),
            None => Err(LlmError {
                class: ErrorClass::Unavailable,
                reason: "no language model is within reach here".to_owned(),
            }),
        };
        if let Some(model) = &mut grant.model {
            model.unanswered = answer.as_ref().err().cloned();
        }
        Ok(match answer {
            Ok(response) => Ok(llm::Response {
                text: response.text,
                model: response.model,
                input_tokens: response.input_tokens,
                output_tokens: response.output_tokens,
            }),
            Err(error) => Err(contract_error(error)),
        })
    }
}

fn contract_error(error: LlmError) -> llm::LlmError {
    let of = match error.class {
        ErrorClass::Unavailable => llm::LlmError::Unavailable,
        ErrorClass::Budget => llm::LlmError::Budget,
        ErrorClass::RateLimited => llm::LlmError::RateLimited,
        ErrorClass::TimeOut => llm::LlmError::TimeOut,
        ErrorClass::Refused => llm::LlmError::Refused,
        ErrorClass::Malformed => llm::LlmError::Malformed,
        ErrorClass::TooLarge => llm::LlmError::TooLarge,
        ErrorClass::Failed => llm::LlmError::Failed,
    };
    of(error.reason)
}

/// The fault of a session that failed after its last request had no answer: that is why, whatever
/// the guest made of it. So an outage is never held against a session, not even by a guest that
/// asks again until a limit stops it. What the session did not cause stays what it was.
pub(crate) fn blamed(fault: Fault, unanswered: Option<LlmError>) -> Fault {
    match unanswered {
        Some(error) if fault.is_of_own_making() && fault.kind != FaultKind::Crash => {
            match fault.detail == error.to_string() {
                // Given back with just that.
                true => Fault::llm(&error, fault.detail),
                false => Fault::llm(&error, format!("{error}; then the session failed: {fault}")),
            }
        }
        _ => fault,
    }
}
