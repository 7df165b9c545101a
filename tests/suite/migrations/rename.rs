//! Legacy tables and views whose names conflict with new tables are renamed.

use session_pipeline_migrations::{ObjectKind, status, verify};

use super::{
    LEGACY_WITH_NAME_CONFLICTS, count, database, legacy, legacy_at_28, migrate, rejection, texts,
};

#[test]
fn legacy_tables_with_conflicting_names_are_renamed() {
    let mut conn = database(&legacy_with_conflicts());
    let forecast = status(&conn).unwrap().renamed;
    let applied = migrate(&mut conn).unwrap();
    let renames: Vec<String> = applied.renamed.iter().map(ToString::to_string).collect();
    assert_eq!(
        renames,
        [
            "table `runs` was renamed to `legacy_runs_2`",
            "table `audit_log` was renamed to `legacy_audit_log`, without its indexes \
             `idx_audit_action`, `idx_audit_timestamp`, `idx_audit_user`",
            "view `tokens` was renamed to `legacy_tokens`",
            "table `users` was renamed to `legacy_users`",
        ]
    );
    assert_eq!(forecast, applied.renamed);
    assert_eq!(applied.renamed[2].kind, ObjectKind::View);
    assert_eq!(
        texts(&conn, "SELECT email FROM legacy_users"),
        ["ada@example.com"]
    );
    assert_eq!(
        texts(&conn, "SELECT action FROM legacy_audit_log"),
        ["login"]
    );
    assert_eq!(count(&conn, "SELECT max(id) FROM legacy_runs_2"), 7);
    assert_eq!(count(&conn, "SELECT count(*) FROM legacy_tokens"), 1);
    assert_eq!(
        count(
            &conn,
            "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM audit_log) + (SELECT count(*) FROM tokens)"
        ),
        0
    );
    verify(&conn).unwrap();
}

#[test]
fn a_conflicting_table_gets_the_first_free_name() {
    let taken = "CREATE TABLE legacy_runs_2 (id INTEGER);";
    let mut conn = database(&format!("{}{taken}", legacy_with_conflicts()));
    let applied = migrate(&mut conn).unwrap();
    assert_eq!(
        applied.renamed[0].to_string(),
        "table `runs` was renamed to `legacy_runs_3`"
    );
}

pub(super) fn legacy_with_conflicts() -> String {
    legacy(LEGACY_WITH_NAME_CONFLICTS)
}

#[test]
fn a_table_with_the_expected_schema_is_adopted_with_its_rows() {
    let mut conn = database(&legacy_at_28(
        "CREATE TABLE Counters (name VARCHAR PRIMARY KEY, VALUE BIGINT NOT NULL DEFAULT 0);
         INSERT INTO counters VALUES ('session_seq', 41);",
    ));
    assert_eq!(migrate(&mut conn).unwrap().renamed, []);
    assert_eq!(count(&conn, "SELECT value FROM counters"), 41);
}

#[test]
fn a_state_table_with_another_schema_is_renamed_and_a_new_one_is_created() {
    let mut conn = database(&legacy_at_28(
        "CREATE TABLE session_processor_state (session_file VARCHAR, note VARCHAR);
         INSERT INTO session_processor_state VALUES ('ada/one.jsonl', 'mine');
         INSERT INTO session_extraction_state VALUES ('ada/one.jsonl', 'ada', NULL, 1, 'abc');",
    ));
    migrate(&mut conn).unwrap();
    assert_eq!(
        texts(&conn, "SELECT note FROM legacy_session_processor_state"),
        ["mine"]
    );
    assert_eq!(
        texts(&conn, "SELECT file_hash FROM session_processor_state"),
        ["abc"]
    );
}

#[test]
fn a_conflicting_table_with_foreign_keys_is_rejected_before_any_change() {
    assert_eq!(
        rejection(&legacy_at_28(
            "CREATE TABLE users (id VARCHAR PRIMARY KEY);
             CREATE TABLE members (user_id VARCHAR REFERENCES users (id));"
        )),
        "cannot rename table `users` to free its name: foreign keys of `members` reference it; \
         drop these foreign keys, or rename the table manually"
    );
}
