//! A language model that says what a test tells it to, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_pipeline_host::model::{
    LanguageModel, LlmCaller, LlmError, LlmErrorClass, LlmRequest, LlmResponse,
};

use crate::clock::TestClock;

/// The longest that a test waits for a request: far more than any takes, so that one that never
/// comes ends the test with a message.
const ASKED_WITHIN: Duration = Duration::from_secs(60);

/// A scripted model. Answers are given in their order; when they are used up, it is unavailable.
///
/// ```
/// use session_pipeline_harness::ScriptedModel;
/// use session_pipeline_host::model::ErrorClass;
///
/// let model = ScriptedModel::new();
/// model.answer("42").fail(ErrorClass::Refused, "no");
/// assert!(model.asked().is_empty());
/// ```
#[derive(Debug, Default)]
pub struct ScriptedModel {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<ScriptedAnswer>,
    asked: Vec<ReceivedRequest>,
    is_held: bool,
}

#[derive(Debug)]
struct ScriptedAnswer {
    result: Result<String, LlmError>,
    takes: Option<(Arc<TestClock>, Duration)>,
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRequest {
    /// What was asked.
    pub request: LlmRequest,
    /// In which run.
    pub run_id: String,
    /// By which processor.
    pub processor: String,
    /// For which session.
    pub session: String,
    /// How much time the answer might take.
    pub time_left: Duration,
}

impl ScriptedModel {
    /// A model without any answer yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// One more answer.
    pub fn answer(&self, text: &str) -> &Self {
        self.push(Ok(text.to_owned()), None)
    }

    /// One more answer, which takes so long by a test's clock.
    pub fn answer_after(&self, time: Duration, clock: &Arc<TestClock>, text: &str) -> &Self {
        self.push(Ok(text.to_owned()), Some((Arc::clone(clock), time)))
    }

    /// One more request that has no answer.
    pub fn fail(&self, class: LlmErrorClass, reason: &str) -> &Self {
        let reason = reason.to_owned();
        self.push(Err(LlmError { class, reason }), None)
    }

    fn push(
        &self,
        result: Result<String, LlmError>,
        takes: Option<(Arc<TestClock>, Duration)>,
    ) -> &Self {
        self.state()
            .answers
            .push_back(ScriptedAnswer { result, takes });
        self
    }

    /// From now on every answer is held back until [`ScriptedModel::let_go`].
    pub fn hold(&self) -> &Self {
        self.state().is_held = true;
        self
    }

    /// Holds no answer back any more.
    pub fn let_go(&self) {
        self.state().is_held = false;
        self.changed.notify_all();
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<ReceivedRequest> {
        self.state().asked.clone()
    }

    /// Waits until so many requests have come.
    pub fn wait_until_asked(&self, times: usize) {
        let (state, waited) = self
            .changed
            .wait_timeout_while(self.state(), ASKED_WITHIN, |state| {
                state.asked.len() < times
            })
            .unwrap_or_else(PoisonError::into_inner);
        assert!(
            !waited.timed_out(),
            "the model was asked {} times of {times}",
            state.asked.len()
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
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
        state.asked.push(ReceivedRequest {
            request: request.clone(),
            run_id: caller.run_id.to_owned(),
            processor: caller.processor.to_owned(),
            session: caller.session.to_owned(),
            time_left: caller.time_left,
        });
        self.changed.notify_all();
        let mut state = self
            .changed
            .wait_while(state, |state| state.is_held)
            .unwrap_or_else(PoisonError::into_inner);
        let answer = state.answers.pop_front().unwrap_or_else(|| ScriptedAnswer {
            result: Err(LlmError {
                class: LlmErrorClass::Unavailable,
                reason: "no answer is scripted".to_owned(),
            }),
            takes: None,
        });
        if let Some((clock, time)) = answer.takes {
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
