//! Upgrades of empty databases and of databases of the legacy system.

use duckdb::params;
use session_pipeline_migrations::{CURRENT, DatabaseState, OLDEST, status};

use super::{count, database, dump, legacy, legacy_at_28, migrate, migrate_new, migrate_to, texts};

#[test]
fn a_fresh_database_runs_every_migration_and_has_no_legacy_table() {
    let mut conn = database("");
    let applied = migrate(&mut conn).unwrap();
    assert_eq!(applied.found, DatabaseState::Fresh);
    assert_eq!(applied.applied, (OLDEST..=CURRENT).collect::<Vec<_>>());
    assert_eq!(
        texts(&conn, "SELECT table_name FROM duckdb_tables() ORDER BY 1"),
        [
            "audit_log",
            "budget_crossings",
            "component_files",
            "components",
            "counters",
            "llm_calls",
            "llm_responses",
            "runs",
            "scheduler_jobs",
            "schema_version",
            "session_costs",
            "session_failures",
            "session_processor_state",
            "session_resume_points",
            "session_settled_rows",
            "session_waits",
            "sign_ins",
            "tokens",
            "users",
        ]
    );
    assert_eq!(
        texts(
            &conn,
            "SELECT version || ' ' || name || ' ' || applied_at FROM schema_version ORDER BY version"
        ),
        [
            "28 legacy 2026-09-21 14:13:20",
            "29 session-processor-state 2026-09-21 14:13:20",
            "30 observed-file 2026-09-21 14:13:20",
            "31 runs 2026-09-21 14:13:20",
            "32 people 2026-09-21 14:13:20",
            "33 service 2026-09-21 14:13:20",
            "34 component-files 2026-09-21 14:13:20",
            "35 llm-calls 2026-09-21 14:13:20",
            "36 own-failures 2026-09-21 14:13:20",
            "37 session-waits 2026-09-21 14:13:20",
            "38 sign-ins 2026-09-21 14:13:20",
            "39 budget-crossings 2026-09-21 14:13:20",
            "40 resume-points 2026-09-21 14:13:20",
        ]
    );
    assert_eq!(status(&conn).unwrap().found, DatabaseState::At(CURRENT));
}

#[test]
fn a_database_with_an_empty_schema_version_table_is_fresh() {
    let (applied, end) = migrate_new(
        "CREATE TABLE schema_version (version INTEGER NOT NULL, applied_at TIMESTAMP);",
    );
    assert_eq!(applied.found, DatabaseState::Fresh);
    assert_eq!(end, migrate_new("").1);
}

#[test]
fn legacy_rows_become_state_rows_of_verification() {
    let mut conn = database(&legacy_at_28(
        "INSERT INTO session_extraction_state VALUES
             ('ada/one.jsonl', 'ada', TIMESTAMP '2026-01-01 00:00:00.123456', 3, 'abc'),
             ('ada/two.jsonl', 'ada', NULL, NULL, NULL);",
    ));
    let applied = migrate(&mut conn).unwrap();
    assert_eq!(applied.found, DatabaseState::Legacy(28));
    assert_eq!(
        texts(
            &conn,
            "SELECT CAST(row AS VARCHAR) FROM session_processor_state AS row ORDER BY 1"
        ),
        [
            "{'processor_name': verification, 'session_file': ada/one.jsonl, 'username': ada, \
             'processed_at': '2026-01-01 00:00:00.123456', 'items_extracted': 3, 'file_hash': abc, \
             'file_size': NULL, 'file_mtime_ns': NULL, 'file_ctime_ns': NULL, 'component_digest': NULL, \
             'session_seq': NULL, 'due': NULL, 'missing_since': NULL}",
            "{'processor_name': verification, 'session_file': ada/two.jsonl, 'username': ada, \
             'processed_at': NULL, 'items_extracted': NULL, 'file_hash': NULL, \
             'file_size': NULL, 'file_mtime_ns': NULL, 'file_ctime_ns': NULL, 'component_digest': NULL, \
             'session_seq': NULL, 'due': NULL, 'missing_since': NULL}",
        ]
    );
    assert_eq!(
        count(
            &conn,
            "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'session_extraction_state'"
        ),
        0
    );
}

