//! Causes of usage: groupings, time zones, filters, and what reports leave out.

use serde_json::{Value, json};
use session_pipeline_harness::{DataDir, TestPipeline, Transcript};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::report::{
    DayRange, ReportFilter, ReportGrouping, UsageGrouping, UsageReport,
};

use super::{filtered, split};
use crate::guests::{usage, usage_dir};

fn processed(dir: &DataDir) -> TestPipeline {
    let pipeline = TestPipeline::open(dir, &[usage()]);
    pipeline.run("usage");
    pipeline
}

/// The rows as `key: input tokens`, separated by commas.
fn rows(report: &UsageReport) -> String {
    let rows = report.rows.iter().map(|row| {
        let key = row.key.as_deref().unwrap_or("-");
        format!("{key}: {}", row.totals.input_tokens)
    });
    rows.collect::<Vec<_>>().join(", ")
}

fn by(pipeline: &TestPipeline, by: ReportGrouping) -> String {
    rows(&filtered(pipeline, by, ReportFilter::default()))
}

/// An assistant line. `line` extends it.
fn response(number: u32, input: u32, line: &Value) -> Value {
    let mut members = json!({
        "requestId": format!("req_{number}"),
        "message": {
            "id": format!("msg_01{number:022}"), "type": "message", "role": "assistant",
            "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
            "content": [{ "type": "text", "text": "done" }],
            "usage": { "input_tokens": input, "output_tokens": 1 },
        },
    });
    for (name, value) in line.as_object().unwrap() {
        members[name] = value.clone();
    }
    members
}

#[test]
fn a_message_counts_for_each_of_its_causes() {
    let dir = usage_dir();
    let session = Transcript::new("s1")
        .git_branch("main")
        .user("go")
        .entry(
            "assistant",
            response(1, 1, &json!({ "effort": "high", "entrypoint": "cli" })),
        )
        .git_branch("fix")
        .entry(
            "assistant",
            response(
                2,
                2,
                &json!({ "attributionSkill": "pdf", "attributionPlugin": "office" }),
            ),
        )
        .entry(
            "assistant",
            response(3, 4, &json!({ "attributionMcpServer": "github" })),
        );
    dir.write("ada/a.jsonl", session);
    let pipeline = processed(&dir);
    assert_eq!(by(&pipeline, ReportGrouping::Branch), "fix: 6, main: 1");
    assert_eq!(by(&pipeline, ReportGrouping::Skill), "pdf: 2, -: 5");
    assert_eq!(by(&pipeline, ReportGrouping::Plugin), "office: 2, -: 5");
    assert_eq!(by(&pipeline, ReportGrouping::McpServer), "github: 4, -: 3");
    assert_eq!(by(&pipeline, ReportGrouping::Effort), "high: 1, -: 6");
    assert_eq!(by(&pipeline, ReportGrouping::Source), "main: 7");
}

#[test]
fn days_weeks_and_hours_follow_the_time_zone() {
    let dir = usage_dir();
    // A Sunday evening in UTC is Monday morning in India.
    let evening: UtcMicros = "2026-01-04T23:40:00Z".parse().unwrap();
    let session = Transcript::new("s1")
        .at(evening)
        .entry("assistant", response(1, 1, &json!({})));
    dir.write("ada/a.jsonl", session);
    let pipeline = processed(&dir);
    let in_zone = |grouping, zone: &str| {
        let filter = ReportFilter::default().in_zone(zone).unwrap();
        rows(&filtered(&pipeline, grouping, filter))
    };
    assert_eq!(in_zone(ReportGrouping::Day, "UTC"), "2026-01-04: 1");
    assert_eq!(
        in_zone(ReportGrouping::Day, "Asia/Kolkata"),
        "2026-01-05: 1"
    );
    assert_eq!(
        in_zone(ReportGrouping::Day, "America/New_York"),
        "2026-01-04: 1"
    );
    assert_eq!(in_zone(ReportGrouping::Week, "UTC"), "2025-12-29: 1");
    assert_eq!(
        in_zone(ReportGrouping::Week, "Asia/Kolkata"),
        "2026-01-05: 1"
    );
    assert_eq!(in_zone(ReportGrouping::Hour, "UTC"), "Sun 23:00: 1");
    assert_eq!(
        in_zone(ReportGrouping::Hour, "Asia/Kolkata"),
        "Mon 05:00: 1"
    );
    let day = Some("2026-01-05".parse().unwrap());
    let only = |zone: &str| {
        let days = DayRange {
            since: day,
            until: day,
        };
        let filter = ReportFilter::from(days).in_zone(zone).unwrap();
        filtered(&pipeline, ReportGrouping::Day, filter)
            .totals
            .messages
    };
    assert_eq!((only("UTC"), only("Asia/Kolkata")), (0, 1));
    assert!(ReportFilter::default().in_zone("Mars/Olympus").is_none());
}

