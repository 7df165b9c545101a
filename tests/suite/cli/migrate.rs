//! `migrate`: applied and planned migrations, and nothing to do.

use session_pipeline_harness::DataDir;
use session_pipeline_migrations::LEGACY_LAYOUT;

use super::run_cli;
use crate::database::execute;
use crate::documents::names;

#[test]
fn migrate_creates_a_database_and_does_nothing_the_second_time() {
    let dir = DataDir::new();
    let dry = run_cli(&dir, &["migrate", "--dry-run"]);
    assert_eq!(dry.code, 0);
    assert!(
        dry.stdout
            .starts_with("there is no database yet\nwould apply "),
        "{dry:?}"
    );
    assert!(!dir.database_path().exists(), "a dry run creates nothing");

    let first = run_cli(&dir, &["migrate"]);
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    assert!(
        first.stdout.starts_with("created the database at version "),
        "{first:?}"
    );
    let again = run_cli(&dir, &["migrate"]);
    assert!(
        again
            .stdout
            .starts_with("nothing to do: the database is at version "),
        "{again:?}"
    );
    let dry = run_cli(&dir, &["migrate", "--dry-run"]);
    assert!(dry.stdout.ends_with("; nothing to do\n"), "{dry:?}");
}

#[test]
fn migrate_as_json_lists_the_applied_steps() {
    let dir = DataDir::new();
    let dry = run_cli(&dir, &["migrate", "--dry-run", "--json"]).json();
    assert_eq!(names(&dry), ["pending", "renamed", "version_before"]);
    let pending = dry["pending"].as_array().unwrap().len();
    let done = run_cli(&dir, &["migrate", "--json"]).json();
    assert_eq!(
        names(&done),
        ["applied", "copy", "renamed", "version_before"]
    );
    assert_eq!(done["applied"].as_array().unwrap().len(), pending);
}

/// The legacy system has a table `runs` and a view `tokens` that differ from the current tables.
#[test]
fn a_dry_run_lists_each_pending_migration() {
    let legacy = DataDir::new();
    std::fs::create_dir(legacy.path().join("state")).unwrap();
    execute(&legacy, LEGACY_LAYOUT);
    execute(
        &legacy,
        "INSERT INTO schema_version VALUES (28, TIMESTAMP '2026-01-02 03:04:05');
         CREATE TABLE runs (id INTEGER);
         CREATE VIEW tokens AS SELECT 1 AS id;",
    );
    let current = DataDir::new();
    assert_eq!(run_cli(&current, &["migrate"]).code, 0);
    let plans = [
        (
            "without a database",
            &DataDir::new(),
            vec!["migrate", "--dry-run"],
        ),
        (
            "a database of the legacy system",
            &legacy,
            vec!["migrate", "--dry-run"],
        ),
        (
            "the same, up to 31",
            &legacy,
            vec!["migrate", "--dry-run", "--to", "31"],
        ),
        ("a current database", &current, vec!["migrate", "--dry-run"]),
    ]
    .map(|(title, dir, arguments)| format!("# {title}\n{}", run_cli(dir, &arguments).stdout));
    let text = plans.join("\n");
    insta::assert_snapshot!(text);
}
