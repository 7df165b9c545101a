//! Language models from the view of a guest: permission, worker permits and time limits.
//!
//! The guest sends the requests in the lines of a transcript, and stores each answer.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};
use session_pipeline_bundle::USAGE;
use session_pipeline_harness::llm::ReceivedRequest;
use session_pipeline_harness::{DataDir, Guest, ScriptedModel, TestPipeline};
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::inspect::inspect;
use session_pipeline_host::limits::Limits;
use session_pipeline_host::model::{LlmError, LlmErrorClass, LlmRequest};
use session_pipeline_pipeline::config::{Config, ProcessorConfig};
use session_pipeline_pipeline::run::{RunError, RunRequest};

use crate::database;
use crate::guests::{WELL_BEHAVED, misbehaving, prepared_state, well_behaved};

const PROCESSOR: &str = "faulty-asks-model";
const ANSWERS: &str = "SELECT line, text, class, reason FROM \"faulty-asks-model\".answers ORDER BY session_file, line";

fn components() -> [(&'static str, &'static [u8]); 2] {
    [misbehaving("asks_model"), well_behaved()]
}

/// Returns a data directory in which the guests are compiled.
fn new_dir() -> DataDir {
    static STATE: LazyLock<PathBuf> = LazyLock::new(|| prepared_state("llm", &components()));
    DataDir::with_state_in(&STATE)
}