#[test]
fn filters_select_messages_and_a_limit_keeps_the_most_expensive_rows() {
    let dir = usage_dir();
    for (user, project, number) in [
        ("ada", "/src/app", 1),
        ("ada", "/src/web", 2),
        ("bob", "/src/app", 4),
    ] {
        let session = Transcript::new(&format!("s{number}"))
            .cwd(project)
            .entry("assistant", response(number, number, &json!({})));
        dir.write(&format!("{user}/{number}.jsonl"), session);
    }
    let pipeline = processed(&dir);
    let totals = |filter: ReportFilter| {
        filtered(&pipeline, ReportGrouping::Day, filter)
            .totals
            .input_tokens
    };
    let all = ReportFilter::default();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        totals(ReportFilter {
            user: text("ada"),
            ..all.clone()
        }),
        3
    );
    assert_eq!(
        totals(ReportFilter {
            project: text("app"),
            ..all.clone()
        }),
        5
    );
    assert_eq!(
        totals(ReportFilter {
            project: text("/src/web"),
            ..all.clone()
        }),
        2
    );
    assert_eq!(
        totals(ReportFilter {
            model: text("claude-sonnet-4-5"),
            ..all.clone()
        }),
        7
    );
    assert_eq!(
        totals(ReportFilter {
            model: text("claude-opus-5"),
            ..all.clone()
        }),
        0
    );
    assert_eq!(
        totals(ReportFilter {
            user: text("ada"),
            project: text("app"),
            ..all.clone()
        }),
        1
    );
    let top = filtered(
        &pipeline,
        ReportGrouping::Session,
        ReportFilter {
            top: Some(2),
            ..all
        },
    );
    assert_eq!(rows(&top), "s4: 4, s2: 2");
    assert_eq!((top.omitted_rows, top.totals.input_tokens), (1, 7));
}

#[test]
fn limited_rows_are_ordered_by_the_amount_and_not_by_its_text() {
    let dir = usage_dir();
    for (number, input) in [(1, 1_500_000), (2, 3_400_000), (3, 17_000_000)] {
        let session = Transcript::new(&format!("s{number}"))
            .entry("assistant", response(number, input, &json!({})));
        dir.write(&format!("ada/s{number}.jsonl"), session);
    }
    let pipeline = processed(&dir);
    let filter = ReportFilter {
        top: Some(2),
        ..ReportFilter::default()
    };
    let report = filtered(&pipeline, ReportGrouping::Session, filter);
    // $9, $20.40 and $102.
    assert_eq!(rows(&report), "s3: 17000000, s2: 3400000");
}

#[test]
fn two_groupings_add_up_to_the_first_one() {
    let dir = usage_dir();
    let session = Transcript::new("s1")
        .git_branch("main")
        .entry("assistant", response(1, 1, &json!({ "effort": "high" })))
        .entry("assistant", response(2, 2, &json!({ "effort": "low" })))
        .git_branch("fix")
        .entry("assistant", response(3, 4, &json!({ "effort": "high" })));
    dir.write("ada/s1.jsonl", session);
    let pipeline = processed(&dir);
    let grouping = UsageGrouping {
        by: ReportGrouping::Branch,
        split: Some(ReportGrouping::Effort),
    };
    let report = split(&pipeline, grouping);
    let found: Vec<String> = report
        .rows
        .iter()
        .map(|row| {
            let key = |key: &Option<String>| key.clone().unwrap_or_default();
            format!(
                "{}/{}: {}",
                key(&row.key),
                key(&row.split),
                row.totals.input_tokens
            )
        })
        .collect();
    assert_eq!(found, ["fix/high: 4", "main/high: 1", "main/low: 2"]);
    assert_eq!(report.totals.input_tokens, 7);
}

