//! Databases that are rejected, and the error messages.

use std::error::Error as _;

use session_pipeline_migrations::{DatabaseState, LEGACY_LAYOUT, status, verify};

use super::{
    assert_sources_are_not_repeated, count, database, dump, legacy, legacy_at_28, migrate,
    migrate_to, rejection, rejection_after, rejection_to, texts,
};

#[test]
fn a_newer_database_is_rejected_with_both_versions() {
    assert_eq!(
        rejection_after(
            "INSERT INTO schema_version VALUES (999, TIMESTAMP '2030-01-01', 'future', 'abc');"
        ),
        "the database is at schema `999`, but this program supports schemas up to `40`; use the program that wrote it, or a newer one"
    );
}

#[test]
fn a_newer_legacy_database_is_rejected_with_both_versions() {
    assert_eq!(
        rejection(&legacy(
            "INSERT INTO schema_version VALUES (115, TIMESTAMP '2026-01-02');"
        )),
        "the database is at schema `115`, but this program supports schemas up to `40`; use the program that wrote it, or a newer one"
    );
}

#[test]
fn a_database_older_than_the_legacy_layout_is_rejected() {
    for version in [27, 1, 0, -1] {
        assert_eq!(
            rejection(&legacy(&format!(
                "INSERT INTO schema_version VALUES ({version}, TIMESTAMP '2026-01-02');"
            ))),
            format!(
                "the database is at schema `{version}`, but the oldest supported schema is `28`; \
                 upgrade it to `28` with the system that wrote it, or start with an empty data directory"
            )
        );
    }
}

#[test]
fn tables_without_a_schema_version_are_rejected() {
    assert_eq!(
        rejection(LEGACY_LAYOUT),
        "the database has tables (`session_extraction_state`) but no schema version, so its origin is unknown; \
         move the file away to start over, or restore the backup from before the last upgrade"
    );
    assert!(
        rejection("CREATE SCHEMA usage; CREATE TABLE usage.events (line BIGINT);")
            .contains("`usage.events`")
    );
    assert!(rejection("CREATE VIEW v AS SELECT 1;").contains("(`v`)"));
    let many: String = (0..9)
        .map(|n| format!("CREATE TABLE t{n} (x INTEGER);"))
        .collect();
    assert!(rejection(&many).contains("(`t0`, `t1`, `t2`, `t3`, `t4` and 4 more)"));
}

#[test]
fn a_gap_in_the_recorded_versions_is_rejected() {
    assert_eq!(
        rejection_after("DELETE FROM schema_version WHERE version = 30;"),
        "schema `30` is not recorded although `40` is; restore the backup from before the last upgrade"
    );
    assert_eq!(
        rejection_after("DELETE FROM schema_version WHERE version = 28;"),
        "schema `28` is not recorded although `40` is; restore the backup from before the last upgrade"
    );
}

#[test]
fn an_edited_migration_is_rejected() {
    assert_eq!(
        rejection_after("UPDATE schema_version SET checksum = 'abc' WHERE version = 31;"),
        "migration `31-runs` was changed after it was applied; restore its files and add a new step, or use the program that applied it"
    );
    assert!(
        rejection_after("UPDATE schema_version SET checksum = NULL WHERE version = 28;")
            .starts_with("migration `28-legacy` was changed")
    );
}

#[test]
fn an_incomplete_version_record_is_not_treated_as_a_legacy_record() {
    for (column, message) in [("name", "another system"), ("checksum", "was changed")] {
        let mut conn = database("");
        migrate_to(&mut conn, Some(29)).unwrap();
        conn.execute_batch(&format!("UPDATE schema_version SET {column} = NULL;"))
            .unwrap();
        let error = migrate(&mut conn).unwrap_err().to_string();
        assert!(error.contains(message), "{column}: {error}");
    }
}

#[test]
fn a_version_recorded_by_another_system_is_rejected() {
    assert_eq!(
        rejection_after("UPDATE schema_version SET name = 'news_template' WHERE version = 30;"),
        "schema `30` is recorded as `news_template`, but this program expects `observed-file`: \
         another system wrote this database; use that system, or start with an empty data directory"
    );
    assert_eq!(
        rejection(&legacy(
            "INSERT INTO schema_version VALUES (31, TIMESTAMP '2026-01-02');"
        )),
        "schema `31` is recorded as nothing, but this program expects `runs`: \
         another system wrote this database; use that system, or start with an empty data directory"
    );
}

#[test]
fn status_returns_the_schema_version() {
    let mut conn = database("");
    assert_eq!(status(&conn).unwrap().version(), None);
    migrate_to(&mut conn, Some(31)).unwrap();
    assert_eq!(status(&conn).unwrap().version(), Some(31));
}

#[test]
fn a_downgrade_is_rejected() {
    let mut conn = database("");
    migrate(&mut conn).unwrap();
    let error = migrate_to(&mut conn, Some(30)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the database is at schema `40` and cannot be downgraded to `30`; restore the backup from before the upgrade"
    );
}

