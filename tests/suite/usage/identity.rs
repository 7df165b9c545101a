//! What counts as one response and one call: cases from public reports of wrong totals, with values
//! that were worked out by hand.

use serde_json::{Value, json};
use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::report::ReportGrouping;

use super::{SONNET, sums_of};
use crate::database::rows;
use crate::guests;
use crate::report::{reported, tools_reported};

/// A line of the conversation, as agents write it.
fn line(session: &str, minute: &str, uuid: &str, kind: &str, message: Value) -> Value {
    json!({
        "type": kind, "uuid": uuid, "sessionId": session, "cwd": "/home/kim/shop", "version": "2.1.200",
        "isSidechain": false, "timestamp": format!("{minute}:00.000Z"), "message": message,
    })
}

fn prompt(session: &str, minute: &str, text: &str) -> Value {
    let message = json!({ "role": "user", "content": text });
    line(session, minute, &format!("p-{minute}"), "user", message)
}

/// A response with these tokens of input and output.
fn response(session: &str, minute: &str, id: &str, tokens: [u32; 2]) -> Value {
    let message = json!({
        "id": id, "role": "assistant", "model": SONNET, "content": [{ "type": "text", "text": "ok" }],
        "stop_reason": "end_turn", "usage": { "input_tokens": tokens[0], "output_tokens": tokens[1] },
    });
    line(
        session,
        minute,
        &format!("u-{id}-{minute}"),
        "assistant",
        message,
    )
}

fn with(mut line: Value, name: &str, value: impl Into<Value>) -> Value {
    line[name] = value.into();
    line
}