fn transcript(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn open(dir: &DataDir, model: &Arc<ScriptedModel>) -> TestPipeline {
    let model = Arc::clone(model);
    TestPipeline::open(dir, &components()).with_language_model(model)
}

/// Returns a configuration with this configuration of the guest.
fn config_with(dir: &DataDir, own: ProcessorConfig) -> Config {
    let mut config = dir.config();
    config.processors.insert(PROCESSOR.to_owned(), own);
    config
}

/// Returns settings with which the guest requires a model.
fn requires_model() -> ProcessorConfig {
    ProcessorConfig {
        settings: [("uses-llm".to_owned(), "true".to_owned())].into(),
        ..ProcessorConfig::default()
    }
}

/// Runs the guest over one session that fails, and returns the fault.
fn fault(model: &Arc<ScriptedModel>, lines: &[Value]) -> Fault {
    fault_with(&new_dir(), Limits::default(), model, lines)
}

fn fault_with(dir: &DataDir, limits: Limits, model: &Arc<ScriptedModel>, lines: &[Value]) -> Fault {
    dir.write("ada/one.jsonl", transcript(lines));
    let config = Config {
        limits,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(dir, config, &components());
    let pipeline = pipeline.with_language_model(Arc::clone(model) as Arc<_>);
    let stats = pipeline.run(PROCESSOR).stats;
    assert_eq!((stats.processed, stats.errors), (0, 1));
    assert_eq!(pipeline.state(PROCESSOR, "ada/one.jsonl"), None);
    pipeline.failure(PROCESSOR, "ada/one.jsonl").unwrap().fault
}

#[test]
fn requests_and_answers_are_passed_on_unchanged() {
    let dir = new_dir();
    let lines = [
        json!({"ask": "What?", "system": "Be brief.", "schema": "{\"type\":\"object\"}"}),
        json!({"ask": "Why?"}),
    ];
    dir.write("ada/one.jsonl", transcript(&lines));
    let model = ScriptedModel::new();
    model.answer("{\"a\":1}").answer("Because \u{0} of ü.");
    let pipeline = open(&dir, &model);
    let run = pipeline.run(PROCESSOR);
    assert_eq!((run.stats.processed, run.stats.errors), (1, 0));
    drop(pipeline);

    let received =
        |prompt: &str, system: Option<&str>, json_schema: Option<&str>| ReceivedRequest {
            request: LlmRequest {
                system: system.map(str::to_owned),
                prompt: prompt.to_owned(),
                max_tokens: 77,
                json_schema: json_schema.map(str::to_owned),
            },
            run_id: run.id.clone(),
            processor: PROCESSOR.to_owned(),
            session: "ada/one.jsonl".to_owned(),
            time_left: Duration::from_secs(180),
        };
    assert_eq!(
        model.requests(),
        [
            received("What?", Some("Be brief."), Some("{\"type\":\"object\"}")),
            received("Why?", None, None)
        ]
    );
    assert_eq!(
        database::rows(&dir, ANSWERS),
        ["1 | {\"a\":1} | - | -", "2 | Because \u{0} of ü. | - | -"]
    );
}

#[test]
fn a_guest_receives_each_error_class_with_its_reason_and_can_recover() {
    let dir = new_dir();
    let lines: Vec<Value> = LlmErrorClass::ALL
        .iter()
        .map(|_| json!({"ask": "?"}))
        .collect();
    dir.write("ada/one.jsonl", transcript(&lines));
    let model = ScriptedModel::new();
    for class in LlmErrorClass::ALL {
        model.fail(class, &format!("because of {}", class.as_str()));
    }
    let pipeline = open(&dir, &model);
    let stats = pipeline.run(PROCESSOR).stats;
    assert_eq!((stats.processed, stats.errors), (1, 0));
    drop(pipeline);
    let expected: Vec<String> = LlmErrorClass::ALL
        .iter()
        .enumerate()
        .map(|(index, class)| {
            let class = class.as_str();
            format!("{} | - | {class} | because of {class}", index + 1)
        })
        .collect();
    assert_eq!(database::rows(&dir, ANSWERS), expected);
}

#[test]
fn a_session_that_fails_after_a_model_error_fails_with_its_class() {
    for class in LlmErrorClass::ALL {
        let model = ScriptedModel::new();
        model.fail(class, "so it is");
        let fault = fault(&model, &[json!({"ask": "?", "or": "give back"})]);
        let name = class.as_str();
        assert_eq!(fault.to_string(), format!("llm: {name}: so it is"));
        assert_eq!(
            (fault.kind, fault.model_error),
            (FaultKind::Llm, Some(class))
        );
        assert_eq!(fault.is_permanent(), class.is_permanent(), "{name}");
    }
}

#[test]
fn only_refused_and_malformed_answers_are_permanent_faults() {
    let own: Vec<&str> = LlmErrorClass::ALL
        .into_iter()
        .filter(|class| {
            let error = LlmError {
                class: *class,
                reason: "refused: malformed: or so".to_owned(),
            };
            Fault::llm(&error, "the session failed").is_permanent()
        })
        .map(LlmErrorClass::as_str)
        .collect();
    assert_eq!(own, ["refused", "malformed"]);
    assert!(!Fault::new(FaultKind::Host, "refused: by the disk").is_permanent());
    assert!(Fault::new(FaultKind::Panic, "unavailable: so said the guest").is_permanent());
}

#[test]
fn a_panic_after_a_model_error_is_attributed_to_the_model() {
    let model = ScriptedModel::new();
    model.fail(LlmErrorClass::RateLimited, "slow down");
    let fault = fault(&model, &[json!({"ask": "?", "or": "panic"})]);
    assert_eq!(fault.model_error, Some(LlmErrorClass::RateLimited));
    assert!(fault.detail.contains("panicked at"), "{fault}");
}

#[test]
fn endless_retries_end_at_a_limit_and_are_attributed_to_the_model() {
    let limits = Limits {
        host_calls_max: 100,
        ..Limits::default()
    };
    let again = [json!({"ask": "?", "or": "again"})];
    let fault = fault_with(&new_dir(), limits, &ScriptedModel::new(), &again);
    assert_eq!(
        fault.to_string(),
        "llm: unavailable: no answer is scripted; the session failed afterwards: \
         host-call-limit: the guest called the host more than 100 times"
    );
    assert!(!fault.is_permanent());
}

#[test]
fn a_failure_after_a_successful_answer_is_attributed_to_the_guest() {
    let model = ScriptedModel::new();
    model
        .fail(LlmErrorClass::TimeOut, "too slow")
        .answer("there");
    let lines = [
        json!({"ask": "?"}),
        json!({"ask": "once more?"}),
        json!({"fail": "no use"}),
    ];
    let fault = fault(&model, &lines);
    assert_eq!(fault.to_string(), "rejected: no use");
}

#[test]
fn all_requests_of_a_session_share_its_time_limit() {
    let dir = new_dir();
    let model = ScriptedModel::new();
    let seconds = Duration::from_secs;
    model
        .answer_after(seconds(50), dir.clock(), "in good time")
        .answer_after(seconds(40), dir.clock(), "in time")
        .answer_after(seconds(15), dir.clock(), "late, and here all the same");
    let limits = Limits {
        wall_max: seconds(100),
        ..Limits::default()
    };
    let mut lines = vec![json!({"ask": "?"}); 3];
    lines.push(json!({"ask": "too late?", "or": "give back"}));
    let fault = fault_with(&dir, limits, &model, &lines);
    assert_eq!(
        fault.to_string(),
        "llm: time-out: the session used all of its 100 s of wall time"
    );
    let time_left: Vec<u64> = model
        .requests()
        .iter()
        .map(|asked| asked.time_left.as_secs())
        .collect();
    assert_eq!(
        time_left,
        [100, 50, 10],
        "the fourth request must not be sent"
    );
}

#[test]
fn each_session_has_its_own_time_limit() {
    let dir = new_dir();
    let model = ScriptedModel::new();
    for name in ["one", "two", "three"] {
        dir.write(
            &format!("ada/{name}.jsonl"),
            transcript(&[json!({"ask": name})]),
        );
        model.answer_after(Duration::from_secs(170), dir.clock(), "slowly");
    }
    let config = Config {
        workers: 1,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &components());
    let pipeline = pipeline.with_language_model(Arc::clone(&model) as Arc<_>);
    assert_eq!(pipeline.run(PROCESSOR).stats.processed, 3);
    let is_whole = |asked: &ReceivedRequest| asked.time_left == Duration::from_secs(180);
    assert!(model.requests().iter().all(is_whole));
}

#[test]
fn other_sessions_run_while_a_session_waits_for_an_answer() {
    let dir = new_dir();
    dir.write("ada/one.jsonl", transcript(&[json!({"ask": "?"})]));
    let model = ScriptedModel::new();
    model.answer("at last").hold_answers();
    let config = Config {
        workers: 1,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &components());
    let pipeline = pipeline.with_language_model(Arc::clone(&model) as Arc<_>);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| pipeline.run(PROCESSOR).stats);
        model.wait_for_requests(1);
        // The only worker waits. If it kept its permit, this run would never end.
        assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
        model.release_answers();
        assert_eq!(run.join().unwrap().processed, 1);
    });
}

