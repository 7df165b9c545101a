//! The detector `llm` with a provider: both wire formats, failures and invalid answers of the
//! provider, and kills of the program.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use session_pipeline_harness::llm_server::{HttpRequest, ServerAction, TestSleeper};
use session_pipeline_harness::program::{self, Interruption, ProgramEnd};
use session_pipeline_harness::{DataDir, LlmServer, TestPipeline, cases};
use session_pipeline_pipeline::config::Provider;
use session_pipeline_pipeline::llm::{self, ApiKey, LlmSecrets};

use super::{
    VERIFICATION, config, extraction_answer, prepared_dir, run, session_with_prompts, verification,
};
use crate::database::{cell, rows};
use crate::guests;

const BOTH: [Provider; 2] = [Provider::Anthropic, Provider::OpenAiCompat];
const SESSIONS: usize = 6;
/// The maximum number of kills before the program must have finished.
const KILLS_MAX: usize = 200;
/// The number of kill points by which each start gets further than the previous start.
const STRIDE: usize = 4;

/// A pipeline that uses this server, and waits on the test clock.
fn open_pipeline(dir: &DataDir, server: &LlmServer) -> TestPipeline {
    let mut config = config(dir, "llm");
    config.llm = server.config();
    config.llm.attempts_max = 9;
    // The scripts of these tests have an order.
    config.llm.concurrency = 1;
    let pipeline = TestPipeline::open_with(dir, config.clone(), &[guests::verification()]);
    let (clock, store) = (Arc::clone(dir.clock()), pipeline.pipeline().shared_store());
    let sleeper = Arc::new(TestSleeper::new(dir.clock()));
    let secrets = LlmSecrets {
        key: ApiKey::new("a-key-of-these-tests"),
    };
    let model = llm::with_patience(&config, secrets, clock, sleeper, store).unwrap();
    pipeline.with_language_model(model.unwrap())
}

/// Writes six sessions of two users, with repeated and contradictory statements.
pub(super) fn write_sessions(dir: &DataDir) {
    for number in 0..SESSIONS {
        let (user, half) = (["ada", "bob"][number % 2], number / 2);
        let texts = [
            format!("no, churn is counted per month number {half} by the billing export"),
            format!(
                "so a ledger means the list of bookings of team {}",
                number % 3
            ),
            format!("right, deploys of service {half} go out before noon"),
        ];
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        dir.write(
            &format!("{user}/{number}.jsonl"),
            session_with_prompts(&format!("s{number}"), &texts),
        );
    }
}

/// A deterministic model. It extracts each prompt of the user as a statement, and judges half of
/// the candidates as contradictions.
fn deterministic_answer(request: &HttpRequest) -> String {
    answer_to(request.prompt())
}

/// The answer of that model to a prompt.
pub(super) fn answer_to(prompt: &str) -> String {
    if let Some((_, list)) = prompt.rsplit_once("as a JSON list:\n") {
        let candidates: Vec<Value> = serde_json::from_str(list).unwrap();
        let contradictions: Vec<Value> = candidates.iter().filter_map(contradiction).collect();
        return json!({ "contradictions": contradictions }).to_string();
    }
    let turns: Vec<Value> = serde_json::from_str(&prompt[prompt.rfind("[\n").unwrap()..]).unwrap();
    let turns = turns.iter().filter(|turn| turn["role"] == "user");
    let verifications: Vec<Value> = turns
        .map(|turn| {
            let text = turn["parts"][0]["typed"].as_str().unwrap();
            let kind = match text.split(' ').next() {
                Some("no,") => "correction",
                Some("so") => "unprompted_definition",
                _ => "confirmation",
            };
            verification(text, text, text, json!({"detection_type": kind}))
        })
        .collect();
    extraction_answer(&verifications)
}

fn contradiction(candidate: &Value) -> Option<Value> {
    let id = candidate["id"].as_str().unwrap();
    let contradicts = id.bytes().last().unwrap().is_multiple_of(2);
    contradicts.then(|| {
        json!({
            "candidate_id": id, "severity": "soft", "explanation": "as told", "resolution_action": "both_valid",
            "resolution_merged_content": null, "resolution_justification": "as told",
        })
    })
}