fn transcript(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn open(dir: &DataDir) -> TestPipeline {
    TestPipeline::open(dir, &[guests::usage()])
}

fn run(pipeline: &TestPipeline) {
    assert_eq!(pipeline.run("usage").stats.errors, 0);
}

/// Input, output and messages of all, and what they cost; every report has the same totals.
fn totals(pipeline: &TestPipeline) -> (i64, i64, i64, String) {
    let by_day = reported(pipeline, ReportGrouping::Day).totals;
    for by in ReportGrouping::ALL {
        assert_eq!(reported(pipeline, by).totals, by_day, "{by:?}");
    }
    let [input, output, _, _, messages] = sums_of(&by_day);
    (
        input,
        output,
        messages,
        by_day.cost_usd.unwrap().to_string(),
    )
}

/// Key, input and output of each row.
fn by(pipeline: &TestPipeline, by: ReportGrouping) -> Vec<(String, i64, i64)> {
    let rows = reported(pipeline, by).rows.into_iter();
    rows.map(|row| {
        let totals = row.totals;
        (
            row.key.unwrap_or_default(),
            totals.input_tokens,
            totals.output_tokens,
        )
    })
    .collect()
}

/// ccusage#1635: a relay gives every response the same id, and no request id.
#[test]
fn a_relay_that_gives_all_responses_one_id_counts_each() {
    let dir = DataDir::new();
    let last = response("s-one", "2026-03-02T10:05", "relay", [3000, 300]);
    let lines = [
        prompt("s-one", "2026-03-02T10:00", "one"),
        response("s-one", "2026-03-02T10:01", "relay", [1000, 100]),
        prompt("s-one", "2026-03-02T10:02", "two"),
        response("s-one", "2026-03-02T10:03", "relay", [2000, 200]),
        prompt("s-one", "2026-03-02T10:04", "three"),
        last.clone(),
        // Written twice.
        last,
    ];
    dir.write("kim/a.jsonl", transcript(&lines));
    let lines = [
        prompt("s-two", "2026-03-02T10:10", "four"),
        response("s-two", "2026-03-02T10:11", "relay", [500, 50]),
    ];
    dir.write("kim/b.jsonl", transcript(&lines));
    let pipeline = open(&dir);
    run(&pipeline);
    assert_eq!(totals(&pipeline), (6500, 650, 4, "0.02925".to_owned()));
}

/// The responses that a fork repeats, and one of its own.
fn fork(session: &str, day: &str, id: &str) -> Vec<Value> {
    vec![
        prompt(session, &format!("{day}T10:00"), "one"),
        response(
            session,
            &format!("{day}T10:01"),
            &format!("{id}1"),
            [1000, 100],
        ),
        prompt(session, &format!("{day}T10:02"), "two"),
        response(
            session,
            &format!("{day}T10:03"),
            &format!("{id}2"),
            [2000, 200],
        ),
    ]
}

/// ccusage#797: gateways leave the request id out, and a fork names its own session.
#[test]
fn a_fork_without_request_ids_counts_what_is_new_in_it() {
    for id in ["chatcmpl-a", "chatcmpl-0123456789abcdef-"] {
        let dir = DataDir::new();
        dir.write(
            "kim/old.jsonl",
            transcript(&fork("s-old", "2026-03-02", id)),
        );
        let mut lines = fork("s-new", "2026-03-02", id);
        lines.push(response(
            "s-new",
            "2026-03-02T10:09",
            "chatcmpl-b1",
            [500, 50],
        ));
        dir.write("kim/new.jsonl", transcript(&lines));
        let pipeline = open(&dir);
        run(&pipeline);
        assert_eq!(totals(&pipeline), (3500, 350, 3, "0.01575".to_owned()));
    }
}

/// ccusage#913: the side chain of an aside repeats the main response under a request id of its own.
#[test]
fn a_side_chain_under_another_request_id_repeats_and_adds_nothing() {
    for id in ["msg_01main", "msg_01main00000000000000"] {
        let dir = DataDir::new();
        let mut main = response("s-one", "2026-03-02T10:01", id, [10, 500]);
        main["message"]["usage"]["cache_read_input_tokens"] = json!(50_000);
        let aside = |line: Value, request: &str| {
            with(with(line, "isSidechain", true), "requestId", request)
        };
        let lines = [
            prompt("s-one", "2026-03-02T10:00", "explain"),
            with(main.clone(), "requestId", "req_1"),
        ];
        dir.write("kim/s-one.jsonl", transcript(&lines));
        let lines = [
            with(
                prompt("s-one", "2026-03-02T10:00", "explain"),
                "isSidechain",
                true,
            ),
            aside(main, "req_9"),
            aside(
                response("s-one", "2026-03-02T10:04", "msg_02side", [20, 40]),
                "req_10",
            ),
        ];
        dir.write("kim/s-one/subagents/agent-aside.jsonl", transcript(&lines));
        let pipeline = open(&dir);
        run(&pipeline);
        assert_eq!(totals(&pipeline), (30, 540, 2, "0.02319".to_owned()));
        let main = "SELECT is_sidechain FROM usage.distinct_messages WHERE output_tokens = 500";
        drop(pipeline);
        assert_eq!(rows(&dir, main), ["false"]);
    }
}

/// splitrail#200: a file is rewritten in place, and loses what was billed.
#[test]
fn what_a_rewritten_file_has_lost_stays_billed() {
    let dir = DataDir::new();
    let turn = |minute: u32, id: &str, tokens| {
        let response = response("s-one", &format!("2026-03-02T10:{minute:02}"), id, tokens);
        [
            prompt("s-one", &format!("2026-03-02T10:{:02}", minute - 1), id),
            with(response, "requestId", format!("r-{id}")),
        ]
    };
    let (first, second) = (turn(1, "m1", [1000, 100]), turn(3, "m2", [2000, 200]));
    let (third, fourth) = (turn(5, "m3", [3000, 300]), turn(9, "m4", [400, 40]));
    let before = [first.clone(), second.clone(), third.clone()].concat();
    let after = [second.clone(), third.clone(), fourth.clone()].concat();
    dir.write("kim/s.jsonl", transcript(&before));
    let pipeline = open(&dir);
    run(&pipeline);
    assert_eq!(totals(&pipeline), (6000, 600, 3, "0.027".to_owned()));
    dir.write("kim/s.jsonl", transcript(&after));
    run(&pipeline);
    let expected = (6400, 640, 4, "0.0288".to_owned());
    assert_eq!(totals(&pipeline), expected);
    // However often it is rewritten or processed again, and when the file goes.
    let grown = [after.clone(), turn(11, "m5", [1, 1]).to_vec()].concat();
    dir.write("kim/s.jsonl", transcript(&grown));
    run(&pipeline);
    assert_eq!(totals(&pipeline).2, 5);
    dir.write("kim/s.jsonl", transcript(&fourth));
    run(&pipeline);
    assert_eq!(totals(&pipeline).2, 5);
    // What comes back is there once.
    dir.write("kim/s.jsonl", transcript(&before));
    run(&pipeline);
    assert_eq!(totals(&pipeline).2, 5);
    dir.delete("kim/s.jsonl");
    dir.write("kim/other.jsonl", transcript(&turn(30, "m9", [1, 1])));
    run(&pipeline);
    assert_eq!(totals(&pipeline).2, 6);
    drop(pipeline);
    // Of each response at most the first and the last rows of earlier contents are kept.
    let superseded = "SELECT max(count) <= 2 FROM (
        SELECT count(*) AS count FROM usage.messages WHERE is_superseded GROUP BY message_id)";
    assert_eq!(rows(&dir, superseded), ["true"]);
}

