//! Paging: every row is on exactly one page, in the order of the whole list, for any page size.

use serde_json::Value;
use session_pipeline_harness::DataDir;

use super::TestServer;
use crate::guests::{PANICS, POISON, WELL_BEHAVED, panics, prepared_dir, well_behaved};

/// The list routes, with the field that has the rows.
const LISTS: [(&str, &str); 7] = [
    ("/api/admin/audit", "entries"),
    ("/api/admin/processors", "processors"),
    ("/api/admin/quarantine", "sessions"),
    ("/api/admin/runs", "runs"),
    ("/api/admin/sessions", "sessions"),
    ("/api/admin/tokens", "tokens"),
    ("/api/knowledge", "items"),
];

/// Starts a server with several rows in each list except knowledge.
fn start(dir: &DataDir) -> TestServer {
    for number in 0..7 {
        dir.write(
            &format!("ada/{number}.jsonl"),
            format!("{POISON} {number}\n"),
        );
    }
    dir.write("bob/fine/one.jsonl", "one\n");
    let server = TestServer::start(dir, &[well_behaved(), panics()]);
    for processor in [WELL_BEHAVED, PANICS, PANICS, PANICS, PANICS, PANICS] {
        let path = format!("/api/admin/run-session-processor?processor={processor}");
        assert_eq!(server.post(&path).status, 200);
    }
    for _ in 0..3 {
        let body = serde_json::json!({ "role": "analyst" });
        assert_eq!(server.post_json("/api/admin/tokens", &body).status, 201);
    }
    // This session is in the database, but no longer on disk.
    dir.delete("ada/3.jsonl");
    server
}

/// Fetches all pages of a list.
fn fetch_pages(server: &TestServer, path: &str, rows: &str, limit: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    for _ in 0..100 {
        let page = server.get(&format!("{path}?limit={limit}{cursor}")).json();
        let page_rows = page[rows].as_array().unwrap();
        assert!(page_rows.len() <= limit, "{page}");
        all.extend(page_rows.iter().cloned());
        match page["next"].as_str() {
            Some(next) => {
                assert_eq!(page_rows.len(), limit, "{page}");
                cursor = format!("&cursor={}", percent_encode(next));
            }
            None => return all,
        }
    }
    panic!("{path}: more than 100 pages");
}

fn percent_encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn every_list_returns_each_row_once_for_any_page_size() {
    let dir = prepared_dir();
    let server = start(&dir);
    for (path, rows) in LISTS {
        let whole = server.get(&format!("{path}?limit=1000")).json();
        assert_eq!(whole["next"], Value::Null, "{path}");
        let whole = whole[rows].as_array().unwrap().clone();
        let is_small = ["/api/knowledge", "/api/admin/processors"].contains(&path);
        assert!(
            whole.len() >= if is_small { 0 } else { 4 },
            "{path}: {whole:?}"
        );
        for limit in [1, 2, 3, whole.len().max(1)] {
            assert_eq!(
                fetch_pages(&server, path, rows, limit),
                whole,
                "{path} with pages of {limit}"
            );
        }
    }
}

#[test]
fn every_list_limits_its_page_size_and_documents_the_limit() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let operations = super::operations(&server);
    for (path, _) in LISTS {
        for wrong in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=99999999999",
        ] {
            let response = server.get(&format!("{path}?{wrong}"));
            assert_eq!(response.status, 422, "{path}?{wrong}: {response:?}");
            response.error();
        }
        let parameters = operations[&format!("GET {path}")]["parameters"].clone();
        let parameters = parameters.as_array().unwrap();
        let limit = parameters
            .iter()
            .find(|parameter| parameter["name"] == "limit");
        let schema = &limit.unwrap()["schema"];
        assert_eq!(
            (&schema["maximum"], &schema["default"]),
            (&1000.into(), &100.into())
        );
        assert!(
            parameters
                .iter()
                .any(|parameter| parameter["name"] == "cursor"),
            "{path}"
        );
    }
    for path in [
        "/api/admin/audit",
        "/api/admin/runs",
        "/api/admin/quarantine",
        "/api/knowledge",
    ] {
        for wrong in ["x", "", "%00", "1.2", "-"] {
            let response = server.get(&format!("{path}?cursor={wrong}"));
            assert_eq!(response.status, 422, "{path}?cursor={wrong}: {response:?}");
        }
    }
    for (path, _) in LISTS {
        for odd in [
            "9223372036854775807",
            "-9223372036854775808",
            "%F0%9F%8C%99/%00",
            "0.-9223372036854775808.x",
        ] {
            let response = server.get(&format!("{path}?cursor={odd}"));
            assert!(response.status < 500, "{path}?cursor={odd}: {response:?}");
        }
    }
}

#[test]
fn a_page_of_sessions_continues_after_the_cursor_even_if_sessions_were_added_or_deleted() {
    let dir = DataDir::new();
    for number in 0..6 {
        dir.write(&format!("ada/{number}.jsonl"), "one\n");
    }
    let server = TestServer::start(&dir, &[well_behaved()]);
    let first = server.get("/api/admin/sessions?limit=3").json();
    assert_eq!(
        (&first["count"], &first["next"]),
        (&3.into(), &"ada/2.jsonl".into())
    );
    dir.write("ada/0a.jsonl", "one\n");
    dir.write("ada/2a.jsonl", "one\n");
    dir.delete("ada/2.jsonl");
    dir.delete("ada/3.jsonl");
    let rest = server
        .get("/api/admin/sessions?limit=3&cursor=ada/2.jsonl")
        .json();
    let keys: Vec<&str> = rest["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| session["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["ada/2a.jsonl", "ada/4.jsonl", "ada/5.jsonl"]);
    assert_eq!(rest["next"], Value::Null);
}
