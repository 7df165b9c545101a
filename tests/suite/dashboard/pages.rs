//! The pages over HTTP: who can open each one, what an empty one says, and what each action does.

use std::collections::BTreeSet;

use session_pipeline_harness::{DataDir, Transcript};

use super::Browser;
use crate::guests::usage;
use crate::http::TestServer;
use crate::report::agents::{pi, thread};
use crate::transcript::agents::conversations;

/// The status of each page for a member, an analyst and an admin. The session is that of the member.
const STATUSES: &[(&str, [u16; 3])] = &[
    ("/", [200, 200, 200]),
    ("/overview/users", [404, 200, 200]),
    ("/overview/projects", [200, 200, 200]),
    ("/overview/sessions", [200, 200, 200]),
    ("/overview/hours", [200, 200, 200]),
    ("/overview/nothing", [404, 404, 404]),
    ("/sessions", [200, 200, 200]),
    ("/sessions/mia/own.jsonl", [200, 200, 200]),
    ("/sessions/entries?session=mia/own.jsonl", [200, 404, 200]),
    (
        "/sessions/part?session=mia/own.jsonl&line=1",
        [200, 404, 200],
    ),
    ("/sessions/mia/nothing.jsonl", [404, 404, 404]),
    ("/causes", [200, 200, 200]),
    ("/causes/model", [200, 200, 200]),
    ("/causes/branch", [200, 200, 200]),
    ("/causes/tools", [200, 200, 200]),
    ("/causes/waste", [200, 200, 200]),
    ("/causes/skills", [200, 200, 200]),
    ("/causes/user", [200, 200, 200]),
    ("/causes/project", [200, 200, 200]),
    ("/causes/project-name", [200, 200, 200]),
    ("/causes/nothing", [404, 404, 404]),
    ("/knowledge", [403, 200, 200]),
    ("/knowledge/nothing", [403, 404, 404]),
    ("/quality", [403, 200, 200]),
    ("/operations", [403, 403, 200]),
    ("/operations/runs", [403, 403, 200]),
    ("/nothing", [404, 404, 404]),
];

/// A name that no page may contain as markup.
const HOSTILE: &str = "\"><script>alert(1)</script>\u{202e}";

fn start(dir: &DataDir) -> TestServer {
    let session = Transcript::new("own-session")
        .at("2099-12-31T10:00:00Z".parse().unwrap())
        .cwd(&format!("/home/{HOSTILE}"))
        .git_branch(HOSTILE)
        .user(HOSTILE)
        .entry("ai-title", serde_json::json!({ "aiTitle": HOSTILE }))
        .assistant(|m| m.model(HOSTILE).tokens(100, 20).tool(HOSTILE));
    dir.write("mia/own.jsonl", session);
    let server = TestServer::start(dir, &[usage()]);
    let run = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(run.json()["details"]["processed"], 1, "{run:?}");
    server
}

#[test]
fn each_page_has_its_status_for_each_role_and_no_markup_of_a_transcript() {
    let dir = DataDir::new();
    let server = start(&dir);
    let member = server.token("member", "mia@example.com");
    let tokens = [&member, &server.analyst, &server.admin];
    let mut names = 0;
    for (at, token) in tokens.into_iter().enumerate() {
        let mut browser = Browser::signed_in(&server, token);
        for (path, statuses) in STATUSES {
            let query = if path.contains('?') { "&" } else { "?" };
            let page = browser.get(&format!("{path}{query}range=all&tz=UTC"));
            assert_eq!(page.status, statuses[at], "{path}: {page:?}");
            assert!(!page.body.contains("<script>"), "{path}: {page:?}");
            assert!(!page.body.contains('\u{202e}'), "{path}: {page:?}");
            names += page.body.matches("&lt;script&gt;").count();
        }
    }
    assert!(names > 10, "{names}");
}