#[test]
fn sessions_complete_even_if_all_workers_of_a_run_wait_for_answers() {
    let dir = new_dir();
    let model = ScriptedModel::new();
    for number in 0..4 {
        dir.write(
            &format!("ada/{number}.jsonl"),
            transcript(&[json!({"ask": "?"})]),
        );
        model.answer("yes");
    }
    model.hold_answers();
    let config = Config {
        workers: 2,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &components());
    let pipeline = pipeline.with_language_model(Arc::clone(&model) as Arc<_>);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| pipeline.run(PROCESSOR).stats);
        // Both workers of this run wait. Another run can still use two workers.
        model.wait_for_requests(2);
        assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 4);
        model.release_answers();
        assert_eq!(run.join().unwrap().processed, 4);
    });
}

#[test]
fn an_answer_larger_than_the_call_limit_is_too_large() {
    let limits = Limits {
        call_bytes_max: 64 << 10,
        ..Limits::default()
    };
    let model = ScriptedModel::new();
    model.answer(&"y".repeat((64 << 10) + 1));
    let ask = [json!({"ask": "?", "or": "give back"})];
    let fault = fault_with(&new_dir(), limits, &model, &ask);
    assert_eq!(fault.model_error, Some(LlmErrorClass::TooLarge));
    assert!(
        fault
            .detail
            .contains("the answer has 65537 bytes; the limit is 65536"),
        "{fault}"
    );
}

fn unavailable_error(config: Config, dir: &DataDir) -> String {
    let pipeline = TestPipeline::open_with(dir, config, &components());
    let error = pipeline
        .try_run_as(PROCESSOR, RunRequest::cli())
        .unwrap_err();
    assert!(matches!(error, RunError::Registry(_)), "{error}");
    error.to_string()
}

#[test]
fn a_processor_without_permission_for_a_model_is_unavailable_with_a_remedy() {
    let dir = new_dir();
    let denied = ProcessorConfig {
        llm: Some(false),
        ..ProcessorConfig::default()
    };
    let config = config_with(&dir, denied);
    insta::assert_snapshot!(
        unavailable_error(config.clone(), &dir),
        @"the processor `faulty-asks-model` is unavailable: component: it uses a language model, which is not permitted; set `llm = true` in `[processors.faulty-asks-model]` to permit it"
    );
    assert!(!config.grants_llm(PROCESSOR, true) && config.grants_llm("usage", true));
    assert!(!config.grants_llm("a-third-party", false));
}

#[test]
fn a_processor_that_requires_a_model_is_unavailable_without_one() {
    let dir = new_dir();
    dir.write("ada/one.jsonl", transcript(&[json!({"ask": "?"})]));
    let config = config_with(&dir, requires_model());
    insta::assert_snapshot!(
        unavailable_error(config.clone(), &dir),
        @"the processor `faulty-asks-model` is unavailable: with its current settings it needs a language model; no language model is configured; set ANTHROPIC_API_KEY or LLM_API_KEY in the environment, or add `[llm]` to the config file (see docs/llm.md)"
    );
    let model = ScriptedModel::new();
    model.answer("yes");
    let pipeline = TestPipeline::open_with(&dir, config, &components());
    let pipeline = pipeline.with_language_model(Arc::clone(&model) as Arc<_>);
    assert_eq!(pipeline.run(PROCESSOR).stats.processed, 1);
}

