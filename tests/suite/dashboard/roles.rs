//! What each role can see: a table of all routes, and attempts of a member to see the data of others.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use session_pipeline_harness::{DataDir, Transcript};

use super::Browser;
use crate::database::execute;
use crate::guests::usage;
use crate::http::TestServer;

/// The status of each route for a caller without a token, a member, an analyst and an admin. Add a
/// line for every new route. The database is empty.
const STATUSES: &[(&str, [u16; 4])] = &[
    ("DELETE /api/admin/tokens/{id}", [401, 403, 403, 404]),
    ("GET /api/admin/audit", [401, 403, 403, 200]),
    ("GET /api/admin/processors", [401, 403, 403, 200]),
    ("GET /api/admin/quarantine", [401, 403, 403, 200]),
    ("GET /api/admin/runs", [401, 403, 403, 200]),
    ("GET /api/admin/runs/{id}", [401, 403, 403, 404]),
    ("GET /api/admin/scheduler", [401, 403, 403, 200]),
    ("GET /api/admin/sessions", [401, 200, 200, 200]),
    ("GET /api/admin/tokens", [401, 403, 403, 200]),
    ("GET /api/admin/transcript", [401, 422, 422, 422]),
    ("GET /api/admin/transcript/entry", [401, 422, 422, 422]),
    ("GET /api/admin/transcript/marks", [401, 422, 422, 422]),
    ("GET /api/admin/usage/export", [401, 403, 403, 400]),
    ("GET /api/admin/usage/summary", [401, 403, 403, 400]),
    ("GET /api/health", [200, 200, 200, 200]),
    ("GET /api/health/detailed", [401, 403, 200, 200]),
    ("GET /api/knowledge", [401, 403, 200, 200]),
    ("GET /api/knowledge/export", [401, 403, 200, 200]),
    ("GET /api/knowledge/{id}", [401, 403, 404, 404]),
    ("GET /api/openapi.json", [200, 200, 200, 200]),
    ("GET /api/usage/prices", [401, 403, 200, 200]),
    ("GET /api/usage/quality", [401, 403, 200, 200]),
    ("GET /api/usage/skills", [401, 200, 200, 200]),
    ("GET /api/usage/summary", [401, 200, 200, 200]),
    ("GET /api/usage/tools", [401, 200, 200, 200]),
    ("GET /api/usage/waste", [401, 200, 200, 200]),
    ("GET /api/version", [200, 200, 200, 200]),
    ("GET /metrics", [401, 403, 200, 200]),
    ("POST /api/admin/health/acknowledge", [401, 403, 403, 200]),
    ("POST /api/admin/prices/update", [401, 403, 403, 422]),
    ("POST /api/admin/quarantine/release", [401, 403, 403, 422]),
    ("POST /api/admin/reprocess", [401, 403, 403, 422]),
    (
        "POST /api/admin/run-session-processor",
        [401, 403, 403, 422],
    ),
    ("POST /api/admin/tokens", [401, 403, 403, 415]),
    ("POST /api/admin/usage/prune", [401, 403, 403, 200]),
    ("POST /api/admin/usage/reprocess", [401, 403, 403, 400]),
    ("POST /api/knowledge/decisions", [401, 403, 403, 415]),
    ("POST /api/knowledge/{id}/approve", [401, 403, 403, 404]),
    ("POST /api/knowledge/{id}/reject", [401, 403, 403, 404]),
    ("POST /api/upload/manifest", [401, 415, 415, 415]),
    ("POST /api/upload/sessions", [401, 415, 415, 415]),
    ("PUT /api/upload/sessions/{path}", [401, 400, 400, 400]),
];

