//! Errors of providers and of the connection, and how they are handled.

use std::time::Duration;

use session_pipeline_harness::llm_server::{ServerAction, StopReason, model_answer};
use session_pipeline_host::model::{LlmCaller, LlmErrorClass};
use session_pipeline_pipeline::config::Provider;

use super::{PROVIDERS, Rig, VALID, caller, plain, with_schema};

const ONCE: usize = 1;
const THRICE: usize = 3;

#[test]
fn every_status_has_a_class_and_only_transient_errors_are_retried() {
    use LlmErrorClass::{Failed, RateLimited, TimeOut, TooLarge, Unavailable};
    for provider in PROVIDERS {
        for (status, name, message, class, times, halts) in [
            (301, "", "", Unavailable, ONCE, true),
            (307, "", "", Unavailable, ONCE, true),
            (
                400,
                "invalid_request_error",
                "no such field",
                Failed,
                ONCE,
                false,
            ),
            (
                400,
                "invalid_request_error",
                "Your credit balance is too low",
                Unavailable,
                ONCE,
                true,
            ),
            (
                400,
                "invalid_request_error",
                "prompt is too long: 9 tokens",
                TooLarge,
                ONCE,
                false,
            ),
            (400, "context_length_exceeded", "", TooLarge, ONCE, false),
            (
                401,
                "authentication_error",
                "invalid x-api-key",
                Unavailable,
                ONCE,
                true,
            ),
            (402, "billing_error", "", Unavailable, ONCE, true),
            (403, "permission_error", "", Unavailable, ONCE, true),
            (
                404,
                "not_found_error",
                "model: none",
                Unavailable,
                ONCE,
                true,
            ),
            (408, "", "", TimeOut, THRICE, false),
            (413, "request_too_large", "", TooLarge, ONCE, false),
            (418, "", "", Failed, ONCE, false),
            (429, "rate_limit_error", "", RateLimited, THRICE, false),
            (429, "insufficient_quota", "", Unavailable, ONCE, true),
            (500, "api_error", "", Unavailable, THRICE, false),
            (502, "", "", Unavailable, THRICE, false),
            (503, "", "", Unavailable, THRICE, false),
            (
                529,
                "overloaded_error",
                "Overloaded",
                Unavailable,
                THRICE,
                false,
            ),
        ] {
            let rig = Rig::new(provider);
            for _ in 0..times {
                rig.server
                    .enqueue(ServerAction::error(status, name, message));
            }
            let result = rig.error_class(&plain("Say hello"));
            assert_eq!(
                result,
                (class, times),
                "{provider:?} {status} {name} {message}"
            );
            let halted = rig.model.halt_reason("run-1");
            assert_eq!(
                halted.is_some(),
                halts,
                "{provider:?} {status} {name} {message}"
            );
        }
    }
}

#[test]
fn an_error_that_needs_the_operator_halts_the_run_and_the_next_run_tries_again() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server
        .enqueue(ServerAction::error(
            401,
            "authentication_error",
            "invalid x-api-key",
        ))
        .enqueue_answer("hello");
    let error = rig.complete(&plain("one")).unwrap_err();
    insta::assert_snapshot!(
        error.reason.replace(&rig.server.url(), "[server]"),
        @"the language model at [server]: the key was rejected (status 401, authentication_error); check the key and its permissions"
    );
    assert_eq!(
        rig.error_class(&plain("two")),
        (LlmErrorClass::Unavailable, 0)
    );
    assert_eq!(rig.model.halt_reason("run-1"), Some(error.reason));
    let next_run = LlmCaller {
        run_id: "run-2",
        ..caller()
    };
    assert_eq!(rig.model.halt_reason("run-2"), None);
    rig.model.complete(&plain("two"), next_run).unwrap();
}

#[test]
fn a_short_outage_only_delays_the_answer() {
    for provider in PROVIDERS {
        for act in [
            ServerAction::answer(500, "<html>oops</html>"),
            ServerAction::answer(529, "{}"),
            ServerAction::Reset,
            ServerAction::HalfAnswer,
        ] {
            let rig = Rig::new(provider);
            rig.server
                .enqueue(act.clone())
                .enqueue(act.clone())
                .enqueue_answer("hello");
            assert_eq!(
                rig.complete(&plain("Say hello")).unwrap().text,
                "hello",
                "{act:?}"
            );
            let waits = rig.patience.waits();
            // Jitter: each pause is between one and two times the base.
            assert_eq!(waits.len(), 2);
            for (wait, pause) in waits.into_iter().zip([2, 4]) {
                let pause = Duration::from_secs(pause);
                assert!(
                    (pause..=pause * 2).contains(&wait),
                    "{wait:?} for {pause:?}"
                );
            }
        }
    }
}