#[test]
fn without_a_model_requests_of_a_processor_that_does_not_require_one_fail_as_unavailable() {
    let dir = new_dir();
    dir.write("ada/one.jsonl", transcript(&[json!({"ask": "?"})]));
    let pipeline = TestPipeline::open(&dir, &components());
    assert_eq!(pipeline.run(PROCESSOR).stats.processed, 1);
    drop(pipeline);
    assert_eq!(
        database::rows(&dir, ANSWERS),
        [format!(
            "1 | - | unavailable | {}",
            session_pipeline_host::model::missing_model_error()
        )]
    );
}

#[test]
fn a_guest_that_calls_a_model_in_describe_is_unavailable() {
    let result = Guest::try_load(misbehaving("describe_asks_model").1, &Limits::default());
    let fault = result.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Component);
    assert!(
        fault
            .detail
            .contains("`describe` called the import `llm.complete`"),
        "{fault}"
    );
}

#[test]
fn a_processor_that_uses_no_model_does_not_import_one() {
    let dir = DataDir::new();
    let imports = |component: &[u8]| -> Vec<String> {
        let config = dir.config();
        let inspection = inspect(
            &config.compiler,
            &Limits::default(),
            Vec::new(),
            component,
            dir.path(),
        );
        let imports = inspection.imports.into_iter();
        imports.map(|import| import.name).collect()
    };
    let model = "session-pipeline:processor/llm@1.1.0".to_owned();
    assert!(!imports(USAGE).contains(&model));
    assert!(!imports(well_behaved().1).contains(&model));
    assert!(imports(misbehaving("asks_model").1).contains(&model));
}

#[test]
fn a_processor_without_its_required_model_records_no_run_and_no_audit_entry() {
    let dir = new_dir();
    dir.write("ada/one.jsonl", transcript(&[json!({ "ask": "?" })]));
    let pipeline =
        TestPipeline::open_with(&dir, config_with(&dir, requires_model()), &components());
    for request in [
        RunRequest::cli(),
        session_pipeline_harness::pipeline::scheduled_request(),
    ] {
        let result = pipeline.pipeline().run(PROCESSOR, &request, &());
        assert!(matches!(&result, Err(RunError::Registry(error)) if error.is_rejection()));
        let end = session_pipeline_pipeline::scheduler::timetable::JobResult::from(&result);
        assert_eq!(end.as_str(), "refused");
        assert!(
            pipeline.pipeline().running().is_empty(),
            "the lock must be released"
        );
    }
    drop(pipeline);
    assert_eq!(database::rows(&dir, "SELECT * FROM runs"), [""; 0]);
    assert_eq!(database::rows(&dir, "SELECT * FROM audit_log"), [""; 0]);
}

#[test]
fn the_cap_on_sessions_with_a_model_applies_only_to_service_runs() {
    let dir = new_dir();
    for number in 0..5 {
        let prompt = json!({ "ask": format!("{number}?") });
        dir.write(&format!("ada/{number}.jsonl"), transcript(&[prompt]));
    }
    let mut config = config_with(&dir, requires_model());
    config.service.llm_sessions_max = Some(2);
    let model = ScriptedModel::new();
    for _ in 0..5 {
        model.answer("42");
    }
    let pipeline =
        TestPipeline::open_with(&dir, config.clone(), &components()).with_language_model(model);
    let service = || {
        use session_pipeline_store::{Actor, Trigger};
        RunRequest::service(&config, Trigger::Scheduler, Actor::scheduler())
    };
    let first = pipeline.run_as(PROCESSOR, service()).stats;
    assert_eq!(
        (first.processed + first.errors, first.capped),
        (2, 3),
        "{first:?}"
    );
    let second = pipeline.run_as(PROCESSOR, service()).stats;
    assert_eq!(
        (second.processed + second.errors, second.capped),
        (2, 1),
        "{second:?}"
    );
    // A lower cap in the request takes precedence, and the command line has no cap.
    let one = RunRequest {
        max_sessions: Some(1),
        ..service()
    };
    for number in 0..3 {
        dir.write(&format!("bob/{number}.jsonl"), "");
    }
    let third = pipeline.run_as(PROCESSOR, one).stats;
    assert_eq!(
        (third.processed + third.errors, third.capped),
        (1, 3),
        "{third:?}"
    );
    assert_eq!(pipeline.run(PROCESSOR).stats.capped, 0);
}
