//! Billing rules beyond the price table, each with a cost that was worked out by hand.

use serde_json::{Value, json};
use session_pipeline_harness::Transcript;
use session_pipeline_pipeline::report::{ReportGrouping, UsageReport};

use super::check;
use crate::guests::usage_dir;

/// An assistant line with this usage. `message` and `line` extend the message and the line.
fn response(number: u32, usage: &Value, message: &Value, line: &Value) -> Value {
    let mut body = json!({
        "id": format!("msg_01{number:022}"), "type": "message", "role": "assistant",
        "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
        "content": [{ "type": "text", "text": "done" }], "usage": usage,
    });
    merge(&mut body, message);
    let mut members = json!({ "requestId": format!("req_{number}"), "message": body });
    merge(&mut members, line);
    members
}

fn merge(object: &mut Value, members: &Value) {
    for (name, value) in members.as_object().unwrap() {
        object[name] = value.clone();
    }
}

fn report_of(responses: &[Value], by: ReportGrouping) -> UsageReport {
    let dir = usage_dir();
    let session = responses
        .iter()
        .fold(Transcript::new("s1").user("go on"), |session, members| {
            session.entry("assistant", members.clone())
        });
    dir.write("ada/a.jsonl", session);
    check(&dir, by)
}

/// The cost in dollars of one response.
fn cost(usage: &Value, message: &Value) -> String {
    let report = report_of(
        &[response(1, usage, message, &json!({}))],
        ReportGrouping::Day,
    );
    let cost = report.totals.cost_usd;
    cost.map_or_else(|| "?".to_owned(), |cost| cost.to_string())
}

#[test]
fn a_batch_costs_half() {
    // 100,000 tokens at $3 per million, and half of it.
    let usage = |tier: &str| json!({ "input_tokens": 100_000, "service_tier": tier });
    assert_eq!(cost(&usage("standard"), &json!({})), "0.3");
    assert_eq!(cost(&usage("batch"), &json!({})), "0.15");
    assert_eq!(cost(&usage("priority"), &json!({})), "0.3");
}

#[test]
fn inference_in_the_us_costs_a_tenth_more_from_4_6_on() {
    let usage = |geo: &str| json!({ "input_tokens": 100_000, "inference_geo": geo });
    let cases = [
        // $5 per million.
        ("claude-opus-4-6", "us", "0.55"),
        ("claude-opus-4-6", "global", "0.5"),
        ("claude-opus-4-6", "not_available", "0.5"),
        // $3 per million, before 4.6.
        ("claude-sonnet-4-5", "us", "0.3"),
        // The region in the id already costs a tenth more.
        ("us.anthropic.claude-opus-4-6-v1:0", "us", "0.55"),
    ];
    for (model, geo, expected) in cases {
        let model = json!({ "model": model });
        assert_eq!(cost(&usage(geo), &model), expected, "{model} {geo}");
    }
}

#[test]
fn web_searches_cost_a_cent_each() {
    let usage = json!({ "input_tokens": 100_000, "server_tool_use": { "web_search_requests": 3 } });
    // $0.30 for the tokens.
    assert_eq!(cost(&usage, &json!({})), "0.33");
    let report = report_of(
        &[response(1, &usage, &json!({}), &json!({}))],
        ReportGrouping::Day,
    );
    assert_eq!(report.totals.web_searches, 3);
}

#[test]
fn a_refusal_without_output_is_free_and_its_tokens_count() {
    let refusal = json!({ "stop_reason": "refusal", "content": [] });
    let usage = json!({ "input_tokens": 100_000, "output_tokens": 0 });
    assert_eq!(cost(&usage, &refusal), "0");
    let report = report_of(
        &[response(1, &usage, &refusal, &json!({}))],
        ReportGrouping::Day,
    );
    assert_eq!(report.totals.input_tokens, 100_000);
    // With output, the refusal is billed: $0.30 and 1,000 tokens at $15 per million.
    let usage = json!({ "input_tokens": 100_000, "output_tokens": 1_000 });
    assert_eq!(cost(&usage, &refusal), "0.315");
}

