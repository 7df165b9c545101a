//! Complete runs of a guest that uses a language model.

use std::sync::Arc;

use serde_json::json;
use session_pipeline_harness::llm_server::ServerAction;
use session_pipeline_harness::{DataDir, LlmServer, TestPipeline};
use session_pipeline_pipeline::config::{Config, Provider};
use session_pipeline_pipeline::llm::{self, ApiKey, LlmSecrets};
use session_pipeline_pipeline::run::RunError;

use super::{KEY, PROVIDERS};
use crate::database::rows;
use crate::guests::misbehaving;

const PROCESSOR: &str = "faulty-asks-model";

fn open(dir: &DataDir, config: Config) -> TestPipeline {
    let pipeline = TestPipeline::open_with(dir, config.clone(), &[misbehaving("asks_model")]);
    let (clock, store) = (Arc::clone(dir.clock()), pipeline.pipeline().shared_store());
    let key = ApiKey::new(KEY);
    let model = llm::from_config(&config, LlmSecrets { key }, clock, store).unwrap();
    pipeline.with_language_model(model.unwrap())
}

fn config_for(server: &LlmServer, dir: &DataDir) -> Config {
    let mut config = dir.config();
    config.llm = server.config();
    config.workers = 1;
    config
}

fn write(dir: &DataDir, key: &str, prompt: &str) {
    dir.write(
        key,
        format!("{}\n", json!({"ask": prompt, "or": "give back"})),
    );
}

#[test]
fn a_guest_receives_the_answer_of_the_provider_and_its_usage_is_recorded_with_the_run() {
    for provider in PROVIDERS {
        let server = LlmServer::start(provider);
        server.enqueue_answer("Because.");
        let dir = DataDir::new();
        write(&dir, "ada/one.jsonl", "Why?");
        let pipeline = open(&dir, config_for(&server, &dir));
        let run = pipeline.run(PROCESSOR);
        assert_eq!((run.stats.processed, run.stats.errors), (1, 0));
        let spent = pipeline.pipeline().store().llm_use(&run.id).unwrap();
        assert_eq!(
            (spent.calls, spent.input_tokens, spent.output_tokens),
            (1, 100, 20)
        );
        drop(pipeline);
        assert_eq!(server.requests().len(), 1);
        let answers = "SELECT text FROM \"faulty-asks-model\".answers";
        assert_eq!(rows(&dir, answers), ["Because."]);
    }
}

#[test]
fn a_retry_after_a_failure_uses_the_cached_answer() {
    let server = LlmServer::start(Provider::Anthropic);
    server.enqueue_answer("Because.");
    let dir = DataDir::new();
    let ask = json!({"ask": "Why?"});
    dir.write(
        "ada/one.jsonl",
        format!("{ask}\n{}\n", json!({"fail": "not today"})),
    );
    let pipeline = open(&dir, config_for(&server, &dir));
    assert_eq!(pipeline.run(PROCESSOR).stats.errors, 1);
    dir.write("ada/one.jsonl", format!("{ask}\n"));
    assert_eq!(pipeline.run(PROCESSOR).stats.processed, 1);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_rejected_key_stops_the_run_with_the_reason_and_fails_no_session() {
    let server = LlmServer::start(Provider::Anthropic);
    server.enqueue(ServerAction::error(
        401,
        "authentication_error",
        "invalid x-api-key",
    ));
    let dir = DataDir::new();
    for number in 0..4 {
        write(
            &dir,
            &format!("ada/{number}.jsonl"),
            &format!("Why {number}?"),
        );
    }
    let pipeline = open(&dir, config_for(&server, &dir));
    let error = pipeline
        .try_run_as(PROCESSOR, session_pipeline_pipeline::run::RunRequest::cli())
        .unwrap_err();
    assert!(matches!(error, RunError::Halted(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("the key was rejected"), "{text}");
    assert!(!text.contains("CANARY"), "{text}");
    assert_eq!(
        server.requests().len(),
        1,
        "no further requests must be sent"
    );

    // The server now accepts the key.
    for _ in 0..4 {
        server.enqueue_answer("Because.");
    }
    let run = pipeline.run(PROCESSOR);
    assert_eq!((run.stats.processed, run.stats.errors), (4, 0));
    drop(pipeline);
    let results =
        "SELECT result, error LIKE '%the key was rejected%' FROM runs ORDER BY CAST(id AS BIGINT)";
    assert_eq!(rows(&dir, results), ["failed | true", "ok | -"]);
}

#[test]
fn stopping_a_pipeline_does_not_wait_for_answers() {
    let server = LlmServer::start(Provider::Anthropic);
    server.enqueue(ServerAction::Silence);
    let dir = DataDir::new();
    write(&dir, "ada/one.jsonl", "Why?");
    let pipeline = open(&dir, config_for(&server, &dir));
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            pipeline.try_run_as(PROCESSOR, session_pipeline_pipeline::run::RunRequest::cli())
        });
        while server.requests().is_empty() {
            std::thread::yield_now();
        }
        pipeline.pipeline().stop();
        let _ = run.join().unwrap();
    });
    let failure = pipeline.failure(PROCESSOR, "ada/one.jsonl").unwrap();
    assert!(!failure.fault.is_permanent(), "{}", failure.fault);
}