/// A rewritten file may keep a part of a response: what was known of it stays, and when it was.
#[test]
fn a_rewritten_file_that_keeps_a_part_of_a_response_changes_nothing_of_it() {
    let dir = DataDir::new();
    let id = "msg_01abcdefghijklmnopqrstuv";
    let begun = response("s", "2026-03-01T10:01", id, [100, 1]);
    let ended = response("s", "2026-03-01T10:01", id, [100, 50]);
    let late = response("s", "2026-03-04T10:01", id, [100, 50]);
    let other = response("s", "2026-03-04T10:02", "m2", [7, 7]);
    let filler = prompt(
        "s",
        "2026-03-01T10:00",
        "a question of some length, which goes",
    );
    dir.write("kim/s.jsonl", transcript(&[filler, begun.clone(), ended]));
    dir.set_age("kim/s.jsonl", std::time::Duration::from_secs(3600));
    let pipeline = open(&dir);
    run(&pipeline);
    for content in [
        vec![begun, other.clone()],
        vec![late, other.clone()],
        vec![other],
    ] {
        dir.write("kim/s.jsonl", transcript(&content));
        dir.set_age("kim/s.jsonl", std::time::Duration::from_secs(1800));
        run(&pipeline);
        let row = |key: &str, input, output| (key.to_owned(), input, output);
        assert_eq!(
            by(&pipeline, ReportGrouping::Day),
            [row("2026-03-01", 100, 50), row("2026-03-04", 7, 7)]
        );
    }
}

/// vllm#50295: the ids of calls start over in each turn.
#[test]
fn calls_whose_ids_start_over_each_count_and_fail_by_themselves() {
    let dir = DataDir::new();
    let turn = |minute: u32, name: &str, result: Value| {
        let at = |second: u32| format!("2026-03-02T10:{minute:02}:{second:02}.000Z");
        let id = format!("{name}:0");
        let mut call = response(
            "s-one",
            &format!("2026-03-02T10:{minute:02}"),
            &format!("k{minute}"),
            [100, 10],
        );
        call["message"]["content"] =
            json!([{ "type": "tool_use", "id": id, "name": name, "input": {} }]);
        let mut block = json!({ "type": "tool_result", "tool_use_id": id, "content": result });
        if result != "fine" {
            block["is_error"] = json!(true);
        }
        let message = json!({ "role": "user", "content": [block] });
        let result = line("s-one", "", &format!("r-{minute}"), "user", message);
        [
            with(call, "requestId", format!("rk{minute}")),
            with(result, "timestamp", at(30)),
        ]
    };
    let lines = [
        vec![prompt("s-one", "2026-03-02T10:00", "go")],
        turn(1, "Bash", json!("fine")).to_vec(),
        turn(2, "Bash", json!("Exit code 2")).to_vec(),
        turn(3, "Read", json!("fine")).to_vec(),
        turn(4, "Bash", json!("fine")).to_vec(),
    ];
    dir.write("kim/s.jsonl", transcript(&lines.concat()));
    // A fork names its own session; its calls are the same ones.
    let fork: Vec<Value> = lines
        .concat()
        .into_iter()
        .map(|line| with(line, "sessionId", "s-two"))
        .collect();
    dir.write("kim/t.jsonl", transcript(&fork));
    let pipeline = open(&dir);
    run(&pipeline);
    let tools: Vec<_> = tools_reported(&pipeline)
        .rows
        .into_iter()
        .map(|row| {
            (
                row.key.unwrap_or_default(),
                row.totals.calls,
                row.totals.errors,
                row.totals.exit_codes,
            )
        })
        .collect();
    assert_eq!(
        tools,
        [("Bash".to_owned(), 3, 1, 1), ("Read".to_owned(), 1, 0, 0)]
    );
}

