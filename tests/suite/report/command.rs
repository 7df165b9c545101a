//! `report usage` as people and spreadsheets see it.

use session_pipeline_harness::{DataDir, Transcript};

use crate::cli::{run_cli, run_cli_on_examples, table_lines};

#[test]
fn every_key_has_a_table_and_all_tables_have_the_same_total() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    for by in ["day", "month", "session", "user", "model", "project"] {
        let ended = run_cli(&dir, &["report", "usage", "--by", by]);
        let table = table_lines(&ended.stdout);
        assert!(
            table[0].starts_with(&format!("{by} input output")),
            "{ended:?}"
        );
        let total = "total 137 ≥ 4 722 302 470 106 360 ≥ $0.70 24 4";
        assert_eq!(table.last().unwrap(), total, "{by}");
    }
    let ended = run_cli(&dir, &["report", "usage", "--by", "tool"]);
    assert_eq!(table_lines(&ended.stdout).last().unwrap(), "total 18 5 1");
}

#[test]
fn what_a_report_does_not_know_is_said_below_it_with_the_remedy() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    let ended = run_cli(&dir, &["report", "usage"]);
    insta::assert_snapshot!(ended.stderr, @"
    as of [time]: every session committed before that time is included
    ≥ output: the transcripts have no final output count for 1 message, so their output and cost are lower bounds
    ≥ cost: no price is known for claude-nimbus-1-preview (2 messages); add prices to `[data-dir]/prices.toml` (see docs/prices.md)
    ");
}

