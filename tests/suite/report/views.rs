//! The views that anybody can ask, calls of tools, and the days of a report.

use std::time::Duration;

use session_pipeline_harness::session::MONDAY_MORNING;
use session_pipeline_harness::{DataDir, TestPipeline, Transcript};
use session_pipeline_pipeline::report::{self, DayRange, PriceTable, ReportGrouping};

use super::{check, evening, reported, rows, tools_reported};
use crate::database;
use crate::guests::{usage, usage_dir};

/// A data dir in which `usage` ran, with nobody at its database.
fn processed(files: &[(&str, Transcript)]) -> DataDir {
    let dir = usage_dir();
    for (key, session) in files {
        dir.write(key, session);
    }
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    assert_eq!(pipeline.run("usage").stats.errors, 0);
    drop(pipeline);
    dir
}

fn message(session: Transcript, id: &str) -> Transcript {
    let id = format!("msg_{id:0>24}");
    session.assistant(|m| m.id(&id).request(&id).tokens(1_000, 0))
}

#[test]
fn every_view_adds_up_to_the_same() {
    let first = message(message(Transcript::new("s1"), "m1"), "m2");
    let fork = message(message(Transcript::new("s2").at(evening(1)), "m2"), "m3");
    let dir = processed(&[("ada/a.jsonl", first), ("bob/b.jsonl", fork)]);
    for view in [
        "daily",
        "monthly",
        "by_session",
        "by_user",
        "by_model",
        "by_agent",
        "by_provider",
        "by_project",
        "by_project_name",
    ] {
        let sql =
            format!("SELECT sum(input_tokens), sum(cost_usd), sum(messages) FROM usage.{view}");
        assert_eq!(
            database::cell(&dir, &sql),
            "3000 | 0.015000000000 | 3",
            "{view}"
        );
    }
}

#[test]
fn a_session_is_told_with_what_is_new_in_it_and_with_what_it_holds() {
    let first = message(message(Transcript::new("s1"), "m1"), "m2");
    let fork = message(message(Transcript::new("s2").at(evening(1)), "m2"), "m3");
    let copy = message(Transcript::new("s3").at(evening(2)), "m1");
    let dir = processed(&[
        ("ada/a.jsonl", first),
        ("ada/b.jsonl", fork),
        ("ada/c.jsonl", copy),
    ]);
    let sql = "SELECT session_id, username, messages, held_messages, files, input_tokens, cost_usd FROM usage.by_session ORDER BY ALL";
    insta::assert_snapshot!(database::rows(&dir, sql).join("\n"), @"
    s1 | ada | 2 | 2 | 1 | 2000 | 0.010000000000
    s2 | ada | 1 | 2 | 1 | 1000 | 0.005000000000
    s3 | ada | 0 | 1 | 1 | 0 | 0.000000000000
    ");
}

#[test]
fn work_trees_belong_to_their_repository_where_their_path_tells() {
    let dir = usage_dir();
    let folders = [
        "/home/dev/app",
        "/home/dev/app/",
        "/home/dev/app/.claude/worktrees/one",
        "/home/dev/app/.worktrees/two/src",
        "/home/dev/app.worktrees/three",
        "/home/dev/app-worktrees/four",
        "/home/dev/app/src",
        "/home/dev/worktrees/app",
        "C:\\dev\\app\\.claude\\worktrees\\five",
        "/",
    ];
    for (number, folder) in folders.into_iter().enumerate() {
        let session = Transcript::new(&format!("s{number}")).cwd(folder);
        dir.write(&format!("ada/{number}.jsonl"), session.assistant(|m| m));
    }
    let report = check(&dir, ReportGrouping::Project);
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|row| format!("{} {}", row.key.as_deref().unwrap(), row.totals.messages))
        .collect();
    assert_eq!(
        rows,
        [
            "/ 1",
            "/home/dev/app 6",
            "/home/dev/app/src 1",
            "/home/dev/worktrees/app 1",
            "C:\\dev\\app 1",
        ]
    );
}

#[test]
fn a_call_that_stands_in_two_files_is_one_and_failed_if_either_says_so() {
    let dir = usage_dir();
    let parent = Transcript::new("s1")
        .assistant(|m| {
            m.tool_use(
                "toolu_000000000000000000000001",
                "Task",
                serde_json::json!({ "subagent_type": "Explore" }),
            )
        })
        .progress(|m| {
            m.tool_use(
                "toolu_000000000000000000000002",
                "Bash",
                serde_json::json!({}),
            )
        });
    let agent = Transcript::new("s1")
        .at(evening(0))
        .sidechain("a1")
        .assistant(|m| {
            m.tool_use(
                "toolu_000000000000000000000002",
                "Bash",
                serde_json::json!({}),
            )
        })
        .tool_result_of("toolu_000000000000000000000002", Err("Exit code 1"))
        .assistant(|m| {
            m.tool_use(
                "toolu_000000000000000000000003",
                "Read",
                serde_json::json!({}),
            )
        })
        .tool_result_of("toolu_000000000000000000000003", Ok("text"));
    dir.write("ada/s1.jsonl", parent);
    dir.write("ada/s1/subagents/agent-a1.jsonl", agent.clone());
    dir.write("bob/copy.jsonl", agent);
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    let report = tools_reported(&pipeline);
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|row| {
            let calls = &row.totals;
            format!(
                "{} {} {} {} {}",
                row.key.as_deref().unwrap(),
                calls.calls,
                calls.errors,
                calls.exit_codes,
                calls.sessions
            )
        })
        .collect();
    assert_eq!(rows, ["Bash 1 1 1 1", "Read 1 0 0 1", "Task 1 0 0 1"]);
    assert_eq!(
        report.totals,
        reported(&pipeline, ReportGrouping::Day).totals
    );
}

