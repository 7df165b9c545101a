//! Each row of the causes leads to the sessions behind it, and to as many as the row counts.

use std::time::Duration;

use serde_json::Value;
use session_pipeline_harness::demo::{self, DemoOptions};
use session_pipeline_harness::{DataDir, Transcript};
use session_pipeline_host::clock::Clock as _;

use super::Browser;
use crate::guests::usage;
use crate::http::TestServer;

/// The groupings of the report on usage, with the filter of the list of sessions.
const GROUPINGS: [(&str, &str); 11] = [
    ("model", "model"),
    ("agent", "agent"),
    ("source", "source"),
    ("agent-type", "agent_type"),
    ("skill", "skill"),
    ("plugin", "plugin"),
    ("mcp-server", "mcp_server"),
    ("effort", "effort"),
    ("branch", "branch"),
    ("pull-request", "pull_request"),
    ("entrypoint", "entrypoint"),
];

/// A served team of a few people.
fn team(dir: &DataDir) -> TestServer {
    let options = DemoOptions {
        users: 6,
        projects: 4,
        days: 12,
        end: dir.clock().now().minus(Duration::from_secs(3_600)),
        sessions: 70,
        ..DemoOptions::default()
    };
    demo::write(dir.path(), &options, &mut |_| true).unwrap();
    let server = TestServer::start(dir, &[usage()]);
    let run = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(run.json()["details"]["errors"], 0, "{run:?}");
    server
}

fn encoded(text: &str) -> String {
    let bytes = text.bytes();
    bytes.map(|byte| format!("%{byte:02X}")).collect()
}

fn get(server: &TestServer, path: &str) -> Value {
    let response = server.get(path);
    assert_eq!(response.status, 200, "{path}: {response:?}");
    response.json()
}

/// The number of sessions in a list that is not paged.
fn listed(server: &TestServer, filter: &str) -> i64 {
    let path = format!("/api/admin/sessions?subagents=no&limit=1000&sort=cost&{filter}");
    let sessions = get(server, &path);
    let by_key = get(server, &path.replace("sort=cost", "sort=key"));
    assert_eq!(sessions["count"], by_key["count"], "{path}");
    sessions["count"].as_i64().unwrap()
}

