//! Processors, sessions, the audit log, and reprocessing.

use session_pipeline_harness::DataDir;

use super::TestServer;
use crate::guests::{PANICS, POISON, WELL_BEHAVED, panics, well_behaved};

#[test]
fn processors_are_listed_with_their_order_and_last_run() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[well_behaved(), panics()]);
    server.post(&format!(
        "/api/admin/run-session-processor?processor={WELL_BEHAVED}"
    ));
    let listed = server.get("/api/admin/processors").json();
    let processors = listed["processors"].as_array().unwrap();
    let lines: Vec<String> = processors
        .iter()
        .map(|processor| {
            format!(
                "{} {} {}",
                processor["name"], processor["order"], processor["last_run"]
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    "faulty-panics" "independent" null
    "faulty-well-behaved" "independent" "ok"
    "#);
}

#[test]
fn sessions_are_listed_and_one_is_returned_with_details() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    dir.write("bob/two.jsonl", POISON);
    let server = TestServer::start(&dir, &[panics()]);
    server.post(&format!(
        "/api/admin/run-session-processor?processor={PANICS}"
    ));
    let list = server.get("/api/admin/sessions").json();
    assert_eq!(list["count"], 2);
    assert_eq!(
        list["states"],
        serde_json::json!({ "processed": 1, "due": 1 })
    );
    let shown = server.get("/api/admin/sessions?key=bob/two.jsonl").json();
    assert_eq!(
        (&shown["key"], &shown["processors"][0]["failure"]["fault"]),
        (&"bob/two.jsonl".into(), &"panic".into())
    );
    let unknown = server.get("/api/admin/sessions?key=bob/tow.jsonl");
    insta::assert_snapshot!(unknown.error(), @"404: unknown session `bob/tow.jsonl`; did you mean `bob/two.jsonl`?");
}

#[test]
fn reprocess_marks_one_session_or_all_and_is_audited() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    dir.write("ada/two.jsonl", "two\n");
    let server = TestServer::start(&dir, &[well_behaved()]);
    let run = || {
        server
            .post(&format!(
                "/api/admin/run-session-processor?processor={WELL_BEHAVED}"
            ))
            .json()
    };
    run();
    let path = format!("/api/admin/reprocess?processor={WELL_BEHAVED}");
    let one = server.post(&format!("{path}&session=ada/one.jsonl")).json();
    assert_eq!(one["marked"], 1);
    assert_eq!(run()["details"]["processed"], 1);
    assert_eq!(server.post(&path).json()["marked"], 2);
    assert_eq!(run()["details"]["processed"], 2);
    assert_eq!(
        server.post("/api/admin/reprocess?processor=moon").status,
        400
    );
    assert_eq!(
        server
            .post(&format!("{path}&session=ada/three.jsonl"))
            .status,
        404
    );
    let audit = server.get("/api/admin/audit").json();
    let actions: Vec<&str> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions
            .iter()
            .filter(|action| **action == "reprocess")
            .count(),
        2,
        "{actions:?}"
    );
}

#[test]
fn audit_entries_are_listed_newest_first() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[well_behaved()]);
    for _ in 0..3 {
        server.post(&format!(
            "/api/admin/run-session-processor?processor={WELL_BEHAVED}"
        ));
    }
    let entries = server.get("/api/admin/audit?limit=2").json();
    let runs: Vec<&str> = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["correlation_id"].as_str().unwrap())
        .collect();
    assert_eq!(runs, ["3", "2"]);
}