#[test]
fn an_unreachable_server_is_unavailable() {
    let rig = Rig::with(Provider::OpenAiCompat, |config| {
        // A port on which no server listens anymore.
        let stopped = session_pipeline_harness::LlmServer::start(Provider::OpenAiCompat);
        config.llm.base_url = stopped.config().base_url;
    });
    let error = rig.complete(&plain("Say hello")).unwrap_err();
    assert_eq!(error.class, LlmErrorClass::Unavailable);
    assert!(error.reason.contains("unreachable"), "{error}");
}

#[test]
fn a_silent_server_and_a_stalled_answer_time_out_with_the_session() {
    for provider in PROVIDERS {
        for act in [ServerAction::Silence, ServerAction::Stall] {
            let rig = Rig::new(provider);
            rig.server.enqueue(act);
            let with_deadline = LlmCaller {
                time_left: Duration::from_millis(300),
                ..caller()
            };
            let error = rig
                .model
                .complete(&plain("Say hello"), with_deadline)
                .unwrap_err();
            assert_eq!(error.class, LlmErrorClass::TimeOut, "{error}");
            assert_eq!(rig.server.requests().len(), 1);
        }
    }
}

#[test]
fn retry_after_delays_the_next_attempt() {
    for (retry_after, seconds) in [
        ("7", 7..=7),
        ("Fri, 01 Jan 2100 00:00:20 GMT", 20..=20),
        ("0", 0..=0),
        ("Fri, 01 Jan 1999 00:00:00 GMT", 0..=0),
        ("-5", 0..=0),
    ] {
        let rig = Rig::new(Provider::Anthropic);
        rig.server
            .enqueue(
                ServerAction::error(429, "rate_limit_error", "").with("retry-after", retry_after),
            )
            .enqueue_answer("hello");
        rig.complete(&plain("Say hello")).unwrap();
        let waited = rig.patience.elapsed().as_secs();
        // The connector's own pause before the second attempt is at most 4 s.
        assert!(
            waited >= *seconds.start() && waited <= (*seconds.end()).max(4),
            "{retry_after}: {waited}"
        );
    }
}

#[test]
fn retry_after_applies_to_all_sessions_and_is_capped() {
    let rig = Rig::new(Provider::Anthropic);
    let slow = ServerAction::error(429, "rate_limit_error", "").with("retry-after", "999999999999");
    rig.server.enqueue(slow).enqueue_answer("hello");
    assert_eq!(
        rig.error_class(&plain("one")),
        (LlmErrorClass::RateLimited, 1)
    );
    // The limit also applies to other sessions and runs.
    let other = LlmCaller {
        run_id: "run-2",
        session: "bob/two.jsonl",
        ..caller()
    };
    let error = rig.model.complete(&plain("two"), other).unwrap_err();
    assert_eq!(error.class, LlmErrorClass::RateLimited);
    assert_eq!(rig.server.requests().len(), 1);
    rig.dir.clock().advance(Duration::from_secs(15 * 60));
    assert_eq!(rig.complete(&plain("two")).unwrap().text, "hello");
}

#[test]
fn a_provider_that_keeps_failing_is_paused_and_then_probed() {
    let rig = Rig::with(Provider::Anthropic, |config| config.llm.attempts_max = 1);
    for _ in 0..6 {
        rig.server
            .enqueue(ServerAction::error(500, "api_error", ""));
    }
    for _ in 0..5 {
        assert_eq!(
            rig.error_class(&plain("one")),
            (LlmErrorClass::Unavailable, 1)
        );
    }
    assert_eq!(
        rig.error_class(&plain("one")),
        (LlmErrorClass::Unavailable, 0)
    );
    rig.dir.clock().advance(Duration::from_secs(30));
    assert_eq!(
        rig.error_class(&plain("one")),
        (LlmErrorClass::Unavailable, 1),
        "one request must be sent as a probe"
    );
    rig.dir.clock().advance(Duration::from_secs(59));
    assert_eq!(
        rig.error_class(&plain("one")),
        (LlmErrorClass::Unavailable, 0),
        "the pause must double"
    );
    rig.dir.clock().advance(Duration::from_secs(1));
    rig.server.enqueue_answer("hello");
    assert_eq!(rig.complete(&plain("one")).unwrap().text, "hello");
    rig.server
        .enqueue(ServerAction::error(500, "api_error", ""))
        .enqueue_answer("hello");
    assert_eq!(
        rig.error_class(&plain("two")),
        (LlmErrorClass::Unavailable, 1)
    );
    rig.complete(&plain("two")).unwrap();
}

#[test]
fn a_refusal_and_an_empty_answer_are_refused() {
    for provider in PROVIDERS {
        for act in [
            model_answer(provider, "", StopReason::Refusal, (10, 1)),
            model_answer(provider, " \n", StopReason::Done, (10, 1)),
        ] {
            let rig = Rig::new(provider);
            rig.server.enqueue(act);
            assert_eq!(
                rig.error_class(&with_schema("Find")),
                (LlmErrorClass::Refused, 1)
            );
        }
    }
}

