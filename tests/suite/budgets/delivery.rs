//! When a message is sent, repeated and given up, and that no secret leaves with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{DataDir, cases, counted};
use session_pipeline_host::clock::{Clock as _, UtcMicros};
use session_pipeline_pipeline::budgets::{BudgetReport, BudgetUse};
use session_pipeline_pipeline::config::{
    BudgetPeriod, BudgetScope, Config, NotifyConfig, WebhookFormat, WebhookUrl,
};
use session_pipeline_pipeline::notify::Notifier;
use session_pipeline_pipeline::report::Spending;
use session_pipeline_store::money::Usd;
use session_pipeline_store::{NotificationState, Store};

use super::receiver::{Receiver, Reply};
use super::{budget, check_until, run, session, start};
use crate::database::{execute, rows};
use crate::http::TestServer;

/// A secret in the address of every receiver.
const SECRET: &str = "T0KEN-of-the-webhook";

fn config(dir: &DataDir, receiver: &Receiver, cents: i128) -> Config {
    let url = format!("http://{}/{SECRET}?key={SECRET}", receiver.address());
    Config {
        budgets: vec![budget(BudgetScope::User, cents, BudgetPeriod::Day)],
        notify: NotifyConfig {
            webhook: Some(WebhookUrl::parse(&url).unwrap()),
            ..NotifyConfig::default()
        },
        ..dir.config()
    }
}

/// The number of messages in a state.
fn count(server: &TestServer, state: NotificationState) -> u64 {
    count_in(server.pipeline.store(), state)
}

fn count_in(store: &Store, state: NotificationState) -> u64 {
    let counts = store.count_notifications().unwrap();
    let of_state = counts.iter().find(|(of, _)| *of == state);
    of_state.map_or(0, |(_, count)| *count)
}

