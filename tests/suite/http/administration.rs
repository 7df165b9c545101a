//! Processors, sessions, the audit log, and reprocessing.

use session_pipeline_harness::DataDir;

use super::TestServer;
use crate::guests::{PANICS, POISON, WELL_BEHAVED, panics, usage, well_behaved};
use crate::summaries::{FLAKY, NEW, SECRET, summaries_dir};

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

#[test]
fn sessions_are_sorted_filtered_and_paged_with_their_titles_and_costs() {
    let dir = summaries_dir();
    let server = TestServer::start(&dir, &[usage()]);
    let list = |query: &str| server.get(&format!("/api/admin/sessions?{query}")).json();
    let keys = |list: &serde_json::Value| -> Vec<String> {
        let sessions = list["sessions"].as_array().unwrap().iter();
        sessions
            .map(|session| session["key"].as_str().unwrap().to_owned())
            .collect()
    };
    let whole = list("sort=cost");
    let flaky = &whole["sessions"][1];
    assert_eq!(
        (
            &flaky["key"],
            &flaky["title"],
            &flaky["cost_usd"],
            &flaky["messages"]
        ),
        (
            &FLAKY.into(),
            &"Fix the flaky test".into(),
            &0.6.into(),
            &2.into()
        )
    );
    assert_eq!(flaky["project"], "/home/ada/api");
    assert_eq!(flaky["last_activity_at"], "9001-01-05T10:00:00Z");
    assert_eq!(flaky["is_automated"], false);
    let new = whole["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|session| session["key"] == NEW);
    assert_eq!(new.unwrap().get("title"), None, "it was not processed");
    assert!(!whole.to_string().contains(SECRET));
    for sort in [
        "recent",
        "cost",
        "messages",
        "title",
        "key",
        "key&reverse=true",
    ] {
        let whole = keys(&list(&format!("sort={sort}")));
        let mut paged = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = list(&format!("sort={sort}&limit=2{cursor}"));
            paged.extend(keys(&page));
            let Some(next) = page["next"].as_str() else {
                break;
            };
            let next: String = next.bytes().map(|byte| format!("%{byte:02X}")).collect();
            cursor = format!("&cursor={next}");
        }
        assert_eq!(paged, whole, "{sort}");
    }
    assert_eq!(
        keys(&list("user=ada&search=flaky&automated=no&project=api")),
        [FLAKY]
    );
    assert_eq!(keys(&list("state=new,waiting&processor=usage")), [NEW]);
    let refusal = |query: &str| server.get(&format!("/api/admin/sessions?{query}")).error();
    insta::assert_snapshot!(refusal("state=lost"), @"422: invalid `state` `lost`; expected new, processed, due, waiting, quarantined or missing, separated by commas");
    insta::assert_snapshot!(refusal("since=today"), @"422: invalid `since` `today`: not a day; expected a value like 2026-01-31");
    insta::assert_snapshot!(refusal("since=2026-02-01&until=2026-01-01"), @"422: `until` 2026-01-01 is before `since` 2026-02-01; swap them");
    for wrong in [
        "sort=size",
        "automated=maybe",
        "reverse=2",
        "sort=cost&cursor=x",
    ] {
        assert!(refusal(wrong).starts_with("422: "), "{wrong}");
    }
    let path = "/api/admin/sessions?sort=cost";
    let bob = server.token("analyst", "bob@example.com");
    let found = server.send("GET", path, &bob, "", &[]).json();
    assert_eq!(keys(&found), keys(&list("sort=cost")));
    // Titles contain words of prompts.
    let titled = found["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|session| session.get("title").is_some());
    let users: Vec<&str> = titled
        .map(|session| session["user"].as_str().unwrap())
        .collect();
    assert!(
        !users.is_empty() && users.iter().all(|user| *user == "bob"),
        "{users:?}"
    );
}
