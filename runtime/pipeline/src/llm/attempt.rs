//! One attempt: passes the breaker, reserves budget, sends the request, settles the budget and
//! reads the answer.

use std::time::Duration;

use serde_json::Value;
use session_pipeline_host::fault::printable;
use session_pipeline_host::model::{LlmCaller, LlmError, LlmErrorClass, LlmRequest, LlmResponse};
use session_pipeline_store::{LlmCall, LlmOutcome};

use crate::llm::connector::Connector;
use crate::llm::transport::{HttpAnswer, TransportError};
use crate::llm::wire::{
    AttemptFailure, DecodedAnswer, JsonMode, PreparedRequest, TokenCounts, classify,
};
use crate::llm::{retry_after, schema};

/// Lower bound. Code and JSON have about three bytes per token, English text four.
const BYTES_PER_TOKEN: u64 = 3;
/// Allowance for tokens that servers add to a request: roles, formats, instructions for a tool.
const TOKENS_AROUND: u64 = 400;
/// Maximum length of the model name in an answer, in characters.
const MODEL_CHARS_MAX: usize = 200;

/// One attempt at a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    pub request: &'a LlmRequest,
    pub schema: Option<&'a Value>,
    pub caller: LlmCaller<'a>,
    /// Start of the request on the monotonic clock.
    pub started: Duration,
    pub max_tokens: u32,
    pub json_mode: JsonMode,
}

/// The result of an attempt.
#[derive(Debug)]
pub(super) enum AttemptResult {
    Answered(LlmResponse),
    Failed(AttemptFailure),
}

/// The result of an attempt, with its token counts.
struct AttemptOutcome {
    ended: AttemptResult,
    /// `None`: the provider reported no count.
    tokens: Option<TokenCounts>,
}

