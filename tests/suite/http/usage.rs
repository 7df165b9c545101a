//! Usage: the report for analysts, and its administration.

use session_pipeline::http::HttpLimits;
use session_pipeline_harness::{DataDir, Session};
use session_pipeline_runtime::config::{Config, ServiceConfig};

use super::TestServer;
use crate::database::rows;
use crate::guests::usage;

const ADMIN: &str = "/api/admin/usage";

/// A day before the clock's now, and a month before it.
fn sessions(dir: &DataDir) {
    let session = |id: &str, day: &str| {
        Session::new(id)
            .at(day.parse().unwrap())
            .user("go")
            .assistant(|m| m.tokens(100, 20).tool("Bash"))
    };
    dir.write("ada/new.jsonl", session("s1", "2099-12-31T10:00:00Z"));
    dir.write("=bob/old.jsonl", session("s2", "2099-12-01T10:00:00Z"));
}

fn served(dir: &DataDir) -> TestServer {
    sessions(dir);
    let server = TestServer::start(dir, &[usage()]);
    let ran = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(ran.json()["details"]["processed"], 2, "{ran:?}");
    server
}

#[test]
fn analysts_read_the_report_by_each_of_its_keys() {
    let dir = DataDir::new();
    let server = served(&dir);
    let report = |query: &str| {
        server
            .send(
                "GET",
                &format!("/api/usage/summary{query}"),
                &server.analyst,
                "",
                &[],
            )
            .json()
    };
    let all = report("");
    assert_eq!(
        (&all["totals"]["output_tokens"], &all["totals"]["messages"]),
        (&40.into(), &2.into())
    );
    for by in [
        "day", "month", "session", "user", "model", "project", "tool",
    ] {
        let body = report(&format!("?by={by}"));
        assert_eq!(body["totals"], all["totals"], "{by}");
        assert!(body["rows"][0].get(by).is_some(), "{by}: {body}");
        serde_json::from_value::<session_pipeline::body::usage::UsageReport>(body).unwrap();
    }
    let days = report("?since=2099-12-02&until=2099-12-31");
    assert_eq!(days["totals"]["messages"], 1);
}

#[test]
fn before_any_run_all_answers_are_empty_and_none_is_a_failure() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage()]);
    assert_eq!(
        server.get("/api/usage/summary").json()["totals"]["messages"],
        0
    );
    let summary = server.get(&format!("{ADMIN}/summary")).json();
    assert_eq!(summary["dau_series"].as_array().unwrap().len(), 30);
    let export = server.get(&format!("{ADMIN}/export"));
    assert_eq!((export.status, export.text().lines().count()), (200, 1));
    assert_eq!(
        server.post(&format!("{ADMIN}/reprocess")).json()["marked"],
        0
    );
}

