//! A configured provider as a language model: everything between a guest's request and the wire.
//!
//! It redacts secrets, looks up a cached answer, and lets each attempt pass rate limit, breaker and
//! budgets. While a request waits, it blocks only identical requests.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use session_pipeline_host::clock::Clock;
use session_pipeline_host::model::{
    LanguageModel, LlmCaller, LlmError, LlmErrorClass, LlmRequest, LlmResponse,
};
use session_pipeline_host::redaction::clean;
use session_pipeline_store::{Store, StoreError};

use crate::config::{LlmConfig, Provider, ProviderUrl, StructuredOutput};
use crate::llm::answer_cache;
use crate::llm::attempt::{Attempt, AttemptResult};
use crate::llm::backoff::Backoff;
use crate::llm::breaker::Breaker;
use crate::llm::in_progress::RequestsInProgress;
use crate::llm::key::{ApiKey, LlmSecrets};
use crate::llm::patience::{Sleeper, StopSignal};
use crate::llm::rate_limit::RateLimit;
use crate::llm::redaction::redact;
use crate::llm::transport::Transport;
use crate::llm::wire::{self, AttemptFailure, JsonMode, Wire};
use crate::report::PriceTable;

/// The address of Anthropic's API.
const ANTHROPIC: &str = "https://api.anthropic.com";
/// A truncated answer is retried with up to this multiple of the requested tokens.
const MORE_TOKENS_MAX: u32 = 4;

/// A provider with its limits and caches.
pub(super) struct Connector {
    pub(super) config: LlmConfig,
    pub(super) secrets: LlmSecrets,
    pub(super) base: ProviderUrl,
    pub(super) wire: Box<dyn Wire>,
    pub(super) transport: Transport,
    pub(super) store: Arc<Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) prices: PriceTable,
    pub(super) rate_limit: RateLimit,
    pub(super) breaker: Breaker,
    patience: Arc<dyn Sleeper>,
    in_progress: RequestsInProgress,
    stop: StopSignal,
    /// The strictest JSON mode that the server supports, as far as known.
    json_mode: Mutex<JsonMode>,
    /// The run that was halted until an operator acts, and the reason.
    halted: Mutex<Option<(String, String)>>,
}

impl Connector {
    /// Prepares a provider. Sends nothing.
    ///
    /// # Errors
    /// If the thread for requests can't be started, or certificates can't be loaded.
    pub fn new(
        config: &LlmConfig,
        secrets: LlmSecrets,
        prices: PriceTable,
        clock: Arc<dyn Clock>,
        patience: Arc<dyn Sleeper>,
        store: Arc<Store>,
    ) -> Result<Self, String> {
        let base = match (&config.base_url, config.provider) {
            // Other tools write Anthropic's base URL with `/v1`.
            (Some(base), None | Some(Provider::Anthropic)) => base.clone().without("/v1"),
            (Some(base), Some(Provider::OpenAiCompat)) => base.clone(),
            (None, _) => ProviderUrl::parse(ANTHROPIC).ok_or("invalid address")?,
        };
        Ok(Self {
            wire: wire::of(config),
            transport: Transport::new(config, &base)?,
            config: config.clone(),
            secrets,
            base,
            store,
            clock,
            prices,
            patience,
            rate_limit: RateLimit::default(),
            breaker: Breaker::default(),
            in_progress: RequestsInProgress::default(),
            stop: StopSignal::default(),
            json_mode: Mutex::new(JsonMode::Schema),
            halted: Mutex::new(None),
        })
    }

    /// An error of this class. The reason names the provider's host.
    pub(super) fn error(&self, class: LlmErrorClass, reason: impl fmt::Display) -> LlmError {
        LlmError {
            class,
            reason: clean(
                &format!("the language model at {}: {reason}", self.base),
                self.secrets.key.as_ref().map(ApiKey::expose),
            )
            .text
            .into_owned(),
        }
    }

    pub(super) fn store_error(&self, error: &StoreError) -> LlmError {
        tracing::error!(%error, "cannot record a call to the language model");
        self.error(
            LlmErrorClass::Failed,
            "the database could not record the request",
        )
    }

    fn json_mode(&self) -> MutexGuard<'_, JsonMode> {
        self.json_mode
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends attempts until one is answered or a retry makes no sense.
    fn ask(&self, mut attempt: Attempt<'_>) -> Result<LlmResponse, LlmError> {
        let mut backoff = Backoff::new(self.config.attempts_max);
        let mut is_repaired = false;
        let limit_max = attempt.max_tokens.saturating_mul(MORE_TOKENS_MAX);
        loop {
            self.wait_for_rate_limit(&attempt)?;
            attempt.json_mode = *self.json_mode();
            let failure = match attempt.send(self)? {
                AttemptResult::Answered(response) => return Ok(response),
                AttemptResult::Failed(failure) => failure,
            };
            match failure {
                AttemptFailure::UnsupportedMode => {
                    self.switch_json_mode(attempt.json_mode)?;
                    continue;
                }
                AttemptFailure::UnknownLimitName if self.wire.rename_limit() => continue,
                AttemptFailure::UnknownLimitName => {
                    let reason = "the server accepts neither name of the token limit";
                    return Err(self.error(LlmErrorClass::Failed, reason));
                }
                AttemptFailure::NeedsOperator(reason) => {
                    return Err(self.halt(attempt.caller, &reason));
                }
                AttemptFailure::Refused(reason) => {
                    return Err(self.error(LlmErrorClass::Refused, reason));
                }
                AttemptFailure::TooLarge(reason) => {
                    return Err(self.error(LlmErrorClass::TooLarge, reason));
                }
                AttemptFailure::Failed(reason) => {
                    return Err(self.error(LlmErrorClass::Failed, reason));
                }
                AttemptFailure::Truncated => {
                    let more = attempt.max_tokens.saturating_mul(2);
                    // Only for a provider that is known to support it.
                    let may =
                        self.config.provider != Some(Provider::OpenAiCompat) && more <= limit_max;
                    if !may || backoff.next().is_none() {
                        let reason = "the answer was truncated at its token limit";
                        return Err(self.error(LlmErrorClass::Malformed, reason));
                    }
                    attempt.max_tokens = more;
                }
                AttemptFailure::Malformed(reason) => {
                    // Repeating the request can help, but it is done only once.
                    if is_repaired || backoff.next().is_none() {
                        return Err(self.error(LlmErrorClass::Malformed, reason));
                    }
                    is_repaired = true;
                }
                AttemptFailure::Transient(class, reason) => {
                    let error = self.error(class, reason);
                    let Some(pause) = backoff.next() else {
                        return Err(error);
                    };
                    if pause >= attempt.time_left(self) {
                        return Err(error);
                    }
                    self.patience.wait(pause, &self.stop);
                }
            }
        }
    }

