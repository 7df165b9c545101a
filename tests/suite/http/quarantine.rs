//! Quarantine over HTTP: list, release, and audit entries with the caller.

use session_pipeline_harness::DataDir;

use super::TestServer;
use crate::database::rows;
use crate::guests::{PANICS, POISON, panics};

const PATH: &str = "/api/admin/quarantine";

fn start_with_quarantine() -> (DataDir, TestServer) {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", POISON);
    dir.write("bob/two.jsonl", POISON);
    dir.write("bob/fine.jsonl", "fine\n");
    let server = TestServer::start(&dir, &[panics()]);
    for _ in 0..5 {
        run(&server);
    }
    (dir, server)
}

fn run(server: &TestServer) -> serde_json::Value {
    let path = format!("/api/admin/run-session-processor?processor={PANICS}");
    server.post(&path).json()["details"].clone()
}

#[test]
fn quarantined_sessions_are_listed_and_released_by_name() {
    let (dir, server) = start_with_quarantine();
    let listed = server.get(PATH).json();
    assert_eq!(listed["count"], 2);
    assert_eq!(listed["sessions"][0]["session"], "ada/one.jsonl");
    assert_eq!(listed["sessions"][0]["fault"], "panic");
    let one = format!("{PATH}?session=bob/two.jsonl&processor={PANICS}");
    assert_eq!(server.get(&one).json()["count"], 1);

    let release = |query: &str| server.post(&format!("{PATH}/release?{query}"));
    assert_eq!(release("session=ada/one.jsonl").json()["released"], 1);
    let stats = run(&server);
    assert_eq!(
        (&stats["errors"], &stats["quarantined"]),
        (&1.into(), &1.into())
    );
    assert_eq!(release("all=true").json()["released"], 1);
    assert_eq!(
        release(&format!("processor={PANICS}")).json()["released"],
        0
    );
    assert_eq!(server.get(PATH).json()["count"], 0);
    server.stop();
    let audit = "SELECT action, resource, client_kind, user_id IS NOT NULL FROM audit_log
        WHERE action LIKE 'quarantine%' ORDER BY CAST(id AS INTEGER)";
    insta::assert_snapshot!(rows(&dir, audit).join("\n"), @r"
    quarantine.release | session:ada/one.jsonl | web | true
    quarantine.release | quarantine | web | true
    ");
}

#[test]
fn a_release_without_a_valid_selection_releases_no_session() {
    let (_dir, server) = start_with_quarantine();
    let error = |query: &str| server.post(&format!("{PATH}/release{query}")).error();
    insta::assert_snapshot!(error(""), @"422: no sessions selected; pass `processor`, `session` or `all`");
    insta::assert_snapshot!(error("?all=false"), @"422: no sessions selected; pass `processor`, `session` or `all`");
    insta::assert_snapshot!(error("?all=true&session=ada/one.jsonl"), @"422: `all` conflicts with `processor` and `session`; pass only one of them");
    insta::assert_snapshot!(error("?session=bob/fine.jsonl"), @"404: session `bob/fine.jsonl` is not in quarantine; `session-pipeline quarantine list` lists those that are");
    insta::assert_snapshot!(error("?session=bob/fien.jsonl"), @"404: unknown session `bob/fien.jsonl`; did you mean `bob/fine.jsonl`, or `bob/two.jsonl`?");
    insta::assert_snapshot!(error("?processor=moon"), @"400: unknown processor `moon`; known processors: faulty-panics");
    insta::assert_snapshot!(error("?moon=1"), @"422: moon: unknown field `moon`, expected one of `processor`, `session`, `all`");
    assert_eq!(server.get(PATH).json()["count"], 2);
    let odd = server.post(&format!("{PATH}/release?session=%00&processor=%00"));
    assert!(odd.status < 500, "{odd:?}");
}
