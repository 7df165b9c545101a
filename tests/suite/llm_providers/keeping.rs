//! Answers are kept at once: what was answered is never paid for again.

use session_pipeline_harness::llm_server::ServerAction;
use session_pipeline_host::model::{LlmCaller, LlmErrorClass, LlmRequest};
use session_pipeline_pipeline::config::Provider;

use super::{BOTH, FITS, Rig, caller, plain, with_schema};
use crate::database::execute;

#[test]
fn an_answer_is_kept_for_every_later_run_and_over_restarts() {
    for provider in BOTH {
        let rig = Rig::new(provider);
        rig.server.enqueue_answer(FITS);
        let first = rig.ask(&with_schema("Find")).unwrap();
        assert_eq!(rig.ask(&with_schema("Find")).unwrap(), first);
        let rig = rig.restarted();
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
fn any_difference_makes_another_request() {
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
        // One text's end is no other one's beginning.
        LlmRequest {
            system: Some("Be brief.F".to_owned()),
            prompt: "ind".to_owned(),
            ..same.clone()
        },
    ];
    for request in std::iter::once(&same).chain(&others) {
        rig.server.enqueue_answer(FITS);
        rig.ask(request).unwrap();
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
    let rig = Rig::over(dir, server, config);
    rig.server.enqueue_answer(FITS);
    rig.ask(&same).unwrap();
    assert_eq!(rig.server.actions_left(), 0, "another model is asked");
}

#[test]
fn what_is_no_good_answer_is_not_kept() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server
        .enqueue_answer("no JSON")
        .enqueue_answer("{}")
        .enqueue_answer(FITS);
    assert_eq!(
        rig.class_of(&with_schema("Find")),
        (LlmErrorClass::Malformed, 2)
    );
    assert_eq!(rig.ask(&with_schema("Find")).unwrap().text, FITS);
}

#[test]
fn sessions_that_ask_the_same_at_once_pay_once() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server.enqueue_answer("hello");
    let texts = std::thread::scope(|scope| {
        let asking = || scope.spawn(|| rig.ask(&plain("Say hello")).unwrap().text);
        let all = [asking(), asking(), asking(), asking()];
        all.map(|one| one.join().unwrap())
    });
    assert_eq!(texts, ["hello"; 4]);
    assert_eq!(rig.server.requests().len(), 1);
}

#[test]
fn when_the_first_of_them_fails_the_next_one_asks() {
    let rig = Rig::with(Provider::Anthropic, |config| config.llm.attempts_max = 1);
    rig.server
        .enqueue(ServerAction::error(500, "api_error", ""))
        .enqueue_answer("hello");
    let results = std::thread::scope(|scope| {
        let asking = || scope.spawn(|| rig.ask(&plain("Say hello")).is_ok());
        [asking(), asking()].map(|one| one.join().unwrap())
    });
    assert_eq!(results.into_iter().filter(|is_ok| *is_ok).count(), 1);
}

#[test]
fn what_another_version_kept_is_asked_for_anew() {
    let rig = Rig::new(Provider::Anthropic);
    rig.server
        .enqueue_answer("hello")
        .enqueue_answer("hello again");
    rig.ask(&plain("Say hello")).unwrap();
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
    let rig = Rig::over(dir, server, config);
    assert_eq!(rig.ask(&plain("Say hello")).unwrap().text, "hello again");
    assert_eq!(rig.ask(&plain("Say hello")).unwrap().text, "hello again");
}

#[test]
fn an_answer_is_used_only_for_the_server_that_gave_it() {
    for provider in BOTH {
        let rig = Rig::new(provider);
        rig.server.enqueue_answer("of one");
        rig.ask(&plain("Say hello")).unwrap();
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
        let rig = Rig::over(dir, other, config.clone());
        assert_eq!(rig.ask(&plain("Say hello")).unwrap().text, "of the other");
        let Rig {
            dir,
            server: _other,
            store,
            model,
            ..
        } = rig;
        drop((store, model));
        config.llm.base_url = server.config().base_url;
        let rig = Rig::over(dir, server, config.clone());
        assert_eq!(rig.ask(&plain("Say hello")).unwrap().text, "of one");

        // An answer of a server that nobody verified is not one of that server.
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
            Rig::over(dir, server, config)
        };
        assert_eq!(rig.ask(&plain("Say hello")).unwrap().text, "of anyone");
    }
}
