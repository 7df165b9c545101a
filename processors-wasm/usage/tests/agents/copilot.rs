//! The tokens of sessions of GitHub Copilot CLI.

use crate::harness::copilot::{
    OF_AGENT, SESSION, Used, answer, call, check_file, compaction, line, message, prompt, read,
    result, resume, shown, shutdown, start,
};
use crate::harness::{Sums, check_damage};

#[test]
fn what_messages_lack_is_a_row_without_a_request() {
    let file = [
        start("1.0.60"),
        prompt("10:00:01", "fix it"),
        answer("10:00:10", "m1", 10),
        answer("10:00:20", "m2", 15),
        shutdown(
            "10:01:00",
            "e-end",
            &[("claude-opus-4.6", [596, 536, 57, 25, 7])],
        ),
    ];
    let rows = read(&file);
    assert_eq!(
        shown(&rows),
        [
            "m1 claude-opus-4.6 1 0 0 0 10 - true",
            "m2 claude-opus-4.6 1 0 0 0 15 - true",
            "shutdown:e-end:claude-opus-4.6 claude-opus-4.6 0 3 536 57 0 7 true",
        ]
    );
    assert_eq!(
        rows.messages[0]
            .show("session_id request_id agent cwd git_branch agent_version line occurred_at"),
        format!("{SESSION} {SESSION} copilot /w/shop main 1.0.60 3 1774000810000000"),
    );
    assert_eq!(
        rows.session.show("agent messages prompts title assistant_messages output_is_lower_bound unrecorded_usage project"),
        "copilot 2 1 fix it 2 false - /w/shop"
    );
    check_file(&file);
}