#[test]
fn each_route_has_its_status_for_each_role_with_a_token_and_with_a_cookie() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let member = server.token("member", "mia@example.com");
    let served: Vec<String> = crate::http::operations(&server).into_keys().collect();
    let expected: Vec<&str> = STATUSES.iter().map(|(route, _)| *route).collect();
    assert_eq!(served, expected, "every route needs a line in STATUSES");
    let mut found = BTreeMap::new();
    let tokens = ["", &member, &server.analyst, &server.admin];
    for (route, _) in STATUSES {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{id}", "999");
        let statuses = tokens.map(|token| server.send(method, &path, token, "", &[]).status);
        found.insert(*route, statuses);
        // Pages do not use metrics.
        if method != "GET" || path == "/metrics" {
            continue;
        }
        for (token, status) in tokens.into_iter().zip(statuses).skip(1) {
            let mut browser = Browser::signed_in(&server, token);
            let page = browser.get(&format!("/data{path}"));
            assert_eq!(page.status, status, "{route} with a cookie: {page:?}");
        }
    }
    assert_eq!(found, STATUSES.iter().copied().collect());
}

/// A text in everything that only Bob has.
pub(super) const SECRET: &str = "secret";
/// The cost of Bob's session, as his agent reports it.
const BOBS_COST: f64 = 4242.5;

/// Writes sessions of Mia, Bob and of folders whose names are like hers, and processes them.
pub(super) fn start(dir: &DataDir) -> (TestServer, String) {
    let at = "2099-12-31T10:00:00Z".parse().unwrap();
    let session = |id: &str, word: &str| {
        Transcript::new(id)
            .at(at)
            .cwd(&format!("/home/dev/{word}-project"))
            .git_branch(&format!("{word}-branch"))
            .user(&format!("{word} prompt"))
            .entry(&format!("{word}-kind"), json!({ "message": "unknown" }))
            .slash_command(&format!("/{word}-command"))
            .assistant(|m| {
                m.model(&format!("{word}-model"))
                    // Its context is long, which is waste.
                    .tokens(200_000, 20)
                    .tool(&format!("mcp__{word}-server__read"))
                    .tool_with("Skill", json!({ "skill": format!("{word}-skill") }))
                    .tool_with("Task", json!({ "subagent_type": format!("{word}-agent") }))
            })
            .summary(&format!("{word} title"))
    };
    let link = json!({
        "prUrl": "https://git.example/secret/pull/1", "prNumber": 1, "prRepository": "secret/secret"
    });
    dir.write("mia/own.jsonl", session("own-session", "own"));
    dir.write("bob/secret.jsonl", session("secret-session", SECRET));
    // Folders that are not Mia's by the rule for users.
    for folder in ["mia@example.com", "Mia", "mia@other.example", "mia.x", "mi"] {
        dir.write(
            &format!("{folder}/secret.jsonl"),
            session(&format!("secret-{folder}"), SECRET),
        );
    }
    // Mia knows the id of a session of Bob, and has messages with the same id.
    let shared = Transcript::new("shared-session").at(at).user("go");
    dir.write(
        "bob/shared-secret.jsonl",
        shared
            .clone()
            .assistant(|m| m.id("msg_bob_0123456789abcdef").tokens(1, 7))
            .assistant(|m| m.id("msg_bob_1123456789abcdef").tokens(1, 7))
            .entry("pr-link", link)
            .entry("cost-state", json!({
                "totalCostUSD": BOBS_COST, "totalLinesAdded": 1, "totalLinesRemoved": 0,
                "modelUsage": { "claude-sonnet-4-5": { "inputTokens": 1, "outputTokens": 5, "costUSD": BOBS_COST } },
                "hasUnknownModelCost": false
            })),
    );
    dir.write(
        "mia/shared.jsonl",
        shared.assistant(|m| m.id("msg_mia_0123456789abcdef").tokens(1, 1)),
    );
    let server = TestServer::start(dir, &[usage()]);
    let member = server.token("member", "mia@example.com");
    server.token("analyst", "bob@example.com");
    let run = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(run.json()["details"]["processed"], 9, "{run:?}");
    (server, member)
}

const GROUPINGS: [&str; 21] = [
    "day",
    "week",
    "month",
    "hour",
    "session",
    "user",
    "model",
    "tool",
    "project",
    "project-name",
    "branch",
    "pull-request",
    "source",
    "agent-type",
    "skill",
    "plugin",
    "mcp-server",
    "effort",
    "entrypoint",
    "agent",
    "provider",
];