#[test]
fn an_existing_row_takes_precedence_over_the_legacy_row() {
    let mut conn = database(&legacy_at_28(
        "CREATE TABLE session_processor_state (
             processor_name VARCHAR NOT NULL, session_file VARCHAR NOT NULL, username VARCHAR NOT NULL,
             processed_at TIMESTAMP DEFAULT current_timestamp, items_extracted INTEGER DEFAULT 0, file_hash VARCHAR,
             PRIMARY KEY (processor_name, session_file));
         INSERT INTO session_processor_state VALUES
             ('verification', 'ada/one.jsonl', 'ada', NULL, 9, 'new'),
             ('usage', 'ada/two.jsonl', 'ada', NULL, 8, 'other');
         INSERT INTO session_extraction_state VALUES
             ('ada/one.jsonl', 'ada', NULL, 1, 'old'),
             ('ada/two.jsonl', 'ada', NULL, 2, 'old');",
    ));
    migrate(&mut conn).unwrap();
    assert_eq!(
        texts(
            &conn,
            "SELECT processor_name || ' ' || session_file || ' ' || items_extracted || ' ' || file_hash
             FROM session_processor_state ORDER BY 1"
        ),
        [
            "usage ada/two.jsonl 8 other",
            "verification ada/one.jsonl 9 new",
            "verification ada/two.jsonl 2 old",
        ]
    );
}

#[test]
fn a_legacy_database_without_a_state_table_is_migrated() {
    let (applied, end) = migrate_new(&legacy_at_28("DROP TABLE session_extraction_state;"));
    assert_eq!(applied.found, DatabaseState::Legacy(28));
    assert_eq!(
        end.replace("2026-01-02 03:04:05", "2026-09-21 14:13:20"),
        migrate_new("").1,
        "apart from the time of `28`, it must equal a fresh database"
    );
}

#[test]
fn a_legacy_database_at_29_is_migrated() {
    let mut conn = database(&legacy(
        "INSERT INTO schema_version VALUES (29, TIMESTAMP '2026-01-02 03:04:05');
         DROP TABLE session_extraction_state;
         CREATE TABLE session_processor_state (
             processor_name VARCHAR NOT NULL, session_file VARCHAR NOT NULL, username VARCHAR NOT NULL,
             processed_at TIMESTAMP DEFAULT current_timestamp, items_extracted INTEGER DEFAULT 0, file_hash VARCHAR,
             PRIMARY KEY (processor_name, session_file));
         INSERT INTO session_processor_state VALUES ('usage', 'ada/one.jsonl', 'ada', NULL, 9, 'abc');",
    ));
    let applied = migrate(&mut conn).unwrap();
    assert_eq!(applied.found, DatabaseState::Legacy(29));
    assert_eq!(
        count(&conn, "SELECT count(*) FROM session_processor_state"),
        1
    );
    assert_eq!(status(&conn).unwrap().found, DatabaseState::At(CURRENT));
}

#[test]
fn a_two_column_schema_version_table_gains_columns_and_keeps_its_rows() {
    let mut conn = database(&legacy(
        "INSERT INTO schema_version VALUES
             (27, TIMESTAMP '2025-12-31 00:00:00'),
             (28, TIMESTAMP '2026-01-01 00:00:00'),
             (28, TIMESTAMP '2026-01-02 03:04:05');",
    ));
    migrate_to(&mut conn, Some(28)).unwrap();
    assert_eq!(
        texts(
            &conn,
            "SELECT version || ' ' || applied_at || ' ' || coalesce(name, 'unnamed') || ' ' || coalesce(len(checksum), 0)
             FROM schema_version ORDER BY version"
        ),
        [
            "27 2025-12-31 00:00:00 unnamed 0",
            "28 2026-01-02 03:04:05 legacy 64",
        ]
    );
    assert_eq!(migrate(&mut conn).unwrap().found, DatabaseState::At(28));
}

#[test]
fn stepwise_migration_has_the_same_result_as_a_direct_one() {
    let mut stopped = database(&legacy_at_28(""));
    for to in OLDEST..=CURRENT {
        let applied = migrate_to(&mut stopped, Some(to)).unwrap();
        assert_eq!(applied.applied, [to]);
    }
    assert_eq!(dump(&stopped), migrate_new(&legacy_at_28("")).1);
}

