//! Tests the effects of values: limits, grants and settings apply to their processor only.

use std::fs;
use std::time::Duration;

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_host::fault::FaultKind;
use session_pipeline_pipeline::config::{Config, ConfigOverrides, ConfigValueKind, config_keys};
use session_pipeline_pipeline::run::{RunError, RunRequest};
use session_pipeline_store::{Actor, Role, Trigger};

use super::{error_of, named};
use crate::database::{cell, rows};
use crate::guests::{
    PANICS, POISON, WELL_BEHAVED, lines_of, misbehaving, panics, prepared_dir, well_behaved,
};

/// Loads a configuration file with this text for a data directory.
fn config_of(dir: &DataDir, text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let given = ConfigOverrides {
        data_dir: Some(dir.path().to_owned()),
        ..named(&folder, text)
    };
    Config {
        workers: 2,
        ..Config::load(&given).unwrap()
    }
}

#[test]
fn the_limits_of_a_processor_do_not_apply_to_others() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "1\n2\n3\n");
    let config = config_of(&dir, "[processors.faulty-panics.limits]\nrows_max = 2");
    let pipeline = TestPipeline::open_with(&dir, config, &[well_behaved(), panics()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.errors, 0);
    assert_eq!(pipeline.run(PANICS).stats.errors, 1);
    let failure = pipeline.failure(PANICS, "ada/one.jsonl").unwrap();
    assert_eq!(failure.fault.kind, FaultKind::OutputLimit);
}

#[test]
fn a_processor_can_have_a_larger_memory_limit_than_others() {
    let (name, component) = misbehaving("grows_memory");
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", POISON);
    let text = format!(
        "[limits]\nmemory_bytes_max = \"16 MiB\"\n[processors.{name}.limits]\nmemory_bytes_max = \"48 MiB\"\n"
    );
    let pipeline = TestPipeline::open_with(&dir, config_of(&dir, &text), &[(name, component)]);
    assert_eq!(pipeline.run(name).stats.errors, 1);
    let fault = pipeline.failure(name, "ada/one.jsonl").unwrap().fault;
    assert_eq!(fault.kind, FaultKind::MemoryLimit);
    assert!(fault.detail.contains(&(48 << 20).to_string()), "{fault}");
}

#[test]
fn a_processor_can_have_a_larger_stack_than_others() {
    let deep = misbehaving("recurses");
    let fuel = |text: &str| {
        let dir = DataDir::new();
        dir.write("ada/one.jsonl", POISON);
        let config = config_of(&dir, text);
        let pipeline = TestPipeline::open_with(&dir, config, &[deep, well_behaved()]);
        assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
        let stats = pipeline.run(deep.0).stats;
        let fault = pipeline.failure(deep.0, "ada/one.jsonl").unwrap().fault;
        assert_eq!(fault.kind, FaultKind::StackOverflow, "{fault}");
        stats.fuel
    };
    let shared = "[limits]\nstack_bytes_max = \"256 KiB\"\n";
    let own = format!(
        "[processors.{}.limits]\nstack_bytes_max = \"2 MiB\"\n",
        deep.0
    );
    // The fuel until the stack overflows shows the depth of the stack.
    let (shallow, deep) = (fuel(shared), fuel(&format!("{shared}{own}")));
    assert!(deep > 4 * shallow, "{deep} and {shallow}");
}

#[test]
fn settings_are_passed_only_to_their_processor() {
    let dir = DataDir::new();
    let config = config_of(
        &dir,
        "[processors.faulty-panics.settings]\nlanguage = \"de\"\ndepth = \"5\"",
    );
    let pipeline = TestPipeline::open_with(&dir, config, &[well_behaved(), panics()]);
    let settings = |name| {
        pipeline
            .pipeline()
            .processor(name)
            .unwrap()
            .settings()
            .to_vec()
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        settings(PANICS),
        [pair("depth", "5"), pair("language", "de")]
    );
    assert_eq!(settings(WELL_BEHAVED), []);
}

