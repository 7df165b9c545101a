//! `migrate`: done, planned, and nothing to do.

use session_pipeline_harness::DataDir;

use super::check;
use crate::documents::names;

#[test]
fn migrate_makes_a_database_and_then_has_nothing_to_do() {
    let dir = DataDir::new();
    let dry = check(&dir, &["migrate", "--dry-run"]);
    assert_eq!(dry.code, 0);
    assert!(
        dry.stdout
            .starts_with("there is no database yet\nwould apply "),
        "{dry:?}"
    );
    assert!(!dir.database_path().exists(), "asking makes nothing");

    let first = check(&dir, &["migrate"]);
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    assert!(
        first.stdout.starts_with("from a new database to version "),
        "{first:?}"
    );
    let again = check(&dir, &["migrate"]);
    assert!(
        again
            .stdout
            .starts_with("nothing to do: the database is at version "),
        "{again:?}"
    );
    let dry = check(&dir, &["migrate", "--dry-run"]);
    assert!(dry.stdout.ends_with("; nothing to do\n"), "{dry:?}");
}

#[test]
fn migrate_as_json_names_the_steps() {
    let dir = DataDir::new();
    let dry = check(&dir, &["migrate", "--dry-run", "--json"]).json();
    assert_eq!(names(&dry), ["pending", "renamed", "version_before"]);
    let pending = dry["pending"].as_array().unwrap().len();
    let done = check(&dir, &["migrate", "--json"]).json();
    assert_eq!(
        names(&done),
        ["applied", "copy", "renamed", "version_before"]
    );
    assert_eq!(done["applied"].as_array().unwrap().len(), pending);
}