/// Detects statements that are not idempotent.
#[test]
fn every_migration_can_run_again_on_the_migrated_database() {
    let mut conn = database(&legacy_at_28(
        "INSERT INTO session_extraction_state VALUES ('ada/one.jsonl', 'ada', NULL, 1, 'abc');",
    ));
    migrate(&mut conn).unwrap();
    conn.execute_batch(
        "UPDATE session_processor_state SET file_size = 5, session_seq = 6, due = true;
         INSERT INTO users VALUES ('u1', 'ada@example.com', 'Ada', true, TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01');",
    )
    .unwrap();
    let before = dump(&conn);
    for from in OLDEST + 1..=CURRENT {
        conn.execute(
            "DELETE FROM schema_version WHERE version >= ?",
            params![from],
        )
        .unwrap();
        let applied = migrate(&mut conn).unwrap();
        assert_eq!(applied.applied, (from..=CURRENT).collect::<Vec<_>>());
        assert_eq!(applied.renamed, []);
        assert_eq!(dump(&conn), before);
    }
}

#[test]
fn other_programs_can_insert_rows_with_the_first_six_columns() {
    let mut conn = database("");
    migrate(&mut conn).unwrap();
    for items in [1, 2] {
        conn.execute(
            "INSERT OR REPLACE INTO session_processor_state
                 (processor_name, session_file, username, processed_at, items_extracted, file_hash)
             VALUES ('marketplace_rollup_30d', '__rollup__', 'system', TIMESTAMP '2026-01-01', ?, NULL)",
            params![items],
        )
        .unwrap();
    }
    assert_eq!(
        texts(
            &conn,
            "SELECT items_extracted || ' ' || (session_seq IS NULL AND component_digest IS NULL AND due IS NULL)
             FROM session_processor_state"
        ),
        ["2 true"]
    );
}

#[test]
fn a_row_without_a_time_gets_the_current_time_in_utc() {
    let mut conn = database("");
    migrate(&mut conn).unwrap();
    conn.execute_batch(
        "INSERT INTO session_processor_state (processor_name, session_file, username) VALUES ('a', 'b', 'c');",
    )
    .unwrap();
    let stored = count(
        &conn,
        "SELECT epoch_us(processed_at) FROM session_processor_state",
    );
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let difference = i64::try_from(now.as_micros()).unwrap() - stored;
    assert!(
        (0..600_000_000).contains(&difference),
        "{difference} µs apart; a local time would differ by at least half an hour"
    );
}

#[test]
fn the_failure_count_is_split_and_outages_do_not_count_as_own_failures() {
    let mut conn = database("");
    migrate_to(&mut conn, Some(35)).unwrap();
    conn.execute_batch(
        "INSERT INTO session_failures VALUES
             ('usage', 'crash', 'abc', 1, 2, 3, 'c', 1, 'crash', 'd', TIMESTAMP '2026-01-01', NULL, TIMESTAMP '2026-01-01'),
             ('usage', 'llm', 'abc', 1, 2, 3, 'c', 4, 'llm', 'd', TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', NULL),
             ('usage', 'panic', 'abc', 1, 2, 3, 'c', 3, 'panic', 'd', TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', NULL),
             ('usage', 'unread', NULL, NULL, NULL, NULL, 'c', 2, 'panic', NULL, TIMESTAMP '2026-01-01', NULL, NULL);",
    )
    .unwrap();
    migrate(&mut conn).unwrap();
    assert_eq!(
        texts(
            &conn,
            "SELECT session_file || ' ' || attempts || ' ' || own_attempts || ' ' || (quarantined_at IS NOT NULL) || ' '
                 || (missing_since IS NULL) || ' ' || coalesce(next_attempt_at::VARCHAR, '-')
             FROM session_failures ORDER BY 1"
        ),
        [
            "crash 1 1 true true -",
            "llm 4 0 false true 2026-01-02 00:00:00",
            "panic 3 3 false true 2026-01-02 00:00:00",
            "unread 2 0 false true -",
        ]
    );
}
