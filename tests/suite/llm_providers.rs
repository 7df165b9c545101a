//! Providers of language models: the real connector with a real database against a test server, in
//! both wire formats.
//!
//! This module contains the shared rig and tests the requests on the wire.

mod budgets;
mod cache;
mod faults;
mod keys;
mod runs;
mod secrets;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use session_pipeline_harness::llm_server::{ServerAction, StopReason, TestSleeper, model_answer};
use session_pipeline_harness::{DataDir, LlmServer};
use session_pipeline_host::clock::Clock;
use session_pipeline_host::model::{
    LanguageModel, LlmCaller, LlmError, LlmErrorClass, LlmRequest, LlmResponse,
};
use session_pipeline_pipeline::config::{Config, Provider, StructuredOutput};
use session_pipeline_pipeline::llm::{self, ApiKey, LlmSecrets};
use session_pipeline_store::Store;

const PROVIDERS: [Provider; 2] = [Provider::Anthropic, Provider::OpenAiCompat];
/// A key that must appear only in a request header.
const KEY: &str = "sk-test-CANARY-0123456789-of-our-own";
const SCHEMA: &str = r#"{"type": "object", "required": ["found"], "properties": {"found": {"type": "array", "items": {"type": "string", "maxLength": 40}}}}"#;
const VALID: &str = r#"{"found":["one"]}"#;

/// A test server and a model that is connected to it.
struct Rig {
    dir: DataDir,
    server: LlmServer,
    config: Config,
    store: Arc<Store>,
    patience: Arc<TestSleeper>,
    model: Arc<dyn LanguageModel>,
}

impl Rig {
    fn new(provider: Provider) -> Self {
        Self::with(provider, |_| ())
    }

    fn with(provider: Provider, change: impl FnOnce(&mut Config)) -> Self {
        let dir = DataDir::new();
        let server = LlmServer::start(provider);
        let mut config = dir.config();
        config.llm = server.config();
        change(&mut config);
        Self::with_server(dir, server, config)
    }

    fn with_server(dir: DataDir, server: LlmServer, config: Config) -> Self {
        let store = Arc::new(Store::open(&config.store_options(), dir.clock().now()).unwrap());
        let patience = Arc::new(TestSleeper::new(dir.clock()));
        let clock = Arc::clone(dir.clock());
        let secrets = LlmSecrets {
            key: ApiKey::new(KEY),
        };
        let model_store = Arc::clone(&store);
        let model_patience = Arc::clone(&patience);
        let model =
            llm::with_patience(&config, secrets, clock, model_patience, model_store).unwrap();
        Self {
            dir,
            server,
            config,
            store,
            patience,
            model: model.unwrap(),
        }
    }

    /// Simulates a restart of the program.
    fn restart(self) -> Self {
        let Self {
            dir,
            server,
            config,
            store,
            model,
            ..
        } = self;
        drop((store, model));
        Self::with_server(dir, server, config)
    }

    fn complete(&self, request: &LlmRequest) -> Result<LlmResponse, LlmError> {
        self.model.complete(request, caller())
    }

    /// Returns the class of the error and the number of requests that were sent.
    fn error_class(&self, request: &LlmRequest) -> (LlmErrorClass, usize) {
        let before = self.server.requests().len();
        let error = self.complete(request).unwrap_err();
        assert!(!error.reason.contains("CANARY"), "{error}");
        (error.class, self.server.requests().len() - before)
    }
}

fn caller() -> LlmCaller<'static> {
    LlmCaller {
        run_id: "run-1",
        processor: "verification",
        session: "ada/one.jsonl",
        time_left: Duration::from_secs(170),
    }
}

fn plain(prompt: &str) -> LlmRequest {
    LlmRequest {
        system: Some("Be brief.".to_owned()),
        prompt: prompt.to_owned(),
        max_tokens: 100,
        json_schema: None,
    }
}

fn with_schema(prompt: &str) -> LlmRequest {
    LlmRequest {
        json_schema: Some(SCHEMA.to_owned()),
        ..plain(prompt)
    }
}

#[test]
fn requests_have_the_anthropic_wire_format() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server.enqueue_answer("hello").enqueue_answer(VALID);
    let response = rig.complete(&plain("Say hello")).unwrap();
    assert_eq!(response.text, "hello");
    assert_eq!(response.model, "claude-haiku-4-5-20251001");
    assert_eq!((response.input_tokens, response.output_tokens), (100, 20));
    assert_eq!(rig.complete(&with_schema("Find")).unwrap().text, VALID);

    let asked = rig.server.requests();
    assert_eq!(asked[0].path, "/v1/messages");
    assert_eq!(asked[0].header("x-api-key"), Some(KEY));
    assert_eq!(asked[0].header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(asked[0].header("content-type"), Some("application/json"));
    let body = json!({
        "model": "claude-haiku-4-5-20251001",
        "max_tokens": 100,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Say hello"}],
    });
    assert_eq!(asked[0].body, body);
    let format = json!({"format": {"type": "json_schema", "schema": {
        "type": "object",
        "required": ["found"],
        "properties": {"found": {"type": "array", "items": {"type": "string"}}},
        "additionalProperties": false,
    }}});
    assert_eq!(asked[1].body["output_config"], format);
}

