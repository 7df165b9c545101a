//! Attempts of a member to learn the names, titles, paths or texts of another user, or whether they
//! exist.

use serde_json::{Value, json};
use session_pipeline_harness::{DataDir, Transcript};

use super::Browser;
use super::roles::{SECRET, start};
use crate::guests::{panics, usage, verification};
use crate::http::TestServer;

/// Every page of the dashboard with a GET route, and every part of a page.
const PAGES: [&str; 34] = [
    "/",
    "/?user=bob@example.com",
    "/?project=secret-project",
    "/?model=secret-model",
    "/sessions",
    "/sessions?sort=title",
    "/overview/users",
    "/overview/projects",
    "/overview/sessions?user=bob@example.com",
    "/overview/hours?user=bob@example.com",
    "/sessions?user=bob@example.com",
    "/sessions?search=secret",
    "/sessions?cursor=bob/a",
    "/sessions/bob/secret.jsonl",
    "/sessions/mia%2F..%2Fbob%2Fsecret.jsonl",
    "/sessions/entries?session=bob/secret.jsonl&after=0",
    "/sessions/part?session=bob/secret.jsonl&line=1&part=0",
    "/causes",
    "/causes?user=bob@example.com",
    "/causes/skills",
    "/causes/waste",
    "/causes/tools",
    "/causes/project",
    "/causes/project-name",
    "/causes/project-name?project=secret-projec",
    "/causes/user",
    "/sessions?tool=mcp__secre-server__read",
    "/sessions?branch=secre-branch",
    "/overview/projects?project=secre-project",
    "/knowledge",
    "/knowledge/1",
    "/quality",
    "/operations",
    "/operations/runs",
];

/// Everything that only Bob has, and that a page can echo only if the request contained it.
fn reveals(text: &str, request: &str) -> Option<&'static str> {
    let words = ["secret", "bob", "4242"];
    words
        .into_iter()
        .find(|word| text.contains(word) && !request.contains(word))
}

#[test]
fn no_page_shows_a_member_anything_of_others() {
    let dir = DataDir::new();
    let (server, member) = start(&dir);
    let mut browser = Browser::signed_in(&server, &member);
    for path in PAGES {
        let page = browser.get(path);
        assert!(page.status < 500, "{path}: {page:?}");
        assert_eq!(reveals(&page.body, path), None, "{path}: {}", page.body);
        // What the request contained is never enriched with a title or a text.
        for own in [
            "secret title",
            "secret prompt",
            "secret-branch",
            "secret-agent",
        ] {
            assert!(!page.body.contains(own), "{path}: {}", page.body);
        }
    }
    // The same as data, which has other middleware.
    for path in [
        "/data/api/admin/sessions?key=bob/secret.jsonl",
        "/data/api/admin/transcript?session=bob/secret.jsonl",
        "/data/api/admin/usage/export",
        "/data/api/admin/audit",
        "/data/api/usage/quality",
        "/data/api/knowledge",
        "/data/api/usage/summary?by=session&format=csv",
        "/data/../api/admin/audit",
        "/data/%2e%2e/api/admin/audit",
        "/data//api/admin/audit",
        "/data/metrics",
    ] {
        let page = browser.get(path);
        assert_eq!(reveals(&page.body, path), None, "{path}: {page:?}");
        assert!(!page.body.contains("secret title"), "{path}: {page:?}");
    }
}

