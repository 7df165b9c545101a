//! A language model with scripted answers. It records the requests.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_pipeline_host::model::{
    LanguageModel, LlmCaller, LlmError, LlmErrorClass, LlmRequest, LlmResponse,
};

use crate::clock::TestClock;

/// The time limit for an expected request. It is generous, so it expires only if the request never
/// comes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A model that returns its answers in order. After the last answer, it is unavailable.
///
/// ```
/// use session_pipeline_harness::ScriptedModel;
/// use session_pipeline_host::model::LlmErrorClass;
///
/// let model = ScriptedModel::new();
/// model.answer("42").fail(LlmErrorClass::Refused, "no");
/// assert!(model.requests().is_empty());
/// ```
#[derive(Debug, Default)]
pub struct ScriptedModel {
    state: Mutex<ScriptedModelState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ScriptedModelState {
    answers: VecDeque<ScriptedAnswer>,
    requests: Vec<ReceivedRequest>,
    is_holding: bool,
}

#[derive(Debug)]
struct ScriptedAnswer {
    result: Result<String, LlmError>,
    /// How long the answer takes, and the clock that it advances.
    duration: Option<(Arc<TestClock>, Duration)>,
}

/// A request to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRequest {
    /// The request as the processor sent it.
    pub request: LlmRequest,
    /// The id of the run.
    pub run_id: String,
    /// The name of the processor.
    pub processor: String,
    /// The key of the session.
    pub session: String,
    /// The remaining time for the answer.
    pub time_left: Duration,
}

impl ScriptedModel {
    /// Creates a model without answers.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds an answer to the script.
    pub fn answer(&self, text: &str) -> &Self {
        self.push(Ok(text.to_owned()), None)
    }

    /// Adds an answer to the script. The answer advances `clock` by `time`.
    pub fn answer_after(&self, time: Duration, clock: &Arc<TestClock>, text: &str) -> &Self {
        self.push(Ok(text.to_owned()), Some((Arc::clone(clock), time)))
    }

    /// Adds an error to the script.
    pub fn fail(&self, class: LlmErrorClass, reason: &str) -> &Self {
        let reason = reason.to_owned();
        self.push(Err(LlmError { class, reason }), None)
    }

    fn push(
        &self,
        result: Result<String, LlmError>,
        duration: Option<(Arc<TestClock>, Duration)>,
    ) -> &Self {
        self.state()
            .answers
            .push_back(ScriptedAnswer { result, duration });
        self
    }

    /// Holds back all answers until [`ScriptedModel::release_answers`] is called.
    pub fn hold_answers(&self) -> &Self {
        self.state().is_holding = true;
        self
    }

    /// Releases the answers that [`ScriptedModel::hold_answers`] holds back.
    pub fn release_answers(&self) {
        self.state().is_holding = false;
        self.changed.notify_all();
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.state().requests.clone()
    }

    /// Waits until `count` requests have arrived.
    ///
    /// # Panics
    /// The requests do not arrive within 60 seconds.
    pub fn wait_for_requests(&self, count: usize) {
        let (state, waited) = self
            .changed
            .wait_timeout_while(self.state(), REQUEST_TIMEOUT, |state| {
                state.requests.len() < count
            })
            .unwrap_or_else(PoisonError::into_inner);
        assert!(
            !waited.timed_out(),
            "expected {count} requests to the model, got {}",
            state.requests.len()
        );
    }

    fn state(&self) -> MutexGuard<'_, ScriptedModelState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LanguageModel for ScriptedModel {
    fn complete(
        &self,
        request: &LlmRequest,
        caller: LlmCaller<'_>,
    ) -> Result<LlmResponse, LlmError> {
        let mut state = self.state();
        state.requests.push(ReceivedRequest {
            request: request.clone(),
            run_id: caller.run_id.to_owned(),
            processor: caller.processor.to_owned(),
            session: caller.session.to_owned(),
            time_left: caller.time_left,
        });
        self.changed.notify_all();
        let mut state = self
            .changed
            .wait_while(state, |state| state.is_holding)
            .unwrap_or_else(PoisonError::into_inner);
        let answer = state.answers.pop_front().unwrap_or_else(|| ScriptedAnswer {
            result: Err(LlmError {
                class: LlmErrorClass::Unavailable,
                reason: "no answer is scripted".to_owned(),
            }),
            duration: None,
        });
        if let Some((clock, time)) = answer.duration {
            clock.advance(time);
        }
        answer.result.map(|text| LlmResponse {
            input_tokens: request.prompt.len() as u64,
            output_tokens: text.len() as u64,
            text,
            model: "scripted".to_owned(),
        })
    }
}