fn wait_for(server: &TestServer, state: NotificationState, wanted: u64) {
    let started = Instant::now();
    while count(server, state) != wanted {
        let counts = server.pipeline.store().count_notifications();
        assert!(started.elapsed() < super::TIMEOUT, "{counts:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Long enough for several checks.
fn wait_for_checks() {
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_message_is_sent_once_for_each_mark_and_period() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", session(&dir, "s1", "shop", 170_000));
    let receiver = Receiver::start([]);
    let server = start(&dir, config(&dir, &receiver, 100));
    wait_for_checks();
    assert!(receiver.received().is_empty());
    run(&server);
    let first = receiver.wait_for(1).remove(0);
    assert_eq!(first.path, format!("/{SECRET}?key={SECRET}"));
    assert_eq!(first.body["id"], first.id);
    insta::assert_json_snapshot!(first.body, { ".id" => "[id]" }, @r#"
    {
      "at": "2100-01-01T00:00:00Z",
      "event": "budget_reached",
      "id": "[id]",
      "limit_usd": 1.0,
      "mark": 0.8,
      "period": "day",
      "period_start": "2100-01-01T00:00:00Z",
      "scope": "user",
      "spent_usd": 0.85,
      "subject": "ada@example.com",
      "text": "Cost of ada@example.com: $0.85 of $1.00 (85%) in the day since 2100-01-01"
    }
    "#);
    wait_for(&server, NotificationState::Delivered, 1);
    dir.write("ada/two.jsonl", session(&dir, "s2", "shop", 2_000));
    run(&server);
    wait_for_checks();
    assert_eq!(receiver.received().len(), 1);
    dir.write("ada/three.jsonl", session(&dir, "s3", "shop", 100_000));
    run(&server);
    let used_up = receiver.wait_for(2).remove(1);
    assert_eq!(used_up.body["mark"], 1.0);
    wait_for(&server, NotificationState::Delivered, 2);
    // A restart sends nothing again.
    server.stop();
    let server = start(&dir, config(&dir, &receiver, 100));
    check_until(&server, |check| check["status"] == "warning");
    wait_for_checks();
    assert_eq!(receiver.received().len(), 2);
    // Another user, and another day.
    dir.write("bob/one.jsonl", session(&dir, "s4", "shop", 170_000));
    run(&server);
    assert_eq!(receiver.wait_for(3)[2].body["subject"], "bob");
    dir.clock().advance(Duration::from_secs(24 * 3600));
    dir.write("bob/two.jsonl", session(&dir, "s5", "shop", 900_000));
    run(&server);
    let messages = receiver.wait_for(4);
    // Both marks were reached, and only the higher one is sent.
    assert_eq!(messages[3].body["mark"], 1.0);
    wait_for(&server, NotificationState::Suppressed, 1);
    wait_for_checks();
    assert_eq!(receiver.received().len(), 4);
    let audit = server.get("/api/admin/audit?limit=100").json();
    let entries = audit["entries"].as_array().unwrap().iter();
    let actions: Vec<&str> = entries
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    let of_action = |name| actions.iter().filter(|action| **action == name).count();
    assert_eq!(
        (of_action("budget.cross"), of_action("budget.notify")),
        (5, 4)
    );
}

#[test]
fn a_message_is_repeated_only_if_it_was_certainly_not_accepted() {
    for (reply, is_repeated, state) in [
        (Reply::Status(503), true, NotificationState::Pending),
        (Reply::RetryAfter(100), true, NotificationState::Pending),
        (Reply::Status(500), false, NotificationState::Unknown),
        (Reply::Status(504), false, NotificationState::Unknown),
        (Reply::Close, false, NotificationState::Unknown),
        (Reply::Status(404), false, NotificationState::Failed),
        // A redirect is not followed.
        (Reply::Status(307), false, NotificationState::Failed),
        (Reply::Status(204), false, NotificationState::Delivered),
    ] {
        let dir = DataDir::new();
        dir.write("ada/one.jsonl", session(&dir, "s1", "shop", 170_000));
        let receiver = Receiver::start([reply]);
        let server = start(&dir, config(&dir, &receiver, 100));
        run(&server);
        receiver.wait_for(1);
        wait_for(&server, state, 1);
        dir.clock().advance(Duration::from_secs(29));
        wait_for_checks();
        assert_eq!(receiver.received().len(), 1, "{reply:?}");
        dir.clock().advance(Duration::from_secs(100));
        if is_repeated {
            let received = receiver.wait_for(2);
            assert_eq!(received[0].id, received[1].id, "{reply:?}");
            wait_for(&server, NotificationState::Delivered, 1);
        } else {
            wait_for_checks();
            assert_eq!(receiver.received().len(), 1, "{reply:?}");
        }
    }
}

#[test]
fn a_receiver_that_cannot_be_reached_gets_the_message_later() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", session(&dir, "s1", "shop", 170_000));
    let receiver = Receiver::start([]);
    let (address, config) = (receiver.address(), config(&dir, &receiver, 100));
    drop(receiver);
    let server = start(&dir, config);
    run(&server);
    // Pending again after the first attempt, and not due yet.
    let started = Instant::now();
    let store = server.pipeline.store();
    while count(&server, NotificationState::Pending) != 1
        || !store
            .due_notifications(dir.clock().now())
            .unwrap()
            .is_empty()
    {
        assert!(started.elapsed() < super::TIMEOUT);
        std::thread::sleep(Duration::from_millis(5));
    }
    // The message outlives the process.
    server.stop();
    assert_eq!(
        rows(&dir, "SELECT detail FROM budget_crossings"),
        ["the receiver cannot be reached"]
    );
    let receiver = Receiver::start_at(address, []);
    dir.clock().advance(Duration::from_secs(3600));
    let config = config_at(&dir, address);
    let server = start(&dir, config);
    receiver.wait_for(1);
    wait_for(&server, NotificationState::Delivered, 1);
}

fn config_at(dir: &DataDir, address: std::net::SocketAddr) -> Config {
    let url = WebhookUrl::parse(&format!("http://{address}/{SECRET}")).unwrap();
    Config {
        budgets: vec![budget(BudgetScope::User, 100, BudgetPeriod::Day)],
        notify: NotifyConfig {
            webhook: Some(url),
            format: WebhookFormat::Slack,
            ..NotifyConfig::default()
        },
        ..dir.config()
    }
}

#[test]
fn slack_gets_only_a_text() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", session(&dir, "s1", "shop", 170_000));
    let receiver = Receiver::start([]);
    let server = start(&dir, config_at(&dir, receiver.address()));
    run(&server);
    let message = receiver.wait_for(1).remove(0);
    assert_eq!(
        message.body,
        serde_json::json!({ "text": "Cost of ada@example.com: $0.85 of $1.00 (85%) in the day since 2100-01-01" })
    );
}

#[test]
fn after_lost_commits_nothing_is_sent_until_an_operator_acknowledges() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", session(&dir, "s1", "shop", 170_000));
    let receiver = Receiver::start([]);
    let config = config(&dir, &receiver, 100);
    let server = start(
        &dir,
        Config {
            notify: NotifyConfig::default(),
            ..config.clone()
        },
    );
    run(&server);
    server.stop();
    execute(&dir, "INSERT INTO counters VALUES ('lost_commit', 3)");
    let server = start(&dir, config);
    wait_for(&server, NotificationState::Suppressed, 1);
    wait_for_checks();
    assert!(receiver.received().is_empty());
    assert_eq!(server.post("/api/admin/health/acknowledge").status, 200);
    wait_for_checks();
    assert!(receiver.received().is_empty());
    dir.write("ada/two.jsonl", session(&dir, "s2", "shop", 100_000));
    run(&server);
    assert_eq!(receiver.wait_for(1)[0].body["mark"], 1.0);
}

#[test]
fn the_secret_of_the_address_is_nowhere() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", session(&dir, "s1", "shop", 170_000));
    let receiver = Receiver::start([Reply::Status(500)]);
    let server = start(&dir, config(&dir, &receiver, 100));
    run(&server);
    wait_for(&server, NotificationState::Unknown, 1);
    for path in [
        "/metrics",
        "/api/health/detailed",
        "/api/admin/audit?limit=1000",
        "/api/admin/scheduler",
        "/operations",
    ] {
        let text = server.get(path).text();
        assert!(!text.contains(SECRET), "{path}: {text}");
    }
    server.stop();
    let state = dir.path().join("state");
    for entry in std::fs::read_dir(state).unwrap().flatten() {
        let Ok(bytes) = std::fs::read(entry.path()) else {
            continue;
        };
        let found = bytes
            .windows(SECRET.len())
            .any(|window| window == SECRET.as_bytes());
        assert!(!found, "{}", entry.path().display());
    }
}