#[test]
fn the_status_and_text_of_an_error_do_not_depend_on_what_exists() {
    let dir = DataDir::new();
    let (server, member) = start(&dir);
    // Something exists of each kind.
    assert_eq!(server.get("/api/admin/runs/1").status, 200);
    let token = server.get("/api/admin/tokens").json()["tokens"][0]["id"].clone();
    let token = token.as_str().unwrap().to_owned();
    let send = |method: &str, path: &str| {
        let response = server.send(method, path, &member, "", &[]);
        (response.status, response.text())
    };
    for (method, existing, other) in [
        ("GET", "/api/admin/runs/1".to_owned(), "/api/admin/runs/999"),
        ("GET", "/api/knowledge/1".to_owned(), "/api/knowledge/999"),
        (
            "POST",
            "/api/knowledge/1/approve".to_owned(),
            "/api/knowledge/999/approve",
        ),
        (
            "DELETE",
            format!("/api/admin/tokens/{token}"),
            "/api/admin/tokens/999",
        ),
        (
            "POST",
            "/api/admin/reprocess?processor=usage&session=bob/secret.jsonl".to_owned(),
            "/api/admin/reprocess?processor=nothing&session=nothing",
        ),
        (
            "POST",
            "/api/admin/quarantine/release?session=bob/secret.jsonl".to_owned(),
            "/api/admin/quarantine/release?session=nothing",
        ),
        (
            "GET",
            "/api/admin/audit?user=bob@example.com".to_owned(),
            "/api/admin/audit?user=nobody@example.com",
        ),
        (
            "GET",
            "/api/admin/usage/export?user_id=bob".to_owned(),
            "/api/admin/usage/export?user_id=nobody&since=invalid",
        ),
    ] {
        let found = send(method, &existing);
        assert_eq!(found.0, 403, "{existing}: {found:?}");
        assert_eq!(found, send(method, other), "{existing}");
    }
    // The reports of a member, by the id of a session.
    for path in [
        "summary?by=day",
        "summary?by=session",
        "tools?",
        "skills?",
        "waste?",
    ] {
        // A notice repeats the id, and suggests similar ones of the member's own.
        let of = |session: &str| {
            let (status, text) = send("GET", &format!("/api/usage/{path}&session={session}"));
            (status, text.replace(session, "ID"))
        };
        assert_eq!(of("secret-session"), of("sicret-session"), "{path}");
        let own = of("own-session");
        assert_ne!(own, of("sicret-session"), "{path}");
    }
    // A forged position in each order of the list.
    for sort in [
        "recent", "cost", "title", "user", "project", "tokens", "key",
    ] {
        for cursor in [
            "bob/secret.jsonl",
            "[\"secret title\",\"bob/secret.jsonl\"]",
        ] {
            let encoded = cursor
                .replace('"', "%22")
                .replace('[', "%5B")
                .replace(']', "%5D");
            let encoded = encoded.replace(' ', "%20");
            let path = format!("/api/admin/sessions?sort={sort}&cursor={encoded}&limit=1");
            let (_, text) = send("GET", &path);
            assert_eq!(reveals(&text, &path), None, "{path}: {text}");
        }
    }
}

#[test]
fn a_session_that_shares_ids_with_another_user_names_nothing_of_the_other() {
    let dir = DataDir::new();
    let at = "2099-12-31T10:00:00Z".parse().unwrap();
    // Bob's session and those that began with the same line, continue it, and are its sub-agents.
    let shared = Transcript::new("shared-session").at(at).user("go");
    let secret = |transcript: Transcript| {
        transcript
            .assistant(|m| {
                m.id("msg_bob_0123456789abcdef")
                    .tool_with("Task", json!({ "subagent_type": "secret-agent" }))
            })
            .summary("secret title")
    };
    dir.write("bob/secret.jsonl", secret(shared.clone()));
    dir.write("bob/secret-fork.jsonl", secret(shared.clone()));
    dir.write(
        "bob/secret/subagents/agent-a1.jsonl",
        Transcript::new("shared-session")
            .at(at)
            .user("secret prompt"),
    );
    let link = json!({
        "prUrl": "https://git.example/secret/pull/1", "prNumber": 1, "prRepository": "secret/secret"
    });
    dir.append(
        "bob/secret.jsonl",
        Transcript::new("shared-session")
            .entry("pr-link", link)
            .text(),
    );
    dir.write(
        "mia/own.jsonl",
        shared
            .assistant(|m| m.id("msg_mia_0123456789abcdef"))
            .tool_result(Ok("agentId: ../../bob/secret/subagents/agent-a1"))
            .entry(
                "summary",
                json!({ "leafUuid": "x", "summary": "own title" }),
            ),
    );
    let server = TestServer::start(&dir, &[usage()]);
    let member = server.token("member", "mia@example.com");
    server.token("member", "bob@example.com");
    let run = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(run.status, 200, "{run:?}");
    for path in [
        "/api/admin/sessions?key=mia/own.jsonl",
        "/api/admin/sessions?subagents=yes",
        "/api/admin/sessions",
        "/api/admin/transcript?session=mia/own.jsonl",
        "/api/admin/transcript/marks?session=mia/own.jsonl",
        "/api/usage/summary?by=pull-request",
        "/api/usage/summary?by=agent-type",
        "/api/usage/summary?by=session",
        "/api/usage/summary?by=session&split=pull-request",
        "/api/usage/waste?by=session",
    ] {
        let response = server.send("GET", path, &member, "", &[]);
        assert_eq!(response.status, 200, "{path}: {response:?}");
        // Mia's own text names the file.
        let text = response
            .text()
            .replace("../../bob/secret/subagents/agent-a1", "");
        assert_eq!(reveals(&text, path), None, "{path}: {text}");
    }
}