#[test]
fn a_version_without_a_migration_is_rejected() {
    for to in [0, 27, 41] {
        assert_eq!(
            rejection_to("", Some(to)),
            format!("schema `{to}` does not exist; choose a number from `28` to `40`")
        );
    }
}

#[test]
fn a_manually_changed_table_is_rejected() {
    for (change, difference) in [
        (
            "DROP TABLE users",
            "table `users` does not match schema `40`: the table is missing;",
        ),
        (
            "ALTER TABLE runs DROP COLUMN stats",
            "table `runs` does not match schema `40`: `stats VARCHAR` is missing;",
        ),
        (
            "ALTER TABLE runs ADD COLUMN note VARCHAR",
            "table `runs` does not match schema `40`: unexpected column `note VARCHAR`;",
        ),
        (
            "ALTER TABLE session_costs ALTER fuel TYPE VARCHAR",
            "table `session_costs` does not match schema `40`: `fuel VARCHAR` should be `fuel BIGINT`;",
        ),
        (
            "ALTER TABLE session_costs ALTER run_id DROP NOT NULL",
            "table `session_costs` does not match schema `40`: `run_id VARCHAR` should be `run_id VARCHAR NOT NULL`;",
        ),
        (
            "DROP TABLE counters; CREATE TABLE counters (name VARCHAR NOT NULL, value BIGINT NOT NULL)",
            "table `counters` does not match schema `40`: the primary key `name` is missing;",
        ),
        (
            "DROP TABLE counters; CREATE TABLE counters (value BIGINT NOT NULL, name VARCHAR PRIMARY KEY)",
            "table `counters` does not match schema `40`: the columns should be in the order `name`, `value`;",
        ),
        (
            "DROP TABLE counters; CREATE TABLE counters (name VARCHAR PRIMARY KEY, value BIGINT NOT NULL UNIQUE)",
            "table `counters` does not match schema `40`: unexpected constraint `UNIQUE(\"value\")`;",
        ),
        (
            "ALTER TABLE session_costs ADD PRIMARY KEY (run_id)",
            "table `session_costs` does not match schema `40`: the primary key is `run_id` but there should be none;",
        ),
    ] {
        let message = rejection_after(change);
        assert!(message.starts_with(difference), "{change}: {message}");
        assert!(
            message.ends_with("change the table manually to match `migrations/schema.sql`"),
            "{message}"
        );
    }
}

#[test]
fn verify_names_the_table_that_does_not_match() {
    let mut conn = database("");
    migrate(&mut conn).unwrap();
    verify(&conn).unwrap();
    conn.execute_batch("DROP TABLE users").unwrap();
    let error = verify(&conn).unwrap_err().to_string();
    assert!(error.starts_with("table `users` does not match"), "{error}");
}

#[test]
fn a_changed_table_is_rejected_before_the_next_migration_runs() {
    let mut conn = database("");
    migrate_to(&mut conn, Some(29)).unwrap();
    conn.execute_batch("ALTER TABLE session_processor_state ADD COLUMN note VARCHAR")
        .unwrap();
    assert_eq!(
        migrate(&mut conn).unwrap_err().to_string(),
        "table `session_processor_state` does not match schema `29`: unexpected column `note VARCHAR`; \
         restore the backup from before the last upgrade, or change the table manually to match `migrations/schema.sql`"
    );
}

#[test]
fn a_failed_migration_is_rolled_back_and_its_statement_is_named() {
    let mut conn = database(&legacy_at_28(
        "ALTER TABLE session_extraction_state DROP COLUMN file_hash;
         INSERT INTO session_extraction_state VALUES ('ada/one.jsonl', 'ada', NULL, 1);",
    ));
    let error = migrate(&mut conn).unwrap_err();
    assert_eq!(
        error.to_string(),
        "migration `29-session-processor-state` could not run `0029-session-processor-state/02-copy-legacy-rows.sql` and was rolled back"
    );
    assert_sources_are_not_repeated(&error);
    assert!(error.source().unwrap().to_string().contains("file_hash"));
    assert_eq!(status(&conn).unwrap().found, DatabaseState::At(28));
    assert_eq!(
        texts(&conn, "SELECT table_name FROM duckdb_tables() ORDER BY 1"),
        ["schema_version", "session_extraction_state"]
    );
    assert_eq!(
        count(&conn, "SELECT count(*) FROM session_extraction_state"),
        1
    );
}

#[test]
fn status_changes_nothing_and_lists_pending_migrations() {
    let conn = database(&legacy_at_28(""));
    let before = dump(&conn);
    let status = status(&conn).unwrap();
    assert_eq!(status.found, DatabaseState::Legacy(28));
    assert_eq!(status.found.to_string(), "schema 28 of the legacy system");
    let pending = |to| -> Vec<u32> {
        let plan = status.plan(to).unwrap();
        plan.iter().map(|step| step.number).collect()
    };
    assert_eq!(
        pending(None),
        [28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40]
    );
    assert_eq!(pending(Some(29)), [28, 29]);
    assert_eq!(dump(&conn), before);
}
