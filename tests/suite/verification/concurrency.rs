//! Sessions that are processed at the same time have the same result as one after the other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{DataDir, LlmServer, TestPipeline, cases};
use session_pipeline_host::model::{
    LanguageModel, LlmCaller, LlmError, LlmErrorClass, LlmRequest, LlmResponse,
};
use session_pipeline_pipeline::config::Provider;
use session_pipeline_pipeline::llm::{self, ApiKey, LlmSecrets};

use super::provider::{answer_to, knowledge, write_sessions};
use super::{VERIFICATION, config, prepared_dir, session_with_prompts};
use crate::database::rows;
use crate::guests;

/// What users say. Several statements are about the same, so sessions depend on each other.
const STATEMENTS: [&str; 7] = [
    "no, churn is counted per month by the billing export",
    "no, churn is counted per month by the billing exports",
    "so a ledger means the list of bookings of the team",
    "right, deploys of the service go out before noon",
    "right, deploys of the service go out before noon, always",
    "so a margin means revenue minus cost of the product",
    "no, this one is refused by the model",
];

/// A deterministic model that takes some time for each answer, and refuses one statement.
#[derive(Debug, Default)]
struct SlowModel {
    seed: u64,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl LanguageModel for SlowModel {
    fn complete(&self, request: &LlmRequest, _: LlmCaller<'_>) -> Result<LlmResponse, LlmError> {
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let bytes = request.prompt.bytes().map(u64::from);
        let mixed = bytes.fold(self.seed, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte)
        });
        std::thread::sleep(Duration::from_millis(mixed % 8));
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        match request.prompt.contains("refused by the model") {
            true => Err(LlmError {
                class: LlmErrorClass::Refused,
                reason: "refused".to_owned(),
            }),
            false => Ok(LlmResponse {
                text: answer_to(&request.prompt),
                model: "slow".to_owned(),
                input_tokens: 100,
                output_tokens: 20,
            }),
        }
    }
}

fn open(dir: &DataDir, concurrency: usize, model: Arc<dyn LanguageModel>) -> TestPipeline {
    let mut config = config(dir, "llm");
    config.llm.concurrency = concurrency;
    TestPipeline::open_with(dir, config, &[guests::verification()]).with_language_model(model)
}

fn failures(dir: &DataDir) -> Vec<String> {
    rows(
        dir,
        "SELECT session_file, attempts, fault FROM session_failures ORDER BY ALL",
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_concurrent_sessions_have_the_result_of_one_after_the_other(
        sessions in vec((0..3_usize, vec(0..STATEMENTS.len(), 1..4)), 2..9),
        later in vec((0..9_usize, 0..STATEMENTS.len()), 0..3),
        seed in any::<u64>(),
    ) {
        let result = |concurrency: usize| {
            let dir = prepared_dir();
            let write = |number: usize, statements: &[usize]| {
                let texts: Vec<&str> = statements.iter().map(|index| STATEMENTS[*index]).collect();
                let user = ["ada", "bob", "eve"][sessions[number].0];
                let session = session_with_prompts(&format!("s{number}"), &texts);
                dir.write(&format!("{user}/{number}.jsonl"), session);
            };
            for (number, (_, statements)) in sessions.iter().enumerate() {
                write(number, statements);
            }
            let model = Arc::new(SlowModel { seed, ..SlowModel::default() });
            let pipeline = open(&dir, concurrency, model);
            let first = pipeline.run(VERIFICATION).stats;
            // Some sessions grow, and are processed again.
            for (number, statement) in &later {
                let number = number % sessions.len();
                let mut statements = sessions[number].1.clone();
                statements.push(*statement);
                write(number, &statements);
            }
            dir.clock().advance(Duration::from_secs(3600));
            let second = pipeline.run(VERIFICATION).stats;
            drop(pipeline);
            let counts = [first, second].map(|stats| (stats.processed, stats.errors, stats.items_extracted));
            (counts, knowledge(&dir), failures(&dir))
        };
        let expected = result(1);
        for concurrency in [2, 8] {
            prop_assert_eq!(result(concurrency), expected.clone(), "{} at once", concurrency);
        }
    }
}

/// A model that answers only when as many requests as possible wait at the same time.
#[derive(Debug)]
struct MeetingModel {
    expected: usize,
    waiting: Mutex<usize>,
    changed: Condvar,
}

impl LanguageModel for MeetingModel {
    fn complete(&self, _: &LlmRequest, _: LlmCaller<'_>) -> Result<LlmResponse, LlmError> {
        let mut waiting = self.waiting.lock().unwrap();
        *waiting += 1;
        self.changed.notify_all();
        let (_waiting, waited) = self
            .changed
            .wait_timeout_while(waiting, Duration::from_secs(60), |waiting| {
                *waiting < self.expected
            })
            .unwrap();
        assert!(!waited.timed_out(), "not all requests came at once");
        Ok(LlmResponse {
            text: r#"{"verifications":[]}"#.to_owned(),
            model: "meeting".to_owned(),
            input_tokens: 100,
            output_tokens: 20,
        })
    }
}

#[test]
fn as_many_sessions_as_configured_wait_for_the_model_at_once() {
    let dir = prepared_dir();
    for number in 0..16 {
        let text = format!("no, number {number} is right");
        let session = session_with_prompts(&format!("s{number}"), &[&text]);
        dir.write(&format!("ada/{number}.jsonl"), session);
    }
    let model = MeetingModel {
        expected: 16,
        waiting: Mutex::default(),
        changed: Condvar::new(),
    };
    let pipeline = open(&dir, 16, Arc::new(model));
    assert_eq!(pipeline.run(VERIFICATION).stats.processed, 16);
}

#[test]
fn a_budget_that_runs_out_leaves_the_rest_to_the_next_runs() {
    let dir = prepared_dir();
    write_sessions(&dir);
    let server = LlmServer::start(Provider::Anthropic);
    server.set_fallback(|request| answer_to(request.prompt()));
    let mut config = config(&dir, "llm");
    config.llm = server.config();
    config.llm.concurrency = 8;
    config.llm.budgets.run.calls_max = 3;
    let pipeline = TestPipeline::open_with(&dir, config.clone(), &[guests::verification()]);
    let (clock, store) = (Arc::clone(dir.clock()), pipeline.pipeline().shared_store());
    let secrets = LlmSecrets {
        key: ApiKey::new("a-key-of-these-tests"),
    };
    let model = llm::from_config(&config, secrets, clock, store).unwrap();
    let pipeline = pipeline.with_language_model(model.unwrap());
    let mut processed = 0;
    for _ in 0..100 {
        processed += pipeline.run(VERIFICATION).stats.processed;
        dir.clock().advance(Duration::from_secs(24 * 3600));
    }
    drop(pipeline);
    assert_eq!((processed, failures(&dir)), (6, Vec::new()));
    assert!(!knowledge(&dir).is_empty());
}