/// All knowledge, without times and sequence numbers.
pub(super) fn knowledge(dir: &DataDir) -> Vec<String> {
    [
        "SELECT * EXCLUDE (created_at, updated_at) FROM verification.items ORDER BY ALL",
        "SELECT * EXCLUDE (session_seq, recorded_at) FROM verification.evidence ORDER BY ALL",
        "SELECT * EXCLUDE (created_at, updated_at) FROM verification.relations ORDER BY ALL",
        "SELECT * EXCLUDE (created_at, updated_at) FROM verification.contradictions ORDER BY ALL",
        "SELECT session_file, items_extracted FROM session_processor_state ORDER BY ALL",
    ]
    .iter()
    .flat_map(|sql| rows(dir, sql))
    .collect()
}

#[test]
fn the_knowledge_does_not_depend_on_the_wire_format_or_on_failed_requests() {
    let process = |provider: Provider, failures: &[ServerAction]| {
        let dir = DataDir::new();
        write_sessions(&dir);
        let server = LlmServer::start(provider);
        server.set_fallback(deterministic_answer);
        for failure in failures {
            server.enqueue(failure.clone());
        }
        let pipeline = open_pipeline(&dir, &server);
        let finished = run(&dir, &pipeline);
        assert_eq!(finished.stats.processed, SESSIONS as u64);
        let llm_use = pipeline.pipeline().store().llm_use(&finished.id).unwrap();
        assert_eq!(llm_use.calls, server.requests().len() as u64);
        let row = pipeline.pipeline().store().run_row(&finished.id).unwrap();
        assert_eq!(row.unwrap().llm, Some(llm_use));
        assert_eq!(server.actions_left(), 0);
        drop(pipeline);
        (knowledge(&dir), server.requests().len())
    };
    let (expected, requests) = process(Provider::Anthropic, &[]);
    assert!(requests > SESSIONS, "some requests are for judgments");
    let contradictions = expected.iter().filter(|row| row.starts_with("kc_")).count();
    assert!(contradictions > 0, "{expected:#?}");
    for provider in BOTH {
        let failures = [
            ServerAction::error(500, "api_error", "oops"),
            ServerAction::HalfAnswer,
            ServerAction::error(429, "rate_limit_error", "slowly").with("retry-after", 2),
            ServerAction::answer(200, "no json"),
            ServerAction::Reset,
        ];
        let (knowledge, sent) = process(provider, &failures);
        assert_eq!(knowledge, expected, "{provider:?}");
        assert_eq!(sent, requests + failures.len(), "{provider:?}");
    }
}

#[test]
fn repeated_kills_change_no_knowledge_and_repeat_few_requests() {
    let process = |is_killed: bool, concurrency: usize| {
        let dir = DataDir::new();
        write_sessions(&dir);
        let server = LlmServer::start(Provider::OpenAiCompat);
        server.set_fallback(deterministic_answer);
        let llm = format!(
            "[llm]\nprovider = \"openai_compat\"\nbase_url = \"{}\"\nconcurrency = {concurrency}\n",
            server.url()
        );
        let settings = "[processors.verification.settings]\ndetector = \"llm\"\n";
        fs::write(dir.path().join("config.toml"), format!("{llm}{settings}")).unwrap();
        let mut kills = 0;
        let stderr = loop {
            match run_program(&dir, is_killed.then_some(kills * STRIDE + 1)) {
                Some(stderr) => break stderr,
                None => kills += 1,
            }
            assert!(
                kills < KILLS_MAX,
                "the program did not finish after {kills} kills"
            );
        };
        let requests = server.requests();
        let unique: BTreeSet<String> = requests
            .iter()
            .map(|request| request.text.clone())
            .collect();
        (knowledge(&dir), unique, requests.len(), kills, stderr)
    };
    let (expected, expected_requests, sent, _, stderr) = process(false, 1);
    assert_eq!(sent, expected_requests.len());
    let summary = format!("`verification` sent {sent} requests to the language model: ");
    assert!(stderr.contains(&summary), "{stderr}");
    for concurrency in [1, 4] {
        let (knowledge, unique, sent, kills, _) = process(true, concurrency);
        assert!(kills > 10, "only {kills} kills");
        assert_eq!(knowledge, expected, "{concurrency} sessions at once");
        // Sessions that are processed again because of others can ask about other rows.
        assert!(unique.is_superset(&expected_requests));
        if concurrency == 1 {
            assert_eq!(unique, expected_requests);
        }
        // A kill loses at most the requests in progress, or answers that are not stored yet.
        assert!(
            sent <= unique.len() + kills * concurrency,
            "{sent} requests after {kills} kills"
        );
    }
}

