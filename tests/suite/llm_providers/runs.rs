//! A whole run with a guest that asks: from a line of a transcript over the wire and back.

use std::sync::Arc;

use serde_json::json;
use session_pipeline_harness::llm_server::ServerAction;
use session_pipeline_harness::{DataDir, LlmServer, TestPipeline};
use session_pipeline_pipeline::config::{Config, Provider};
use session_pipeline_pipeline::llm::{self, ApiKey, LlmSecrets};
use session_pipeline_pipeline::run::RunError;

use super::{BOTH, KEY};
use crate::database::rows;
use crate::guests::misbehaving;

const ASKS: &str = "faulty-asks-model";

fn open(dir: &DataDir, config: Config) -> TestPipeline {
    let pipeline = TestPipeline::open_with(dir, config.clone(), &[misbehaving("asks_model")]);
    let (clock, store) = (Arc::clone(dir.clock()), pipeline.pipeline().shared_store());
    let key = ApiKey::new(KEY);
    let model = llm::from_config(&config, LlmSecrets { key }, clock, store).unwrap();
    pipeline.with_language_model(model.unwrap())
}

fn asking(server: &LlmServer, dir: &DataDir) -> Config {
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
fn what_a_guest_asks_is_answered_by_the_provider_and_recorded_with_the_run() {
    for provider in BOTH {
        let server = LlmServer::start(provider);
        server.enqueue_answer("Because.");
        let dir = DataDir::new();
        write(&dir, "ada/one.jsonl", "Why?");
        let pipeline = open(&dir, asking(&server, &dir));
        let ran = pipeline.run(ASKS);
        assert_eq!((ran.stats.processed, ran.stats.errors), (1, 0));
        let spent = pipeline.pipeline().store().llm_use(&ran.id).unwrap();
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
fn a_session_that_fails_after_its_answer_pays_nothing_the_next_time() {
    let server = LlmServer::start(Provider::Anthropic);
    server.enqueue_answer("Because.");
    let dir = DataDir::new();
    let ask = json!({"ask": "Why?"});
    dir.write(
        "ada/one.jsonl",
        format!("{ask}\n{}\n", json!({"fail": "not today"})),
    );
    let pipeline = open(&dir, asking(&server, &dir));
    assert_eq!(pipeline.run(ASKS).stats.errors, 1);
    dir.write("ada/one.jsonl", format!("{ask}\n"));
    assert_eq!(pipeline.run(ASKS).stats.processed, 1);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_key_that_is_not_taken_stops_the_run_with_the_reason_and_costs_no_session() {
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
    let pipeline = open(&dir, asking(&server, &dir));
    let error = pipeline
        .try_run_as(ASKS, session_pipeline_pipeline::run::RunRequest::cli())
        .unwrap_err();
    assert!(matches!(error, RunError::Halted(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("the key was rejected"), "{text}");
    assert!(!text.contains("CANARY"), "{text}");
    assert_eq!(server.requests().len(), 1, "nobody asks in vain");

    // The operator has put it right.
    for _ in 0..4 {
        server.enqueue_answer("Because.");
    }
    let ran = pipeline.run(ASKS);
    assert_eq!((ran.stats.processed, ran.stats.errors), (4, 0));
    drop(pipeline);
    let ends =
        "SELECT result, error LIKE '%the key was rejected%' FROM runs ORDER BY CAST(id AS BIGINT)";
    assert_eq!(rows(&dir, ends), ["failed | true", "ok | -"]);
}

#[test]
fn a_pipeline_that_stops_waits_for_no_answer() {
    let server = LlmServer::start(Provider::Anthropic);
    server.enqueue(ServerAction::Silence);
    let dir = DataDir::new();
    write(&dir, "ada/one.jsonl", "Why?");
    let pipeline = open(&dir, asking(&server, &dir));
    std::thread::scope(|scope| {
        let run = scope
            .spawn(|| pipeline.try_run_as(ASKS, session_pipeline_pipeline::run::RunRequest::cli()));
        while server.requests().is_empty() {
            std::thread::yield_now();
        }
        pipeline.pipeline().stop();
        let _ = run.join().unwrap();
    });
    let failure = pipeline.failure(ASKS, "ada/one.jsonl").unwrap();
    assert!(!failure.fault.is_permanent(), "{}", failure.fault);
}