#[test]
fn a_part_of_a_page_is_a_whole_page_without_scripts() {
    let dir = DataDir::new();
    let server = start(&dir);
    let mut browser = Browser::signed_in(&server, &server.admin);
    let mut script = Browser::signed_in(&server, &server.admin).with("HX-Request", Some("true"));
    let links = |body: &str| -> Vec<String> {
        let links = body.split("<noscript><a href=\"").skip(1);
        let links = links.filter_map(|rest| rest.split('"').next());
        links.map(|link| link.replace("&amp;", "&")).collect()
    };
    let mut parts = links(&browser.get("/?range=all").body);
    parts.extend(links(&browser.get("/causes?range=all").body));
    assert!(parts.len() > 15, "{parts:?}");
    for path in parts {
        let page = browser.get(&path).body;
        for text in ["<!DOCTYPE html>", "<nav", "<h1>", "data-filters"] {
            assert!(page.contains(text), "{path} without `{text}`: {page}");
        }
        // The script replaces a part of the page, not all of it.
        let part = script.get(&path).body;
        assert!(!part.contains("<nav") && !part.contains("<h1>"), "{part}");
    }
}

/// Appends the hostile name to each text of a transcript that does not decide what a line is.
fn make_hostile(value: &mut serde_json::Value, name: &str) {
    const STRUCTURE: [&str; 8] = [
        "type",
        "role",
        "kind",
        "subtype",
        "status",
        "timestamp",
        "stop_reason",
        "version",
    ];
    let is_structure =
        |name: &str| STRUCTURE.contains(&name) || name.to_lowercase().ends_with("id");
    match value {
        serde_json::Value::String(text) if !is_structure(name) => text.push_str(HOSTILE),
        serde_json::Value::Array(items) => {
            items.iter_mut().for_each(|item| make_hostile(item, name));
        }
        serde_json::Value::Object(members) => {
            members
                .iter_mut()
                .for_each(|(name, member)| make_hostile(member, name));
        }
        _ => {}
    }
}

#[test]
fn no_name_in_a_transcript_of_any_agent_becomes_markup() {
    let dir = DataDir::new();
    for (agent, lines) in conversations(&HOSTILE.into()) {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        dir.write(&format!("mia/{agent}.jsonl"), lines.join("\n") + "\n");
    }
    // With models and tokens, which only the figures have.
    for (name, text) in [("thread", thread()), ("pi", pi(1, "openai", [10, 1]))] {
        let lines = text.lines().map(|line| {
            let mut value = serde_json::from_str(line).unwrap();
            make_hostile(&mut value, "");
            format!("{value}\n")
        });
        dir.write(
            &format!("mia/figures-{name}.jsonl"),
            lines.collect::<String>(),
        );
    }
    let server = TestServer::start(&dir, &[usage()]);
    server.post("/api/admin/run-session-processor?processor=usage");
    let mut browser = Browser::signed_in(&server, &server.admin);
    let sessions = server.get("/api/admin/sessions?limit=1000").json();
    let sessions = sessions["sessions"].as_array().unwrap();
    let agents: BTreeSet<&str> = sessions
        .iter()
        .filter_map(|session| session["agent"].as_str())
        .collect();
    assert!(agents.len() > 4, "{sessions:?}");
    let mut pages: Vec<String> = STATUSES
        .iter()
        .filter(|(path, statuses)| statuses[2] == 200 && !path.contains("mia/"))
        .map(|(path, _)| (*path).to_owned())
        .collect();
    for by in [
        "mcp-server",
        "skill",
        "plugin",
        "agent-type",
        "effort",
        "entrypoint",
        "pull-request",
    ] {
        pages.push(format!("/causes/{by}"));
    }
    let keys = sessions
        .iter()
        .filter_map(|session| session["key"].as_str());
    pages.extend(keys.map(|key| format!("/sessions/{key}")));
    for path in pages {
        let page = browser.get(&format!("{path}?range=all"));
        assert_eq!(page.status, 200, "{path}: {page:?}");
        assert!(!page.body.contains("<script>"), "{path}: {page:?}");
        assert!(!page.body.contains('\u{202e}'), "{path}: {page:?}");
        let has_names = ["/causes/model", "/causes/tools", "/sessions"];
        if has_names.contains(&path.as_str()) || path.starts_with("/sessions/") {
            assert!(page.body.contains("&lt;script&gt;"), "{path}: {page:?}");
        }
    }
}

#[test]
fn an_empty_data_directory_says_what_to_do() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let mut browser = Browser::signed_in(&server, &server.admin);
    for (path, text) in [
        ("/", "Copy transcripts to"),
        ("/sessions", "No session matches"),
        ("/causes/tools", "No tool was called"),
        ("/knowledge", "Nothing to review"),
        ("/quality", "Every message has a price"),
        ("/operations", "No run yet"),
    ] {
        let page = browser.get(path);
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.body.contains(text), "{path}: {page:?}");
    }
}