impl Attempt<'_> {
    /// The remaining time of the session.
    pub fn time_left(&self, connector: &Connector) -> Duration {
        let spent = connector.clock.monotonic().saturating_sub(self.started);
        self.caller.time_left.saturating_sub(spent)
    }

    /// Sends the request, if the breaker and the budgets allow it.
    pub fn send(&self, connector: &Connector) -> Result<AttemptResult, LlmError> {
        let permit = connector.breaker.admit(connector.clock.monotonic());
        let permit = permit.map_err(|pause| {
            let reason = format!(
                "too many failures in a row; requests are paused for another {} s",
                pause.as_secs() + 1
            );
            connector.error(LlmErrorClass::Unavailable, reason)
        })?;
        let question = PreparedRequest {
            request: self.request,
            schema: self.schema,
            model: &connector.config.model,
            max_tokens: self.max_tokens,
            json_mode: self.json_mode,
        };
        let body = connector.wire.body(&question).to_string().into_bytes();
        let id = self.reserve(connector, body.len())?;
        let sent = connector.transport.send(
            connector.base.join(connector.wire.path()),
            connector.wire.headers(connector.secrets.key.as_ref()),
            body,
            self.time_left(connector).min(connector.config.timeout),
        );
        let outcome = match sent {
            Ok(received) => self.outcome(connector, &question, received),
            Err(error) => self.unanswered(connector, error),
        };
        self.settle(connector, id, &outcome)?;
        match &outcome.ended {
            AttemptResult::Failed(AttemptFailure::Transient(
                LlmErrorClass::Unavailable | LlmErrorClass::TimeOut,
                _,
            )) => {
                permit.failed(connector.clock.monotonic());
            }
            _ => permit.answered(),
        }
        Ok(outcome.ended)
    }

    fn reserve(&self, connector: &Connector, body_bytes: usize) -> Result<i64, LlmError> {
        let bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        let call = LlmCall {
            run_id: self.caller.run_id.to_owned(),
            processor_name: self.caller.processor.to_owned(),
            session_file: self.caller.session.to_owned(),
            model: connector.config.model.clone(),
            input_tokens: (bytes / BYTES_PER_TOKEN).saturating_add(TOKENS_AROUND),
            output_tokens: u64::from(self.max_tokens),
        };
        let budgets = connector.config.budgets;
        let reserved = connector
            .store
            .reserve_llm_call(call, budgets, connector.clock.now())
            .map_err(|error| connector.store_error(&error))?;
        reserved.map_err(|over| {
            let over = over.as_str();
            let reason = format!(
                "the request exceeds the {over} budget; wait, or raise `llm.{over}_calls_max` and `llm.{over}_tokens_max`"
            );
            connector.error(LlmErrorClass::Budget, reason)
        })
    }

    fn settle(
        &self,
        connector: &Connector,
        id: i64,
        outcome: &AttemptOutcome,
    ) -> Result<(), LlmError> {
        let class = match &outcome.ended {
            AttemptResult::Answered(_) => "answered",
            AttemptResult::Failed(failure) => failure.class().as_str(),
        };
        let (model, now) = (&connector.config.model, connector.clock.now());
        let cost = |tokens: TokenCounts| {
            connector
                .prices
                .cost_of_call(model, now, tokens.input, tokens.output)
        };
        let settled = LlmOutcome {
            outcome: class,
            tokens: outcome.tokens.map(|tokens| (tokens.input, tokens.output)),
            cost: outcome.tokens.and_then(cost),
        };
        let settled = connector.store.settle_llm_call(id, settled);
        settled.map_err(|error| connector.store_error(&error))
    }

    fn outcome(
        &self,
        connector: &Connector,
        question: &PreparedRequest<'_>,
        received: HttpAnswer,
    ) -> AttemptOutcome {
        if !(200..300).contains(&received.status) {
            let failure = classify(question, received.status, &received.body);
            let asks = received.retry_after.as_deref();
            let asks = asks.and_then(|text| retry_after::read(text, connector.clock.now()));
            if let (AttemptFailure::Transient(..), Some(wait)) = (&failure, asks) {
                connector
                    .rate_limit
                    .until(connector.clock.monotonic().saturating_add(wait));
            }
            return AttemptOutcome {
                ended: AttemptResult::Failed(failure),
                tokens: Some(TokenCounts::default()),
            };
        }
        let (tokens, answer) = connector.wire.read(question, &received.body);
        let ended = match answer.and_then(|answer| self.judged(answer)) {
            Ok(answer) => AttemptResult::Answered(LlmResponse {
                text: answer.text,
                model: printable(&answer.model)
                    .chars()
                    .take(MODEL_CHARS_MAX)
                    .collect(),
                input_tokens: tokens.input,
                output_tokens: tokens.output,
            }),
            Err(failure) => AttemptResult::Failed(failure),
        };
        // A server without token counts was used anyway, so zero counts are treated as unknown.
        let is_counted = tokens != TokenCounts::default();
        AttemptOutcome {
            ended,
            tokens: is_counted.then_some(tokens),
        }
    }

    /// The answer, if it matches the schema.
    fn judged(&self, answer: DecodedAnswer) -> Result<DecodedAnswer, AttemptFailure> {
        let Some(schema) = self.schema else {
            return Ok(answer);
        };
        let document = serde_json::from_str::<Value>(&answer.text);
        if document.is_ok_and(|document| schema::fits(schema, &document)) {
            return Ok(answer);
        }
        let reason = "the model's answer does not match the schema";
        Err(AttemptFailure::Malformed(reason.to_owned()))
    }

    fn unanswered(&self, connector: &Connector, error: TransportError) -> AttemptOutcome {
        let (failure, is_unsent) = match error {
            TransportError::TimedOut => {
                let reason = "no answer in time".to_owned();
                (
                    AttemptFailure::Transient(LlmErrorClass::TimeOut, reason),
                    false,
                )
            }
            TransportError::Unreachable(why) => {
                let reason = format!("unreachable: {}", printable(&why));
                (
                    AttemptFailure::Transient(LlmErrorClass::Unavailable, reason),
                    true,
                )
            }
            TransportError::Interrupted => {
                let reason = "the connection broke during the answer".to_owned();
                (
                    AttemptFailure::Transient(LlmErrorClass::Unavailable, reason),
                    false,
                )
            }
            TransportError::TooLarge => {
                let reason = "the answer exceeds the maximum size".to_owned();
                (AttemptFailure::TooLarge(reason), false)
            }
            TransportError::Stopped => {
                let reason = "the program is shutting down".to_owned();
                (
                    AttemptFailure::Transient(LlmErrorClass::Unavailable, reason),
                    false,
                )
            }
        };
        tracing::debug!(server = %connector.base, trouble = ?failure, "no answer from the language model");
        AttemptOutcome {
            ended: AttemptResult::Failed(failure),
            tokens: is_unsent.then(TokenCounts::default),
        }
    }
}
