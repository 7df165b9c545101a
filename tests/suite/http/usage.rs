//! Usage over HTTP: the report, reprocessing, pruning, export, activity, and concurrent queries.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::{DataDir, Transcript};
use session_pipeline_pipeline::config::{Config, ServiceConfig};

use super::TestServer;
use crate::bulk_sessions::{self, BulkSessions};
use crate::database::rows;
use crate::guests::usage;

const ADMIN: &str = "/api/admin/usage";

/// Writes two sessions: one from yesterday, by the test clock, and one from a month ago.
fn write_sessions(dir: &DataDir) {
    let session = |id: &str, day: &str| {
        Transcript::new(id)
            .at(day.parse().unwrap())
            .user("go")
            .assistant(|m| m.tokens(100, 20).tool("Bash"))
    };
    dir.write("ada/new.jsonl", session("s1", "2099-12-31T10:00:00Z"));
    dir.write("=bob/old.jsonl", session("s2", "2099-12-01T10:00:00Z"));
}

fn start_with_usage(dir: &DataDir) -> TestServer {
    write_sessions(dir);
    let server = TestServer::start(dir, &[usage()]);
    let run = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(run.json()["details"]["processed"], 2, "{run:?}");
    server
}

#[test]
fn only_the_report_on_messages_has_providers() {
    let dir = DataDir::new();
    let server = start_with_usage(&dir);
    let get = |path: &str| {
        let path = format!("/api/usage/{path}");
        server.send("GET", &path, &server.analyst, "", &[])
    };
    for valid in [
        "summary?by=provider",
        "summary?provider=openai&by=model&split=day",
    ] {
        assert_eq!(get(valid).status, 200, "{valid}");
    }
    assert_eq!(
        get("summary?provider=openai").json()["totals"]["messages"],
        0
    );
    for invalid in ["tools", "skills", "waste"] {
        let response = get(&format!("{invalid}?provider=openai"));
        assert_eq!(response.status, 422, "{invalid}: {response:?}");
    }
    let calls = get("summary?by=tool&provider=openai").error();
    assert_eq!(
        calls,
        "422: `provider` does not apply to `by=tool`, because calls have no provider; omit it"
    );
}

#[test]
fn every_report_checks_its_filters() {
    let dir = DataDir::new();
    let server = start_with_usage(&dir);
    for report in ["summary", "tools", "skills", "waste"] {
        let status = |query: &str| {
            let path = format!("/api/usage/{report}?{query}");
            server.send("GET", &path, &server.analyst, "", &[]).status
        };
        for valid in [
            "top=1",
            "tz=Asia/Kathmandu&since=2026-01-01",
            "user=ada&project=x&model=y",
        ] {
            assert_eq!(status(valid), 200, "{report}?{valid}");
        }
        for invalid in [
            "top=0",
            "top=1000001",
            "tz=Mars",
            "since=soon",
            "since=2026-02-01&until=2026-01-01",
            "moon=1",
        ] {
            assert_eq!(status(invalid), 422, "{report}?{invalid}");
        }
    }
}

#[test]
fn the_rows_of_a_report_and_the_sessions_are_available_as_csv() {
    let dir = DataDir::new();
    let server = start_with_usage(&dir);
    let csv = |path: &str| {
        let response = server.get(path);
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.content_type, "text/csv; charset=utf-8");
        response.text()
    };
    let users = csv("/api/usage/summary?by=user&split=model&format=csv");
    let lines: Vec<&str> = users.lines().collect();
    assert!(
        lines[0].starts_with("model,user,input_tokens,output_tokens,"),
        "{users}"
    );
    // A name that a spreadsheet would evaluate is text.
    assert!(
        lines.iter().any(|line| line.contains(",\"'=bob\",100,20,")),
        "{users}"
    );
    assert_eq!(lines.len(), 3, "{users}");
    let sessions = csv("/api/admin/sessions?format=csv&sort=user");
    assert_eq!(sessions.lines().count(), 3, "{sessions}");
    assert!(
        sessions.lines().next().unwrap().contains("cost_usd"),
        "{sessions}"
    );
    let refused = server.get("/api/usage/summary?format=xml");
    assert_eq!(refused.status, 422);
    for invalid in ["by=day&split=day", "by=tool&split=day", "by=day&split=tool"] {
        let refused = server.get(&format!("/api/usage/summary?{invalid}"));
        assert_eq!(refused.status, 422, "{invalid}: {refused:?}");
    }
}