/// The report of Mia on her session, whose id another session has as well, with this key and this
/// number of messages.
fn agent_cost_next_to(key: &str, messages: usize) -> Value {
    let dir = DataDir::new();
    let at = "2099-12-31T10:00:00Z".parse().unwrap();
    let shared = Transcript::new("shared-session").at(at).user("go");
    let cost = json!({
        "totalCostUSD": 1.5, "totalLinesAdded": 1, "totalLinesRemoved": 0,
        "modelUsage": { "claude-sonnet-4-5": { "inputTokens": 1, "outputTokens": 5, "costUSD": 1.5 } },
        "hasUnknownModelCost": false
    });
    dir.write(
        "mia/own.jsonl",
        shared
            .clone()
            .assistant(|m| m.id("msg_mia_0123456789abcdef").tokens(1, 1))
            .entry("cost-state", cost),
    );
    let other = (0..messages).fold(shared, |session, number| {
        session.assistant(|m| {
            m.id(&format!("msg_bob_{number}123456789abcdef"))
                .tokens(1, 7)
        })
    });
    dir.write(key, other);
    let server = TestServer::start(&dir, &[usage()]);
    let member = server.token("member", "mia@example.com");
    server.post("/api/admin/run-session-processor?processor=usage");
    let report = server.send("GET", "/api/usage/summary?by=session", &member, "", &[]);
    report.json()["rows"].clone()
}

#[test]
fn a_member_cannot_find_out_whether_another_user_has_a_session_with_the_same_id() {
    let rows = agent_cost_next_to("bob/other.jsonl", 5);
    assert_eq!(rows[0]["agent_cost_usd"], 1.5, "{rows}");
    assert_eq!(rows, agent_cost_next_to("bob/other.jsonl", 0));
}

#[test]
fn models_of_others_show_a_member_only_what_a_price_table_contains() {
    let dir = DataDir::new();
    let at = "2099-12-31T10:00:00Z".parse().unwrap();
    let session = |id: &str, models: &[&str]| {
        models
            .iter()
            .fold(Transcript::new(id).at(at).user("go"), |session, model| {
                session.assistant(|m| m.model(model).tokens(1000, 10))
            })
    };
    // All but the last have a price, as gateways write such ids.
    let priced = [
        "/home/bob/secret-project/claude-opus-4-5",
        "secret-gateway.internal/claude-opus-4-5-20251101",
        "secret.anthropic.claude-opus-4-5",
        "secret\n/claude-opus-4-5",
    ];
    dir.write("bob/secret.jsonl", session("s1", &priced));
    dir.write(
        "mia/own.jsonl",
        session("s2", &["own-gateway/claude-opus-4-5"]),
    );
    let server = TestServer::start(&dir, &[usage()]);
    let member = server.token("member", "mia@example.com");
    server.post("/api/admin/run-session-processor?processor=usage");
    let team = |query: &str| {
        let path = format!("/api/usage/summary?scope=team&{query}");
        let response = server.send("GET", &path, &member, "", &[]);
        assert_eq!(response.status, 200, "{response:?}");
        response
    };
    for query in ["by=model", "by=day&split=model", "by=model&format=csv"] {
        let text = team(query).text();
        assert!(
            !text.contains("secret") && !text.contains("bob"),
            "{query}: {text}"
        );
    }
    let rows = team("by=model").json()["rows"].clone();
    let names = rows.as_array().unwrap().iter().map(|row| {
        let messages = row["messages"].as_i64().unwrap();
        (
            row["model"].as_str().unwrap_or("(none)").to_owned(),
            messages,
        )
    });
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            ("claude-opus-4-5".to_owned(), 3),
            ("claude-opus-4-5-20251101".to_owned(), 1),
            ("(none)".to_owned(), 1)
        ]
    );
    let filtered = |model: &str| team(&format!("model={model}")).json()["totals"].clone();
    assert_eq!(
        filtered("secret-gateway.internal/claude-opus-4-5-20251101"),
        filtered("nothing/claude-opus-4-5-20251101")
    );
    let page = Browser::signed_in(&server, &member).get("/");
    assert!(!page.body.contains("secret"), "{page:?}");
}

