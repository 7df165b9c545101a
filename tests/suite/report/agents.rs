//! Sessions of several coding agents in one report: each request counts once, at the prices of its
//! vendor, and figures that an agent did not record are named.

use session_pipeline_harness::{DataDir, TestPipeline, Transcript};
use session_pipeline_pipeline::listing::ListRange;
use session_pipeline_pipeline::listing::overview::{
    OverviewPages, SessionQuery, SessionSource, sorted,
};
use session_pipeline_pipeline::report::{
    self, PlanUse, PriceTable, ReportFilter, ReportGrouping, UnrecordedReason, UsageReport,
};

use super::{filtered, rows};
use crate::database::execute;
use crate::guests::{usage, usage_dir};

const PARENT: &str = "019d9249-e0ee-7b41-98b6-271f355b5f7f";
const CHILD: &str = "019d924b-53f5-7ff7-a8f2-fc32132fced3";
const TURN: &str = "019d924a-361e-711c-8bf6-f10a0c045e01";

fn line(second: u32, kind: &str, payload: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-04-15T17:00:{second:02}Z","type":"{kind}","payload":{{{payload}}}}}"#
    )
}

fn header(second: u32, id: &str, more: &str) -> String {
    line(
        second,
        "session_meta",
        &format!(r#""id":"{id}","cwd":"/w/shop","cli_version":"0.140.0"{more}"#),
    )
}

fn turn(second: u32) -> String {
    line(
        second,
        "turn_context",
        &format!(r#""turn_id":"{TURN}","model":"gpt-5""#),
    )
}

fn count(second: u32, total: [i64; 3], last: [i64; 3]) -> String {
    let usage = |[input, cached, output]: [i64; 3]| {
        format!(
            r#"{{"input_tokens":{input},"cached_input_tokens":{cached},"output_tokens":{output},"reasoning_output_tokens":0,"total_tokens":{}}}"#,
            input + output
        )
    };
    let payload = format!(
        r#""type":"token_count","info":{{"total_token_usage":{},"last_token_usage":{}}},"rate_limits":{{"plan_type":"plus"}}"#,
        usage(total),
        usage(last)
    );
    line(second, "event_msg", &payload)
}

fn event(second: u32, payload: &str) -> String {
    line(second, "event_msg", payload)
}

/// A thread with two requests, a prompt and an aborted turn.
pub fn thread() -> String {
    [
        header(0, PARENT, ""),
        turn(1),
        event(1, r#""type":"user_message","message":"fix it""#),
        count(2, [100, 40, 10], [100, 40, 10]),
        count(2, [100, 40, 10], [100, 40, 10]),
        count(3, [300, 40, 30], [200, 0, 20]),
        event(4, r#""type":"turn_aborted""#),
    ]
    .join("\n")
}

/// A sub-agent that repeats the first request of the thread and makes one of its own.
fn sub_agent() -> String {
    let source =
        format!(r#","source":{{"subagent":{{"thread_spawn":{{"parent_thread_id":"{PARENT}"}}}}}}"#);
    [
        header(5, CHILD, &source),
        header(5, PARENT, ""),
        turn(5),
        count(5, [100, 40, 10], [100, 40, 10]),
        count(6, [150, 40, 11], [50, 0, 1]),
    ]
    .join("\n")
}

/// A thread, its sub-agent, a backup of the thread, and a session of Claude Code.
fn mixed_dir() -> DataDir {
    let dir = usage_dir();
    dir.write("ada/codex/a.jsonl", thread());
    dir.write("ada/codex/b.jsonl", sub_agent());
    dir.write("ada/backup/a.jsonl", thread());
    let claude = Transcript::new("s1").user("go").assistant(|message| {
        message
            .id("msg_01abcdefghijklmnopqrst")
            .request("req_1")
            .tokens(7, 3)
    });
    dir.write("ada/claude/s1.jsonl", claude);
    dir
}

fn processed(dir: &DataDir) -> TestPipeline {
    let pipeline = TestPipeline::open(dir, &[usage()]);
    pipeline.run("usage");
    pipeline
}

fn of_agent(pipeline: &TestPipeline, by: ReportGrouping, agent: &str) -> UsageReport {
    let filter = ReportFilter {
        agent: Some(agent.to_owned()),
        ..ReportFilter::default()
    };
    filtered(pipeline, by, filter)
}

#[test]
fn each_request_of_each_agent_counts_once() {
    let dir = mixed_dir();
    let pipeline = processed(&dir);
    let report = filtered(&pipeline, ReportGrouping::Agent, ReportFilter::default());
    assert_eq!(
        rows(&report),
        [
            "claude: 7 in, 3 out, 1 messages, 1 sessions",
            "codex: 310 in, 31 out, 3 messages, 1 sessions",
            "total: 317 in, 34 out, 4 messages, 2 sessions",
        ]
    );
    let codex = of_agent(&pipeline, ReportGrouping::Model, "codex");
    assert_eq!(
        rows(&codex),
        [
            "gpt-5: 310 in, 31 out, 3 messages, 1 sessions",
            "total: 310 in, 31 out, 3 messages, 1 sessions",
        ]
    );
    // 310 × $1.25, 40 × $0.125 and 31 × $10 per million tokens.
    let cost = codex.totals.cost_usd.map(|cost| cost.pico_dollars);
    assert_eq!(cost, Some(702_500_000));
    // The backup repeats the prompt.
    assert_eq!(codex.prompts, Some(1));
}

#[test]
fn a_report_names_plans_and_what_agents_did_not_record() {
    let dir = mixed_dir();
    let pipeline = processed(&dir);
    let report = filtered(&pipeline, ReportGrouping::Agent, ReportFilter::default());
    // The backup of the thread is the same session.
    assert_eq!(report.totals.unrecorded_requests, 1);
    let by_agent: Vec<_> = report
        .rows
        .iter()
        .map(|row| {
            (
                row.key.as_deref().unwrap_or("-"),
                row.totals.unrecorded_requests,
                row.totals.cost_is_lower_bound,
            )
        })
        .collect();
    assert_eq!(by_agent, [("claude", 0, false), ("codex", 1, true)]);
    let plan = |sessions| PlanUse {
        agent: "codex".to_owned(),
        plan: "plus".to_owned(),
        sessions,
    };
    assert_eq!(report.plans, [plan(1)]);
    let claude = of_agent(&pipeline, ReportGrouping::Agent, "claude");
    assert_eq!(
        (claude.plans, claude.totals.unrecorded_requests),
        (vec![], 0)
    );
    let prices = PriceTable::load(pipeline.pipeline().config()).unwrap();
    let (store, clock) = (pipeline.pipeline().store(), pipeline.pipeline().clock());
    let quality = report::quality(store, &prices, ReportFilter::default(), clock)
        .unwrap()
        .unwrap();
    assert_eq!(
        quality.unrecorded_requests,
        [UnrecordedReason {
            agent: "codex".to_owned(),
            reason: "aborted_turn".to_owned(),
            requests: 2,
            files: 2,
        }]
    );
    let agents: Vec<_> = quality.versions.iter().map(|row| &row.agent).collect();
    assert_eq!(agents, ["claude", "codex"]);
}

/// A line of pi, of which each can have another provider.
pub fn pi(second: u32, provider: &str, tokens: [u32; 2]) -> String {
    let [input, output] = tokens;
    format!(
        r#"{{"type":"message","id":"e{second}","timestamp":"2026-05-01T09:00:{second:02}Z","message":{{"role":"assistant","content":[],"provider":"{provider}","model":"gpt-5","usage":{{"input":{input},"output":{output},"cacheRead":0,"cacheWrite":0}},"stopReason":"stop","timestamp":{}}}}}"#,
        1_777_626_000_000 + u64::from(second) * 1000
    )
}

#[test]
fn requests_are_grouped_and_selected_by_provider() {
    let dir = mixed_dir();
    let header = r#"{"type":"session","version":3,"id":"pi-1","timestamp":"2026-05-01T09:00:00Z","cwd":"/w/shop"}"#;
    let lines = [
        header.to_owned(),
        pi(1, "openai", [5, 1]),
        pi(2, "a reseller", [11, 2]),
        pi(3, "openai", [6, 1]),
    ];
    dir.write("ada/pi/one.jsonl", lines.join("\n"));
    let thread = thread().replace(
        r#""cwd":"/w/shop""#,
        r#""model_provider":"openai","cwd":"/w/shop""#,
    );
    dir.write("ada/codex/a.jsonl", &thread);
    dir.write("ada/backup/a.jsonl", &thread);
    let pipeline = processed(&dir);
    let by_provider = filtered(&pipeline, ReportGrouping::Provider, ReportFilter::default());
    assert_eq!(
        rows(&by_provider),
        [
            "a reseller: 11 in, 2 out, 1 messages, 1 sessions",
            "openai: 271 in, 32 out, 4 messages, 2 sessions",
            "-: 57 in, 4 out, 2 messages, 2 sessions",
            "total: 339 in, 38 out, 7 messages, 3 sessions",
        ]
    );
    let of = |provider: &str, by| {
        let filter = ReportFilter {
            provider: Some(provider.to_owned()),
            ..ReportFilter::default()
        };
        filtered(&pipeline, by, filter)
    };
    let openai = of("openai", ReportGrouping::Agent);
    assert_eq!(
        rows(&openai),
        [
            "codex: 260 in, 30 out, 2 messages, 1 sessions",
            "pi: 11 in, 2 out, 2 messages, 1 sessions",
            "total: 271 in, 32 out, 4 messages, 2 sessions",
        ]
    );
    // Neither a prompt nor a plan nor an aborted turn has a provider.
    assert_eq!(
        (
            openai.prompts,
            openai.plans,
            openai.totals.unrecorded_requests
        ),
        (None, vec![], 0)
    );
    let none = of("' OR true --", ReportGrouping::Session);
    assert_eq!(rows(&none), ["total: 0 in, 0 out, 0 messages, 0 sessions"]);
}

/// Rows of earlier versions of `usage` have no agent. All of them were read as sessions of Claude.
#[test]
fn rows_without_an_agent_belong_to_claude() {
    let dir = mixed_dir();
    drop(processed(&dir));
    execute(
        &dir,
        "UPDATE usage.messages SET agent = NULL, request_count = NULL;
         UPDATE usage.events SET agent = NULL; UPDATE usage.sessions SET agent = NULL",
    );
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    let report = filtered(&pipeline, ReportGrouping::Agent, ReportFilter::default());
    assert_eq!(
        rows(&report),
        [
            "claude: 317 in, 34 out, 4 messages, 2 sessions",
            "total: 317 in, 34 out, 4 messages, 2 sessions",
        ]
    );
}

/// A row with the tokens of several requests is not a message, and has no context of its own that
/// could be long.
#[test]
fn a_sum_of_requests_is_no_message_and_has_no_long_context() {
    let dir = usage_dir();
    let file = [
        header(0, PARENT, ""),
        line(
            1,
            "turn_context",
            &format!(r#""turn_id":"{TURN}","model":"gpt-5.6-terra""#),
        ),
        count(2, [400_000, 0, 0], [400_000, 0, 0]),
    ];
    dir.write("ada/a.jsonl", file.join("\n"));
    drop(processed(&dir));
    let cost_and_messages = |request_count: u32| {
        execute(
            &dir,
            &format!(
                "UPDATE usage.messages SET request_count = {request_count}, occurred_at = TIMESTAMP '2026-08-15'"
            ),
        );
        let pipeline = TestPipeline::open(&dir, &[usage()]);
        let prices = PriceTable::load(pipeline.pipeline().config()).unwrap();
        report::usage(
            pipeline.pipeline().store(),
            &prices,
            ReportGrouping::Model,
            ReportFilter::default(),
            pipeline.pipeline().clock(),
        )
        .unwrap()
        .unwrap();
        drop(pipeline);
        let sql = "SELECT CAST(cost_usd AS VARCHAR), messages FROM usage.by_model";
        crate::database::rows(&dir, sql)
    };
    // 400,000 × $2 or, above 272,000 tokens, $4 per million tokens.
    assert_eq!(cost_and_messages(1), ["1.600000000000 | 1"]);
    assert_eq!(cost_and_messages(0), ["0.800000000000 | 0"]);
}

#[test]
fn the_list_of_sessions_has_the_agent_and_no_second_cost_for_a_sub_agent() {
    let dir = mixed_dir();
    dir.write(
        "ada/codex/history.jsonl",
        r#"{"session_id":"a","ts":1,"text":"fix it"}"#,
    );
    let pipeline = processed(&dir);
    let prices = PriceTable::load(pipeline.pipeline().config()).unwrap();
    let source = SessionSource {
        config: pipeline.pipeline().config(),
        registry: pipeline.pipeline().registry(),
        store: Some(pipeline.pipeline().store()),
        prices: Some(&prices),
        clock: pipeline.pipeline().clock(),
    };
    let query = SessionQuery::default();
    let mut pages = OverviewPages::open(source, &query.filter, ListRange::default()).unwrap();
    let sessions = sorted(&mut pages, &query, None, None)
        .unwrap()
        .into_values();
    let mut shown: Vec<_> = sessions
        .map(|session| {
            let summary = session.summary.as_deref().unwrap();
            format!(
                "{}: {} {} {}",
                session.listed.key,
                summary.agent.as_deref().unwrap_or("-"),
                session.is_subagent(),
                summary.figures.is_some()
            )
        })
        .collect();
    shown.sort();
    assert_eq!(
        shown,
        [
            "ada/backup/a.jsonl: codex false true",
            "ada/claude/s1.jsonl: claude false true",
            "ada/codex/a.jsonl: codex false true",
            "ada/codex/b.jsonl: codex true false",
            "ada/codex/history.jsonl: unknown false true",
        ]
    );
}