#[test]
fn the_long_context_tier_is_decided_for_each_request_of_a_message() {
    let part = |input: u32| json!({ "type": "message", "input_tokens": input, "output_tokens": 0 });
    let usage = |parts: &[u32]| {
        let total: u32 = parts.iter().sum();
        let parts: Vec<Value> = parts.iter().map(|input| part(*input)).collect();
        json!({ "input_tokens": total, "output_tokens": 0, "iterations": parts })
    };
    // Above 200,000 tokens, a million costs $6 instead of $3.
    assert_eq!(cost(&usage(&[300_000]), &json!({})), "1.8");
    assert_eq!(cost(&usage(&[150_000, 150_000]), &json!({})), "0.9");
    assert_eq!(cost(&usage(&[250_000, 50_000]), &json!({})), "1.65");
    // A compaction is billed in addition, with its own tier.
    let mut with_compaction = usage(&[150_000]);
    let compaction = json!({ "type": "compaction", "input_tokens": 100_000, "output_tokens": 0 });
    with_compaction["iterations"]
        .as_array_mut()
        .unwrap()
        .push(compaction);
    assert_eq!(cost(&with_compaction, &json!({})), "0.75");
}

#[test]
fn an_attempt_by_another_model_costs_the_price_of_that_model() {
    // The first model declines after 1,000 tokens of output, the second one answers.
    let usage = json!({
        "input_tokens": 100_000, "output_tokens": 2_000,
        "iterations": [
            { "type": "message", "model": "claude-opus-4-8", "input_tokens": 100_000, "output_tokens": 1_000 },
            { "type": "fallback_message", "model": "claude-sonnet-4-5", "input_tokens": 100_000, "output_tokens": 2_000 },
        ],
    });
    let report = report_of(
        &[response(1, &usage, &json!({}), &json!({}))],
        ReportGrouping::Model,
    );
    let rows = report.rows.iter().map(|row| {
        let cost = row.totals.cost_usd.unwrap();
        let model = row.key.as_deref().unwrap();
        format!(
            "{model}: {} tokens, ${cost}, {} messages",
            row.totals.output_tokens, row.totals.messages
        )
    });
    let rows: Vec<String> = rows.collect();
    assert_eq!(
        rows,
        [
            // $0.50 and 1,000 tokens at $25 per million.
            "claude-opus-4-8: 1000 tokens, $0.525, 0 messages",
            // $0.30 and 2,000 tokens at $15 per million.
            "claude-sonnet-4-5: 2000 tokens, $0.33, 1 messages",
        ]
    );
}

#[test]
fn equal_views_and_reports_price_every_rule_alike() {
    let dir = usage_dir();
    let responses = [
        response(
            1,
            &json!({ "input_tokens": 9, "service_tier": "batch" }),
            &json!({}),
            &json!({}),
        ),
        response(
            2,
            &json!({ "input_tokens": 7, "inference_geo": "us" }),
            &json!({ "model": "claude-opus-5" }),
            &json!({}),
        ),
        response(
            3,
            &json!({ "input_tokens": 5, "server_tool_use": { "web_search_requests": 2 } }),
            &json!({}),
            &json!({}),
        ),
        response(
            4,
            &json!({ "input_tokens": 3, "output_tokens": 0 }),
            &json!({ "stop_reason": "refusal" }),
            &json!({}),
        ),
        response(
            5,
            &json!({ "input_tokens": 400_000, "iterations": [
            { "type": "message", "input_tokens": 250_000 }, { "type": "message", "input_tokens": 150_000 },
        ] }),
            &json!({}),
            &json!({}),
        ),
    ];
    let session = responses
        .iter()
        .fold(Transcript::new("s1").user("go"), |session, members| {
            session.entry("assistant", members.clone())
        });
    dir.write("ada/a.jsonl", session);
    let report = check(&dir, ReportGrouping::Day);
    // 9 × 1.5 + 7 × 5.5 + 5 × 3 microdollars and 2 cents + 250,000 × $6 and 150,000 × $3 per million.
    let expected = "1.970067";
    assert_eq!(report.totals.cost_usd.unwrap().to_string(), expected);
    for sql in [
        "SELECT CAST(sum(cost_usd) AS DECIMAL(18, 6)) FROM usage.priced_messages",
        "SELECT CAST(sum(cost_usd) AS DECIMAL(18, 6)) FROM usage.by_model",
    ] {
        assert_eq!(crate::database::rows(&dir, sql), [expected], "{sql}");
    }
}