#[test]
fn csv_is_what_json_says_and_nothing_in_it_is_a_formula() {
    let dir = DataDir::new();
    let hostile = "=HYPERLINK(\"x\",\"y\")";
    dir.write(
        "ada/a.jsonl",
        Transcript::new("s1")
            .cwd(hostile)
            .assistant(|m| m.tokens(1_000, 0)),
    );
    dir.write(
        "ada/b.jsonl",
        Transcript::new("s2")
            .cwd("/home/dev/a,b")
            .assistant(|m| m.model("=x")),
    );
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    let ended = run_cli(&dir, &["report", "usage", "--by", "project", "--csv"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(ended.stdout.replace("\r\n", "\n"), @r#"
    project,input_tokens,output_tokens,cache_read_tokens,cache_creation_tokens,cost_usd,cost_is_lower_bound,output_is_lower_bound,unknown_models,messages,sessions,web_searches,open_messages,unpriced_messages,unrecorded_runs,unrecorded_tokens,agent_cost_usd,agent_output_tokens,unrecorded_requests,paths
    "/home/dev/a,b",10,5,0,0,,true,false,"'=x",1,1,0,0,1,0,0,,,0,
    "'=HYPERLINK(""x"",""y"")",1000,0,0,0,0.005,false,false,,1,1,0,0,0,0,0,,,0,
    "#);
}

#[test]
fn a_report_of_some_days_is_asked_for_in_utc_days() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    let report = [
        "report",
        "usage",
        "--since",
        "2026-01-13",
        "--until",
        "2026-01-13",
    ];
    let ended = run_cli(&dir, &[&report[..], &["--json"]].concat());
    let document = ended.json();
    assert_eq!(document["totals"]["output_tokens"], 1_452);
    assert_eq!(document["rows"].as_array().unwrap().len(), 1);
}

#[test]
fn wrong_days_end_with_exit_code_2_and_the_place() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    for (arguments, said) in [
        (&["--since", "2026-13-01"][..], "'2026-13-01' for '--since"),
        (&["--until", "soon"], "'soon' for '--until"),
        (
            &["--since", "2026-02-01", "--until", "2026-01-31"],
            "`--until 2026-01-31` is before `--since 2026-02-01`",
        ),
        (&["--csv", "--json"], "--csv"),
    ] {
        let ended = run_cli(&dir, &[&["report", "usage"], arguments].concat());
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
}

#[test]
fn a_price_file_that_is_no_good_stops_reports_and_no_run() {
    let dir = DataDir::new();
    std::fs::write(dir.path().join("prices.toml"), "[[price]]\nmodel = 'x'\n").unwrap();
    let ended = run_cli_on_examples(&dir, &["run", "usage"]);
    assert_eq!(ended.code, 0);
    insta::assert_snapshot!(ended.stderr, @"sessions are processed, but `report` will fail: price file `[data-dir]/prices.toml`, entry 1 at line 1 (`x`): `from` is missing; write the first day, like 2026-01-31");
    let ended = run_cli(&dir, &["report", "usage"]);
    assert_eq!(ended.code, 2);
    insta::assert_snapshot!(ended.stderr, @"error: price file `[data-dir]/prices.toml`, entry 1 at line 1 (`x`): `from` is missing; write the first day, like 2026-01-31");
}

#[test]
fn an_unknown_value_of_a_filter_is_reported_on_stderr_and_in_json() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    let notice = "no message matches user `adda`; did you mean `ada`?";
    for report in ["usage", "tools", "skills", "waste"] {
        for format in [&[][..], &["--csv"]] {
            let arguments = [&["report", report, "--user", "adda"], format].concat();
            let ended = run_cli(&dir, &arguments);
            assert_eq!(ended.code, 0, "{ended:?}");
            let lines: Vec<&str> = ended.stderr.lines().collect();
            assert!(lines.contains(&notice), "{arguments:?}: {ended:?}");
        }
        let arguments = ["report", report, "--user", "adda", "--json"];
        let ended = run_cli(&dir, &arguments);
        assert_eq!(ended.json()["notices"][0], notice, "{report}");
        let known = run_cli(&dir, &["report", report, "--user", "ada"]);
        assert!(!known.stderr.contains("matches"), "{known:?}");
        let known = run_cli(&dir, &["report", report, "--json"]).json();
        assert_eq!(known.get("notices"), None, "{report}");
    }
}

#[test]
fn every_report_can_be_on_one_session() {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    let by_session = run_cli(&dir, &["report", "usage", "--by", "session", "--json"]).json();
    let rows = by_session["rows"].as_array().unwrap();
    let mut calls = 0;
    for row in rows {
        let id = row["session"].as_str().unwrap();
        let of_session =
            |report: &str| run_cli(&dir, &["report", report, "--session", id, "--json"]).json();
        assert_eq!(of_session("usage")["totals"]["messages"], row["messages"]);
        let tools = of_session("tools");
        assert_eq!(tools["totals"]["messages"], row["messages"]);
        calls += tools["tool_calls"].as_i64().unwrap();
        for report in ["skills", "waste"] {
            let rows = of_session(report)["rows"].as_array().unwrap().clone();
            assert!(rows.iter().all(|row| row["sessions"] == 1), "{rows:?}");
        }
    }
    let all = run_cli(&dir, &["report", "tools", "--json"]).json();
    assert_eq!(all["tool_calls"], calls);
    assert!(rows.len() > 1 && calls > 0);
}

#[test]
fn clones_are_one_row_with_a_hint_on_their_paths() {
    let dir = DataDir::new();
    for (user, path) in [("ada", "/home/ada/shop"), ("bob", "/src/shop")] {
        let session = Transcript::new(user)
            .cwd(path)
            .assistant(|m| m.tokens(1_000, 0));
        dir.write(&format!("{user}/a.jsonl"), session);
    }
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    let ended = run_cli(&dir, &["report", "usage", "--by", "project-name"]);
    let lines = table_lines(&ended.stdout);
    assert_eq!(
        lines[0],
        "project_name input output cache read cache write cost messages sessions paths"
    );
    assert_eq!(lines[1], "shop 2 000 0 0 0 $0.01 2 2 2");
    assert!(
        ended.stderr.contains("`--by project` lists them"),
        "{ended:?}"
    );
    let ended = run_cli(&dir, &["report", "usage", "--by", "project"]);
    let lines = table_lines(&ended.stdout);
    assert!(lines[1].starts_with("/home/ada/shop 1 000 "), "{lines:?}");
    assert!(lines[2].starts_with("/src/shop 1 000 "), "{lines:?}");
    assert!(!ended.stderr.contains("lists them"), "{ended:?}");
}