/// Every request for reports and lists that a member can send, without filters.
fn requests() -> Vec<String> {
    let mut requests: Vec<String> = GROUPINGS
        .iter()
        .map(|by| format!("/api/usage/summary?by={by}&"))
        .collect();
    for path in [
        "/api/usage/summary?by=day&split=user&",
        "/api/usage/summary?by=project&split=session&",
        "/api/usage/summary?by=session&format=csv&",
        "/api/usage/tools?",
        "/api/usage/tools?by=mcp-server&",
        "/api/usage/skills?",
        "/api/usage/waste?",
        "/api/usage/waste?by=session&",
        "/api/usage/waste?by=user&",
        "/api/usage/waste?by=project&",
        "/api/usage/waste?by=project-name&",
        "/api/admin/sessions?",
        "/api/admin/sessions?sort=recent&",
        "/api/admin/sessions?sort=cost&",
        "/api/admin/sessions?sort=title&reverse=true&",
        "/api/admin/sessions?sort=tokens&",
        "/api/admin/sessions?format=csv&",
        "/api/admin/sessions?processor=usage&state=processed&",
    ] {
        requests.push(path.to_owned());
    }
    requests
}

#[test]
fn a_member_sees_its_own_figures_and_nothing_of_others() {
    let dir = DataDir::new();
    let (server, member) = start(&dir);
    let mut seen = String::new();
    for path in requests() {
        let own = server.send("GET", &path, &member, "", &[]);
        assert_eq!(own.status, 200, "{path}: {own:?}");
        let own = own.text();
        assert!(
            !own.contains(SECRET) && !own.contains("4242"),
            "{path}: {own}"
        );
        seen.push_str(&own);
        // An admin sees them.
        let all = server.get(&path).text();
        assert_ne!(all, own, "{path}");
    }
    let sessions = server.get("/api/usage/summary?by=session").text();
    assert!(sessions.contains("4242"), "{sessions}");
    for own in [
        "own-session",
        "own-model",
        "own-kind",
        "own-skill",
        "own title",
        "own-server",
    ] {
        assert!(seen.contains(own), "{own} is missing");
    }
    let report = server
        .send("GET", "/api/usage/summary", &member, "", &[])
        .json();
    assert_eq!(
        (
            &report["totals"]["messages"],
            &report["totals"]["output_tokens"]
        ),
        (&2.into(), &21.into())
    );
    assert_eq!(
        report["unknown_kinds"].as_array().unwrap().len(),
        1,
        "{report}"
    );
}

/// A document without notices, which repeat the value of a filter and suggest names of the caller's
/// own data. Asserts that they do not suggest names of others.
fn without_notices(text: &str) -> String {
    let Ok(mut document) = serde_json::from_str::<Value>(text) else {
        return text.to_owned();
    };
    let notices = document
        .as_object_mut()
        .and_then(|document| document.remove("notices"));
    for notice in notices
        .iter()
        .flat_map(|notices| notices.as_array().unwrap())
    {
        let (_, suggestions) = notice.as_str().unwrap().split_once(';').unwrap_or_default();
        assert!(!suggestions.contains(SECRET), "{notice}");
        assert!(!suggestions.contains("bob"), "{notice}");
    }
    document.to_string()
}