#[test]
fn missing_sessions_are_deleted_after_the_configured_days() {
    let day = Duration::from_secs(24 * 3600);
    let dir = DataDir::new();
    for key in ["ada/gone.jsonl", "ada/back.jsonl", "ada/there.jsonl"] {
        dir.write(key, format!("{key}\n"));
    }
    let open = || {
        let config = config_of(&dir, "keep_missing_days = 10");
        TestPipeline::open_with(&dir, config, &[well_behaved(), panics()])
    };
    let pipeline = open();
    pipeline.run(WELL_BEHAVED);
    pipeline.run(PANICS);
    dir.rename("ada/gone.jsonl", "ada/.gone");
    dir.rename("ada/back.jsonl", "ada/.back");
    pipeline.run(WELL_BEHAVED);
    dir.clock().advance(day * 10);
    pipeline.run(WELL_BEHAVED);
    assert!(
        pipeline
            .state(WELL_BEHAVED, "ada/gone.jsonl")
            .unwrap()
            .is_missing
    );

    dir.clock().advance(Duration::from_secs(1));
    dir.rename("ada/.back", "ada/back.jsonl");
    pipeline.run(WELL_BEHAVED);
    assert_eq!(pipeline.state(WELL_BEHAVED, "ada/gone.jsonl"), None);
    assert!(pipeline.state(WELL_BEHAVED, "ada/back.jsonl").is_some());
    assert!(
        pipeline.state(PANICS, "ada/gone.jsonl").is_some(),
        "the state of another processor was deleted"
    );
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of(WELL_BEHAVED)),
        [
            "ada/back.jsonl | 1 | ada/back.jsonl",
            "ada/there.jsonl | 1 | ada/there.jsonl"
        ]
    );
    let costs = "SELECT count(*) FROM session_costs WHERE session_file = 'ada/gone.jsonl' AND processor_name = 'faulty-well-behaved'";
    assert_eq!(cell(&dir, costs), "0");

    // While the root is missing, no session is deleted, even after a long time.
    fs::rename(dir.sessions_root(), dir.path().join("aside")).unwrap();
    let pipeline = open();
    dir.clock().advance(day * 100);
    pipeline.run(WELL_BEHAVED);
    assert!(pipeline.state(WELL_BEHAVED, "ada/there.jsonl").is_some());
}

#[test]
fn a_proxy_signs_users_in_only_if_its_address_is_set() {
    let dir = DataDir::new();
    let proxy_auth = |keys: &str| {
        let text = format!("[service]\nrun_time_max = \"1 min\"\n[service.proxy_auth]\n{keys}");
        config_of(&dir, &text).service.proxy_auth
    };
    let off = proxy_auth("header = \"X-User\"\nrole = \"admin\"");
    assert!(!off.is_on() && !off.trusts("127.0.0.1".parse().unwrap()));
    let on = proxy_auth("from = [\"127.0.0.1/32\", \"fd00::/8\"]");
    assert_eq!(
        (on.header.as_str(), on.role),
        ("x-forwarded-email", Role::Member)
    );
    for (address, is_trusted) in [
        ("127.0.0.1", true),
        ("::ffff:127.0.0.1", true),
        ("127.0.0.2", false),
        ("fd12::1", true),
        ("::1", false),
    ] {
        assert_eq!(on.trusts(address.parse().unwrap()), is_trusted, "{address}");
    }
    for header in ["Authorization", "cookie", "HOST", "X_User", "x-user:"] {
        let error = super::error_of(&format!("service.proxy_auth.header = \"{header}\""));
        assert!(error.contains("`service.proxy_auth.header`"), "{error}");
    }
    let error = super::error_of("service.proxy_auth.form = [\"127.0.0.1\"]");
    assert!(
        error.contains("did you mean `service.proxy_auth.from`?"),
        "{error}"
    );
    let error = super::error_of("[service.proxy_aut]\nfrom = [\"127.0.0.1\"]");
    assert!(
        error.contains("did you mean `service.proxy_auth`?"),
        "{error}"
    );
}

/// The CPU time of this thread.
fn thread_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// Every number, size and time key with its minimum value.
fn smallest_values() -> Vec<(String, String)> {
    let keys = config_keys().into_iter().filter_map(|known| {
        let minimum = |allowed: &str| {
            let (_, rest) = allowed.split_once(" from ")?;
            Some(rest.split_once(" to ")?.0.to_owned())
        };
        let value = match known.kind {
            ConfigValueKind::Count => minimum(&known.allowed)?,
            ConfigValueKind::Size | ConfigValueKind::Time => {
                format!("\"{}\"", minimum(&known.allowed)?)
            }
            _ => return None,
        };
        Some((known.key.replace("<name>", WELL_BEHAVED), value))
    });
    keys.collect()
}

