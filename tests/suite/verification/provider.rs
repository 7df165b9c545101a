//! The detector `llm` over the wire: the component that ships, against a provider that speaks both
//! formats, fails, lies, and lives through the deaths of whoever asks it.

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

use super::{VERIFICATION, config, found, prepared_dir, run, said, verification};
use crate::database::{cell, rows};
use crate::guests;

const BOTH: [Provider; 2] = [Provider::Anthropic, Provider::OpenAiCompat];
const SESSIONS: usize = 6;
/// Starts after which the work must have been done.
const STARTS_MAX: usize = 200;
/// Points of the program between two kills: each start gets so much further than the last one.
const STRIDE: usize = 4;

/// A pipeline that asks this server, and waits by the data dir's clock.
fn asking(dir: &DataDir, server: &LlmServer) -> TestPipeline {
    let mut config = config(dir, "llm");
    config.llm = server.config();
    config.llm.attempts_max = 9;
    let pipeline = TestPipeline::open_with(dir, config.clone(), &[guests::verification()]);
    let (clock, store) = (Arc::clone(dir.clock()), pipeline.pipeline().shared_store());
    let patience = Arc::new(TestSleeper::new(dir.clock()));
    let secrets = LlmSecrets {
        key: ApiKey::new("a-key-of-these-tests"),
    };
    let model = llm::with_patience(&config, secrets, clock, patience, store).unwrap();
    pipeline.with_language_model(model.unwrap())
}

/// Six sessions of two users, who say some things twice and contradict each other.
fn talk(dir: &DataDir) {
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
            said(&format!("s{number}"), &texts),
        );
    }
}

/// A model that takes every turn of the user for a statement, and every second known item for a
/// contradiction: the same request has the same answer.
fn oracle(asked: &HttpRequest) -> String {
    let prompt = asked.prompt();
    if let Some((_, list)) = prompt.rsplit_once("as a JSON list:\n") {
        let known: Vec<Value> = serde_json::from_str(list).unwrap();
        let judgments: Vec<Value> = known.iter().map(judgment).collect();
        return json!({ "judgments": judgments }).to_string();
    }
    let turns: Vec<Value> = serde_json::from_str(&prompt[prompt.rfind("[\n").unwrap()..]).unwrap();
    let turns = turns.iter().filter(|turn| turn["role"] == "user");
    let verifications: Vec<Value> = turns
        .map(|turn| {
            let text = turn["content"].as_str().unwrap();
            let kind = match text.split(' ').next() {
                Some("no,") => "correction",
                Some("so") => "unprompted_definition",
                _ => "confirmation",
            };
            verification(text, text, text, json!({"detection_type": kind}))
        })
        .collect();
    found(&verifications)
}

fn judgment(known: &Value) -> Value {
    let id = known["id"].as_str().unwrap();
    let contradicts = id.bytes().last().unwrap().is_multiple_of(2);
    json!({
        "candidate_id": id, "is_contradiction": contradicts, "severity": "soft", "explanation": "as told",
        "resolution_action": "both_valid", "resolution_merged_content": null, "resolution_justification": "as told",
    })
}