#[test]
fn the_summary_tells_tools_users_failures_and_active_days_of_its_window() {
    let dir = DataDir::new();
    let server = served(&dir);
    let summary = |window: &str| {
        server
            .get(&format!("{ADMIN}/summary?window={window}"))
            .json()
    };
    let week = summary("7d");
    insta::assert_json_snapshot!(week, { ".dau_series" => "[days]" }, @r#"
    {
      "dau_avg": 0.0,
      "dau_series": "[days]",
      "error_rate": [
        {
          "errors": 0,
          "invocations": 1,
          "rate": 0.0,
          "tool_name": "Bash"
        }
      ],
      "slow_actions": [],
      "top_tools": [
        {
          "invocations": 1,
          "source": "builtin",
          "tool_name": "Bash"
        }
      ],
      "top_users": [
        {
          "tool_calls": 1,
          "username": "ada@example.com"
        }
      ]
    }
    "#);
    assert_eq!(summary("all")["top_users"].as_array().unwrap().len(), 2);
    let days = week["dau_series"].as_array().unwrap();
    assert_eq!(
        (&days[0]["day"], &days[29]["day"]),
        (&"2099-12-03".into(), &"2100-01-01".into())
    );
    assert_eq!(
        days[28],
        serde_json::json!({ "day": "2099-12-31", "active_users": 1 })
    );
}

#[test]
fn to_reprocess_usage_marks_all_its_sessions_and_deletes_nothing() {
    let dir = DataDir::new();
    let server = served(&dir);
    let marked = server.post(&format!("{ADMIN}/reprocess")).json();
    assert_eq!(
        marked,
        serde_json::json!({ "processor": "usage", "marked": 2, "quarantined": 0 })
    );
    assert_eq!(
        server.get("/api/usage/summary").json()["totals"]["messages"],
        2
    );
    let again = server
        .post("/api/admin/run-session-processor?processor=usage")
        .json();
    assert_eq!(
        (&again["details"]["processed"], &again["details"]["scanned"]),
        (&2.into(), &2.into())
    );
    server.stop();
    assert_eq!(
        rows(
            &dir,
            "SELECT params FROM audit_log WHERE action = 'usage.reprocess'"
        ),
        [r#"{"marked":2,"processor":"usage","session":null}"#]
    );
}

#[test]
fn nothing_is_pruned_unless_a_retention_is_set() {
    let dir = DataDir::new();
    let server = served(&dir);
    let skipped = server.post(&format!("{ADMIN}/prune")).json();
    assert_eq!(skipped["status"], "skipped");
    assert!(
        skipped["reason"]
            .as_str()
            .unwrap()
            .contains("USAGE_EVENTS_RETENTION_DAYS")
    );
    server.stop();
    assert_eq!(rows(&dir, "SELECT count(*) FROM usage.events"), ["2"]);
}

#[test]
fn events_older_than_the_retention_are_pruned() {
    let dir = DataDir::new();
    sessions(&dir);
    let service = ServiceConfig {
        usage_retention_days: Some(7),
        ..ServiceConfig::default()
    };
    let config = Config {
        service,
        ..dir.config()
    };
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[usage()]);
    server.post("/api/admin/run-session-processor?processor=usage");
    let calls = || {
        let report = server.get("/api/usage/summary?by=tool").json();
        let rows = report["rows"].as_array().unwrap().iter();
        rows.map(|row| row["calls"].as_i64().unwrap()).sum::<i64>()
    };
    assert_eq!(calls(), 2);
    let pruned = server.post(&format!("{ADMIN}/prune")).json();
    assert_eq!(
        pruned,
        serde_json::json!({ "status": "ok", "retention_days": 7, "deleted": 1, "remaining": 1 })
    );
    assert_eq!(calls(), 1, "a report never tells of what is gone");
    assert_eq!(server.post(&format!("{ADMIN}/prune")).json()["deleted"], 0);
    let ran = server
        .post("/api/admin/run-session-processor?processor=usage")
        .json();
    assert_eq!(ran["details"]["scanned"], 0, "pruning makes no session due");
    server.stop();
    assert_eq!(
        rows(
            &dir,
            "SELECT params FROM audit_log WHERE action = 'usage.prune' ORDER BY CAST(id AS INTEGER) LIMIT 1"
        ),
        [r#"{"deleted":1,"remaining":1,"retention_days":7}"#]
    );
}

#[test]
fn the_export_is_csv_with_a_header_whose_cells_no_spreadsheet_takes_for_formulas() {
    let dir = DataDir::new();
    let server = served(&dir);
    let export = server.get(&format!("{ADMIN}/export?format=csv"));
    assert_eq!(
        (export.status, export.kind.as_str()),
        (200, "text/csv; charset=utf-8")
    );
    let text = export.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("id,session_file,session_id,username,"),
        "{}",
        lines[0]
    );
    assert_eq!(lines.len(), 3);
    assert!(
        lines[1].contains(r#","'=bob/old.jsonl",s2,"'=bob","#),
        "the oldest first: {}",
        lines[1]
    );
    assert!(
        !dir.path().join("export").read_dir().unwrap().any(|_| true),
        "nothing is left of it"
    );
}

#[test]
fn the_export_is_filtered_by_time_user_and_source() {
    let dir = DataDir::new();
    let server = served(&dir);
    for (query, expected) in [
        ("", 2),
        ("&since=2099-12-31", 1),
        ("&since=2099-12-31T10:00:00Z", 1),
        ("&until=2099-12-31T10:00:00Z", 1),
        ("&user_id=ada%40example.com", 1),
        ("&user_id=nobody", 0),
        ("&user_id=ada%27%20OR%20%27%27%3D%27", 0),
        ("&source=builtin", 2),
        ("&source=mcp", 0),
    ] {
        let export = server.get(&format!("{ADMIN}/export?format=json{query}"));
        assert_eq!(export.kind, "application/x-ndjson");
        let events: Vec<serde_json::Value> = export
            .text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(events.len(), expected, "{query}");
    }
    server.stop();
    let audit = "SELECT count(*) FROM audit_log WHERE action = 'usage.export' AND params LIKE '%row_count%'";
    assert_eq!(rows(&dir, audit), ["9"]);
}

#[test]
fn the_first_column_is_the_hash_of_what_tells_events_apart() {
    use sha2::Digest;
    let dir = DataDir::new();
    let server = served(&dir);
    let text = server
        .get(&format!(
            "{ADMIN}/export?format=json&user_id=ada%40example.com"
        ))
        .text();
    let event: serde_json::Value = serde_json::from_str(&text).unwrap();
    let part = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let names = [
        "session_id",
        "event_uuid",
        "tool_id",
        "event_type",
        "tool_name",
        "command_name",
    ];
    let digest = sha2::Sha256::digest(names.map(part).join("|"));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(event["id"], hex);
}

#[test]
fn an_export_that_a_crash_left_is_removed_at_the_next_start_and_nothing_else() {
    let dir = DataDir::new();
    let folder = dir.path().join("export");
    std::fs::create_dir(&folder).unwrap();
    for name in [".export-1-0", "mine.csv"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    let _server = TestServer::start(&dir, &[]);
    let left: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["mine.csv"]);
}

#[test]
fn a_parquet_export_is_whole_even_without_rows() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage()]);
    let export = server.get(&format!("{ADMIN}/export?format=parquet"));
    assert_eq!(
        (export.status, export.kind.as_str()),
        (200, "application/octet-stream")
    );
    assert!(export.bytes.starts_with(b"PAR1") && export.bytes.ends_with(b"PAR1"));
}
