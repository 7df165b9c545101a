//! Implements the contract's `llm` interface, through which a guest uses a language model.
//!
//! Requests take seconds. The worker gives its slot to other sessions while it waits. The total
//! wall time of a session is limited. A failed request is remembered: if the session then fails,
//! that request is reported as the cause.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::fault::{Fault, FaultKind};
use crate::model::{
    LanguageModel, LlmCaller, LlmError, LlmErrorClass, LlmRequest, LlmResponse, missing_model_error,
};
use crate::sandbox::contract::session_pipeline::processor::llm;
use crate::sandbox::host::{FUEL_PER_BYTE, HostState};

/// A worker slot that other sessions can use while its owner waits.
pub trait WorkerSlot: Send + Sync {
    /// Runs `wait`, which only waits, without the slot.
    fn release_while(&self, wait: &mut dyn FnMut());
}

/// A language model and what is needed to call it.
#[derive(Clone)]
pub struct ModelGrant {
    /// The provider. `None` if none is configured.
    pub model: Option<Arc<dyn LanguageModel>>,
    /// The clock that measures the session's wall time.
    pub clock: Arc<dyn Clock>,
    /// The worker's slot.
    pub slot: Arc<dyn WorkerSlot>,
    /// The id of the run.
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

/// A session's access to a language model.
pub(crate) struct SessionModel {
    pub(crate) grant: ModelGrant,
    pub(crate) processor: String,
    pub(crate) session: String,
    /// The clock when the session began.
    pub(crate) started: Duration,
    /// The error of the last request, if it failed.
    pub(crate) unanswered: Option<LlmError>,
}

impl SessionModel {
    fn complete(
        &self,
        request: &LlmRequest,
        wall_max: Duration,
        bytes_max: usize,
    ) -> Result<LlmResponse, LlmError> {
        let failed = |class, reason: String| Err(LlmError { class, reason });
        let Some(model) = &self.grant.model else {
            return failed(LlmErrorClass::Unavailable, missing_model_error());
        };
        let used = self.grant.clock.monotonic().saturating_sub(self.started);
        let time_left = wall_max.saturating_sub(used);
        if time_left.is_zero() {
            let seconds = wall_max.as_secs_f64();
            return failed(
                LlmErrorClass::TimeOut,
                format!("the session used all of its {seconds} s of wall time"),
            );
        }
        let caller = LlmCaller {
            run_id: &self.grant.run_id,
            processor: &self.processor,
            session: &self.session,
            time_left,
        };
        let mut answer = None;
        self.grant
            .slot
            .release_while(&mut || answer = Some(model.complete(request, caller)));
        let response = match answer {
            Some(answer) => answer?,
            None => {
                return failed(
                    LlmErrorClass::Failed,
                    "internal error: the request was not sent".to_owned(),
                );
            }
        };
        let bytes = response.text.len();
        if bytes > bytes_max {
            return failed(
                LlmErrorClass::TooLarge,
                format!("the answer has {bytes} bytes; the limit is {bytes_max}"),
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
        let request = LlmRequest {
            system: request.system,
            prompt: request.prompt,
            max_tokens: request.max_tokens,
            json_schema: request.json_schema,
        };
        let answer = match &grant.model {
            Some(model) => model.complete(&request, wall_max, bytes_max),
            None => Err(LlmError {
                class: LlmErrorClass::Unavailable,
                reason: "this run has no access to a language model".to_owned(),
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
        LlmErrorClass::Unavailable => llm::LlmError::Unavailable,
        LlmErrorClass::Budget => llm::LlmError::Budget,
        LlmErrorClass::RateLimited => llm::LlmError::RateLimited,
        LlmErrorClass::TimeOut => llm::LlmError::TimeOut,
        LlmErrorClass::Refused => llm::LlmError::Refused,
        LlmErrorClass::Malformed => llm::LlmError::Malformed,
        LlmErrorClass::TooLarge => llm::LlmError::TooLarge,
        LlmErrorClass::Failed => llm::LlmError::Failed,
    };
    of(error.reason)
}

/// The fault of a session that failed after its last request to a model failed. The failed request
/// is the cause, however the guest reacted to it. An outage therefore never counts against a
/// session, even if the guest retries until it exceeds a limit. Other faults stay unchanged.
pub(crate) fn blamed(fault: Fault, unanswered: Option<LlmError>) -> Fault {
    match unanswered {
        Some(error) if fault.is_permanent() && fault.kind != FaultKind::Crash => {
            match fault.detail == error.to_string() {
                // Given back with just that.
                true => Fault::llm(&error, fault.detail),
                false => Fault::llm(
                    &error,
                    format!("{error}; the session failed afterwards: {fault}"),
                ),
            }
        }
        _ => fault,
    }
}