/// Bodies that are invalid for both providers.
const INVALID_BODIES: [&str; 22] = [
    "",
    " ",
    "null",
    "[]",
    "{}",
    "42",
    "\"text\"",
    "{\"content\":",
    "{\"error\": \"busy\"}",
    "{\"content\": null, \"choices\": null}",
    "{\"content\": [], \"choices\": []}",
    "{\"content\": \"text\", \"choices\": \"text\"}",
    "{\"choices\": [{}]}",
    "{\"choices\": [{\"message\": null, \"finish_reason\": \"stop\"}]}",
    "{\"choices\": [{\"message\": {\"content\": [1]}, \"finish_reason\": \"stop\"}]}",
    "{\"choices\": [{\"message\": {\"content\": \"{}\"}, \"finish_reason\": \"tool_calls\"}]}",
    "{\"choices\": [{\"message\": {\"content\": \"{}\"}}]}",
    "{\"model\": \"m\", \"content\": [{\"type\": \"text\"}], \"stop_reason\": \"end_turn\", \"usage\": {}}",
    "{\"model\": 7, \"content\": [], \"stop_reason\": \"end_turn\", \"usage\": {\"input_tokens\": 1, \"output_tokens\": 1}}",
    "{\"model\": \"m\", \"content\": [{\"type\": \"text\", \"text\": \"{}\"}], \"stop_reason\": \"pause_turn\", \"usage\": {\"input_tokens\": 1, \"output_tokens\": 1}}",
    "{\"model\": \"m\", \"content\": [{\"type\": \"text\", \"text\": \"{}\"}], \"stop_reason\": \"end_turn\", \"usage\": {\"input_tokens\": -1, \"output_tokens\": 1e300}}",
    "<html>502 Bad Gateway</html>",
];

#[test]
fn an_invalid_body_is_retried_once_and_then_malformed() {
    for provider in PROVIDERS {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for body in INVALID_BODIES.into_iter().chain([deep.as_str()]) {
            let rig = Rig::new(provider);
            rig.server
                .enqueue(ServerAction::answer(200, body))
                .enqueue(ServerAction::answer(200, body));
            let result = rig.error_class(&with_schema("Find"));
            let short: String = body.chars().take(80).collect();
            assert_eq!(
                result,
                (LlmErrorClass::Malformed, 2),
                "{provider:?}: {short}"
            );
        }
    }
}

#[test]
fn an_answer_that_violates_the_schema_is_malformed_but_extra_fields_are_allowed() {
    for provider in PROVIDERS {
        for (text, is_valid) in [
            (VALID, true),
            ("{\"found\":[],\"base_confidence\":1}", true),
            (" {\"found\":[\"one\"]} ", true),
            ("Sure! {\"found\":[\"one\"]} Bye.", true),
            ("```\n{\"found\":[\"one\"]}\n```", true),
            ("{}", false),
            ("[]", false),
            ("null", false),
            ("{\"found\":null}", false),
            ("{\"found\":\"one\"}", false),
            ("{\"found\":[1]}", false),
            (
                "{\"found\":[\"a text that is longer than the forty characters allowed\"]}",
                false,
            ),
            ("{\"found\":[\"one\"", false),
            ("{'found':['one']}", false),
            ("nothing found", false),
        ] {
            let rig = Rig::new(provider);
            rig.server.enqueue_answer(text).enqueue_answer(text);
            match rig.complete(&with_schema("Find")) {
                Ok(response) => {
                    assert!(is_valid, "{provider:?}: {text}");
                    serde_json::from_str::<serde_json::Value>(&response.text).unwrap();
                }
                Err(error) => {
                    assert!(!is_valid, "{provider:?}: {text}");
                    assert_eq!(error.class, LlmErrorClass::Malformed);
                }
            }
        }
    }
}

#[test]
fn an_endless_answer_is_too_large() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server.enqueue(ServerAction::Flood(9 << 20));
    assert_eq!(
        rig.error_class(&plain("Say hello")),
        (LlmErrorClass::TooLarge, 1)
    );
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = session_pipeline_harness::LlmServer::start(Provider::Anthropic);
    elsewhere.enqueue_answer("gotcha");
    let rig = Rig::new(Provider::Anthropic);
    rig.server
        .enqueue(ServerAction::answer(307, "").with("location", elsewhere.url()));
    assert_eq!(
        rig.error_class(&plain("Say hello")),
        (LlmErrorClass::Unavailable, 1)
    );
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn a_pending_request_is_canceled_when_the_process_stops() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server.enqueue(ServerAction::Silence);
    let model = &rig.model;
    let error = std::thread::scope(|scope| {
        let request = scope.spawn(|| rig.complete(&plain("Say hello")).unwrap_err());
        while rig.server.requests().is_empty() {
            std::thread::yield_now();
        }
        model.stop();
        request.join().unwrap()
    });
    assert_eq!(error.class, LlmErrorClass::Unavailable);
    assert_eq!(
        rig.error_class(&plain("two")),
        (LlmErrorClass::Unavailable, 0)
    );
}
