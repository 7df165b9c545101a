//! Data quality: why figures are lower bounds, what is in no figure, and the difference to the
//! agent's own totals.

use serde_json::json;
use session_pipeline_harness::{DataDir, TestPipeline, Transcript};
use session_pipeline_pipeline::report::{self, PriceTable, QualityReport, ReportFilter};

use crate::guests::{usage, usage_dir};

fn quality(dir: &DataDir) -> QualityReport {
    let pipeline = TestPipeline::open(dir, &[usage()]);
    pipeline.run("usage");
    let pipeline = pipeline.pipeline();
    let prices = PriceTable::load(pipeline.config()).unwrap();
    let report = report::quality(
        pipeline.store(),
        &prices,
        ReportFilter::default(),
        pipeline.clock(),
    );
    report.unwrap().unwrap()
}

fn response(number: u32, model: &str, stop: Option<&str>) -> serde_json::Value {
    json!({
        "requestId": format!("req_{number}"),
        "message": {
            "id": format!("msg_01{number:022}"), "type": "message", "role": "assistant",
            "model": model, "stop_reason": stop, "content": [{ "type": "text", "text": "done" }],
            "usage": { "input_tokens": 1000, "output_tokens": 10 },
        },
    })
}

#[test]
fn what_is_missing_is_counted_where_it_is_missing() {
    let dir = usage_dir();
    let version = |version: &str| json!({ "version": version });
    let entry = |response: serde_json::Value, own: serde_json::Value| {
        let mut entry = response;
        entry
            .as_object_mut()
            .unwrap()
            .extend(own.as_object().unwrap().clone());
        entry
    };
    let old = Transcript::new("s1")
        .entry(
            "assistant",
            entry(response(1, "claude-sonnet-4-5", None), version("2.1.9")),
        )
        .entry(
            "assistant",
            entry(
                response(2, "claude-sonnet-4-5", Some("end_turn")),
                version("2.1.9"),
            ),
        )
        .raw_line("{\"type\":\"user\"");
    let new = Transcript::new("s2")
        .entry(
            "assistant",
            entry(response(3, "nimbus-1", Some("end_turn")), version("2.1.10")),
        )
        .entry("never-heard-of", version("2.1.10"));
    dir.write("ada/s1.jsonl", old);
    dir.write("ada/s2.jsonl", new);
    let report = quality(&dir);
    let versions: Vec<_> = report
        .versions
        .iter()
        .map(|row| {
            (
                row.agent_version.as_deref().unwrap_or("-"),
                row.messages,
                row.open_messages,
                row.unpriced_messages,
            )
        })
        .collect();
    // 2.1.10 is later than 2.1.9.
    assert_eq!(versions, [("2.1.10", 1, 0, 1), ("2.1.9", 2, 1, 0)]);
    let models: Vec<_> = report
        .unpriced_models
        .iter()
        .map(|row| {
            (
                row.model.as_deref().unwrap_or("-"),
                row.messages,
                row.tokens,
                row.sessions,
            )
        })
        .collect();
    assert_eq!(models, [("nimbus-1", 1, 1010, 1)]);
    let kinds: Vec<_> = report
        .unknown_kinds
        .iter()
        .map(|kind| (kind.kind.as_str(), kind.lines))
        .collect();
    assert_eq!(kinds, [("never-heard-of", 1)]);
    assert_eq!(
        (
            report.lines.files,
            report.lines.lines,
            report.lines.unknown_lines
        ),
        (2, 5, 1)
    );
    // A line without an end at the end of a file is incomplete, and not bad.
    assert_eq!((report.lines.bad_lines + report.lines.incomplete_files), 1);
}

#[test]
fn sessions_are_compared_with_the_totals_of_the_agent() {
    let dir = usage_dir();
    let state = |cost: f64| {
        json!({
            "totalCostUSD": cost, "totalLinesAdded": 0, "totalLinesRemoved": 0,
            "modelUsage": { "claude-sonnet-4-5": {
                "inputTokens": 1000, "outputTokens": 10, "cacheReadInputTokens": 0,
                "cacheCreationInputTokens": 0, "webSearchRequests": 0, "costUSD": cost,
            } },
        })
    };
    // 1,000 input tokens at $3 and 10 output tokens at $15 per million: $0.00315.
    for (number, cost) in [(1, 0.00315), (2, 0.00415), (3, 0.0)] {
        let session = Transcript::new(&format!("s{number}")).entry(
            "assistant",
            response(number, "claude-sonnet-4-5", Some("end_turn")),
        );
        let session = match number {
            3 => session,
            _ => session.entry("cost-state", state(cost)),
        };
        dir.write(&format!("ada/s{number}.jsonl"), session);
    }
    let report = quality(&dir);
    assert_eq!(report.sessions_with_agent_totals, 2);
    let drift: Vec<_> = report
        .drift
        .iter()
        .map(|row| {
            (
                row.session.as_deref().unwrap_or("-"),
                row.cost_usd.map(|cost| cost.to_string()),
                row.agent_cost_usd.to_string(),
            )
        })
        .collect();
    assert_eq!(
        drift,
        [(
            "ada/s2.jsonl",
            Some("0.00315".to_owned()),
            "0.00415".to_owned()
        )]
    );
}