#[test]
fn several_messages_of_one_request_count_once() {
    let part = |time: &str, id: &str, more: &str| {
        message(
            time,
            id,
            &format!(r#","model":"gpt-5.6-sol","apiCallId":"call-a"{more}"#),
        )
    };
    let file = [
        start("1.0.72"),
        part("10:00:10", "m1", ""),
        part("10:00:11", "m2", ""),
        part("10:00:12", "m3", r#","outputTokens":407"#),
    ];
    let rows = read(&file);
    assert_eq!(shown(&rows), ["call-a gpt-5.6-sol 1 0 0 0 407 - false"]);
    assert_eq!(rows.session.text("assistant_messages"), "3");
    check_file(&file);
}

/// Each shutdown has the tokens of its leg, and the last leg did not end.
#[test]
fn legs_count_each_with_their_own_shutdown() {
    let file = [
        start("1.0.10"),
        answer("10:00:10", "m1", 100),
        shutdown(
            "10:01:00",
            "e-end1",
            &[("claude-opus-4.6", [1000, 600, 0, 100, 0])],
        ),
        resume("11:00:00"),
        answer("11:00:10", "m2", 50),
        shutdown(
            "11:01:00",
            "e-end2",
            &[("claude-opus-4.6", [700, 500, 0, 50, 0])],
        ),
        resume("12:00:00"),
        resume("12:00:01"),
        answer("12:00:10", "m3", 20),
    ];
    let rows = read(&file);
    assert_eq!(
        shown(&rows),
        [
            "m1 claude-opus-4.6 1 0 0 0 100 - true",
            "shutdown:e-end1:claude-opus-4.6 claude-opus-4.6 0 400 600 0 0 - true",
            "m2 claude-opus-4.6 1 0 0 0 50 - true",
            "shutdown:e-end2:claude-opus-4.6 claude-opus-4.6 0 200 500 0 0 - true",
            "m3 claude-opus-4.6 1 0 0 0 20 - false",
        ]
    );
    assert_eq!(
        rows.session
            .show("messages unrecorded_usage output_is_lower_bound"),
        r#"3 {"open_session":1} true"#
    );
    check_file(&file);
}

/// Newer versions report the tokens of all legs.
#[test]
fn running_totals_over_legs_count_once() {
    let file = [
        start("1.0.80"),
        answer("10:00:10", "m1", 100),
        shutdown(
            "10:01:00",
            "e-end1",
            &[("claude-opus-4.6", [1000, 600, 0, 100, 9])],
        ),
        resume("11:00:00"),
        answer("11:00:10", "m2", 50),
        shutdown(
            "11:01:00",
            "e-end2",
            &[("claude-opus-4.6", [1700, 1100, 0, 150, 10])],
        ),
        // A leg in which nothing happened.
        resume("12:00:00"),
        shutdown(
            "12:01:00",
            "e-end3",
            &[("claude-opus-4.6", [1700, 1100, 0, 150, 10])],
        ),
    ];
    let rows = read(&file);
    assert_eq!(
        shown(&rows)[3..],
        ["shutdown:e-end2:claude-opus-4.6 claude-opus-4.6 0 200 500 0 0 1 true"]
    );
    let sums = Sums::of(&[("ada/a.jsonl", &file.join("\n"))]);
    assert_eq!(sums.tokens(), [2, 600, 1100, 0, 0, 150, 10]);
    check_file(&file);
}

#[test]
fn a_compaction_is_a_request_of_its_own() {
    let leg = |reported: Used| {
        [
            start("1.0.10"),
            answer("10:00:10", "m1", 100),
            compaction("10:00:20"),
            shutdown("10:01:00", "e-end", &[("claude-opus-4.6", reported)]),
        ]
    };
    // The shutdown includes the compaction, or does not.
    for reported in [[1900, 1000, 0, 130, 0], [1000, 600, 0, 100, 0]] {
        let file = leg(reported);
        let rows = read(&file);
        assert_eq!(
            shown(&rows),
            [
                "m1 claude-opus-4.6 1 0 0 0 100 - true",
                "compaction:e-compaction claude-opus-4.6 1 500 400 0 30 - true",
                "shutdown:e-end:claude-opus-4.6 claude-opus-4.6 0 400 600 0 0 - true",
            ]
        );
        assert_eq!(rows.session.show("messages compactions"), "2 1");
        check_file(&file);
    }
    // Without a shutdown, the tokens of the compaction are known all the same.
    let rows = read(&leg([0; 5])[..3]);
    assert_eq!(
        shown(&rows),
        [
            "m1 claude-opus-4.6 1 0 0 0 100 - false",
            "compaction:e-compaction claude-opus-4.6 1 500 400 0 30 - true",
        ]
    );
}

#[test]
fn the_first_versions_record_no_tokens() {
    let file = [
        start("0.0.354"),
        prompt("10:00:01", "fix it"),
        message("10:00:10", "m1", r#","toolRequests":[]"#),
    ];
    let rows = read(&file);
    assert!(rows.messages.is_empty());
    assert_eq!(
        rows.session
            .show("prompts messages unrecorded_usage output_is_lower_bound"),
        r#"1 0 {"open_session":1} true"#
    );
    check_file(&file);
}

/// A session without an answer has spent nothing.
#[test]
fn a_session_without_an_answer_lacks_nothing() {
    let rows = read(&[start("1.0.60"), prompt("10:00:01", "fix it")]);
    assert_eq!(rows.session.show("messages unrecorded_usage"), "0 -");
}

/// Old versions write no model into messages.
#[test]
fn a_message_without_a_model_has_that_of_its_calls_or_of_its_neighbors() {
    let requests =
        |call: &str| format!(r#","outputTokens":5,"toolRequests":[{{"toolCallId":"{call}"}}]"#);
    let plain = r#","outputTokens":5"#;
    let file = [
        start("1.0.10"),
        line(
            "10:00:01",
            "e",
            "session.model_change",
            r#""newModel":"gpt-5.4","reasoningEffort":"high""#,
        ),
        message("10:00:10", "m1", &requests("toolu_1111111111111111111111")),
        call(
            "10:00:11",
            "toolu_0f56612bb74a6de7edda692c",
            "task",
            r#","arguments":{"agent_type":"explore"}"#,
        ),
        line(
            "10:00:12",
            "e",
            "subagent.started",
            r#""toolCallId":"toolu_0f56612bb74a6de7edda692c","agentName":"explore""#,
        ),
        message(
            "10:00:13",
            "s1",
            &format!("{OF_AGENT}{}", requests("toolu_2222222222222222222222")),
        ),
        result(
            "10:00:14",
            "toolu_2222222222222222222222",
            &format!(r#"{OF_AGENT},"model":"claude-haiku-4.5","success":true"#),
        ),
        message("10:00:15", "s2", &format!("{OF_AGENT}{plain}")),
        result(
            "10:00:16",
            "toolu_1111111111111111111111",
            r#","model":"claude-opus-4.6","success":true"#,
        ),
        message("10:00:17", "m2", plain),
        shutdown(
            "10:01:00",
            "e-end",
            &[
                ("claude-opus-4.6", [100, 0, 0, 10, 0]),
                ("claude-haiku-4.5", [50, 0, 0, 10, 0]),
            ],
        ),
    ];
    let rows = read(&file);
    let models: Vec<_> = rows
        .messages
        .iter()
        .map(|row| row.show("message_id model source agent_type effort input_tokens output_tokens"))
        .collect();
    assert_eq!(
        models,
        [
            "m1 claude-opus-4.6 main - high 0 5",
            "s1 claude-haiku-4.5 subagent explore - 0 5",
            "s2 claude-haiku-4.5 subagent explore - 0 5",
            "m2 claude-opus-4.6 main - high 0 5",
            "shutdown:e-end:claude-opus-4.6 claude-opus-4.6 main - - 100 0",
            "shutdown:e-end:claude-haiku-4.5 claude-haiku-4.5 main - - 50 0",
        ]
    );
    let event = rows.events[0].show("event_type tool_name subagent_type is_sidechain");
    assert_eq!(event, "subagent task explore false");
    check_file(&file);
    // Without any result, the selected model is the best guess.
    let rows = read(&file[..3]);
    assert_eq!(shown(&rows), ["m1 gpt-5.4 1 0 0 0 5 - false"]);
}

#[test]
fn output_counts_once_if_a_shutdown_names_the_model_differently() {
    let file = [
        start("1.0.60"),
        answer("10:00:10", "m1", 100),
        shutdown(
            "10:01:00",
            "e-end",
            &[("claude-opus-4.6-1m", [500, 0, 0, 100, 0])],
        ),
    ];
    let sums = Sums::of(&[("ada/a.jsonl", &file.join("\n"))]);
    assert_eq!(sums.tokens(), [1, 500, 0, 0, 0, 100, 0]);
    // The only model of a shutdown is that of messages without one.
    let mut nameless = file.clone();
    nameless[1] = message("10:00:10", "m1", r#","outputTokens":100"#);
    assert_eq!(
        shown(&read(&nameless)),
        [
            "m1 claude-opus-4.6-1m 1 0 0 0 100 - true",
            "shutdown:e-end:claude-opus-4.6-1m claude-opus-4.6-1m 0 500 0 0 0 - true",
        ]
    );
    check_file(&nameless);
}

#[test]
fn damage_costs_only_its_value_and_unknown_kinds_are_counted() {
    let file = [
        start("1.0.60"),
        "not JSON".to_owned(),
        line("10:00:01", "e", "session.brand_new", ""),
        message(
            "10:00:02",
            "m1",
            r#","model":"gpt-5.4","outputTokens":"many""#,
        ),
        message("10:00:03", "m2", r#","model":"gpt-5.4","outputTokens":7"#),
        line("10:00:04", "e", "hook.start", ""),
        shutdown("10:01:00", "e-end", &[("gpt-5.4", [50, -1, 0, 3, 0])]),
    ];
    let rows = read(&file);
    // The name of the odd shutdown is an unknown kind as well: it reports less than its messages.
    assert_eq!(
        rows.session
            .show("agent lines bad_lines unknown_types output_is_lower_bound"),
        "copilot 7 3 2 true"
    );
    assert_eq!(
        shown(&rows),
        [
            "m1 gpt-5.4 1 0 0 0 0 - false",
            "m2 gpt-5.4 1 0 0 0 7 - true",
            "shutdown:e-end:gpt-5.4 gpt-5.4 0 50 0 0 0 - false",
        ]
    );
    check_file(&file);
    check_damage("ada/a.jsonl", &file.join("\n"));
}

/// A shutdown of one model with what was charged, in 10⁻⁹ AI credits.
fn charged(time: &str, id: &str, used: Used, nano: &str) -> String {
    let shutdown = shutdown(time, id, &[("gpt-5.4", used)]);
    shutdown.replacen(
        r#""data":{"#,
        &format!(r#""data":{{"totalNanoAiu":{nano},"#),
        1,
    )
}

fn checkpoint(time: &str, nano: &str) -> String {
    let data = format!(r#""totalNanoAiu":{nano},"totalPremiumRequests":0"#);
    line(time, "e-checkpoint", "session.usage_checkpoint", &data)
}

fn own_totals(lines: &[String]) -> Vec<String> {
    let columns = "model input_tokens cache_read_tokens output_tokens cost_usd total_cost_usd \
                   has_unknown_model_cost";
    let rows = read(lines);
    let rows = rows.agent_totals.iter();
    rows.map(|row| row.show(columns)).collect()
}

fn gpt(time: &str, id: &str, output: i64) -> String {
    let more = format!(r#","model":"gpt-5.4","outputTokens":{output}"#);
    message(time, id, &more)
}

#[test]
fn what_the_agent_charged_is_in_its_totals() {
    let leg = |id: &str, used, nano| {
        vec![
            resume("10:00:01"),
            gpt("10:00:02", &format!("m-{id}"), 10),
            charged("10:00:03", id, used, nano),
        ]
    };
    // Each shutdown has its own leg.
    let first = leg("e1", [100, 60, 0, 10, 0], "47500000000");
    let second = leg("e2", [50, 0, 0, 10, 0], "2500000000");
    let one = [vec![start("1.0.60")], first.clone()].concat();
    assert_eq!(own_totals(&one), ["gpt-5.4 40 60 10 0.475 0.475 false"]);
    let two = [one.clone(), second].concat();
    assert_eq!(own_totals(&two), ["gpt-5.4 90 60 20 0.5 0.5 false"]);
    // A shutdown has all legs so far.
    let running = leg("e2", [150, 60, 0, 20, 0], "50000000000");
    let running = [one.clone(), running].concat();
    assert_eq!(own_totals(&running), ["gpt-5.4 90 60 20 0.5 0.5 false"]);
    check_file(&running);
    // The charge of a leg without a shutdown is in its latest checkpoint, with that of earlier legs.
    let open = [
        one.clone(),
        vec![
            resume("10:00:04"),
            gpt("10:00:05", "m3", 7),
            checkpoint("10:00:06", "48000000000"),
            checkpoint("10:00:07", "50000000000"),
        ],
    ]
    .concat();
    assert_eq!(own_totals(&open), ["gpt-5.4 40 60 17 0.5 0.5 false"]);
    check_file(&open);
    // Without a checkpoint, it is unknown.
    assert_eq!(
        own_totals(&open[..open.len() - 2]),
        ["gpt-5.4 40 60 17 0.475 0.475 true"]
    );
}

#[test]
fn a_charge_that_is_absent_or_damaged_is_unknown() {
    for nano in ["null", "-1", "\"1\"", "1e300", "{}"] {
        let file = [
            start("1.0.60"),
            gpt("10:00:02", "m1", 10),
            charged("10:00:03", "e1", [100, 60, 0, 10, 0], nano),
        ];
        assert_eq!(own_totals(&file), ["gpt-5.4 40 60 10 - 0 true"], "{nano}");
        let open = [
            start("1.0.60"),
            gpt("10:00:02", "m1", 10),
            checkpoint("10:00:03", nano),
        ];
        assert_eq!(own_totals(&open), ["gpt-5.4 0 0 10 - 0 true"], "{nano}");
    }
    // A checkpoint does not say which of several models cost what.
    let file = [
        start("1.0.72"),
        gpt("10:00:02", "m1", 10),
        answer("10:00:03", "m2", 5),
        checkpoint("10:00:04", "1000"),
    ];
    assert_eq!(
        own_totals(&file),
        ["claude-opus-4.6 0 0 5 - 0 true", "gpt-5.4 0 0 10 - 0 true"]
    );
}
