//! The reports on tools, skills and waste.

use std::time::Duration;

use serde_json::{Value, json};
use session_pipeline_harness::{DataDir, TestPipeline, Transcript};
use session_pipeline_pipeline::report::{
    self, PriceTable, ReportFilter, SkillKind, ToolGrouping, WasteGrouping,
};

use crate::guests::{usage, usage_dir};

fn processed(dir: &DataDir) -> TestPipeline {
    let pipeline = TestPipeline::open(dir, &[usage()]);
    pipeline.run("usage");
    pipeline
}

#[test]
fn percentiles_of_durations_are_within_five_percent() {
    let dir = usage_dir();
    let mut session = Transcript::new("s1").user("go");
    for number in 1..=100_u32 {
        session = session
            .assistant(|m| {
                m.tool_use(
                    &format!("toolu_{number}"),
                    "Bash",
                    json!({ "command": "make" }),
                )
            })
            .wait(Duration::from_secs(u64::from(number) - 1))
            .tool_result_of(&format!("toolu_{number}"), Ok("done"));
    }
    dir.write("ada/a.jsonl", session);
    let pipeline = processed(&dir);
    let pipeline = pipeline.pipeline();
    let prices = PriceTable::load(pipeline.config()).unwrap();
    let filter = ReportFilter::default();
    let report = report::tools(
        pipeline.store(),
        &prices,
        ToolGrouping::Tool,
        filter,
        pipeline.clock(),
    );
    let report = report.unwrap().unwrap();
    let calls = &report.rows[0].totals;
    assert_eq!(calls.calls, 100);
    // The calls took 1 to 100 seconds.
    for (percentile, exact) in [
        (calls.p50_ms.unwrap(), 50_000.0),
        (calls.p95_ms.unwrap(), 95_000.0),
    ] {
        let ratio: f64 = percentile / exact;
        assert!(
            (0.95..1.05).contains(&ratio),
            "{percentile} instead of {exact}"
        );
    }
}

#[test]
fn failures_are_reported_by_class_and_mcp_tools_by_server() {
    let dir = usage_dir();
    let session = Transcript::new("s1")
        .user("go")
        .assistant(|m| m.tool_use("toolu_1", "mcp__github__search", json!({})))
        .tool_result_of("toolu_1", Ok("found"))
        .assistant(|m| m.tool_use("toolu_2", "mcp__github__get", json!({})))
        .tool_result_of("toolu_2", Err("Exit code 1"))
        .assistant(|m| m.tool_use("toolu_3", "Bash", json!({ "command": "false" })))
        .tool_result_of("toolu_3", Err("Exit code 1\nno"));
    dir.write("ada/a.jsonl", session);
    let pipeline = processed(&dir);
    let pipeline = pipeline.pipeline();
    let prices = PriceTable::load(pipeline.config()).unwrap();
    let rows = |by| {
        let report = report::tools(
            pipeline.store(),
            &prices,
            by,
            ReportFilter::default(),
            pipeline.clock(),
        );
        let rows = report.unwrap().unwrap().rows;
        rows.into_iter()
            .map(|row| (row.key.unwrap(), row.totals.calls, row.totals.errors))
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(ToolGrouping::McpServer), [("github".to_owned(), 2, 1)]);
    assert_eq!(rows(ToolGrouping::Tool).len(), 3);
    let report = report::tools(
        pipeline.store(),
        &prices,
        ToolGrouping::Tool,
        ReportFilter::default(),
        pipeline.clock(),
    );
    let bash = report
        .unwrap()
        .unwrap()
        .rows
        .into_iter()
        .find(|row| row.key.as_deref() == Some("Bash"));
    let classes = bash.unwrap().totals.errors_by_class;
    assert_eq!(
        classes.into_iter().collect::<Vec<_>>(),
        [("exit_code".to_owned(), 1)]
    );
}

#[test]
fn skills_commands_and_agents_name_their_users() {
    let dir = usage_dir();
    for (user, id) in [("ada", "s1"), ("bob", "s2")] {
        let session = Transcript::new(id)
            .slash_command("/review")
            .assistant(|m| m.tool_use(&format!("toolu_{id}"), "Skill", json!({ "skill": "pdf" })))
            .tool_result_of(&format!("toolu_{id}"), Ok("read"))
            .assistant(|m| {
                m.tool_use(
                    &format!("toolu_agent_{id}"),
                    "Agent",
                    json!({ "subagent_type": "Explore" }),
                )
            });
        dir.write(&format!("{user}/{id}.jsonl"), session);
    }
    let pipeline = processed(&dir);
    let pipeline = pipeline.pipeline();
    let prices = PriceTable::load(pipeline.config()).unwrap();
    let report = report::skills(
        pipeline.store(),
        &prices,
        &ReportFilter::default(),
        pipeline.clock(),
    );
    let rows = report.unwrap().unwrap().rows;
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.kind, row.name.as_str(), row.uses, row.users.join(" ")))
        .collect();
    let both = || "ada bob".to_owned();
    assert_eq!(
        rows,
        [
            (SkillKind::Agent, "Explore", 2, both()),
            (SkillKind::Command, "review", 2, both()),
            (SkillKind::Skill, "pdf", 2, both()),
        ]
    );
}

/// An assistant line with this usage.
fn response(number: u32, usage: &Value) -> Value {
    json!({
        "requestId": format!("req_{number}"),
        "message": {
            "id": format!("msg_01{number:022}"), "type": "message", "role": "assistant",
            "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
            "content": [{ "type": "text", "text": "done" }], "usage": usage,
        },
    })
}

#[test]
fn waste_has_the_price_of_the_tokens_that_could_have_been_saved() {
    let dir = usage_dir();
    let session = Transcript::new("s1")
        .user("go")
        .entry("assistant", response(1, &json!({ "input_tokens": 0, "cache_creation_input_tokens": 100_000, "output_tokens": 1 })))
        // After ten minutes, the cache has expired, and everything is written again.
        .wait(Duration::from_secs(600))
        .entry("assistant", response(2, &json!({ "input_tokens": 0, "cache_creation_input_tokens": 100_000, "output_tokens": 1 })))
        .entry("assistant", response(3, &json!({ "input_tokens": 0, "cache_read_input_tokens": 160_000, "output_tokens": 1 })));
    // A fork repeats the session.
    let fork = session.clone();
    dir.write("ada/a.jsonl", session);
    dir.write("ada/b.jsonl", fork);
    let pipeline = processed(&dir);
    let pipeline = pipeline.pipeline();
    let prices = PriceTable::load(pipeline.config()).unwrap();
    let report = |by| {
        let filter = ReportFilter::default();
        let report = report::waste(pipeline.store(), &prices, by, &filter, pipeline.clock());
        report.unwrap().unwrap().rows
    };
    let rows = report(WasteGrouping::Kind);
    let shown: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "{}: {} in {} sessions, {} tokens, ${}",
                row.kind,
                row.instances,
                row.sessions,
                row.tokens,
                row.cost_usd.unwrap()
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            // A million costs $3.75 to write and $0.30 to read.
            "cache_miss: 1 in 1 sessions, 100000 tokens, $0.345",
            // 10,000 tokens above the limit, as cache reads.
            "long_context: 1 in 1 sessions, 10000 tokens, $0.003",
        ]
    );
    assert!(rows.iter().all(|row| row.advice.ends_with('.')));
    let by_user = report(WasteGrouping::User);
    assert_eq!(by_user[0].key.as_deref(), Some("ada"));
}