#[test]
fn the_data_of_others_is_like_data_that_does_not_exist() {
    let dir = DataDir::new();
    let (server, member) = start(&dir);
    let get = |path: &str| {
        let response = server.send("GET", path, &member, "", &[]);
        (response.status, without_notices(&response.text()))
    };
    for path in requests() {
        let nothing = get(&format!("{path}user=nobody@example.com"));
        for user in [
            "bob@example.com",
            "bob",
            "Mia",
            "mia@other.example",
            "MIA@example.com",
            "mi",
        ] {
            assert_eq!(get(&format!("{path}user={user}")), nothing, "{path} {user}");
        }
        // The folder with the name of Mia's address is not Mia's.
        let mia = get(&format!("{path}user=mia@example.com"));
        assert!(!mia.1.contains(SECRET), "{path}: {mia:?}");
        let nothing = get(&format!("{path}project=nothing-project"));
        assert_eq!(
            get(&format!("{path}project=secret-project")),
            nothing,
            "{path}"
        );
        if path.starts_with("/api/usage") {
            let nothing = get(&format!("{path}model=nothing-model"));
            assert_eq!(get(&format!("{path}model=secret-model")), nothing, "{path}");
        } else {
            let nothing = get(&format!("{path}search=nothing"));
            assert_eq!(get(&format!("{path}search=secret")), nothing, "{path}");
            for (cause, value) in [
                ("model", "model"),
                ("branch", "branch"),
                ("pull_request", "secret/secret#1"),
                ("tool", "mcp__secret-server__read"),
                ("mcp_server", "server"),
                ("command", "command"),
                ("called_skill", "skill"),
                ("called_agent_type", "agent"),
            ] {
                let with = |word: &str| match value.contains(SECRET) {
                    true => value.replace(SECRET, word),
                    false => format!("{word}-{value}"),
                };
                let nothing = get(&format!("{path}{cause}={}", with("nothin")));
                let secret = get(&format!("{path}{cause}={}", with(SECRET)));
                assert_eq!(secret, nothing, "{path} {cause}");
                // Nor does a similar value lead to it.
                let similar = get(&format!("{path}{cause}={}", with("secre")));
                assert_eq!(similar, nothing, "{path} {cause}");
            }
            let cursor = get(&format!("{path}limit=1&cursor=bob/a"));
            assert!(!cursor.1.contains(SECRET), "{path}: {cursor:?}");
        }
    }
    let detail = |key: &str| {
        let (status, text) = get(&format!("/api/admin/sessions?key={key}"));
        (status, text.replace(key, "KEY"))
    };
    assert_eq!(detail("mia/own.jsonl").0, 200);
    let nothing = detail("bob/nothin.jsonl");
    assert_eq!(nothing.0, 404);
    for key in [
        "bob/secret.jsonl",
        "mia@example.com/secret.jsonl",
        "Mia/secret.jsonl",
        "mia/../bob/secret.jsonl",
        "mia//../bob/secret.jsonl",
        "secret",
        "secret.jsonl",
    ] {
        let found = detail(key);
        assert_eq!(found.0, 404, "{key}: {found:?}");
        assert!(!found.1.contains(SECRET), "{key}: {found:?}");
    }
    assert_eq!(detail("bob/secret.jsonl"), nothing);
    for route in [
        "transcript?",
        "transcript/marks?",
        "transcript/entry?line=1&",
    ] {
        let transcript = |key: &str| {
            let (status, text) = get(&format!("/api/admin/{route}session={key}"));
            (status, text.replace(key, "KEY"))
        };
        assert_eq!(transcript("mia/own.jsonl").0, 200, "{route}");
        let nothing = transcript("bob/nothin.jsonl");
        assert_eq!(nothing.0, 404, "{route}");
        for key in [
            "bob/secret.jsonl",
            "mia@example.com/secret.jsonl",
            "Mia/secret.jsonl",
        ] {
            assert_eq!(transcript(key), nothing, "{route} {key}");
        }
        let escaped = transcript("mia/../bob/secret.jsonl");
        assert!(
            escaped.0 == 404 && !escaped.1.contains(SECRET),
            "{escaped:?}"
        );
    }
}