    /// Waits while the provider's rate limit applies, which all requests share.
    fn wait_for_rate_limit(&self, attempt: &Attempt<'_>) -> Result<(), LlmError> {
        loop {
            if self.stop.is_raised() {
                return Err(self.error(LlmErrorClass::Unavailable, "the program is shutting down"));
            }
            let time_left = attempt.time_left(self);
            if time_left.is_zero() {
                let reason = "the session's time limit was reached before an answer";
                return Err(self.error(LlmErrorClass::TimeOut, reason));
            }
            let rate_limit = self.rate_limit.remaining(self.clock.monotonic());
            if rate_limit.is_zero() {
                return Ok(());
            }
            if rate_limit >= time_left {
                let reason = format!(
                    "rate limited for {} s, longer than the session's remaining time",
                    rate_limit.as_secs() + 1
                );
                return Err(self.error(LlmErrorClass::RateLimited, reason));
            }
            self.patience.wait(rate_limit, &self.stop);
        }
    }

    /// Switches to the next JSON mode.
    fn switch_json_mode(&self, from: JsonMode) -> Result<(), LlmError> {
        let mut json_mode = self.json_mode();
        // Another request could have switched already.
        if *json_mode > from {
            return Ok(());
        }
        let Some(next) = from.next(self.config.structured_output) else {
            let allowed = match self.config.structured_output {
                StructuredOutput::Strict => "strict",
                StructuredOutput::Json => "json",
                StructuredOutput::Auto => "auto",
            };
            let reason = format!(
                "the server supports no JSON mode that `llm.structured_output = \"{allowed}\"` allows"
            );
            return Err(self.error(LlmErrorClass::Failed, reason));
        };
        tracing::info!(server = %self.base, "the server does not support this JSON mode; trying the next one");
        *json_mode = next;
        Ok(())
    }

    /// Halts the run of this caller, because only the operator can resolve the error.
    fn halt(&self, caller: LlmCaller<'_>, reason: &str) -> LlmError {
        let error = self.error(LlmErrorClass::Unavailable, reason);
        let mut halted = self.halted.lock().unwrap_or_else(PoisonError::into_inner);
        *halted = Some((caller.run_id.to_owned(), error.reason.clone()));
        error
    }
}

impl LanguageModel for Connector {
    fn complete(
        &self,
        request: &LlmRequest,
        caller: LlmCaller<'_>,
    ) -> Result<LlmResponse, LlmError> {
        let started = self.clock.monotonic();
        if let Some(reason) = self.halt_reason(caller.run_id) {
            let class = LlmErrorClass::Unavailable;
            return Err(LlmError { class, reason });
        }
        let redacted = redact(request, self.secrets.key.as_ref()).map_err(|held_back| {
            self.error(
                LlmErrorClass::Failed,
                format!("request not sent: {held_back}"),
            )
        })?;
        if redacted.found > 0 {
            tracing::info!(
                processor = caller.processor,
                found = redacted.found,
                "removed text that looks like secrets from a request"
            );
        }
        let request = redacted.request;
        let schema = request.json_schema.as_deref().map(serde_json::from_str);
        let schema: Option<serde_json::Value> = schema.transpose().map_err(|_| {
            self.error(
                LlmErrorClass::Failed,
                "the request's JSON schema is not valid JSON",
            )
        })?;
        let hash = answer_cache::key_of(&self.config, &self.base, &request);
        let Some(_turn) = self.in_progress.take(&hash, caller.time_left) else {
            let reason = "timed out while another session sends the same request";
            return Err(self.error(LlmErrorClass::TimeOut, reason));
        };
        let text = self.store.llm_response(&hash);
        let text = text.map_err(|error| self.store_error(&error))?;
        if let Some(response) = text
            .as_deref()
            .and_then(|text| answer_cache::decode(text, &self.base))
        {
            return Ok(response);
        }
        let response = self.ask(Attempt {
            request: &request,
            schema: schema.as_ref(),
            caller,
            started,
            max_tokens: request.max_tokens,
            json_mode: JsonMode::Schema,
        })?;
        let tokens = response.input_tokens.saturating_add(response.output_tokens);
        self.store
            .store_llm_response(
                hash,
                answer_cache::encode(&response, &self.base),
                tokens,
                self.clock.now(),
            )
            .map_err(|error| self.store_error(&error))?;
        Ok(response)
    }

    fn halt_reason(&self, run_id: &str) -> Option<String> {
        let halted = self.halted.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, reason) = halted.as_ref()?;
        (of == run_id).then(|| reason.clone())
    }

    fn stop(&self) {
        self.stop.raise();
        self.transport.stop();
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("base", &self.base)
            .field("model", &self.config.model)
            .finish_non_exhaustive()
    }
}