#[test]
fn a_list_by_a_cause_has_as_many_sessions_as_the_row_of_the_report() {
    let dir = DataDir::new();
    let server = team(&dir);
    let days = get(&server, "/api/usage/summary?by=day")["rows"].clone();
    let days: Vec<&str> = days
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["day"].as_str())
        .collect();
    let middle = format!(
        "since={}&until={}&",
        days[days.len() / 3],
        days[days.len() / 2]
    );
    let mut compared = 0;
    for period in ["", &middle] {
        for (by, filter) in GROUPINGS {
            let report = get(&server, &format!("/api/usage/summary?{period}by={by}"));
            for row in report["rows"].as_array().unwrap() {
                let Some(name) = row[by.replace('-', "_")].as_str() else {
                    continue;
                };
                let found = listed(&server, &format!("{period}{filter}={}", encoded(name)));
                // The list is by the agent of the session, with its last activity in the period.
                if filter != "agent" || period.is_empty() {
                    assert_eq!(found, row["sessions"], "{period} {by} {name}");
                    compared += 1;
                }
            }
        }
        let tools = get(&server, &format!("/api/usage/tools?{period}"));
        for row in tools["rows"].as_array().unwrap() {
            let tool = encoded(row["tool"].as_str().unwrap());
            assert_eq!(
                listed(&server, &format!("{period}tool={tool}")),
                row["sessions"],
                "{row}"
            );
            for class in row["errors_by_class"].as_object().unwrap().keys() {
                let failed = listed(&server, &format!("{period}tool={tool}&failure={class}"));
                assert!(
                    (1..=row["sessions"].as_i64().unwrap()).contains(&failed),
                    "{class} {row}"
                );
                compared += 1;
            }
        }
        let waste = get(&server, &format!("/api/usage/waste?{period}"));
        for row in waste["rows"].as_array().unwrap() {
            let kind = row["kind"].as_str().unwrap();
            assert_eq!(
                listed(&server, &format!("{period}waste={kind}")),
                row["sessions"],
                "{row}"
            );
            compared += 1;
        }
        let skills = get(&server, &format!("/api/usage/skills?{period}"));
        for row in skills["rows"].as_array().unwrap() {
            let filter = match row["kind"].as_str().unwrap() {
                "skill" => "called_skill",
                "command" => "command",
                _ => "called_agent_type",
            };
            let name = encoded(row["name"].as_str().unwrap());
            // A name that several plugins have is in several rows.
            let found = listed(&server, &format!("{period}{filter}={name}"));
            assert!(found >= row["sessions"].as_i64().unwrap(), "{row}");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
    assert_eq!(listed(&server, "branch=nothing"), 0);
    assert_eq!(listed(&server, "waste=nothing&tool=Bash"), 0);
}

#[test]
fn two_causes_are_of_the_same_message_or_call() {
    let dir = DataDir::new();
    let at = "2026-01-05T09:00:00Z".parse().unwrap();
    let session = |id: &str| Transcript::new(id).at(at).user("go");
    // `Bash` succeeded and `Read` failed.
    dir.write(
        "ada/one.jsonl",
        session("one")
            .git_branch("main")
            .assistant(|m| m.model("claude-opus-4-5").tokens(1, 1).tool("Bash"))
            .tool_result(Ok("fine"))
            .assistant(|m| m.model("claude-haiku-4-5").tokens(1, 1).tool("Read"))
            .tool_result(Err("no such file")),
    );
    dir.write(
        "ada/two.jsonl",
        session("two")
            .assistant(|m| m.model("claude-opus-4-5").tokens(1, 1).tool("Bash"))
            .tool_result(Err("no such file")),
    );
    let server = TestServer::start(&dir, &[usage()]);
    server.post("/api/admin/run-session-processor?processor=usage");
    let keys = |filter: &str| {
        let list = get(&server, &format!("/api/admin/sessions?{filter}"));
        let keys = list["sessions"].as_array().unwrap().iter();
        let keys: Vec<String> = keys
            .map(|session| session["key"].as_str().unwrap().to_owned())
            .collect();
        keys.join(" ")
    };
    let class = get(&server, "/api/usage/tools")["rows"][0]["errors_by_class"].clone();
    let class = class.as_object().unwrap().keys().next().unwrap().clone();
    assert_eq!(keys("tool=Bash"), "ada/one.jsonl ada/two.jsonl");
    assert_eq!(
        keys(&format!("failure={class}")),
        "ada/one.jsonl ada/two.jsonl"
    );
    assert_eq!(keys(&format!("tool=Bash&failure={class}")), "ada/two.jsonl");
    assert_eq!(keys("tool=Read&model=claude-opus-4-5"), "");
    assert_eq!(keys("branch=main&model=claude-haiku-4-5"), "ada/one.jsonl");
    assert_eq!(keys("branch=main&tool=Read&search=one"), "ada/one.jsonl");
    assert_eq!(keys("branch=main&since=2026-01-06"), "");
    assert_eq!(keys("agent=codex"), "");
    let unknown = server.get("/api/admin/sessions?agent=nothing");
    assert_eq!(unknown.status, 422, "{unknown:?}");
}

/// The links in a page that lead to a path.
fn links<'p>(page: &'p str, path: &str) -> Vec<&'p str> {
    let parts = page.split("href=\"").skip(1);
    let links = parts.filter_map(|part| part.split('"').next());
    links.filter(|link| link.starts_with(path)).collect()
}

#[test]
fn every_row_of_the_causes_is_a_link_to_a_page_with_sessions() {
    let dir = DataDir::new();
    let server = team(&dir);
    let mut browser = Browser::signed_in(&server, &server.admin);
    let mut parts: Vec<&str> = GROUPINGS.iter().map(|(by, _)| *by).collect();
    parts.extend([
        "user",
        "project",
        "project-name",
        "tools",
        "waste",
        "skills",
    ]);
    for part in parts {
        let page = browser.get(&format!("/causes/{part}?range=all&tz=UTC"));
        assert_eq!(page.status, 200, "{part}: {page:?}");
        assert!(page.body.contains("<nav"), "{part} is a page of its own");
        let path = match part {
            "model" | "agent" | "user" | "project" | "project-name" => "/?range=all",
            _ => "/sessions?range=all",
        };
        let (_, table) = page
            .body
            .split_once("<tbody>")
            .unwrap_or_else(|| panic!("{part}: {page:?}"));
        let found = links(table, path);
        assert!(!found.is_empty(), "{part}: {table}");
        let linked = browser.get(&found[0].replace("&amp;", "&"));
        assert_eq!(linked.status, 200, "{found:?}");
        assert!(!linked.body.contains("No session matches"), "{found:?}");
        assert!(
            !linked.body.contains("No usage in this period"),
            "{found:?}"
        );
    }
    // The script of the page loads a part without the frame, and with fewer rows.
    let part = browser
        .with("HX-Request", Some("true"))
        .get("/causes/branch?range=all");
    assert!(!part.body.contains("<nav"), "{part:?}");
    assert!(
        part.body.contains("\"/causes/branch?range=all\""),
        "no link to all rows: {part:?}"
    );
}