#[test]
fn a_namesake_at_another_domain_cannot_read_a_folder() {
    let dir = DataDir::new();
    let (server, member) = start(&dir);
    let own = |token: &str| {
        let listed = server.send("GET", "/api/admin/sessions", token, "", &[]);
        listed.json()["sessions"].as_array().unwrap().len()
    };
    assert_eq!(own(&member), 2);
    dir.clock().advance(std::time::Duration::from_secs(60));
    let namesake = server.token("member", "bob@other.example");
    assert_eq!(own(&namesake), 0);
    let key = "/api/admin/transcript?session=bob/secret.jsonl";
    assert_eq!(server.send("GET", key, &namesake, "", &[]).status, 404);
    let report = server.send("GET", "/api/usage/summary", &namesake, "", &[]);
    assert_eq!(report.json()["totals"]["messages"], 0, "{report:?}");
}

#[test]
fn an_upload_reveals_nothing_about_the_files_of_others() {
    let dir = DataDir::new();
    let (server, member) = start(&dir);
    let upload = |name: &str| {
        let form = format!(
            "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{{}}\n\r\n--x--\r\n"
        );
        let kind = "multipart/form-data; boundary=x";
        let response = server.send(
            "POST",
            "/api/upload/sessions",
            &member,
            kind,
            form.as_bytes(),
        );
        (response.status, response.text().replace(name, "NAME"))
    };
    // The name of a file of Bob, and one that no one has.
    assert_eq!(upload("secret.jsonl"), upload("nothin.jsonl"));
    for name in [
        "../bob/secret.jsonl",
        "..%2Fbob%2Fsecret.jsonl",
        "bob/secret.jsonl",
        "/bob/secret.jsonl",
    ] {
        let (status, text) = upload(name);
        assert_eq!(status, 400, "{name}: {text}");
        assert_eq!(upload(name), upload(&name.replace("bob", "nob")), "{name}");
    }
    assert!(
        String::from_utf8(dir.read("bob/secret.jsonl"))
            .unwrap()
            .contains(SECRET)
    );
}

#[test]
fn an_error_of_another_users_session_reaches_no_member() {
    let dir = DataDir::new();
    dir.write("bob/secret.jsonl", "misbehave secret\n");
    dir.write("mia/own.jsonl", "{}\n");
    let server = TestServer::start(&dir, &[panics(), usage(), verification()]);
    let member = server.token("member", "mia@example.com");
    let run = server.post("/api/admin/run-session-processor?processor=faulty-panics");
    assert_eq!(run.json()["details"]["errors"], 1, "{run:?}");
    for path in [
        "/api/admin/sessions",
        "/api/admin/sessions?state=waiting",
        "/api/admin/sessions?state=quarantined&processor=faulty-panics",
        "/api/admin/sessions?key=mia/own.jsonl",
        "/api/health",
        "/api/version",
        "/api/health/detailed",
        "/api/admin/runs",
        "/api/admin/quarantine",
        "/api/admin/scheduler",
        "/metrics",
    ] {
        let text = server.send("GET", path, &member, "", &[]).text();
        assert_eq!(reveals(&text, path), None, "{path}: {text}");
    }
    // A processor that does not exist, or a state without sessions, is not an oracle either.
    let list = |query: &str| {
        server
            .send(
                "GET",
                &format!("/api/admin/sessions?{query}"),
                &member,
                "",
                &[],
            )
            .text()
    };
    assert_eq!(
        list("state=waiting&processor=faulty-panics"),
        list("state=quarantined&processor=faulty-panics")
    );
}
