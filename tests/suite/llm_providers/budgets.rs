//! Budgets and usage: tokens are reserved before a request is sent, and settled after the answer.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::cases;
use session_pipeline_harness::llm_server::{ServerAction, StopReason, model_answer};
use session_pipeline_host::model::{LlmCaller, LlmErrorClass};
use session_pipeline_pipeline::config::Provider;

use super::{Rig, caller, plain};
use crate::database::rows;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn other_session() -> LlmCaller<'static> {
    LlmCaller {
        session: "bob/two.jsonl",
        ..caller()
    }
}

fn other_run() -> LlmCaller<'static> {
    LlmCaller {
        run_id: "run-2",
        ..other_session()
    }
}

#[test]
fn each_request_budget_applies_only_to_its_session_run_or_day() {
    for (name, is_allowed) in [
        ("session", [false, true, true]),
        ("run", [false, false, true]),
        ("day", [false; 3]),
    ] {
        let rig = Rig::with(Provider::Anthropic, |config| {
            let budgets = &mut config.llm.budgets;
            let budget = match name {
                "session" => &mut budgets.session,
                "run" => &mut budgets.run,
                _ => &mut budgets.day,
            };
            budget.calls_max = 2;
        });
        for text in ["1", "2", "3", "4", "5"] {
            rig.server.enqueue_answer(text);
        }
        rig.complete(&plain("one")).unwrap();
        rig.complete(&plain("two")).unwrap();
        let callers = [caller(), other_session(), other_run()];
        for (caller, is_allowed) in callers.into_iter().zip(is_allowed) {
            let request = plain(&format!("{} {}", caller.run_id, caller.session));
            match rig.model.complete(&request, caller) {
                Ok(_) => assert!(is_allowed, "{name}: {caller:?}"),
                Err(error) => {
                    assert!(!is_allowed, "{name}: {caller:?}");
                    assert_eq!(error.class, LlmErrorClass::Budget);
                    assert!(
                        error.reason.contains(&format!("`llm.{name}_calls_max`")),
                        "{error}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_request_that_could_exceed_a_token_budget_is_not_sent() {
    let rig = Rig::with(Provider::OpenAiCompat, |config| {
        config.llm.budgets.day.tokens_max = 5_000;
    });
    rig.server.enqueue_answer("hello");
    let mut large = plain("Say hello");
    large.max_tokens = 4_900;
    assert_eq!(rig.error_class(&large), (LlmErrorClass::Budget, 0));
    large.max_tokens = 3_000;
    rig.complete(&large).unwrap();
    // The request used 120 tokens, so the rest of the reservation is free again.
    large.prompt.push('!');
    rig.server.enqueue_answer("hello");
    rig.complete(&large).unwrap();
}

#[test]
fn retries_count_toward_the_same_budget() {
    let rig = Rig::with(Provider::Anthropic, |config| {
        config.llm.budgets.session.calls_max = 2;
        config.llm.attempts_max = 5;
    });
    for _ in 0..5 {
        rig.server
            .enqueue(ServerAction::error(500, "api_error", ""));
    }
    assert_eq!(rig.error_class(&plain("one")), (LlmErrorClass::Budget, 2));
}

#[test]
fn the_daily_budget_survives_restarts_and_resets_the_next_day() {
    let rig = Rig::with(Provider::Anthropic, |config| {
        config.llm.budgets.day.calls_max = 1;
    });
    rig.server.enqueue_answer("one");
    rig.complete(&plain("one")).unwrap();
    let rig = rig.restart();
    assert_eq!(rig.error_class(&plain("two")), (LlmErrorClass::Budget, 0));
    rig.dir.clock().advance(DAY - Duration::from_micros(1));
    assert_eq!(rig.error_class(&plain("two")), (LlmErrorClass::Budget, 0));
    rig.dir.clock().advance(Duration::from_micros(1));
    rig.server.enqueue_answer("two");
    rig.complete(&plain("two")).unwrap();
}

#[test]
fn the_reservation_of_a_request_without_an_answer_is_kept() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server.enqueue(ServerAction::Silence);
    let with_deadline = LlmCaller {
        time_left: Duration::from_millis(200),
        ..caller()
    };
    rig.model
        .complete(&plain("one"), with_deadline)
        .unwrap_err();
    let spent = rig.store.llm_use("run-1").unwrap();
    assert_eq!((spent.calls, spent.output_tokens), (1, 100));
    assert!(spent.input_tokens > 0);
    assert_eq!(spent.unpriced_calls, 1);
}

#[test]
fn tokens_and_cost_are_recorded_with_the_run() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server
        .enqueue(ServerAction::error(529, "overloaded_error", ""))
        .enqueue(model_answer(
            Provider::Anthropic,
            "hello",
            StopReason::Done,
            (1_000_000, 200_000),
        ))
        .enqueue_answer("bye");
    rig.complete(&plain("one")).unwrap();
    rig.model.complete(&plain("two"), other_run()).unwrap();
    let spent = rig.store.llm_use("run-1").unwrap();
    assert_eq!(
        (spent.calls, spent.input_tokens, spent.output_tokens),
        (2, 1_000_000, 200_000)
    );
    // Shipped prices of this model: 1 dollar per million input tokens, 5 dollars per million output
    // tokens.
    assert_eq!(spent.cost.to_string(), "2");
    assert_eq!(spent.unpriced_calls, 0);
    assert_eq!(rig.store.llm_use("run-2").unwrap().calls, 1);
    assert_eq!(rig.store.llm_use("run-3").unwrap().calls, 0);

    let Rig {
        dir, store, model, ..
    } = rig;
    drop((store, model));
    let columns =
        "run_id, processor_name, session_file, model, outcome, input_tokens, output_tokens";
    assert_eq!(
        rows(
            &dir,
            &format!("SELECT {columns} FROM llm_calls ORDER BY id")
        ),
        [
            "run-1 | verification | ada/one.jsonl | claude-haiku-4-5-20251001 | unavailable | 0 | 0",
            "run-1 | verification | ada/one.jsonl | claude-haiku-4-5-20251001 | answered | 1000000 | 200000",
            "run-2 | verification | bob/two.jsonl | claude-haiku-4-5-20251001 | answered | 100 | 20",
        ]
    );
}

#[test]
fn calls_of_a_model_without_a_price_are_counted_as_unpriced() {
    let rig = Rig::with(Provider::OpenAiCompat, |config| {
        config.llm.model = "of-ours".to_owned()
    });
    rig.server.enqueue_answer("hello");
    rig.complete(&plain("one")).unwrap();
    let spent = rig.store.llm_use("run-1").unwrap();
    assert_eq!((spent.calls, spent.unpriced_calls), (1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(4)))]

    /// No budget is exceeded if the server respects the token limit of each request.
    #[test]
    fn invariant_no_budget_is_exceeded(
        requests in vec((1_u32..2_000, 1_u64..1_000, 0_usize..3, prop::bool::ANY), 1..20),
        budgets in (500_u64..4_000, 1_000_u64..8_000, 2_000_u64..12_000),
    ) {
        let rig = Rig::with(Provider::Anthropic, |config| {
            let all = &mut config.llm.budgets;
            (all.session.tokens_max, all.run.tokens_max, all.day.tokens_max) = budgets;
            config.llm.attempts_max = 2;
        });
        let callers = [caller(), other_session(), other_run()];
        let mut spent_total = 0;
        for (number, (max_tokens, output, caller_index, fails)) in requests.into_iter().enumerate() {
            let mut request = plain(&format!("question {number}"));
            request.max_tokens = max_tokens;
            let output = output.min(u64::from(max_tokens));
            // Forget scripted answers to requests that a budget prevented.
            rig.server.clear_script();
            if fails {
                rig.server.enqueue(ServerAction::error(529, "overloaded_error", ""));
            }
            rig.server.enqueue(model_answer(Provider::Anthropic, "yes", StopReason::Done, (50, output)));
            if rig.model.complete(&request, callers[caller_index]).is_ok() {
                spent_total += 50 + output;
            }
        }
        prop_assert!(spent_total <= budgets.2, "{spent_total} of {}", budgets.2);
        for run in ["run-1", "run-2"] {
            let spent = rig.store.llm_use(run).unwrap();
            prop_assert!(spent.input_tokens + spent.output_tokens <= budgets.1);
        }
    }
}
