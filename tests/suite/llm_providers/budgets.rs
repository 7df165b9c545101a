//! What may be spent, and what was: reserved before anything is sent, settled when it is known.

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
fn each_budget_of_requests_ends_what_it_is_for_and_no_more() {
    for (name, lets) in [
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
        rig.ask(&plain("one")).unwrap();
        rig.ask(&plain("two")).unwrap();
        let callers = [caller(), other_session(), other_run()];
        for (caller, lets) in callers.into_iter().zip(lets) {
            let request = plain(&format!("{} {}", caller.run_id, caller.session));
            match rig.model.complete(&request, caller) {
                Ok(_) => assert!(lets, "{name}: {caller:?}"),
                Err(error) => {
                    assert!(!lets, "{name}: {caller:?}");
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
fn a_request_that_could_go_over_a_budget_of_tokens_is_not_sent() {
    let rig = Rig::with(Provider::OpenAiCompat, |config| {
        config.llm.budgets.day.tokens_max = 5_000;
    });
    rig.server.enqueue_answer("hello");
    let mut large = plain("Say hello");
    large.max_tokens = 4_900;
    assert_eq!(rig.class_of(&large), (LlmErrorClass::Budget, 0));
    large.max_tokens = 3_000;
    rig.ask(&large).unwrap();
    // It came to 120 tokens, so that there is room again.
    large.prompt.push('!');
    rig.server.enqueue_answer("hello");
    rig.ask(&large).unwrap();
}

#[test]
fn repeated_requests_are_paid_for_from_the_same_budget() {
    let rig = Rig::with(Provider::Anthropic, |config| {
        config.llm.budgets.session.calls_max = 2;
        config.llm.attempts_max = 5;
    });
    for _ in 0..5 {
        rig.server
            .enqueue(ServerAction::error(500, "api_error", ""));
    }
    assert_eq!(rig.class_of(&plain("one")), (LlmErrorClass::Budget, 2));
}

#[test]
fn a_day_is_one_day_over_restarts_and_the_next_one_has_its_own_budget() {
    let rig = Rig::with(Provider::Anthropic, |config| {
        config.llm.budgets.day.calls_max = 1;
    });
    rig.server.enqueue_answer("one");
    rig.ask(&plain("one")).unwrap();
    let rig = rig.restarted();
    assert_eq!(rig.class_of(&plain("two")), (LlmErrorClass::Budget, 0));
    rig.dir.clock().advance(DAY - Duration::from_micros(1));
    assert_eq!(rig.class_of(&plain("two")), (LlmErrorClass::Budget, 0));
    rig.dir.clock().advance(Duration::from_micros(1));
    rig.server.enqueue_answer("two");
    rig.ask(&plain("two")).unwrap();
}

#[test]
fn what_nobody_knows_the_end_of_stays_reserved() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server.enqueue(ServerAction::Silence);
    let hurried = LlmCaller {
        time_left: Duration::from_millis(200),
        ..caller()
    };
    rig.model.complete(&plain("one"), hurried).unwrap_err();
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
    rig.ask(&plain("one")).unwrap();
    rig.model.complete(&plain("two"), other_run()).unwrap();
    let spent = rig.store.llm_use("run-1").unwrap();
    assert_eq!(
        (spent.calls, spent.input_tokens, spent.output_tokens),
        (2, 1_000_000, 200_000)
    );
    // The shipped table: 1 and 5 dollars for a million tokens of this model.
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
fn a_model_without_a_price_costs_nobody_knows_what() {
    let rig = Rig::with(Provider::OpenAiCompat, |config| {
        config.llm.model = "of-ours".to_owned()
    });
    rig.server.enqueue_answer("hello");
    rig.ask(&plain("one")).unwrap();
    let spent = rig.store.llm_use("run-1").unwrap();
    assert_eq!((spent.calls, spent.unpriced_calls), (1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(4)))]

    /// Whatever is asked and answered, no budget is ever overdrawn by servers that keep to the
    /// limits they are given.
    #[test]
    fn invariant_no_budget_is_overdrawn(
        asked in vec((1_u32..2_000, 1_u64..1_000, 0_usize..3, prop::bool::ANY), 1..20),
        budgets in (500_u64..4_000, 1_000_u64..8_000, 2_000_u64..12_000),
    ) {
        let rig = Rig::with(Provider::Anthropic, |config| {
            let all = &mut config.llm.budgets;
            (all.session.tokens_max, all.run.tokens_max, all.day.tokens_max) = budgets;
            config.llm.attempts_max = 2;
        });
        let callers = [caller(), other_session(), other_run()];
        let mut spent_by_us = 0;
        for (number, (max_tokens, output, who, fails)) in asked.into_iter().enumerate() {
            let mut request = plain(&format!("question {number}"));
            request.max_tokens = max_tokens;
            let output = output.min(u64::from(max_tokens));
            // What a budget kept from being asked.
            rig.server.clear_script();
            if fails {
                rig.server.enqueue(ServerAction::error(529, "overloaded_error", ""));
            }
            rig.server.enqueue(model_answer(Provider::Anthropic, "yes", StopReason::Done, (50, output)));
            if rig.model.complete(&request, callers[who]).is_ok() {
                spent_by_us += 50 + output;
            }
        }
        prop_assert!(spent_by_us <= budgets.2, "{spent_by_us} of {}", budgets.2);
        for run in ["run-1", "run-2"] {
            let spent = rig.store.llm_use(run).unwrap();
            prop_assert!(spent.input_tokens + spent.output_tokens <= budgets.1);
        }
    }
}