#[test]
fn an_analyst_can_group_the_report_by_every_key() {
    let dir = DataDir::new();
    let server = start_with_usage(&dir);
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
        serde_json::from_value::<session_pipeline::body::usage::UsageReportBody>(body).unwrap();
    }
    let days = report("?since=2099-12-02&until=2099-12-31");
    assert_eq!(days["totals"]["messages"], 1);
}

#[test]
fn before_the_first_run_all_responses_are_empty_and_succeed() {
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
fn the_summary_lists_tools_users_failures_and_active_days_of_its_window() {
    let dir = DataDir::new();
    let server = start_with_usage(&dir);
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
fn reprocessing_usage_marks_all_sessions_and_deletes_no_rows() {
    let dir = DataDir::new();
    let server = start_with_usage(&dir);
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
fn no_events_are_pruned_without_a_retention_period() {
    let dir = DataDir::new();
    let server = start_with_usage(&dir);
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
fn events_older_than_the_retention_period_are_pruned() {
    let dir = DataDir::new();
    write_sessions(&dir);
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
    assert_eq!(calls(), 1, "the report excludes pruned events");
    assert_eq!(server.post(&format!("{ADMIN}/prune")).json()["deleted"], 0);
    let ran = server
        .post("/api/admin/run-session-processor?processor=usage")
        .json();
    assert_eq!(
        ran["details"]["scanned"], 0,
        "pruning does not make a session due"
    );
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
fn the_csv_export_has_a_header_and_escapes_formulas() {
    let dir = DataDir::new();
    let server = start_with_usage(&dir);
    let export = server.get(&format!("{ADMIN}/export?format=csv"));
    assert_eq!(
        (export.status, export.content_type.as_str()),
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
        "expected the oldest event first: {}",
        lines[1]
    );
    assert!(
        !dir.path().join("export").read_dir().unwrap().any(|_| true),
        "the temporary file must be deleted"
    );
}

#[test]
fn the_export_is_filtered_by_time_user_and_source() {
    let dir = DataDir::new();
    let server = start_with_usage(&dir);
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
        assert_eq!(export.content_type, "application/x-ndjson");
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
fn the_first_column_of_an_export_is_a_hash_that_identifies_the_event() {
    use sha2::Digest;
    let dir = DataDir::new();
    let server = start_with_usage(&dir);
    let text = server
        .get(&format!(
            "{ADMIN}/export?format=json&user_id=ada%40example.com"
        ))
        .text();
    let event: serde_json::Value = serde_json::from_str(&text).unwrap();
    let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let names = [
        "session_id",
        "event_uuid",
        "tool_id",
        "event_type",
        "tool_name",
        "command_name",
    ];
    let digest = sha2::Sha256::digest(names.map(field).join("|"));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(event["id"], hex);
}

#[test]
fn unfinished_exports_are_removed_at_the_next_start_and_other_files_are_kept() {
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
fn a_parquet_export_without_rows_is_a_complete_file() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage()]);
    let export = server.get(&format!("{ADMIN}/export?format=parquet"));
    assert_eq!(
        (export.status, export.content_type.as_str()),
        (200, "application/octet-stream")
    );
    assert!(export.body.starts_with(b"PAR1") && export.body.ends_with(b"PAR1"));
}

#[test]
fn sessions_from_before_a_user_was_created_belong_to_that_user_everywhere() {
    let dir = DataDir::new();
    let session = |id: &str| {
        Transcript::new(id)
            .at("2099-12-31T10:00:00Z".parse().unwrap())
            .user("go")
            .assistant(|m| m.tokens(100, 20).tool("Bash"))
    };
    dir.write("carol/before.jsonl", session("s1"));
    let server = TestServer::start(&dir, &[usage()]);
    let run = || {
        let run = server.post("/api/admin/run-session-processor?processor=usage");
        assert_eq!(run.json()["details"]["processed"], 1, "{run:?}");
    };
    let by_user = || server.get("/api/usage/summary?by=user").json()["rows"].clone();
    run();
    assert_eq!(by_user()[0]["user"], "carol");
    let new = json!({ "role": "analyst", "user": "carol@example.com" });
    assert_eq!(server.post_json("/api/admin/tokens", &new).status, 201);
    dir.write("carol/after.jsonl", session("s2"));
    run();
    let rows = by_user();
    assert_eq!(
        (&rows[0]["user"], &rows[0]["messages"], &rows[1]),
        (&"carol@example.com".into(), &2.into(), &json!(null)),
        "{rows}"
    );
    let summary = server.get(&format!("{ADMIN}/summary?window=all")).json();
    assert_eq!(
        summary["top_users"],
        json!([{ "tool_calls": 2, "username": "carol@example.com" }])
    );
    assert_eq!(summary["dau_series"][28]["active_users"], 1, "{summary}");
    let export = |user: &str| {
        let path = format!("{ADMIN}/export?format=json&user_id={user}");
        server.get(&path).text().lines().count()
    };
    let all = server.get(&format!("{ADMIN}/export?format=json")).text();
    assert!(
        all.lines().all(|line| line.contains("carol@example.com")),
        "{all}"
    );
    assert_eq!(export("carol@example.com"), all.lines().count());
    assert_eq!(export("carol"), 0);
    for key in ["before", "after"] {
        let shown = server.get(&format!("/api/admin/sessions?key=carol/{key}.jsonl"));
        assert!(shown.text().contains("carol@example.com"), "{shown:?}");
    }
    server.stop();
    for sql in [
        "SELECT DISTINCT username FROM usage.by_user",
        "SELECT DISTINCT username FROM usage.by_session",
        "SELECT DISTINCT username FROM usage.distinct_calls",
    ] {
        assert_eq!(
            crate::database::rows(&dir, sql),
            ["carol@example.com"],
            "{sql}"
        );
    }
}

/// Adds enough sessions for a report or a summary to take seconds.
fn add_many_sessions(dir: &DataDir) {
    bulk_sessions::add(
        dir,
        &BulkSessions {
            sessions: 1..1_501,
            messages: 100,
            copied: 20,
        },
    );
}

/// Starts a server that runs one query at a time for each role.
fn start_with_one_query(dir: &DataDir, query_time_max: Duration) -> TestServer {
    let mut config = Config {
        database_memory_bytes: 64 << 20,
        ..dir.config()
    };
    config.service.query_time_max = query_time_max;
    let limits = HttpLimits {
        queries_max: 1,
        ..HttpLimits::default()
    };
    TestServer::start_with(dir, config, limits, &[usage()])
}

/// Sends a request without waiting for the response.
fn send_only(server: &TestServer, path: &str, token: &str) -> TcpStream {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    stream
}

#[test]
fn analysts_do_not_delay_admins_or_revocations() {
    let dir = DataDir::new();
    add_many_sessions(&dir);
    let server = start_with_one_query(&dir, Duration::from_secs(600));
    let (admin_time, report_time) = std::thread::scope(|threads| {
        let analysts: Vec<TcpStream> = (0..20)
            .map(|_| send_only(&server, "/api/usage/summary", &server.analyst))
            .collect();
        let started = Instant::now();
        let report = threads.spawn(move || {
            let mut first = [0];
            let mut stream = &analysts[0];
            stream.read_exact(&mut first).unwrap();
            started.elapsed()
        });
        std::thread::sleep(Duration::from_millis(200));
        let started = Instant::now();
        let new = json!({ "role": "analyst", "user": "bob@example.com" });
        let created = server.post_json("/api/admin/tokens", &new).json();
        let token = created["token"].as_str().unwrap();
        let id = created["id"].as_str().unwrap();
        let path = format!("/api/admin/tokens/{id}");
        let revoked = server.send("DELETE", &path, &server.admin, "", &[]);
        assert_eq!(revoked.status, 200);
        let rejected = server.send("GET", "/api/usage/summary", token, "", &[]);
        assert_eq!(rejected.status, 401);
        assert_eq!(server.get("/api/admin/tokens").status, 200);
        assert_eq!(server.get("/api/admin/audit").status, 200);
        (started.elapsed(), report.join().unwrap())
    });
    assert!(
        admin_time < report_time / 2,
        "the admin waited {admin_time:?}, and the report took {report_time:?}"
    );
}

#[test]
fn a_report_that_times_out_is_canceled_and_the_next_request_continues_its_work() {
    let dir = DataDir::new();
    add_many_sessions(&dir);
    let server = start_with_one_query(&dir, Duration::from_millis(400));
    let mut errors = 0;
    loop {
        let response = server.get("/api/usage/summary");
        if response.status == 200 {
            let body = response.json();
            assert_eq!(body["totals"]["messages"], 1_500 * 80 + 20);
            break;
        }
        if errors == 0 {
            insta::assert_snapshot!(response.error(), @"503: the request took longer than 0.4 s and was canceled; request fewer days, retry later, or raise `query_time_max` in the section `[service]` of the config file");
        }
        errors += 1;
        assert!(
            errors < 300,
            "each request must continue the work of the previous one"
        );
    }
    assert!(errors > 0);
}

#[test]
fn a_busy_role_gets_503_while_the_other_role_is_served() {
    let dir = DataDir::new();
    add_many_sessions(&dir);
    let server = start_with_one_query(&dir, Duration::from_millis(400));
    let mut reports: Vec<TcpStream> = (0..20)
        .map(|_| send_only(&server, "/api/usage/summary", &server.analyst))
        .collect();
    // In the same lane, they would time out like the reports.
    for path in ["/api/admin/audit", "/api/admin/tokens", "/api/admin/runs"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    // The first report uses its whole time limit, so the others time out while they wait.
    let busy =
        "the database was busy with other requests of the role `analyst` for 0.4 s; retry later";
    let mut heads = Vec::new();
    for report in &mut reports {
        let mut response = Vec::new();
        let mut chunk = [0; 4096];
        while !response.ends_with(b"}") {
            let read = report.read(&mut chunk).unwrap();
            assert_ne!(read, 0);
            response.extend_from_slice(&chunk[..read]);
        }
        heads.push(String::from_utf8(response).unwrap());
    }
    let busy: Vec<&String> = heads.iter().filter(|head| head.contains(busy)).collect();
    assert!(!busy.is_empty(), "{heads:?}");
    for head in busy {
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains("\r\nretry-after: 5\r\n"), "{head}");
    }
}

#[test]
fn a_read_is_canceled_when_its_client_disconnects() {
    let dir = DataDir::new();
    add_many_sessions(&dir);
    let server = start_with_one_query(&dir, Duration::from_secs(600));
    let slow = format!("{ADMIN}/summary?window=all");
    let started = Instant::now();
    assert_eq!(server.get(&slow).status, 200);
    let took = started.elapsed();
    for _ in 0..5 {
        drop(send_only(&server, &slow, &server.admin));
    }
    let disconnected = send_only(&server, &slow, &server.admin);
    std::thread::sleep(Duration::from_millis(100));
    drop(disconnected);
    let started = Instant::now();
    assert_eq!(server.get("/api/admin/audit").status, 200);
    let waited = started.elapsed();
    assert!(
        waited < took / 2,
        "waited {waited:?} for a query of {took:?}"
    );
}

#[test]
fn a_service_can_stop_during_a_report() {
    let dir = DataDir::new();
    add_many_sessions(&dir);
    let server = start_with_one_query(&dir, Duration::from_secs(600));
    let reports = ["/api/usage/summary", "/api/usage/summary?by=tool"]
        .map(|path| send_only(&server, path, &server.analyst));
    std::thread::sleep(Duration::from_millis(500));
    let started = Instant::now();
    assert!(server.stop().is_complete);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(reports);
}
