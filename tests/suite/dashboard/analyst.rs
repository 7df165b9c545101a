//! What an analyst sees: the figures of everyone, and the texts of its own sessions.

use serde_json::json;
use session_pipeline_harness::DataDir;

use super::Browser;
use super::roles::start;
use crate::guests::panics;
use crate::http::TestServer;

#[test]
fn an_analyst_sees_the_figures_of_all_sessions_and_the_texts_of_its_own() {
    let dir = DataDir::new();
    let (server, _) = start(&dir);
    let body = json!({ "role": "analyst" });
    let created = server.post_json("/api/admin/tokens", &body).json();
    let without_user = created["token"].as_str().unwrap().to_owned();
    let own = server.token("analyst", "mia@example.com");
    let get = |token: &str, path: &str| server.send("GET", path, token, "", &[]);
    let all = server.get("/api/admin/sessions?sort=cost").json();
    for (token, titles) in [(&without_user, 0), (&own, 2)] {
        for order in [
            "sort=cost",
            "sort=title",
            "sort=key",
            "sort=recent&state=processed",
        ] {
            let list = get(token, &format!("/api/admin/sessions?{order}"));
            assert!(!list.text().contains("secret title"), "{order}: {list:?}");
            let list = list.json();
            assert_eq!(list["count"], all["count"], "{order}: {list}");
            let sessions = list["sessions"].as_array().unwrap();
            let with_title = sessions
                .iter()
                .filter(|session| session["title"].is_string());
            assert_eq!(with_title.count(), titles, "{order}: {list}");
        }
        let bobs = get(token, "/api/admin/sessions?key=bob/secret.jsonl");
        assert!(!bobs.text().contains("secret title"), "{bobs:?}");
        assert_eq!(bobs.json()["messages"], 1, "{bobs:?}");
        // A title cannot be guessed, and its order reveals nothing.
        let search = "/api/admin/sessions?search=secret%20title";
        assert_eq!(get(token, search).json()["count"], 0);
        let csv = get(token, "/api/admin/sessions?format=csv");
        assert!(!csv.text().contains("secret title"), "{csv:?}");
        for route in [
            "transcript?",
            "transcript/marks?",
            "transcript/entry?line=1&",
        ] {
            let path = format!("/api/admin/{route}session=bob/secret.jsonl");
            let transcript = get(token, &path);
            assert!([403, 404].contains(&transcript.status), "{transcript:?}");
        }
        let mut browser = Browser::signed_in(&server, token);
        for path in [
            "/sessions?range=all",
            "/sessions/bob/secret.jsonl",
            "/?range=all",
            "/quality?range=all",
            "/data/api/admin/sessions",
            "/data/api/usage/quality",
        ] {
            let page = browser.get(path);
            assert_eq!(page.status, 200, "{path}: {page:?}");
            assert!(!page.body.contains("secret title"), "{path}: {page:?}");
            assert!(!page.body.contains("secret prompt"), "{path}: {page:?}");
        }
        let page = browser.get("/sessions/bob/secret.jsonl");
        assert!(page.body.contains("requires the role “admin”"), "{page:?}");
    }
    assert_eq!(
        get(&own, "/api/admin/sessions?key=mia/own.jsonl").json()["title"],
        "own title"
    );
}

#[test]
fn an_analyst_sees_that_a_session_failed_and_not_the_log() {
    let dir = DataDir::new();
    dir.write("bob/secret.jsonl", "misbehave secret\n");
    let server = TestServer::start(&dir, &[panics()]);
    let run = server.post("/api/admin/run-session-processor?processor=faulty-panics");
    assert_eq!(run.json()["details"]["errors"], 1, "{run:?}");
    let log = |token: &str, path: &str| {
        let body = server.send("GET", path, token, "", &[]).json();
        let session = match body["sessions"].as_array() {
            Some(sessions) => sessions[0].clone(),
            None => body,
        };
        let failure = session["processors"][0]["failure"].clone();
        assert_eq!(failure["fault"], "panic", "{failure}");
        failure["detail"].as_str().unwrap().to_owned()
    };
    for path in [
        "/api/admin/sessions",
        "/api/admin/sessions?key=bob/secret.jsonl",
    ] {
        assert_ne!(log(&server.admin, path), log(&server.analyst, path));
        assert!(log(&server.analyst, path).contains("requires the role `admin`"));
    }
}
