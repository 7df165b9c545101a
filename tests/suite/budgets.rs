//! Budgets for the cost of the agents: the health check, and messages that are sent at most once.

mod delivery;
mod kills;
mod receiver;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::{DataDir, Transcript};
use session_pipeline_host::clock::Clock as _;
use session_pipeline_pipeline::config::{BudgetPeriod, BudgetScope, Config, CostBudget};
use session_pipeline_store::money::Usd;

use crate::guests::usage;
use crate::http::TestServer;

/// Much longer than a check takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A budget with a limit in cents.
fn budget(scope: BudgetScope, cents: i128, period: BudgetPeriod) -> CostBudget {
    CostBudget {
        scope,
        limit: Usd {
            pico_dollars: cents * 10_000_000_000,
        },
        period,
        warn_at_permille: 800,
    }
}

/// A transcript that costs one dollar for each 200,000 tokens, at the time of the clock.
fn session(dir: &DataDir, id: &str, project: &str, tokens: u64) -> Transcript {
    Transcript::new(id)
        .at(dir.clock().now())
        .cwd(&format!("/home/dev/{project}"))
        .user("go")
        .assistant(|m| m.model("claude-opus-4-5").tokens(tokens, 0))
}

fn start(dir: &DataDir, config: Config) -> TestServer {
    let limits = HttpLimits {
        budget_interval: Duration::from_millis(20),
        ..HttpLimits::default()
    };
    TestServer::start_with(dir, config, limits, &[usage()])
}

fn run(server: &TestServer) {
    let run = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(run.status, 200, "{run:?}");
}

/// The check of the budgets, as a caller sees it.
fn check(server: &TestServer, token: &str) -> Value {
    let health = server.send("GET", "/api/health/detailed", token, "", &[]);
    health.json()["services"]["budgets"].clone()
}

/// Waits until the check fulfills a condition: a server updates the figures in the background.
fn check_until(server: &TestServer, is_done: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let check = check(server, &server.admin);
        if is_done(&check) {
            return check;
        }
        assert!(started.elapsed() < TIMEOUT, "{check}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn without_budgets_there_is_no_check() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[usage()]);
    assert_eq!(check(&server, &server.admin), Value::Null);
}

#[test]
fn a_budget_warns_at_its_mark_and_is_never_an_error() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", session(&dir, "s1", "shop", 150_000));
    dir.write("bob/two.jsonl", session(&dir, "s2", "shop", 20_000));
    let config = Config {
        budgets: vec![
            budget(BudgetScope::User, 100, BudgetPeriod::Day),
            budget(BudgetScope::Project, 100, BudgetPeriod::Week),
            budget(BudgetScope::Total, 50, BudgetPeriod::Month),
        ],
        ..dir.config()
    };
    let server = start(&dir, config);
    let before = check(&server, &server.admin);
    assert_eq!(before["status"], "ok", "{before}");
    run(&server);
    // Ada spent 75 cents, Bob 10.
    let check_now = check_until(&server, |check| check["status"] == "warning");
    insta::assert_snapshot!(
        check_now["detail"].as_str().unwrap(),
        @"budgets nearly or fully used: /home/dev/shop: $0.85 (85%) of $1.00 per week and project; all users: $0.85 (170%) of $0.50 per month"
    );
    let user = &check_now["budgets"][0];
    assert_eq!(user["reached"], 0);
    assert_eq!(
        user["highest"],
        json!([
            { "subject": "ada@example.com", "spent_usd": 0.75, "is_lower_bound": false },
            { "subject": "bob", "spent_usd": 0.1, "is_lower_bound": false }
        ])
    );
    dir.append("ada/one.jsonl", session(&dir, "s1", "shop", 50_000));
    run(&server);
    let more = check_until(&server, |check| check["budgets"][0]["reached"] == 1);
    assert_eq!(more["status"], "warning", "{more}");
    let health = server.get("/api/health/detailed").json();
    assert_eq!(health["status"], "degraded");
    // A new day.
    dir.clock().advance(Duration::from_secs(24 * 3600));
    let next = check(&server, &server.admin);
    assert_eq!(next["budgets"][0]["reached"], 0, "{next}");
    assert_eq!(next["budgets"][1]["reached"], 1, "{next}");
}