/// ccusage#1762: a fork must not take past responses from the session that it came from.
#[test]
fn a_fork_leaves_its_responses_to_the_session_that_it_came_from() {
    let original = fork("s-old", "2026-03-01", "m");
    let mut copy = fork("s-new", "2026-03-01", "m");
    copy.push(response("s-new", "2026-03-05T10:01", "m3", [500, 50]));
    for (old, new) in [("old", "new"), ("a", "z")] {
        let dir = DataDir::new();
        dir.write(&format!("kim/{old}.jsonl"), transcript(&original));
        dir.write(&format!("kim/{new}.jsonl"), transcript(&copy));
        let pipeline = open(&dir);
        run(&pipeline);
        let row = |key: &str, input, output| (key.to_owned(), input, output);
        assert_eq!(
            by(&pipeline, ReportGrouping::Day),
            [row("2026-03-01", 3000, 300), row("2026-03-05", 500, 50)]
        );
        assert_eq!(
            by(&pipeline, ReportGrouping::Session),
            [row("s-new", 500, 50), row("s-old", 3000, 300)]
        );
        assert_eq!(totals(&pipeline), (3500, 350, 3, "0.01575".to_owned()));
    }
    // The fork that keeps the session of what it repeats, and goes on while the original does, too.
    let dir = DataDir::new();
    let mut original = original;
    original.push(response("s-old", "2026-03-09T10:01", "m4", [7, 7]));
    let mut copy = fork("s-old", "2026-03-01", "m");
    copy.push(response("s-new", "2026-03-05T10:01", "m3", [500, 50]));
    copy.insert(1, prompt("s-new", "2026-03-01T10:00", "forked"));
    dir.write("kim/z.jsonl", transcript(&original));
    dir.write("kim/a.jsonl", transcript(&copy));
    let pipeline = open(&dir);
    run(&pipeline);
    drop(pipeline);
    let files =
        "SELECT DISTINCT session_file FROM usage.distinct_messages WHERE input_tokens >= 1000";
    assert_eq!(rows(&dir, files), ["kim/z.jsonl"]);
}

/// Responses without any id are known by their line, wherever it goes.
#[test]
fn a_renamed_file_without_ids_counts_once() {
    for with_uuid in [true, false] {
        let dir = DataDir::new();
        let unnamed = |minute: &str| {
            let mut line = response("s-one", minute, "", [10, 20]);
            let fields = line.as_object_mut().unwrap();
            if !with_uuid {
                fields.remove("uuid");
            }
            fields["message"].as_object_mut().unwrap().remove("id");
            line
        };
        // Two responses may look the same.
        let lines = [
            unnamed("2026-03-02T10:01"),
            unnamed("2026-03-02T10:02"),
            unnamed("2026-03-02T10:03"),
        ];
        dir.write("kim/a.jsonl", transcript(&lines));
        dir.write(
            "kim/stays.jsonl",
            transcript(&[prompt("s-two", "2026-03-02T10:00", "hello")]),
        );
        let pipeline = open(&dir);
        run(&pipeline);
        dir.rename("kim/a.jsonl", "kim/b.jsonl");
        run(&pipeline);
        let (input, output, messages, _) = totals(&pipeline);
        assert_eq!((input, output, messages), (30, 60, 3), "uuid: {with_uuid}");
    }
}

/// An upload that repeats another user's response, with an earlier time and larger figures.
#[test]
fn another_users_response_can_not_be_taken_over_by_a_later_upload() {
    let id = "msg_01abcdefghijklmnopqrstuv";
    let victim = [
        prompt("s", "2026-03-02T10:00", "go"),
        response("s", "2026-03-02T10:01", id, [1000, 100]),
    ];
    let claim = [response("x", "2020-01-01T10:01", id, [9000, 9000])];
    let dir = DataDir::new();
    dir.write("kim/s.jsonl", transcript(&victim));
    // An older file of the uploader's, to which the claim is added later.
    let own = response(
        "x",
        "2019-12-31T10:01",
        "msg_01zzzzzzzzzzzzzzzzzzzzzz",
        [5, 5],
    );
    dir.write("eve/x.jsonl", transcript(std::slice::from_ref(&own)));
    let pipeline = open(&dir);
    run(&pipeline);
    let row = |key: &str, input, output| (key.to_owned(), input, output);
    let expected = [row("eve", 5, 5), row("kim", 1000, 100)];
    assert_eq!(by(&pipeline, ReportGrouping::User), expected);
    dir.append("eve/x.jsonl", transcript(&claim));
    dir.write("eve/y.jsonl", transcript(&claim));
    run(&pipeline);
    assert_eq!(by(&pipeline, ReportGrouping::User), expected);
    // The victim's session goes on, and all is processed again: who was first is remembered.
    dir.append(
        "kim/s.jsonl",
        transcript(&[response("s", "2026-03-02T10:05", "m2", [1, 1])]),
    );
    dir.append("eve/y.jsonl", "\n");
    run(&pipeline);
    assert_eq!(
        by(&pipeline, ReportGrouping::User),
        [row("eve", 5, 5), row("kim", 1001, 101)]
    );
    assert_eq!(
        by(&pipeline, ReportGrouping::Day),
        [row("2019-12-31", 5, 5), row("2026-03-02", 1001, 101)]
    );
}