#[test]
fn each_number_sets_the_field_that_it_names_and_no_other() {
    let dir = DataDir::new();
    let lines = |text: &str| {
        let config = format!("{:#?}", config_of(&dir, text));
        config.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let before = lines("");
    let mut seen = Vec::new();
    for (key, value) in smallest_values() {
        // They have the table of all other limits. `workers` is fixed by `config_of`.
        if key.starts_with("processors.") || key == "workers" {
            continue;
        }
        let after = lines(&format!("{key} = {value}\n"));
        let first = before.iter().zip(&after).position(|(a, b)| a != b);
        let first = first.unwrap_or_else(|| panic!("{key} changes nothing"));
        let same_end = before.iter().rev().zip(after.iter().rev());
        let same_end = same_end.take_while(|(a, b)| a == b).count();
        // The number in a `Some` is on a line of its own.
        let mut names = before[..=first].iter().rev();
        let (field, _) = names.find_map(|line| line.split_once(':')).unwrap();
        let expected = match key.as_str() {
            "database.memory_limit" => "database_memory_bytes",
            "knowledge.score_min" => "knowledge_score_min",
            key => key,
        };
        assert!(expected.ends_with(field.trim()), "{key} sets {field}");
        assert_eq!(before.len() - same_end, first + 1, "{key} sets one field");
        assert!(!seen.contains(&first), "{key} sets the field of another");
        seen.push(first);
    }
}

#[test]
fn a_run_completes_without_busy_waiting_with_any_key_at_its_minimum() {
    let smallest = smallest_values();
    assert!(smallest.len() > 50, "{smallest:?}");
    assert!(
        smallest
            .iter()
            .any(|(key, value)| key == "group.wait_max" && value == "\"0s\""),
        "{smallest:?}"
    );
    for (key, value) in smallest {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", &key));
        let text = match section {
            "" => format!("{name} = {value}\n"),
            section => format!("[{section}]\n{name} = {value}\n"),
        };
        let dir = prepared_dir();
        for number in 0..3 {
            dir.write(&format!("ada/{number}.jsonl"), "one\ntwo\n");
        }
        let config = config_of(&dir, &text);
        let pipeline = TestPipeline::open_with(&dir, config, &[well_behaved()]);
        let request = RunRequest::service(
            pipeline.pipeline().config(),
            Trigger::Scheduler,
            Actor::scheduler(),
        );
        // Either the component exceeds a limit and is rejected, or every session has a result.
        let before = thread_cpu();
        match pipeline.try_run_as(WELL_BEHAVED, request) {
            Ok(result) => {
                let stats = result.stats;
                assert_eq!(stats.processed + stats.errors, 3, "{text}: {stats:?}");
            }
            Err(error) => assert!(matches!(error, RunError::Registry(_)), "{text}: {error}"),
        }
        let used = thread_cpu() - before;
        assert!(used < Duration::from_secs(10), "{text}: {used:?}");
    }
}

#[test]
fn budgets_are_read_with_their_defaults() {
    let dir = DataDir::new();
    let text = "[[budget]]\nscope = \"user\"\nusd = 12.5\nper = \"week\"\n\
        [[budget]]\nscope = \"total\"\nusd = 1_000\nper = \"month\"\nwarn_at = 0.5\n";
    let config = config_of(&dir, text);
    let budgets = config.budgets.iter().map(|budget| {
        let limit = budget.limit.to_string();
        let (scope, period) = (budget.scope.as_str(), budget.period.as_str());
        (scope, limit, period, budget.warn_at_permille)
    });
    assert_eq!(
        budgets.collect::<Vec<_>>(),
        [
            ("user", "12.5".to_owned(), "week", 800),
            ("total", "1000".to_owned(), "month", 500)
        ]
    );
}

#[test]
fn an_incomplete_or_repeated_budget_is_rejected_with_its_place() {
    insta::assert_snapshot!(
        error_of("workers = 1\n[[budget]]\nscope = \"user\"\nper = \"day\"\n"),
        @"c.toml:2:1: missing key `budget.usd`: set it to a number from 0.01 to 1000000000"
    );
    insta::assert_snapshot!(
        error_of("[budget]\nscope = \"user\"\n"),
        @"c.toml:1:1: invalid value `[budget]` for `budget`: expected a list of budgets: `[[budget]]`"
    );
    let budget = "[[budget]]\nscope = \"user\"\nusd = 5\nper = \"day\"\n";
    insta::assert_snapshot!(
        error_of(&budget.repeat(2)),
        @"c.toml:5:1: invalid value `[[budget]]` for `budget`: expected a budget that differs from the others in this file"
    );
}

#[test]
fn no_error_and_no_description_of_the_configuration_contains_the_secret_of_a_webhook() {
    let secret = "T0KEN-of-the-webhook";
    for text in [
        format!("[notify]\nwebhook = \"https://user:{secret}@example.com/\"\n"),
        format!("[notify]\nwebhook = \"{secret}\"\n"),
        format!("[notify]\nwebhook = \"ftp://example.com/{secret}\"\n"),
        format!("[notify]\nwebhook = \"http://example.com/{secret}\"\n"),
        format!("[notify]\nformat = \"https://example.com/{secret}\"\n"),
        format!("notify = \"https://example.com/{secret}\"\n"),
    ] {
        let error = error_of(&text);
        assert!(!error.contains(secret), "{text}: {error}");
    }
    let dir = DataDir::new();
    let text = format!("[notify]\nwebhook = \"https://example.com:8443/{secret}?key={secret}\"\n");
    let config = config_of(&dir, &text);
    let described = format!("{config:?} {}", config.notify.webhook.as_ref().unwrap());
    assert!(!described.contains(secret), "{described}");
    assert!(
        described.contains("https://example.com:8443"),
        "{described}"
    );
    insta::assert_snapshot!(
        error_of("[notify]\nwebhook = \"http://example.com/x\"\n"),
        @"c.toml: `notify.webhook` uses plain http:// to another network, so its secret could be read in transit; use an https:// address, or set `notify.allow_http = true`"
    );
}