#[test]
fn a_mark_is_reached_at_exactly_its_share() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", session(&dir, "s1", "shop", 159_999));
    let config = Config {
        budgets: vec![budget(BudgetScope::Total, 100, BudgetPeriod::Day)],
        ..dir.config()
    };
    let server = start(&dir, config);
    run(&server);
    let below = check_until(&server, |check| {
        check["budgets"][0]["highest"][0]["spent_usd"] != 0
    });
    assert_eq!(below["status"], "ok", "{below}");
    dir.write("ada/two.jsonl", session(&dir, "s2", "shop", 1));
    run(&server);
    check_until(&server, |check| check["status"] == "warning");
}

#[test]
fn messages_without_a_price_make_the_cost_a_lower_bound() {
    let dir = DataDir::new();
    let unpriced = session(&dir, "s1", "shop", 180_000);
    dir.write(
        "ada/one.jsonl",
        unpriced.assistant(|m| m.model("unknown-model").tokens(1, 1)),
    );
    let config = Config {
        budgets: vec![budget(BudgetScope::Total, 100, BudgetPeriod::Day)],
        ..dir.config()
    };
    let server = start(&dir, config);
    run(&server);
    let check = check_until(&server, |check| check["status"] == "warning");
    assert_eq!(
        check["detail"],
        "budgets nearly or fully used: all users: at least $0.90 (90%) of $1.00 per day"
    );
}

#[test]
fn analysts_see_the_names_of_budgets_and_members_do_not() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", session(&dir, "s1", "shop", 500_000));
    let config = Config {
        budgets: vec![budget(BudgetScope::User, 100, BudgetPeriod::Day)],
        ..dir.config()
    };
    let server = start(&dir, config);
    run(&server);
    check_until(&server, |check| check["status"] == "warning");
    let analyst = check(&server, &server.analyst);
    assert!(
        analyst["detail"]
            .as_str()
            .unwrap()
            .contains("ada@example.com")
    );
    let member = server.token("member", "mia@example.com");
    let health = server.send("GET", "/api/health/detailed", &member, "", &[]);
    assert_eq!(health.status, 403);
    let metrics = server
        .send("GET", "/metrics", &server.analyst, "", &[])
        .text();
    assert!(!metrics.contains("ada"), "{metrics}");
}

#[test]
fn an_invalid_price_file_makes_the_check_unknown() {
    let dir = DataDir::new();
    std::fs::write(dir.path().join("prices.toml"), "not a price table").unwrap();
    let config = Config {
        budgets: vec![budget(BudgetScope::User, 100, BudgetPeriod::Day)],
        ..dir.config()
    };
    let server = start(&dir, config);
    let check = check(&server, &server.admin);
    assert_eq!(check["status"], "unknown", "{check}");
    assert!(
        check["detail"].as_str().unwrap().contains("prices.toml"),
        "{check}"
    );
}

#[test]
fn the_operations_page_and_status_show_a_used_budget() {
    let dir = DataDir::new();
    // `status` uses the real clock.
    let now = session_pipeline_host::clock::SystemClock::default().now();
    let transcript = Transcript::new("s1")
        .at(now)
        .user("go")
        .assistant(|m| m.model("claude-opus-4-5").tokens(500_000, 0));
    dir.write("ada/one.jsonl", transcript);
    let text = "[[budget]]\nscope = \"user\"\nusd = 2\nper = \"month\"\n";
    std::fs::write(dir.path().join("config.toml"), text).unwrap();
    assert_eq!(crate::cli::run_cli(&dir, &["run", "usage"]).code, 0);
    // Without a server, the command updates the figures itself.
    let status = crate::cli::run_cli(&dir, &["status"]);
    assert_eq!(status.code, 1, "{status:?}");
    let line =
        "warning  budgets nearly or fully used: ada: $2.50 (125%) of $2.00 per month and user";
    assert!(status.stdout.contains(line), "{}", status.stdout);
    let config = Config {
        budgets: vec![budget(BudgetScope::User, 200, BudgetPeriod::Month)],
        ..dir.config()
    };
    dir.clock().set(now);
    let server = start(&dir, config);
    check_until(&server, |check| check["status"] == "warning");
    let mut browser = crate::dashboard::Browser::signed_in(&server, &server.admin);
    let page = browser.get("/operations");
    assert!(
        page.body.contains("budgets nearly or fully used"),
        "{page:?}"
    );
}