/// The cost of a user in a check.
fn report(cents: i128, now: UtcMicros) -> BudgetReport {
    BudgetReport {
        budgets: vec![BudgetUse {
            budget: budget(BudgetScope::User, 100, BudgetPeriod::Day),
            period_start: session_pipeline_harness::clock::START,
            spending: vec![Spending {
                subject: Some("ada".to_owned()),
                cost: Usd {
                    pico_dollars: cents * 10_000_000_000,
                },
                is_lower_bound: false,
            }],
        }],
        at: now,
    }
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        Just(Reply::Status(200)),
        Just(Reply::Status(503)),
        Just(Reply::RetryAfter(60)),
        Just(Reply::Status(500)),
        Just(Reply::Status(400)),
        Just(Reply::Close),
    ]
}

proptest! {
    // Each case opens a database.
    #![proptest_config(counted(cases().div_ceil(4)))]

    /// However the receiver answers and the process restarts: of each message, at most one copy could
    /// have been accepted. Without a doubt about the answer, exactly one was, or the receiver rejected it.
    #[test]
    fn invariant_no_message_is_accepted_twice(
        replies in vec(reply(), 0..8),
        steps in vec((60_i128..130, any::<bool>()), 1..12),
    ) {
        let dir = DataDir::new();
        let receiver = Receiver::start(replies);
        let config = config(&dir, &receiver, 100);
        let store = Store::open(&config.store_options(), dir.clock().now()).unwrap();
        let mut notifier = Notifier::open(&config, &store, dir.clock().now()).unwrap().unwrap();
        let mut highest = 0;
        for (cents, restarts) in steps {
            highest = highest.max(cents);
            if restarts {
                notifier = Notifier::open(&config, &store, dir.clock().now()).unwrap().unwrap();
            }
            let now = || dir.clock().now();
            notifier.notify(&config, &store, &report(cents, now()), &now, &|| false).unwrap();
            dir.clock().advance(Duration::from_secs(3 * 3600));
        }
        let mut possible: BTreeMap<String, usize> = BTreeMap::new();
        for received in receiver.received() {
            let could_be_accepted = !matches!(received.reply, Reply::Status(503) | Reply::RetryAfter(_));
            *possible.entry(received.id).or_default() += usize::from(could_be_accepted);
        }
        prop_assert!(possible.values().all(|copies| *copies <= 1), "{possible:?}");
        let ids = u64::from(highest >= 80) + u64::from(highest >= 100);
        let all: u64 = NotificationState::ALL.iter().map(|state| count_in(&store, *state)).sum();
        prop_assert_eq!(all, ids);
        prop_assert_eq!(count_in(&store, NotificationState::Sending), 0);
    }
}