#[test]
fn a_filter_with_an_unknown_value_says_so() {
    let dir = DataDir::new();
    let server = team(&dir);
    let mut browser = Browser::signed_in(&server, &server.admin);
    for (path, text) in [
        ("/?project=nothing", "No message matches project `nothing`"),
        ("/causes?user=nobody", "No message matches user `nobody`"),
        (
            "/causes/skills?user=nobody",
            "No message matches user `nobody`",
        ),
        (
            "/overview/projects?user=nobody",
            "No message matches user `nobody`",
        ),
        (
            "/sessions?model=no-model",
            "No session matches model `no-model`",
        ),
        (
            "/sessions?branch=no-branch",
            "No session matches branch `no-branch`",
        ),
        (
            "/sessions?tool=%3Cb%3E",
            "No session matches tool `&lt;b&gt;`",
        ),
        (
            "/sessions?tool=Bsh&user=nobody",
            "No session matches tool `Bsh`; did you mean `Bash`?",
        ),
        (
            "/sessions?tool=Bash&user=nobody",
            "No session matches user `nobody`",
        ),
        (
            "/sessions?tool=Bash&since=1999-01-01&until=1999-01-02",
            "No session matches all filters, although each name is known.",
        ),
    ] {
        let page = browser.get(path);
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.body.contains(text), "{path}: {page:?}");
    }
    // The API says the same.
    for (filter, text) in [
        (
            "waste=rered",
            "no session matches kind of waste `rered`; did you mean `reread`?",
        ),
        (
            "failure=no-failure",
            "no session matches class of failed calls `no-failure`",
        ),
        (
            "agent_type=no-type",
            "no session matches type of sub-agent `no-type`",
        ),
        (
            "pull_request=no-request",
            "no session matches pull request `no-request`",
        ),
        (
            "command=no-command",
            "no session matches slash command `no-command`",
        ),
        (
            "called_skill=no-skill",
            "no session matches called skill `no-skill`",
        ),
        (
            "called_agent_type=none",
            "no session matches started sub-agent `none`",
        ),
    ] {
        let list = get(&server, &format!("/api/admin/sessions?{filter}"));
        assert_eq!(list["notices"], serde_json::json!([text]), "{filter}");
    }
    let models = get(&server, "/api/usage/summary?by=model");
    let model = models["rows"][0]["model"].as_str().unwrap();
    for path in [
        "/?agent=claude",
        &format!("/causes?model={model}"),
        "/sessions",
    ] {
        let page = browser.get(path);
        assert!(!page.body.contains(" matches "), "{path}: {page:?}");
    }
    let page = browser.get("/?agent=nothing");
    assert!(page.body.contains("not a known coding agent"), "{page:?}");
}

#[test]
fn projects_are_ranked_by_path_or_by_name_and_a_name_selects_all_of_its_paths() {
    let dir = DataDir::new();
    for (user, path, tokens) in [
        ("mia", "/home/mia/shop", 3_000),
        ("bob", "/src/shop", 2_000),
        ("bob", "/src/docs", 1_000),
    ] {
        let session = Transcript::new(path)
            .at("2099-12-31T10:00:00Z".parse().unwrap())
            .cwd(path)
            .user("go")
            .assistant(|m| m.tokens(tokens, tokens));
        dir.write(&format!("{user}/{tokens}.jsonl"), session);
    }
    let server = TestServer::start(&dir, &[usage()]);
    server.post("/api/admin/run-session-processor?processor=usage");
    let mut browser = Browser::signed_in(&server, &server.admin);
    let by_path = browser.get("/overview/projects?range=all").body;
    assert!(by_path.contains("project=%2Fsrc%2Fshop"), "{by_path}");
    assert!(
        by_path.contains("\"/causes/project-name?range=all\""),
        "{by_path}"
    );
    let by_name = browser.get("/causes/project-name?range=all").body;
    assert!(by_name.contains("2 paths, "), "{by_name}");
    assert!(!by_name.contains("1 path,"), "{by_name}");
    assert!(
        by_name.contains("\"/causes/project?range=all\""),
        "{by_name}"
    );
    let shop = links(&by_name, "/?range=all&amp;project=shop");
    assert_eq!(shop.len(), 1, "{by_name}");
    // The sessions of both paths, and of no other project.
    assert_eq!(listed(&server, "project=shop"), 2);
    assert_eq!(listed(&server, "project=/src/shop"), 1);
}