/// All that is known, but for times and running numbers.
fn knowledge(dir: &DataDir) -> Vec<String> {
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
fn the_same_is_known_over_both_formats_and_however_often_the_provider_failed() {
    let known = |provider: Provider, troubles: &[ServerAction]| {
        let dir = DataDir::new();
        talk(&dir);
        let server = LlmServer::start(provider);
        server.set_fallback(oracle);
        for trouble in troubles {
            server.enqueue(trouble.clone());
        }
        let pipeline = asking(&dir, &server);
        let ran = run(&dir, &pipeline);
        assert_eq!(ran.stats.processed, SESSIONS as u64);
        let spent = pipeline.pipeline().store().llm_use(&ran.id).unwrap();
        assert_eq!(spent.calls, server.requests().len() as u64);
        let row = pipeline.pipeline().store().run_row(&ran.id).unwrap();
        assert_eq!(row.unwrap().llm, Some(spent));
        assert_eq!(server.actions_left(), 0);
        drop(pipeline);
        (knowledge(&dir), server.requests().len())
    };
    let (expected, requests) = known(Provider::Anthropic, &[]);
    assert!(requests > SESSIONS, "some items had to be judged");
    let contradictions = expected.iter().filter(|row| row.starts_with("kc_")).count();
    assert!(contradictions > 0, "{expected:#?}");
    for provider in BOTH {
        let troubles = [
            ServerAction::error(500, "api_error", "oops"),
            ServerAction::HalfAnswer,
            ServerAction::error(429, "rate_limit_error", "slowly").with("retry-after", 2),
            ServerAction::answer(200, "no json"),
            ServerAction::Reset,
        ];
        let (found, asked) = known(provider, &troubles);
        assert_eq!(found, expected, "{provider:?}");
        assert_eq!(asked, requests + troubles.len(), "{provider:?}");
    }
}

#[test]
fn killed_again_and_again_while_it_asks_it_ends_as_if_nothing_had_happened_and_pays_once() {
    let live = |is_killed: bool| {
        let dir = DataDir::new();
        talk(&dir);
        let server = LlmServer::start(Provider::OpenAiCompat);
        server.set_fallback(oracle);
        let llm = format!(
            "[llm]\nprovider = \"openai_compat\"\nbase_url = \"{}\"\n",
            server.url()
        );
        let settings = "[processors.verification.settings]\ndetector = \"llm\"\n";
        fs::write(dir.path().join("config.toml"), format!("{llm}{settings}")).unwrap();
        let mut kills = 0;
        let told = loop {
            match run_program(&dir, is_killed.then_some(kills * STRIDE + 1)) {
                Some(told) => break told,
                None => kills += 1,
            }
            assert!(kills < STARTS_MAX, "it never came to its end");
        };
        let asked = server.requests();
        let different: BTreeSet<String> = asked.iter().map(|asked| asked.text.clone()).collect();
        (knowledge(&dir), different, asked.len(), kills, told)
    };
    let (expected, requests, paid, _, told) = live(false);
    assert_eq!(paid, requests.len());
    let sent = format!("`verification` sent {paid} requests to the language model: ");
    assert!(told.contains(&sent), "{told}");
    let (found, different, paid, kills, _) = live(true);
    assert!(kills > 10, "only {kills} kills");
    assert_eq!(found, expected);
    assert_eq!(different, requests);
    // Lost is at most what was under way, or not yet kept, when it was killed.
    assert!(
        paid <= requests.len() + kills,
        "{paid} requests after {kills} kills"
    );
}

/// Runs the program, and gives what it told people; `None` when it was killed at the n-th point that
/// it reached.
fn run_program(dir: &DataDir, kill_at: Option<usize>) -> Option<String> {
    let disturbance = match kill_at {
        Some(point) => Interruption::At(point.to_string()),
        None => Interruption::None,
    };
    let mut run = program::command_with_data_dir(dir);
    run.args(["run", VERIFICATION]);
    let ProgramEnd::Exited(output) = program::run(run, dir, &disturbance) else {
        return None;
    };
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    Some(told)
}

/// Any JSON: what a model might say that has lost its mind, or was talked out of it.
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
    "title",
    "content",
    "user_quote",
    "domain",
    "entities",
];

/// An answer in which one thing is anything.
fn answer() -> impl Strategy<Value = String> {
    let one_field = (any_json(), proptest::sample::select(FIELDS)).prop_map(|(value, field)| {
        let mut others = Map::new();
        others.insert(field.to_owned(), value);
        let quote = "no, churn is monthly";
        found(&[verification(
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
    fn invariant_whatever_a_model_says_it_costs_its_own_session_an_attempt_at_most(says in answer()) {
        let dir = prepared_dir();
        let server = LlmServer::start(Provider::Anthropic);
        server.set_fallback(move |_| says.clone());
        dir.write("ada/one.jsonl", said("s1", &["no, churn is monthly"]));
        let pipeline = asking(&dir, &server);
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
        let strange = "SELECT count(*) FROM verification.evidence
            WHERE session_file <> 'ada/one.jsonl' OR NOT contains('no, churn is monthly', user_quote) OR user_quote = ''";
        prop_assert_eq!(cell(&dir, strange), "0");
        let faults = rows(&dir, "SELECT fault FROM session_failures");
        prop_assert!(faults.iter().all(|fault| fault == "llm"), "{:?}", faults);
    }
}