#[test]
fn a_member_sees_totals_of_the_team_without_names() {
    let dir = DataDir::new();
    let (server, member) = start(&dir);
    let get = |path: &str| server.send("GET", &format!("/api/usage/{path}"), &member, "", &[]);
    let all = server.get("/api/usage/summary").json();
    for by in GROUPINGS {
        let team = get(&format!("summary?scope=team&by={by}"));
        let is_anonymous = [
            "day", "week", "month", "hour", "model", "source", "effort", "agent",
        ]
        .contains(&by);
        if !is_anonymous {
            assert_eq!(team.status, 403, "{by}: {team:?}");
            team.error();
            continue;
        }
        assert!(!team.text().contains(SECRET), "{by}: {team:?}");
        let team = team.json();
        for figure in ["messages", "output_tokens", "sessions", "unpriced_messages"] {
            assert_eq!(
                team["totals"][figure], all["totals"][figure],
                "{by} {figure}"
            );
        }
        let sum = |body: &Value| {
            let rows = body["rows"].as_array().unwrap().iter();
            rows.map(|row| row["messages"].as_i64().unwrap())
                .sum::<i64>()
        };
        assert_eq!(
            sum(&team),
            all["totals"]["messages"].as_i64().unwrap(),
            "{by}: {team}"
        );
    }
    for named in ["split=user", "split=session", "session=secret-session"] {
        let refused = get(&format!("summary?scope=team&by=day&{named}"));
        assert_eq!(refused.status, 403, "{named}: {refused:?}");
    }
    let models = get("summary?scope=team&by=model").json();
    let names = models["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["model"].as_str());
    let names: Vec<Option<&str>> = names.collect();
    // A member could upload the name of a model to find out who else uses it.
    assert!(
        !names.contains(&Some("own-model")) && names.contains(&None),
        "{models}"
    );
    assert_eq!(models["totals"]["unknown_models"], json!([]));
    for filter in [
        "user=bob",
        "user=mia@example.com",
        "project=x",
        "provider=x",
    ] {
        assert_eq!(
            get(&format!("summary?scope=team&{filter}")).status,
            403,
            "{filter}"
        );
    }
    let model =
        |name: &str| without_notices(&get(&format!("summary?scope=team&model={name}")).text());
    assert_eq!(model("secret-model"), model("nothing-model"));
    // Only the report on usage has totals of the team.
    for report in ["tools", "skills", "waste"] {
        assert_eq!(get(&format!("{report}?scope=team")).status, 422, "{report}");
    }
    let analyst = server.send(
        "GET",
        "/api/usage/summary?scope=team&by=user",
        &server.analyst,
        "",
        &[],
    );
    assert!(analyst.text().contains("bob@example.com"), "{analyst:?}");
}

#[test]
fn a_member_needs_a_user() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let created = server.post_json("/api/admin/tokens", &json!({ "role": "member" }));
    insta::assert_snapshot!(created.error(), @"422: a token with the role `member` needs a user; set the user to an e-mail address");
}

#[test]
fn a_token_with_an_unknown_role_has_the_permissions_of_a_member_without_a_user() {
    let dir = DataDir::new();
    let (server, member) = start(&dir);
    server.stop();
    execute(
        &dir,
        "UPDATE tokens SET role = 'auditor' WHERE role = 'member'",
    );
    let server = TestServer::start(&dir, &[usage()]);
    let get = |path: &str| server.send("GET", path, &member, "", &[]);
    assert_eq!(get("/api/knowledge").status, 403);
    assert_eq!(get("/api/admin/audit").status, 403);
    assert_eq!(get("/api/admin/sessions").json()["sessions"], json!([]));
    assert_eq!(get("/api/usage/summary").json()["totals"]["messages"], 0);
    let upload = server.send(
        "POST",
        "/api/upload/sessions",
        &member,
        "multipart/form-data",
        b"x",
    );
    assert_eq!(upload.status, 403);
}

#[test]
fn a_member_uploads_only_into_its_own_folder() {
    let dir = DataDir::new();
    let (server, member) = start(&dir);
    let form = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"new.jsonl\"\r\n\r\n{}\n\r\n--x--\r\n";
    let kind = "multipart/form-data; boundary=x";
    let upload = server.send(
        "POST",
        "/api/upload/sessions",
        &member,
        kind,
        form.as_bytes(),
    );
    assert_eq!(upload.status, 200, "{upload:?}");
    let sessions = server
        .send("GET", "/api/admin/sessions", &member, "", &[])
        .json();
    let keys = sessions["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| session["key"].as_str().unwrap().to_owned());
    let uploaded: Vec<String> = keys.filter(|key| key.ends_with("/new.jsonl")).collect();
    assert_eq!(uploaded.len(), 1, "{sessions}");
    let users = server.pipeline.store().users().unwrap();
    let mia = users
        .iter()
        .find(|user| user.email == "mia@example.com")
        .unwrap();
    assert_eq!(uploaded[0], format!("{}/new.jsonl", mia.id));
}