#[test]
fn days_choose_messages_by_their_first_appearance_and_the_totals_are_theirs() {
    let dir = usage_dir();
    let untold = serde_json::json!({ "message": { "id": "m", "usage": { "input_tokens": 7 } } });
    for day in 0..4 {
        let session = message(
            Transcript::new(&format!("s{day}")).at(evening(day)),
            &format!("m{day}"),
        );
        dir.write(&format!("ada/{day}.jsonl"), session);
    }
    // A copy of Monday's on Thursday is Monday's.
    dir.write(
        "ada/copy.jsonl",
        message(Transcript::new("s9").at(evening(3)), "m0"),
    );
    dir.write("ada/untold.jsonl", format!("{untold}\n"));
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    let prices = PriceTable::load(pipeline.pipeline().config()).unwrap();
    let told = |since: Option<&str>, until: Option<&str>| {
        let day = |text: &str| text.parse().unwrap();
        let days = DayRange {
            since: since.map(day),
            until: until.map(day),
        };
        let store = pipeline.pipeline().store();
        let report = report::usage(
            store,
            &prices,
            ReportGrouping::Session,
            days,
            pipeline.pipeline().clock(),
        )
        .unwrap()
        .unwrap();
        let keys: Vec<_> = report
            .rows
            .iter()
            .map(|row| row.key.clone().unwrap())
            .collect();
        format!(
            "{} of {} tokens",
            keys.join(" "),
            report.totals.input_tokens
        )
    };
    assert_eq!(
        told(None, None),
        "ada/untold.jsonl s0 s1 s2 s3 of 4007 tokens"
    );
    assert_eq!(told(Some("2026-01-06"), None), "s1 s2 s3 of 3000 tokens");
    assert_eq!(
        told(None, Some("2026-01-06")),
        "s0 s1 of 2000 tokens",
        "the last day is included"
    );
    assert_eq!(
        told(Some("2026-01-06"), Some("2026-01-06")),
        "s1 of 1000 tokens"
    );
    assert_eq!(told(Some("2027-01-01"), None), " of 0 tokens");
}

#[test]
fn a_day_is_spelt_in_one_way() {
    use session_pipeline_host::day::Day;
    assert_eq!(
        "2024-02-29".parse::<Day>().unwrap().to_string(),
        "2024-02-29"
    );
    for text in [
        "",
        "2026-1-5",
        "20260105",
        "2026-02-30",
        "2026-13-01",
        "05.01.2026",
        "2026-01-05T00:00:00Z",
        "today",
    ] {
        assert!(text.parse::<Day>().is_err(), "{text}");
    }
}

#[test]
fn messages_without_an_id_on_one_line_stand_for_themselves() {
    let dir = usage_dir();
    let value = r#"{"timestamp":"2026-01-05T09:00:00Z","message":{"usage":{"input_tokens":5,"output_tokens":1}}}"#;
    dir.write("ada/a.jsonl", format!("{value}{value}\n"));
    insta::assert_snapshot!(rows(&check(&dir, ReportGrouping::Day)).join("\n"), @"
    2026-01-05: 10 in, 2 out, 2 messages, 1 sessions
    total: 10 in, 2 out, 2 messages, 1 sessions
    ");
}

#[test]
fn views_and_prices_of_another_version_are_made_anew() {
    let session = Transcript::new("s1")
        .at(MONDAY_MORNING)
        .wait(Duration::from_secs(1));
    let dir = processed(&[("ada/a.jsonl", message(session, "m1"))]);
    let sql = "SELECT cost_usd FROM usage.by_model";
    assert_eq!(database::cell(&dir, sql), "0.005000000000");
    // As a version with other prices and other views would have left them.
    database::execute(
        &dir,
        "UPDATE usage.prices SET input = 0.000009; COMMENT ON TABLE usage.prices IS 'other prices';
         CREATE OR REPLACE VIEW usage.by_model AS SELECT 1 AS model, 'other' AS input_tokens",
    );
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    assert_eq!(pipeline.run("usage").stats.processed, 0);
    drop(pipeline);
    assert_eq!(database::cell(&dir, sql), "0.005000000000");
}