#[test]
fn requests_have_the_openai_wire_format() {
    let rig = Rig::with(Provider::OpenAiCompat, |config| {
        config.llm.model = "gpt-of-ours".to_owned();
    });
    rig.server.enqueue_answer("hello").enqueue_answer(VALID);
    let response = rig.complete(&plain("Say hello")).unwrap();
    assert_eq!(response.text, "hello");
    assert_eq!(response.model, "local-model");
    assert_eq!((response.input_tokens, response.output_tokens), (100, 20));
    assert_eq!(rig.complete(&with_schema("Find")).unwrap().text, VALID);

    let asked = rig.server.requests();
    assert_eq!(asked[0].path, "/v1/chat/completions");
    assert_eq!(
        asked[0].header("authorization"),
        Some(format!("Bearer {KEY}").as_str())
    );
    let body = json!({
        "model": "gpt-of-ours",
        "max_tokens": 100,
        "stream": false,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Say hello"},
        ],
    });
    assert_eq!(asked[0].body, body);
    let format = &asked[1].body["response_format"];
    assert_eq!(format["type"], "json_schema");
    assert_eq!(format["json_schema"]["strict"], true);
    let schema = &format["json_schema"]["schema"];
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn a_server_without_schema_support_gets_the_next_format_for_all_further_requests() {
    let unknown = ServerAction::error(
        400,
        "invalid_request_error",
        "response_format: unknown schema",
    );
    let rig = Rig::new(Provider::OpenAiCompat);
    rig.server
        .enqueue(unknown.clone())
        .enqueue(unknown)
        .enqueue_answer("Here it is:\n```json\n{\"found\":[\"one\"]}\n```\nAnything else?");
    assert_eq!(rig.complete(&with_schema("Find")).unwrap().text, VALID);
    rig.server.enqueue_answer(VALID);
    rig.complete(&with_schema("Find more")).unwrap();
    let asked = rig.server.requests();
    let formats = asked
        .iter()
        .map(|asked| asked.body["response_format"]["type"].clone());
    let formats: Vec<_> = formats.collect();
    assert_eq!(
        formats,
        [
            json!("json_schema"),
            json!("json_object"),
            json!(null),
            json!(null)
        ]
    );
    let system = asked[2].body["messages"][0]["content"].as_str().unwrap();
    assert!(
        system.starts_with("Be brief.\n\nAnswer with one JSON document"),
        "{system}"
    );
    assert!(rig.patience.waits().is_empty(), "a fallback must not wait");
}

#[test]
fn an_anthropic_model_without_schema_support_answers_through_a_tool() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server
        .enqueue(ServerAction::error(400, "invalid_request_error", "output_config: not supported by this model"))
        .enqueue(ServerAction::answer(
            200,
            json!({
                "model": "claude-old", "stop_reason": "tool_use",
                "content": [{"type": "text", "text": "I use it."}, {"type": "tool_use", "id": "t", "name": "answer", "input": {"found": ["one"]}}],
                "usage": {"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 1, "output_tokens": 2},
            }),
        ));
    let response = rig.complete(&with_schema("Find")).unwrap();
    assert_eq!(response.text, VALID);
    assert_eq!(response.input_tokens, 13, "cached tokens count as input");
    let body = &rig.server.requests()[1].body;
    assert_eq!(
        body["tool_choice"],
        json!({"type": "tool", "name": "answer"})
    );
}

#[test]
fn the_configuration_limits_the_fallback_formats() {
    let unknown =
        || ServerAction::error(400, "invalid_request_error", "json_schema is not supported");
    for (setting, requests) in [
        (StructuredOutput::Strict, 1),
        (StructuredOutput::Json, 2),
        (StructuredOutput::Auto, 3),
    ] {
        for provider in PROVIDERS {
            let rig = Rig::with(provider, |config| {
                config.llm.structured_output = setting;
            });
            for _ in 0..4 {
                rig.server.enqueue(unknown());
            }
            let (class, asked) = rig.error_class(&with_schema("Find"));
            assert_eq!(
                (class, asked),
                (LlmErrorClass::Failed, requests),
                "{provider:?} {setting:?}"
            );
        }
    }
}

#[test]
fn a_server_that_requires_max_completion_tokens_gets_it() {
    let rig = Rig::new(Provider::OpenAiCompat);
    let reason = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.";
    rig.server
        .enqueue(ServerAction::error(400, "invalid_request_error", reason))
        .enqueue_answer("hello");
    rig.complete(&plain("Say hello")).unwrap();
    let body = &rig.server.requests()[1].body;
    assert_eq!(body["max_completion_tokens"], 100);
    assert!(body.get("max_tokens").is_none());
}

#[test]
fn a_truncated_answer_is_never_accepted_and_is_retried_with_more_tokens_for_anthropic() {
    let truncated =
        |provider| model_answer(provider, "{\"found\":[\"on", StopReason::Limit, (100, 100));
    let rig = Rig::new(Provider::Anthropic);
    rig.server
        .enqueue(truncated(Provider::Anthropic))
        .enqueue_answer(VALID);
    assert_eq!(rig.complete(&with_schema("Find")).unwrap().text, VALID);
    let limits = |rig: &Rig| {
        let asked = rig.server.requests();
        let limits = asked
            .iter()
            .map(|asked| asked.body["max_tokens"].as_u64().unwrap());
        limits.collect::<Vec<_>>()
    };
    assert_eq!(limits(&rig), [100, 200]);

    let rig = Rig::with(Provider::Anthropic, |config| config.llm.attempts_max = 9);
    for _ in 0..9 {
        rig.server.enqueue(truncated(Provider::Anthropic));
    }
    assert_eq!(
        rig.error_class(&with_schema("Find")).0,
        LlmErrorClass::Malformed
    );
    assert_eq!(limits(&rig), [100, 200, 400]);

    let rig = Rig::new(Provider::OpenAiCompat);
    rig.server.enqueue(truncated(Provider::OpenAiCompat));
    assert_eq!(
        rig.error_class(&with_schema("Find")),
        (LlmErrorClass::Malformed, 1)
    );
}