#[test]
fn an_invalid_address_shows_the_page_and_says_what_is_wrong() {
    let dir = DataDir::new();
    let server = start(&dir);
    let mut browser = Browser::signed_in(&server, &server.admin);
    let page = browser.get("/?tz=Mars/Olympus&since=yesterday&range=never&moon=1");
    assert_eq!(page.status, 200, "{page:?}");
    assert!(
        page.body.contains("time zone in the address is unknown"),
        "{page:?}"
    );
    assert!(page.body.contains("is not a day"), "{page:?}");
    let page = browser.get("/sessions?sort=moon&cursor=x");
    assert_eq!(page.status, 422, "{page:?}");
}

#[test]
fn actions_change_what_the_api_shows() {
    let dir = DataDir::new();
    let server = start(&dir);
    let mut browser = Browser::signed_in(&server, &server.admin);
    let csrf = browser.get("/operations").csrf();
    let form = format!("csrf={csrf}&processor=usage&session=mia/own.jsonl");
    let marked = browser.post("/sessions/reprocess", &form);
    assert_eq!(
        (marked.status, marked.header("location")),
        (303, "/sessions/mia/own.jsonl")
    );
    let run = browser.post("/operations/run", &form);
    assert!([200, 303].contains(&run.status), "{run:?}");
    let created = browser.post(
        "/operations/tokens",
        &format!("csrf={csrf}&role=member&user=eve%40example.com&label=x"),
    );
    assert_eq!(created.status, 200);
    let (_, token) = created.body.split_once("<code>").unwrap();
    let token = token.split('<').next().unwrap();
    let mut eve = Browser::signed_in(&server, token);
    assert_eq!(eve.get("/").status, 200);
    let refused = browser.post(
        "/operations/tokens",
        &format!("csrf={csrf}&role=member&user=&label="),
    );
    assert!(refused.body.contains("role=\"alert\""), "{refused:?}");
    let tokens = server.get("/api/admin/tokens").json();
    let tokens = tokens["tokens"].as_array().unwrap();
    let id = tokens
        .iter()
        .find(|token| token["user"] == "eve@example.com")
        .unwrap()["id"]
        .as_str()
        .unwrap();
    let revoked = browser.post("/operations/revoke", &format!("csrf={csrf}&id={id}"));
    assert_eq!(
        (revoked.status, revoked.header("location")),
        (303, "/operations?done=revoked")
    );
    assert_eq!(eve.get("/").status, 303, "a sign-in ends with its token");
    for (path, form) in [
        (
            "/operations/release",
            "processor=usage&session=mia/own.jsonl",
        ),
        ("/operations/run", "processor=nothing"),
        ("/knowledge/nothing/approve", ""),
    ] {
        let failed = browser.post(path, &format!("csrf={csrf}&{form}"));
        assert!(
            [200, 404, 422].contains(&failed.status),
            "{path}: {failed:?}"
        );
        assert!(!failed.body.contains("Internal Server Error"), "{failed:?}");
    }
}

#[test]
fn an_error_page_has_the_navigation_of_its_reader() {
    let dir = DataDir::new();
    let server = start(&dir);
    let member = server.token("member", "mia@example.com");
    let mut browser = Browser::signed_in(&server, &member);
    // No route, no session, and no permission.
    for path in ["/nothing", "/sessions/mia/nothing.jsonl", "/operations"] {
        let page = browser.get(path);
        assert!([403, 404].contains(&page.status), "{page:?}");
        assert!(
            page.body.contains("href=\"/causes\"") && page.body.contains("Sign out"),
            "{path}: {page:?}"
        );
        assert!(!page.body.contains("href=\"/operations\""), "{page:?}");
    }
    let page = Browser::new(&server).get("/nothing");
    assert_eq!(page.status, 404);
    assert!(!page.body.contains("Sign out"), "{page:?}");
}