#[test]
fn a_run_of_a_sub_agent_without_a_transcript_is_a_lower_bound() {
    let dir = usage_dir();
    let call = json!({ "message": {
        "id": "msg_01CALL000000000000000000", "type": "message", "role": "assistant",
        "model": "claude-sonnet-4-5", "stop_reason": "tool_use",
        "content": [{ "type": "tool_use", "id": "toolu_01AGENT", "name": "Agent",
            "input": { "subagent_type": "Explore", "prompt": "look" } }],
        "usage": { "input_tokens": 1, "output_tokens": 1 },
    } });
    let result = json!({
        "message": { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_01AGENT",
            "content": "found" }] },
        "toolUseResult": { "agentId": "a1b2", "status": "completed", "totalTokens": 5_000, "totalDurationMs": 9_000,
            "totalToolUseCount": 3, "usage": { "input_tokens": 4_000, "output_tokens": 1_000 } },
    });
    let session = Transcript::new("s1")
        .user("go")
        .entry("assistant", call)
        .entry("user", result);
    dir.write("ada/a.jsonl", session);
    let pipeline = processed(&dir);
    let report = filtered(&pipeline, ReportGrouping::Session, ReportFilter::default());
    let totals = &report.totals;
    assert_eq!(
        (totals.unrecorded_runs, totals.unrecorded_tokens),
        (1, 5_000)
    );
    assert!(totals.cost_is_lower_bound && totals.output_is_lower_bound);
    assert_eq!(report.rows[0].totals.unrecorded_tokens, 5_000);
    assert_eq!(totals.input_tokens, 1, "its tokens are in no other figure");
    // The transcript of the agent arrives.
    let agent = Transcript::new("s1")
        .sidechain("a1b2")
        .entry("assistant", response(7, 4_000, &json!({})));
    dir.write("ada/s1/subagents/agent-a1b2.jsonl", agent);
    pipeline.run("usage");
    let report = filtered(
        &pipeline,
        ReportGrouping::AgentType,
        ReportFilter::default(),
    );
    assert_eq!(report.totals.unrecorded_runs, 0);
    assert!(!report.totals.cost_is_lower_bound);
    assert_eq!(
        rows(&report),
        "(main): 1, Explore: 4000",
        "its type comes from the call that started it"
    );
}

#[test]
fn a_run_without_figures_or_hidden_by_another_user_is_a_lower_bound_too() {
    let dir = usage_dir();
    let launch = json!({
        "message": { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_01AGENT",
            "content": "started" }] },
        "toolUseResult": { "agentId": "a1b2", "status": "async_launched" },
    });
    let session = Transcript::new("s1")
        .assistant(|m| {
            m.tool_use(
                "toolu_01AGENT",
                "Agent",
                json!({ "subagent_type": "Explore" }),
            )
        })
        .entry("user", launch);
    dir.write("ada/a.jsonl", session);
    let other = Transcript::new("s9")
        .sidechain("a1b2")
        .entry("assistant", response(7, 1, &json!({})));
    dir.write("bob/agent-a1b2.jsonl", other);
    let pipeline = processed(&dir);
    let report = filtered(&pipeline, ReportGrouping::User, ReportFilter::default());
    assert_eq!(
        (
            report.totals.unrecorded_runs,
            report.totals.unrecorded_tokens
        ),
        (1, 0)
    );
    assert!(
        report.rows[0].totals.cost_is_lower_bound && !report.rows[1].totals.cost_is_lower_bound
    );
}