/// Runs the program and returns its standard error. With `kill_at`, the program is killed at the
/// n-th kill point that it reaches. Returns `None` if it was killed.
fn run_program(dir: &DataDir, kill_at: Option<usize>) -> Option<String> {
    let interruption = match kill_at {
        Some(point) => Interruption::At(point.to_string()),
        None => Interruption::None,
    };
    let mut run = program::command_with_data_dir(dir);
    run.args(["run", VERIFICATION]);
    let ProgramEnd::Exited(output) = program::run(run, dir, &interruption) else {
        return None;
    };
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    Some(stderr)
}

/// Any JSON value, as the answer of a malfunctioning or manipulated model.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop_oneof![
            Just("'; DROP TABLE verification.items; --"),
            Just("ada/0.jsonl"),
            Just("approved"),
            Just("\u{0}\u{1b}[2J")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop_oneof![
            "[a-z_]{1,8}",
            Just("verifications".to_owned()),
            Just("user_quote".to_owned())
        ];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((name, inner), 0..4).prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

const FIELDS: &[&str] = &[
    "detection_type",
    "status",
    "scope",
    "title",
    "content",
    "user_quote",
    "domain",
    "entities",
];

/// An answer in which one part has any value.
fn answer() -> impl Strategy<Value = String> {
    let one_field = (any_json(), proptest::sample::select(FIELDS)).prop_map(|(value, field)| {
        let mut others = Map::new();
        others.insert(field.to_owned(), value);
        let quote = "no, churn is monthly";
        extraction_answer(&[verification(
            "Churn",
            "Churn is monthly",
            quote,
            Value::Object(others),
        )])
    });
    prop_oneof![
        one_field,
        any_json().prop_map(|value| json!({ "verifications": [value] }).to_string()),
        any_json().prop_map(|value| value.to_string()),
        "\\PC{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_any_answer_of_a_model_affects_only_its_session(text in answer()) {
        let dir = prepared_dir();
        let server = LlmServer::start(Provider::Anthropic);
        server.set_fallback(move |_| text.clone());
        dir.write("ada/one.jsonl", session_with_prompts("s1", &["no, churn is monthly"]));
        let pipeline = open_pipeline(&dir, &server);
        let stats = pipeline.run(VERIFICATION).stats;
        prop_assert_eq!(stats.processed + stats.errors, 1);
        drop(pipeline);
        let items = rows(&dir, "SELECT status, confidence, source_user FROM verification.items");
        prop_assert_eq!(items.len(), usize::try_from(stats.items_extracted).unwrap());
        for item in items {
            prop_assert!(
                ["pending | 0.9 | ada", "pending | 0.6 | ada"].contains(&item.as_str()), "{}", item
            );
        }
        let invalid_evidence = "SELECT count(*) FROM verification.evidence
            WHERE session_file <> 'ada/one.jsonl' OR NOT contains('no, churn is monthly', user_quote) OR user_quote = ''";
        prop_assert_eq!(cell(&dir, invalid_evidence), "0");
        let faults = rows(&dir, "SELECT fault FROM session_failures");
        prop_assert!(faults.iter().all(|fault| fault == "llm"), "{:?}", faults);
    }
}