#[test]
fn a_session_page_has_the_tools_failures_and_waste_of_the_session_alone() {
    let dir = DataDir::new();
    let at = "2099-12-31T10:00:00Z".parse().unwrap();
    let session = |id: &str, tool: &str| {
        Transcript::new(id)
            .at(at)
            .user("go")
            .assistant(|m| m.model("claude-opus-4-5").tokens(400_000, 20).tool(tool))
            .tool_result(Err("no such file"))
    };
    dir.write("mia/one.jsonl", session("one", "OwnTool"));
    dir.write("mia/two.jsonl", session("two", "OtherTool"));
    let server = TestServer::start(&dir, &[usage()]);
    server.post("/api/admin/run-session-processor?processor=usage");
    let mut browser = Browser::signed_in(&server, &server.admin);
    let page = browser.get("/sessions/mia/one.jsonl");
    for text in [
        "1 call, 1 failed",
        "OwnTool",
        "100.0 %",
        "Long context",
        "Split long tasks",
    ] {
        assert!(page.body.contains(text), "{text}: {page:?}");
    }
    assert!(!page.body.contains("OtherTool"), "{page:?}");
    assert!(
        page.body.contains("1 message, 20 output tokens"),
        "{page:?}"
    );
}

#[test]
fn the_quality_page_is_about_its_period() {
    let dir = DataDir::new();
    let session = |id: &str, day: &str| {
        Transcript::new(id)
            .at(format!("{day}T10:00:00Z").parse().unwrap())
            .user("go")
            .assistant(|m| m.model(&format!("{id}-model")).tokens(1, 1))
            .raw_line("{\"broken")
    };
    dir.write("mia/early.jsonl", session("early", "2026-01-05"));
    dir.write("mia/late.jsonl", session("late", "2026-03-05"));
    let server = TestServer::start(&dir, &[usage()]);
    server.post("/api/admin/run-session-processor?processor=usage");
    let mut browser = Browser::signed_in(&server, &server.analyst);
    let mut found = |query: &str| {
        let page = browser.get(&format!("/quality?tz=UTC&{query}")).body;
        ["early-model", "late-model", "early.jsonl", "late.jsonl"].map(|text| page.contains(text))
    };
    assert_eq!(found("range=all"), [true; 4]);
    let january = "since=2026-01-05&until=2026-01-05";
    assert_eq!(found(january), [true, false, true, false]);
    assert_eq!(
        found("since=2026-02-01&until=2026-03-31"),
        [false, true, false, true]
    );
    assert_eq!(found("range=all&user=nobody"), [false; 4]);
    let report = server.get(&format!("/api/usage/quality?{january}")).json();
    assert_eq!(report["lines"]["files"], 1, "{report}");
    assert_eq!(report["versions"][0]["messages"], 1, "{report}");
    let refused = server.get("/api/usage/quality?model=x");
    assert_eq!(refused.status, 422, "{refused:?}");
}

#[test]
fn the_page_of_operations_says_when_a_processor_runs() {
    for (has_scheduler, text) in [(false, ">by hand"), (true, ">every 10m<")] {
        let dir = DataDir::new();
        let server = match has_scheduler {
            true => TestServer::start_with_scheduler(&dir, &[usage()]),
            false => TestServer::start(&dir, &[usage()]),
        };
        let page = Browser::signed_in(&server, &server.admin).get("/operations");
        assert!(page.body.contains(text), "{text}: {page:?}");
    }
}

#[test]
fn several_items_of_knowledge_are_decided_at_once() {
    let dir = DataDir::new();
    let server = start(&dir);
    let mut browser = Browser::signed_in(&server, &server.admin);
    let csrf = browser.get("/").csrf();
    let mut decide = |form: &str| {
        let page = browser.post("/knowledge/decisions", &format!("csrf={csrf}&{form}"));
        (page.status, page.header("location").to_owned())
    };
    // Nothing is selected. The list stays as it was filtered.
    let list = "decision=approve&status=pending&domain=a%26b&tz=UTC";
    let location = "/knowledge?domain=a%26b&tz=UTC&status=pending";
    assert_eq!(decide(list), (303, location.to_owned()));
    assert_eq!(decide(&format!("{list}&id=nothing")).0, 404);
    assert_eq!(decide("decision=forget&id=nothing").0, 404);
}

#[test]
fn data_of_pages_is_that_of_the_api() {
    let dir = DataDir::new();
    let server = start(&dir);
    let mut browser = Browser::signed_in(&server, &server.admin).with("Accept", Some("*/*"));
    let path = "/api/usage/summary?by=day&split=model";
    let page = browser.get(&format!("/data{path}"));
    assert_eq!(page.body, server.get(path).text());
    let csv = browser.get("/data/api/usage/summary?by=day&format=csv");
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert!(csv.header("content-disposition").starts_with("attachment"));
}