#[test]
fn messages_of_a_sub_agent_belong_to_the_pull_request_of_the_session() {
    let dir = usage_dir();
    let link =
        json!({ "prNumber": 7, "prRepository": "team/app", "prUrl": "https://example.org/7" });
    let session = Transcript::new("s1")
        .entry("assistant", response(1, 100, &json!({})))
        .entry("pr-link", link);
    dir.write("ada/s1.jsonl", session);
    let agent = Transcript::new("s1")
        .sidechain("a1")
        .entry("assistant", response(2, 777, &json!({})));
    dir.write("ada/s1/subagents/agent-a1.jsonl", agent);
    let other = Transcript::new("s2").entry("assistant", response(3, 5, &json!({})));
    dir.write("ada/s2.jsonl", other);
    let pipeline = processed(&dir);
    assert_eq!(
        by(&pipeline, ReportGrouping::PullRequest),
        "team/app#7: 877, -: 5"
    );
}

#[test]
fn a_very_long_value_costs_only_itself() {
    let dir = usage_dir();
    let session = Transcript::new("s1")
        .git_branch(&"x".repeat(1_200_000))
        .entry("assistant", response(1, 9, &json!({})));
    dir.write("ada/a.jsonl", session);
    let pipeline = processed(&dir);
    let report = filtered(&pipeline, ReportGrouping::Branch, ReportFilter::default());
    assert_eq!(report.totals.input_tokens, 9);
    assert!(report.rows[0].key.as_ref().unwrap().len() < 20_000);
}

#[test]
fn the_agents_own_totals_are_in_the_report_by_session() {
    let dir = usage_dir();
    let state = |cost: f64, output: u64| {
        json!({ "totalCostUSD": cost, "totalLinesAdded": 1, "totalLinesRemoved": 0,
            "modelUsage": { "claude-sonnet-4-5": { "inputTokens": 1, "outputTokens": output, "costUSD": cost } },
            "hasUnknownModelCost": false })
    };
    let session = Transcript::new("s1")
        .entry("assistant", response(1, 100_000, &json!({})))
        .entry("cost-state", state(0.1, 5))
        .entry("cost-state", state(0.5, 20));
    dir.write("ada/a.jsonl", session);
    dir.write(
        "ada/b.jsonl",
        Transcript::new("s2").entry("assistant", response(2, 1, &json!({}))),
    );
    let pipeline = processed(&dir);
    let report = filtered(&pipeline, ReportGrouping::Session, ReportFilter::default());
    let figures: Vec<_> = report
        .rows
        .iter()
        .map(|row| {
            (
                row.totals.agent_cost_usd.map(|cost| cost.to_string()),
                row.totals.agent_output_tokens,
            )
        })
        .collect();
    assert_eq!(figures, [(Some("0.5".to_owned()), Some(20)), (None, None)]);
}

#[test]
fn figures_of_an_earlier_version_stay_if_the_file_is_gone() {
    let dir = usage_dir();
    for number in [1, 2] {
        let session = Transcript::new(&format!("s{number}"));
        let session = session.entry("assistant", response(number, number, &json!({})));
        dir.write(&format!("ada/{number}.jsonl"), session);
    }
    drop(processed(&dir));
    crate::database::execute(
        &dir,
        "UPDATE usage.sessions SET processor_version = 1 WHERE session_id = 's1'",
    );
    dir.delete("ada/1.jsonl");
    let pipeline = processed(&dir);
    let report = filtered(&pipeline, ReportGrouping::Day, ReportFilter::default());
    assert_eq!(
        (report.outdated_sessions, report.totals.input_tokens),
        (1, 3)
    );
}

#[test]
fn unknown_types_of_lines_are_named() {
    let dir = usage_dir();
    let session = Transcript::new("s1")
        .version("2.9.9")
        .user("hello")
        .entry("quantum-state", json!({}))
        .entry("quantum-state", json!({}));
    dir.write("ada/a.jsonl", session);
    let pipeline = processed(&dir);
    let report = filtered(&pipeline, ReportGrouping::Day, ReportFilter::default());
    let kinds = report.unknown_kinds.iter();
    let kinds: Vec<_> = kinds
        .map(|kind| (kind.kind.as_str(), kind.sessions, kind.lines))
        .collect();
    assert_eq!(kinds, [("quantum-state", 1, 2)]);
    assert_eq!(
        report.unknown_kinds[0].agent_version.as_deref(),
        Some("2.9.9")
    );
}
