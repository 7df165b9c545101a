//! The response cache: an answered request is never sent again.

use session_pipeline_harness::llm_server::ServerAction;
use session_pipeline_host::model::{LlmCaller, LlmErrorClass, LlmRequest};
use session_pipeline_pipeline::config::Provider;

use super::{PROVIDERS, Rig, VALID, caller, plain, with_schema};
use crate::database::execute;

#[test]
fn a_cached_answer_is_used_by_later_runs_and_after_restarts() {
    for provider in PROVIDERS {
        let rig = Rig::new(provider);
        rig.server.enqueue_answer(VALID);
        let first = rig.complete(&with_schema("Find")).unwrap();
        assert_eq!(rig.complete(&with_schema("Find")).unwrap(), first);
        let rig = rig.restart();
        let later = LlmCaller {
            run_id: "run-9",
            session: "bob/two.jsonl",
            ..caller()
        };
        assert_eq!(
            rig.model.complete(&with_schema("Find"), later).unwrap(),
            first
        );
        assert_eq!(rig.server.requests().len(), 1);
        assert_eq!(rig.store.llm_use("run-9").unwrap().calls, 0);
    }
}

#[test]
fn any_difference_in_the_request_causes_a_cache_miss() {
    let rig = Rig::new(Provider::Anthropic);
    let same = with_schema("Find");
    let others = [
        LlmRequest {
            system: None,
            ..same.clone()
        },
        LlmRequest {
            prompt: "Find!".to_owned(),
            ..same.clone()
        },
        LlmRequest {
            max_tokens: 101,
            ..same.clone()
        },
        LlmRequest {
            json_schema: Some("{}".to_owned()),
            ..same.clone()
        },
        LlmRequest {
            json_schema: None,
            ..same.clone()
        },
        // The boundary between the texts is part of the key.
        LlmRequest {
            system: Some("Be brief.F".to_owned()),
            prompt: "ind".to_owned(),
            ..same.clone()
        },
    ];
    for request in std::iter::once(&same).chain(&others) {
        rig.server.enqueue_answer(VALID);
        rig.complete(request).unwrap();
    }
    assert_eq!(rig.server.requests().len(), 1 + others.len());

    let Rig {
        dir,
        server,
        mut config,
        store,
        model,
        ..
    } = rig;
    drop((store, model));
    config.llm.model = "claude-opus-4-5".to_owned();
    let rig = Rig::with_server(dir, server, config);
    rig.server.enqueue_answer(VALID);
    rig.complete(&same).unwrap();
    assert_eq!(
        rig.server.actions_left(),
        0,
        "a request to another model must be sent"
    );
}

#[test]
fn invalid_answers_are_not_cached() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server
        .enqueue_answer("no JSON")
        .enqueue_answer("{}")
        .enqueue_answer(VALID);
    assert_eq!(
        rig.error_class(&with_schema("Find")),
        (LlmErrorClass::Malformed, 2)
    );
    assert_eq!(rig.complete(&with_schema("Find")).unwrap().text, VALID);
}

#[test]
fn identical_concurrent_requests_are_sent_once() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server.enqueue_answer("hello");
    let texts = std::thread::scope(|scope| {
        let request = || scope.spawn(|| rig.complete(&plain("Say hello")).unwrap().text);
        let threads = [request(), request(), request(), request()];
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(texts, ["hello"; 4]);
    assert_eq!(rig.server.requests().len(), 1);
}

#[test]
fn if_one_of_two_identical_concurrent_requests_fails_the_other_is_sent() {
    let rig = Rig::with(Provider::Anthropic, |config| config.llm.attempts_max = 1);
    rig.server
        .enqueue(ServerAction::error(500, "api_error", ""))
        .enqueue_answer("hello");
    let results = std::thread::scope(|scope| {
        let request = || scope.spawn(|| rig.complete(&plain("Say hello")).is_ok());
        [request(), request()].map(|thread| thread.join().unwrap())
    });
    assert_eq!(results.into_iter().filter(|is_ok| *is_ok).count(), 1);
}

#[test]
fn an_answer_cached_in_an_unknown_format_is_requested_again() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server
        .enqueue_answer("hello")
        .enqueue_answer("hello again");
    rig.complete(&plain("Say hello")).unwrap();
    let Rig {
        dir,
        server,
        config,
        store,
        model,
        ..
    } = rig;
    drop((store, model));
    execute(
        &dir,
        "UPDATE llm_responses SET response = '{\"of\": \"old\"}'",
    );
    let rig = Rig::with_server(dir, server, config);
    assert_eq!(
        rig.complete(&plain("Say hello")).unwrap().text,
        "hello again"
    );
    assert_eq!(
        rig.complete(&plain("Say hello")).unwrap().text,
        "hello again"
    );
}

#[test]
fn a_cached_answer_is_used_only_for_the_same_server() {
    for provider in PROVIDERS {
        let rig = Rig::new(provider);
        rig.server.enqueue_answer("of one");
        rig.complete(&plain("Say hello")).unwrap();
        let Rig {
            dir,
            server,
            mut config,
            store,
            model,
            ..
        } = rig;
        drop((store, model));
        let stored = crate::database::cell(&dir, "SELECT response FROM llm_responses");
        let stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
        let address = config.llm.base_url.as_ref().unwrap().to_string();
        assert_eq!(stored["address"], address.as_str());

        let other = session_pipeline_harness::LlmServer::start(provider);
        other.enqueue_answer("of the other");
        config.llm.base_url = other.config().base_url;
        let rig = Rig::with_server(dir, other, config.clone());
        assert_eq!(
            rig.complete(&plain("Say hello")).unwrap().text,
            "of the other"
        );
        let Rig {
            dir,
            server: _other,
            store,
            model,
            ..
        } = rig;
        drop((store, model));
        config.llm.base_url = server.config().base_url;
        let rig = Rig::with_server(dir, server, config.clone());
        assert_eq!(rig.complete(&plain("Say hello")).unwrap().text, "of one");

        // Answers of an unverified server are cached separately.
        let rig = {
            let Rig {
                dir,
                server,
                store,
                model,
                ..
            } = rig;
            drop((store, model));
            config.llm.verify_ssl = false;
            server.enqueue_answer("of anyone");
            Rig::with_server(dir, server, config)
        };
        assert_eq!(rig.complete(&plain("Say hello")).unwrap().text, "of anyone");
    }
}
