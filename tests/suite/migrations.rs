//! The ladder: what every number makes of a database, what is refused, and what an interruption leaves.
//!
//! The dangers behind these tests: a version that was stamped without its step having run, a copy whose source was dropped too early,
//! a program that writes into a database newer than itself, and a log that DuckDB cannot replay after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use duckdb::types::{TimeUnit, Value};
use duckdb::{Config, Connection, params};
use proptest::prelude::*;
use session_pipeline_harness::cases;
use session_pipeline_migrations::{
    Action, Applied, Apply, CURRENT, Found, Interrupted, LADDER, LEGACY_LAYOUT, MigrationError,
    Moment, OLDEST, ObjectKind, Only, Point, Statement, Step, Task, apply, describe, status,
    verify,
};

/// 2026-09-21 14:13:20 UTC.
const NOW: i64 = 1_790_000_000_000_000;

/// A legacy database with one row and everything that can be in the way of ours.
const LEGACY_WITH_ALL_IN_THE_WAY: &str = "
    INSERT INTO schema_version VALUES (28, TIMESTAMP '2026-01-02 03:04:05');
    INSERT INTO session_extraction_state VALUES ('ada/one.jsonl', 'ada', TIMESTAMP '2026-01-01 00:00:00', 3, 'abc');
    CREATE TABLE users (id VARCHAR PRIMARY KEY, email VARCHAR UNIQUE NOT NULL, active BOOLEAN NOT NULL DEFAULT true,
                        created_at TIMESTAMP DEFAULT current_timestamp);
    INSERT INTO users (id, email, created_at) VALUES ('u1', 'ada@example.com', TIMESTAMP '2026-01-01 00:00:00');
    CREATE TABLE audit_log (id VARCHAR PRIMARY KEY, timestamp TIMESTAMP NOT NULL DEFAULT current_timestamp, user_id VARCHAR,
                            action VARCHAR NOT NULL, resource VARCHAR, params JSON, result VARCHAR, duration_ms INTEGER);
    CREATE INDEX idx_audit_timestamp ON audit_log (timestamp);
    CREATE INDEX idx_audit_user ON audit_log (user_id, timestamp);
    CREATE INDEX idx_audit_action ON audit_log (action, timestamp);
    INSERT INTO audit_log (id, timestamp, action) VALUES ('a1', TIMESTAMP '2026-01-01 00:00:00', 'login');
    CREATE TABLE runs (id INTEGER);
    INSERT INTO runs VALUES (7);
    CREATE TABLE legacy_runs (id INTEGER);
    CREATE VIEW tokens AS SELECT 1 AS id;
";

/// Applies the ladder to a database made by `setup`; gives what was done and what the database then holds.
fn check(setup: &str) -> (Applied, String) {
    let mut conn = database(setup);
    let applied = migrate(&mut conn).unwrap();
    (applied, dump(&conn))
}

/// Applies the ladder to a database that must be refused, and gives the message.
fn refused(setup: &str) -> String {
    refused_to(setup, None)
}

fn refused_to(setup: &str, to: Option<u32>) -> String {
    let mut conn = database(setup);
    let before = dump(&conn);
    let error = migrate_to(&mut conn, to).unwrap_err();
    assert_eq!(before, dump(&conn), "a refused database is left as it was");
    assert_sources_are_not_repeated(&error);
    error.to_string()
}

/// A database in memory; as in the product, nothing loads what is not compiled in.
fn database(setup: &str) -> Connection {
    let config = Config::default()
        .threads(1)
        .and_then(|config| config.enable_autoload_extension(false))
        .unwrap();
    let conn = Connection::open_in_memory_with_flags(config).unwrap();
    conn.execute_batch(setup).unwrap();
    conn
}

fn migrate(conn: &mut Connection) -> Result<Applied, MigrationError> {
    migrate_to(conn, None)
}

fn migrate_to(conn: &mut Connection, to: Option<u32>) -> Result<Applied, MigrationError> {
    apply(
        conn,
        Apply {
            to,
            ..Apply::at(NOW)
        },
    )
}

/// Applies the ladder with somebody watching, who may end it.
fn migrate_watched(
    conn: &mut Connection,
    mut watch: impl FnMut(&Point) -> Result<(), Interrupted>,
) -> Result<Applied, MigrationError> {
    apply(
        conn,
        Apply {
            observer: Some(&mut watch),
            ..Apply::at(NOW)
        },
    )
}

fn legacy(setup: &str) -> String {
    format!("{LEGACY_LAYOUT}\n{setup}")
}

fn legacy_at_28(setup: &str) -> String {
    legacy(&format!(
        "INSERT INTO schema_version VALUES (28, TIMESTAMP '2026-01-02 03:04:05');\n{setup}"
    ))
}

/// A database as this program leaves it, then changed.
fn refused_after(change: &str) -> String {
    let mut conn = database("");
    migrate(&mut conn).unwrap();
    conn.execute_batch(change).unwrap();
    let before = dump(&conn);
    let error = migrate(&mut conn).unwrap_err();
    assert_eq!(before, dump(&conn), "a refused database is left as it was");
    assert_sources_are_not_repeated(&error);
    error.to_string()
}

fn assert_sources_are_not_repeated(error: &MigrationError) {
    if let Some(source) = error.source() {
        assert!(!error.to_string().contains(&source.to_string()), "{error}");
    }
}

/// Every table of `main`, its shape and its rows.
fn dump(conn: &Connection) -> String {
    let mut text = describe(conn).unwrap();
    for table in texts(
        conn,
        "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main' ORDER BY 1",
    ) {
        for row in texts(
            conn,
            &format!("SELECT CAST(row AS VARCHAR) FROM \"{table}\" AS row ORDER BY 1"),
        ) {
            text.push_str(&format!("{table}: {row}\n"));
        }
    }
    text
}

fn texts(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn count(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn migrations_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations")
}

// ---------------------------------------------------------------------------------------------------------------------
// The ladder as it is written

#[test]
fn the_numbers_of_the_ladder_have_no_gap() {
    let numbers: Vec<u32> = LADDER.iter().map(|step| step.number).collect();
    assert_eq!(numbers, (OLDEST..=CURRENT).collect::<Vec<_>>());
    for step in LADDER {
        for statement in step.statements {
            let folder = format!("{:04}-{}/", step.number, step.name);
            assert!(
                statement.file.starts_with(&folder),
                "{} is not in {folder}",
                statement.file
            );
        }
    }
}

#[test]
fn every_sql_file_on_disk_is_listed() {
    let listed: BTreeSet<String> = LADDER
        .iter()
        .flat_map(|step| step.statements)
        .map(|statement| statement.file.to_owned())
        .chain(["0028-legacy/layout.sql".to_owned()])
        .collect();
    let sql = migrations_dir().join("sql");
    let mut on_disk = BTreeSet::new();
    for folder in fs::read_dir(&sql).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            on_disk.insert(
                path.strip_prefix(&sql)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
    assert_eq!(
        on_disk, listed,
        "list new files in `migrations/src/ladder.rs`"
    );
}

#[test]
fn the_text_of_a_shipped_step_never_changes() {
    let found: Vec<(u32, String)> = LADDER
        .iter()
        .map(|step| (step.number, step.checksum()))
        .collect();
    // If you are here because you added a step: add its line.
    // If you are here because you changed one: databases out there have run the old text, and every one of them would be refused.
    // Restore the file and add a step, unless no release has the one you changed.
    let expected = [
        (
            28,
            "34b4fea84da329c3de26135b5f0b729681e70eafda8b4660472ebf083480773b",
        ),
        (
            29,
            "06c369db9c9895ee210c58b17ee0c8d046f0aecc435846c0c5c3b934e1b5a858",
        ),
        (
            30,
            "a11da8bf5dc1b9f53e49ffbc896a1638454f1f88584e636f31e497827c53c3c2",
        ),
        (
            31,
            "5e455ac357e15dbf2d4ceffe64cad067c87063f952aa23e3e78c4b7283dfffbb",
        ),
        (
            32,
            "e0c8b237ba6eb15e01a709edddc2aca4f074ab26291f33fa71ddfe1c11302423",
        ),
        (
            33,
            "786b4afc2ea2a061d89b10b452f18b27737d8fb5e4ce1aa82d0643e2289c3170",
        ),
        (
            34,
            "1d37516da31ad088b399b4510298198a498f7c7cabb471d031cde157f48fbac8",
        ),
        (
            35,
            "f60bce612465aa300ae88873c67951a6c7a6605b309f1f5b70d2aea2c3423dda",
        ),
        (
            36,
            "86500b2fbec0002a69536fbedf12793295bd576a32f4e3f98096b4af56d2313d",
        ),
    ];
    let expected: Vec<(u32, String)> = expected
        .map(|(number, checksum)| (number, checksum.to_owned()))
        .to_vec();
    assert_eq!(found, expected);
}

#[test]
fn line_endings_of_a_checkout_do_not_change_a_checksum() {
    static UNIX: [Statement; 1] = [statement("SELECT 1\n-- one\n")];
    static WINDOWS: [Statement; 1] = [statement("SELECT 1\r\n-- one\r\n")];
    static OTHER: [Statement; 1] = [statement("SELECT 1\n-- two\n")];
    const fn statement(sql: &'static str) -> Statement {
        Statement {
            file: "one.sql",
            sql,
            task: Task::Change,
            only: Only::Always,
        }
    }
    let checksum = |statements| {
        let step = Step {
            number: 1,
            name: "one",
            statements,
        };
        step.checksum()
    };
    assert_eq!(checksum(&UNIX), checksum(&WINDOWS));
    assert_ne!(checksum(&UNIX), checksum(&OTHER));
}

/// (This catches a table that `verify` would not look at, and a schema.sql that nobody generated again.)
#[test]
fn a_fresh_database_has_exactly_the_shape_of_schema_sql() {
    let mut conn = database("");
    migrate(&mut conn).unwrap();
    let text = format!(
        "-- What a database looks like once every step is applied.\n\
         -- Generated: where the suite finds another text, it says where to copy it from.\n\n{}",
        describe(&conn).unwrap()
    );
    let path = migrations_dir().join("schema.sql");
    if fs::read_to_string(&path).ok().as_ref() == Some(&text) {
        return;
    }
    let found = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schema.sql");
    fs::write(&found, &text).unwrap();
    panic!(
        "if the change is meant: cp {} {}",
        found.display(),
        path.display()
    );
}

#[test]
fn schema_sql_makes_the_same_tables_by_itself() {
    let mut climbed = database("");
    migrate(&mut climbed).unwrap();
    let written = database(&fs::read_to_string(migrations_dir().join("schema.sql")).unwrap());
    assert_eq!(describe(&written).unwrap(), describe(&climbed).unwrap());
    verify(&written).unwrap();
}

// ---------------------------------------------------------------------------------------------------------------------
// What becomes of a database

#[test]
fn a_fresh_database_gets_every_number_and_no_legacy_table() {
    let mut conn = database("");
    let applied = migrate(&mut conn).unwrap();
    assert_eq!(applied.found, Found::Fresh);
    assert_eq!(applied.applied, (OLDEST..=CURRENT).collect::<Vec<_>>());
    assert_eq!(
        texts(&conn, "SELECT table_name FROM duckdb_tables() ORDER BY 1"),
        [
            "audit_log",
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
        ]
    );
    assert_eq!(status(&conn).unwrap().found, Found::At(CURRENT));
}

#[test]
fn an_empty_schema_version_is_a_fresh_database_too() {
    let (applied, end) =
        check("CREATE TABLE schema_version (version INTEGER NOT NULL, applied_at TIMESTAMP);");
    assert_eq!(applied.found, Found::Fresh);
    assert_eq!(end, check("").1);
}

#[test]
fn a_legacy_row_becomes_a_row_of_verification() {
    let mut conn = database(&legacy_at_28(
        "INSERT INTO session_extraction_state VALUES
             ('ada/one.jsonl', 'ada', TIMESTAMP '2026-01-01 00:00:00.123456', 3, 'abc'),
             ('ada/two.jsonl', 'ada', NULL, NULL, NULL);",
    ));
    let applied = migrate(&mut conn).unwrap();
    assert_eq!(applied.found, Found::Legacy(28));
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
fn a_row_that_is_already_there_wins_over_the_legacy_one() {
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
fn a_legacy_database_without_its_table_is_no_trouble() {
    let (applied, end) = check(&legacy_at_28("DROP TABLE session_extraction_state;"));
    assert_eq!(applied.found, Found::Legacy(28));
    assert_eq!(
        end.replace("2026-01-02 03:04:05", "2026-09-21 14:13:20"),
        check("").1,
        "but for the time of 28 it is a fresh database"
    );
}

#[test]
fn a_database_that_the_seed_brought_to_29_is_taken_over() {
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
    assert_eq!(applied.found, Found::Legacy(29));
    assert_eq!(
        count(&conn, "SELECT count(*) FROM session_processor_state"),
        1
    );
    assert_eq!(status(&conn).unwrap().found, Found::At(CURRENT));
}

#[test]
fn a_two_column_schema_version_is_widened_and_keeps_its_rows() {
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
    assert_eq!(migrate(&mut conn).unwrap().found, Found::At(28));
}

#[test]
fn a_stop_on_the_way_is_a_place_to_go_on_from() {
    let mut stopped = database(&legacy_at_28(""));
    for to in OLDEST..=CURRENT {
        let applied = migrate_to(&mut stopped, Some(to)).unwrap();
        assert_eq!(applied.applied, [to]);
    }
    assert_eq!(dump(&stopped), check(&legacy_at_28("")).1);
}

/// (This catches a statement that only works the first time.)
#[test]
fn every_step_may_run_again_on_the_finished_database() {
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
fn others_may_put_rows_in_with_the_first_six_columns() {
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
fn a_row_without_a_time_gets_the_present_in_utc() {
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
    let apart = i64::try_from(now.as_micros()).unwrap() - stored;
    assert!(
        (0..600_000_000).contains(&apart),
        "{apart} µs apart: a local time is at least half an hour off"
    );
}

#[test]
fn what_one_number_counted_becomes_two_and_an_outage_is_held_against_nobody() {
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

// ---------------------------------------------------------------------------------------------------------------------
// Tables of others with names of ours

#[test]
fn tables_of_the_legacy_system_with_our_names_are_kept_under_others() {
    let mut conn = database(&in_the_way());
    let forecast = status(&conn).unwrap().renamed;
    let applied = migrate(&mut conn).unwrap();
    let told: Vec<String> = applied.renamed.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "table `runs` is kept as `legacy_runs_2`",
            "table `audit_log` is kept as `legacy_audit_log`, without its indices \
             `idx_audit_action`, `idx_audit_timestamp`, `idx_audit_user`",
            "view `tokens` is kept as `legacy_tokens`",
            "table `users` is kept as `legacy_users`",
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
fn a_table_is_kept_under_the_first_name_that_is_free() {
    let taken = "CREATE TABLE legacy_runs_2 (id INTEGER);";
    let mut conn = database(&format!("{}{taken}", in_the_way()));
    let applied = migrate(&mut conn).unwrap();
    assert_eq!(
        applied.renamed[0].to_string(),
        "table `runs` is kept as `legacy_runs_3`"
    );
}

fn in_the_way() -> String {
    legacy(LEGACY_WITH_ALL_IN_THE_WAY)
}

#[test]
fn a_table_in_our_shape_is_taken_as_ours_with_its_rows() {
    let mut conn = database(&legacy_at_28(
        "CREATE TABLE Counters (name VARCHAR PRIMARY KEY, VALUE BIGINT NOT NULL DEFAULT 0);
         INSERT INTO counters VALUES ('session_seq', 41);",
    ));
    assert_eq!(migrate(&mut conn).unwrap().renamed, []);
    assert_eq!(count(&conn, "SELECT value FROM counters"), 41);
}

#[test]
fn a_state_table_in_another_shape_is_kept_and_ours_is_made() {
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
fn a_table_that_others_refer_to_is_refused_before_anything_is_changed() {
    assert_eq!(
        refused(&legacy_at_28(
            "CREATE TABLE users (id VARCHAR PRIMARY KEY);
             CREATE TABLE members (user_id VARCHAR REFERENCES users (id));"
        )),
        "table `users` is in the way of ours and cannot be renamed, because `members` refer to it; \
         drop those foreign keys, or rename the table by hand"
    );
}

// ---------------------------------------------------------------------------------------------------------------------
// What is refused, and what is said

#[test]
fn a_newer_database_is_refused_with_both_numbers() {
    assert_eq!(
        refused_after(
            "INSERT INTO schema_version VALUES (999, TIMESTAMP '2030-01-01', 'future', 'abc');"
        ),
        "the database is at schema `999`, and this program knows schemas up to `36`; use the program that wrote it, or a newer one"
    );
}

#[test]
fn a_newer_legacy_database_is_refused_with_both_numbers() {
    assert_eq!(
        refused(&legacy(
            "INSERT INTO schema_version VALUES (115, TIMESTAMP '2026-01-02');"
        )),
        "the database is at schema `115`, and this program knows schemas up to `36`; use the program that wrote it, or a newer one"
    );
}

#[test]
fn a_database_below_the_legacy_layout_is_refused() {
    for version in [27, 1, 0, -1] {
        assert_eq!(
            refused(&legacy(&format!(
                "INSERT INTO schema_version VALUES ({version}, TIMESTAMP '2026-01-02');"
            ))),
            format!(
                "the database is at schema `{version}`, and the oldest that can be taken over is `28`; \
                 bring it to `28` with the system that wrote it, or start with an empty data dir"
            )
        );
    }
}

#[test]
fn tables_without_a_version_are_refused() {
    assert_eq!(
        refused(LEGACY_LAYOUT),
        "the database has tables (`session_extraction_state`) and no schema version, so it is not known whose they are; \
         move the file away to start afresh, or restore the copy made before the last upgrade"
    );
    assert!(
        refused("CREATE SCHEMA usage; CREATE TABLE usage.events (line BIGINT);")
            .contains("`usage.events`")
    );
    assert!(refused("CREATE VIEW v AS SELECT 1;").contains("(`v`)"));
    let many: String = (0..9)
        .map(|n| format!("CREATE TABLE t{n} (x INTEGER);"))
        .collect();
    assert!(refused(&many).contains("(`t0`, `t1`, `t2`, `t3`, `t4` and 4 more)"));
}

#[test]
fn a_gap_in_the_record_is_refused() {
    assert_eq!(
        refused_after("DELETE FROM schema_version WHERE version = 30;"),
        "schema `30` is not recorded although `36` is; restore the copy made before the last upgrade"
    );
    assert_eq!(
        refused_after("DELETE FROM schema_version WHERE version = 28;"),
        "schema `28` is not recorded although `36` is; restore the copy made before the last upgrade"
    );
}

#[test]
fn an_edited_step_is_refused() {
    assert_eq!(
        refused_after("UPDATE schema_version SET checksum = 'abc' WHERE version = 31;"),
        "migration `31-runs` was changed after it was applied; restore its files and add a new step, or use the program that applied it"
    );
    assert!(
        refused_after("UPDATE schema_version SET checksum = NULL WHERE version = 28;")
            .starts_with("migration `28-legacy` was changed")
    );
}

#[test]
fn a_record_that_lost_a_part_is_not_taken_for_one_of_the_legacy_system() {
    for (lost, said) in [("name", "another system"), ("checksum", "was changed")] {
        let mut conn = database("");
        migrate_to(&mut conn, Some(29)).unwrap();
        conn.execute_batch(&format!("UPDATE schema_version SET {lost} = NULL;"))
            .unwrap();
        let error = migrate(&mut conn).unwrap_err().to_string();
        assert!(error.contains(said), "{lost}: {error}");
    }
}

#[test]
fn a_number_that_another_system_gave_is_refused() {
    assert_eq!(
        refused_after("UPDATE schema_version SET name = 'news_template' WHERE version = 30;"),
        "schema `30` is recorded as `news_template`, and this program knows it as `observed-file`: \
         another system wrote this database; use that one, or start with an empty data dir"
    );
    assert_eq!(
        refused(&legacy(
            "INSERT INTO schema_version VALUES (31, TIMESTAMP '2026-01-02');"
        )),
        "schema `31` is recorded as nothing, and this program knows it as `runs`: \
         another system wrote this database; use that one, or start with an empty data dir"
    );
}

#[test]
fn a_look_says_which_number_there_is() {
    let mut conn = database("");
    assert_eq!(status(&conn).unwrap().version(), None);
    migrate_to(&mut conn, Some(31)).unwrap();
    assert_eq!(status(&conn).unwrap().version(), Some(31));
}

#[test]
fn there_is_no_way_down() {
    let mut conn = database("");
    migrate(&mut conn).unwrap();
    let error = migrate_to(&mut conn, Some(30)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the database is at schema `36`, and there is no way down to `30`; restore the copy made before the upgrade"
    );
}

#[test]
fn a_number_off_the_ladder_is_refused() {
    for to in [0, 27, 37] {
        assert_eq!(
            refused_to("", Some(to)),
            format!("there is no schema `{to}`; choose one from `28` to `36`")
        );
    }
}

#[test]
fn a_table_that_was_changed_by_hand_is_refused() {
    for (change, difference) in [
        (
            "DROP TABLE users",
            "table `users` is not as schema `36` has it: it is missing;",
        ),
        (
            "ALTER TABLE runs DROP COLUMN stats",
            "table `runs` is not as schema `36` has it: `stats VARCHAR` is missing;",
        ),
        (
            "ALTER TABLE runs ADD COLUMN note VARCHAR",
            "table `runs` is not as schema `36` has it: `note VARCHAR` is not ours;",
        ),
        (
            "ALTER TABLE session_costs ALTER fuel TYPE VARCHAR",
            "table `session_costs` is not as schema `36` has it: `fuel VARCHAR` should be `fuel BIGINT`;",
        ),
        (
            "ALTER TABLE session_costs ALTER run_id DROP NOT NULL",
            "table `session_costs` is not as schema `36` has it: `run_id VARCHAR` should be `run_id VARCHAR NOT NULL`;",
        ),
        (
            "DROP TABLE counters; CREATE TABLE counters (name VARCHAR NOT NULL, value BIGINT NOT NULL)",
            "table `counters` is not as schema `36` has it: its primary key `name` is missing;",
        ),
        (
            "DROP TABLE counters; CREATE TABLE counters (value BIGINT NOT NULL, name VARCHAR PRIMARY KEY)",
            "table `counters` is not as schema `36` has it: its columns should stand in the order `name`, `value`;",
        ),
        (
            "DROP TABLE counters; CREATE TABLE counters (name VARCHAR PRIMARY KEY, value BIGINT NOT NULL UNIQUE)",
            "table `counters` is not as schema `36` has it: `UNIQUE(\"value\")` is not ours;",
        ),
        (
            "ALTER TABLE session_costs ADD PRIMARY KEY (run_id)",
            "table `session_costs` is not as schema `36` has it: it should have no primary key instead of `run_id`;",
        ),
    ] {
        let message = refused_after(change);
        assert!(message.starts_with(difference), "{change}: {message}");
        assert!(
            message.ends_with("change the table by hand to what `migrations/schema.sql` shows"),
            "{message}"
        );
    }
}

#[test]
fn who_asks_whether_the_tables_are_right_is_told_which_one_is_not() {
    let mut conn = database("");
    migrate(&mut conn).unwrap();
    verify(&conn).unwrap();
    conn.execute_batch("DROP TABLE users").unwrap();
    let error = verify(&conn).unwrap_err().to_string();
    assert!(error.starts_with("table `users` is not"), "{error}");
}

#[test]
fn a_changed_table_is_refused_before_the_next_step_builds_on_it() {
    let mut conn = database("");
    migrate_to(&mut conn, Some(29)).unwrap();
    conn.execute_batch("ALTER TABLE session_processor_state ADD COLUMN note VARCHAR")
        .unwrap();
    assert_eq!(
        migrate(&mut conn).unwrap_err().to_string(),
        "table `session_processor_state` is not as schema `29` has it: `note VARCHAR` is not ours; \
         restore the copy made before the last upgrade, or change the table by hand to what `migrations/schema.sql` shows"
    );
}

#[test]
fn a_step_that_fails_is_undone_and_names_its_statement() {
    let mut conn = database(&legacy_at_28(
        "ALTER TABLE session_extraction_state DROP COLUMN file_hash;
         INSERT INTO session_extraction_state VALUES ('ada/one.jsonl', 'ada', NULL, 1);",
    ));
    let error = migrate(&mut conn).unwrap_err();
    assert_eq!(
        error.to_string(),
        "migration `29-session-processor-state` could not run `0029-session-processor-state/02-copy-legacy-rows.sql` and was undone"
    );
    assert_sources_are_not_repeated(&error);
    assert!(error.source().unwrap().to_string().contains("file_hash"));
    assert_eq!(status(&conn).unwrap().found, Found::At(28));
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
fn looking_changes_nothing_and_names_what_is_pending() {
    let conn = database(&legacy_at_28(""));
    let before = dump(&conn);
    let status = status(&conn).unwrap();
    assert_eq!(status.found, Found::Legacy(28));
    assert_eq!(status.found.to_string(), "schema 28 of the legacy system");
    let pending = |to| -> Vec<u32> {
        let plan = status.plan(to).unwrap();
        plan.iter().map(|step| step.number).collect()
    };
    assert_eq!(pending(None), [28, 29, 30, 31, 32, 33, 34, 35, 36]);
    assert_eq!(pending(Some(29)), [28, 29]);
    assert_eq!(dump(&conn), before);
}

// ---------------------------------------------------------------------------------------------------------------------
// Interruptions

/// The files of a database as a process that dies at this moment leaves them.
#[derive(PartialEq)]
struct Files {
    database: Vec<u8>,
    log: Option<Vec<u8>>,
}

impl Files {
    fn copy(database: &Path) -> Self {
        Self {
            database: fs::read(database).unwrap(),
            log: fs::read(database.with_extension("duckdb.wal")).ok(),
        }
    }

    /// Opens the copy, applies the ladder, and gives what the database then holds.
    fn recover(self) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("system.duckdb");
        fs::write(&path, self.database).unwrap();
        if let Some(log) = self.log {
            fs::write(path.with_extension("duckdb.wal"), log).unwrap();
        }
        let mut conn = Connection::open(&path)
            .unwrap_or_else(|error| panic!("a crash must leave a database that opens: {error}"));
        migrate(&mut conn).unwrap();
        dump(&conn)
    }
}

/// Applies the ladder in a file, with somebody watching who may copy it.
fn apply_in_file(setup: impl Fn(&Connection), mut watch: impl FnMut(&Path, &Point)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("system.duckdb");
    let mut conn = Connection::open(&path).unwrap();
    setup(&conn);
    conn.execute_batch("CHECKPOINT").unwrap();
    migrate_watched(&mut conn, |point| {
        watch(&path, point);
        Ok(())
    })
    .unwrap();
}

/// Ends the work at the first point that is not in `passed`, and adds it there.
fn apply_to_a_new_point(
    conn: &mut Connection,
    passed: &mut Vec<Point>,
) -> Result<Applied, MigrationError> {
    migrate_watched(conn, |point| {
        if passed.contains(point) {
            return Ok(());
        }
        passed.push(point.clone());
        Err(Interrupted)
    })
}

/// (This catches a step that only gets through when nothing stops it.)
#[test]
fn an_end_at_each_point_in_turn_makes_the_same_database() {
    for setup in [in_the_way(), legacy_at_28(""), String::new()] {
        let mut conn = database(&setup);
        let mut passed = Vec::new();
        while let Err(error) = apply_to_a_new_point(&mut conn, &mut passed) {
            assert!(
                matches!(error, MigrationError::Interrupted { .. }),
                "{error}"
            );
        }
        assert!(passed.len() > 50, "only {} points", passed.len());
        assert_eq!(dump(&conn), check(&setup).1);
    }
}

/// (This catches an `ADD COLUMN` on a table with a computed default: DuckDB 1.5.6 cannot replay it, and the file never opens again.
/// Both seeds in `proptest-regressions/migrations.txt` are this: a legacy database without a row, and a crash.)
#[test]
fn a_crash_at_each_point_leaves_a_database_that_goes_on_to_the_same_end() {
    for setup in [in_the_way(), legacy_at_28(""), String::new()] {
        let mut states: Vec<Files> = Vec::new();
        apply_in_file(
            |conn| conn.execute_batch(&setup).unwrap(),
            |path, _| {
                let files = Files::copy(path);
                if states.last() != Some(&files) {
                    states.push(files);
                }
            },
        );
        // Within a transaction the files stay as they are, so there are fewer states than points.
        assert!(states.len() > 10, "only {} states", states.len());
        let uninterrupted = check(&setup).1;
        for files in states {
            assert_eq!(files.recover(), uninterrupted);
        }
    }
}

#[test]
fn the_observer_sees_both_sides_of_everything_in_order() {
    let mut conn = database("");
    let mut seen = Vec::new();
    let mut observer = |point: &Point| {
        seen.push(point.clone());
        Ok(())
    };
    apply(
        &mut conn,
        Apply {
            to: Some(29),
            observer: Some(&mut observer),
            ..Apply::at(NOW)
        },
    )
    .unwrap();
    for pair in seen.chunks(2) {
        assert_eq!(pair[0].moment, Moment::Before);
        assert_eq!(pair[1].moment, Moment::After);
        assert_eq!(pair[0].action, pair[1].action);
    }
    assert_eq!(
        seen[0].action,
        Action::Statement("0028-legacy/02-create-schema-version.sql")
    );
    let texts: Vec<String> = seen.iter().step_by(2).map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "before `0028-legacy/02-create-schema-version.sql`",
            "before recording `28`",
            "before the commit of `28`",
            "before the checkpoint of `28`",
            "before `0029-session-processor-state/01-create-session-processor-state.sql`",
            "before recording `29`",
            "before the commit of `29`",
            "before the checkpoint of `29`",
        ]
    );
}

// ---------------------------------------------------------------------------------------------------------------------
// Properties

/// Everything of a state row but its key.
type Rest = (String, Option<i64>, Option<i32>, Option<String>);

fn session_file() -> impl Strategy<Value = String> {
    // Few letters, so that legacy rows and present ones meet; and everything that a file name can be.
    prop_oneof!["[ab]{1,2}\\.jsonl", any::<String>()]
}

fn rest() -> impl Strategy<Value = Rest> {
    (
        any::<String>(),
        // The years 1 to 9999, in microseconds.
        proptest::option::of(-62_135_596_800_000_000_i64..253_402_300_800_000_000),
        any::<Option<i32>>(),
        any::<Option<String>>(),
    )
}

fn rows() -> impl Strategy<Value = BTreeMap<String, Rest>> {
    proptest::collection::btree_map(session_file(), rest(), 0..20)
}

/// A legacy database with these rows, and a state table beside it that holds the others already, or none.
fn fill(conn: &Connection, legacy_rows: &BTreeMap<String, Rest>, present: &BTreeMap<String, Rest>) {
    conn.execute_batch(&legacy_at_28("")).unwrap();
    if !present.is_empty() {
        let state = LADDER[1].statements[0].sql;
        conn.execute_batch(state).unwrap();
    }
    for (table, rows) in [
        ("session_extraction_state SELECT", legacy_rows),
        ("session_processor_state SELECT 'verification',", present),
    ] {
        for (file, (username, processed_at, items, hash)) in rows {
            let processed_at =
                processed_at.map(|micros| Value::Timestamp(TimeUnit::Microsecond, micros));
            conn.execute(
                &format!("INSERT INTO {table} ?, ?, ?, ?, ?"),
                params![file, username, processed_at, items, hash],
            )
            .unwrap();
        }
    }
}

fn verification_rows(conn: &Connection) -> BTreeMap<String, Rest> {
    let mut statement = conn
        .prepare(
            "SELECT session_file, username, epoch_us(processed_at), items_extracted, file_hash
             FROM session_processor_state WHERE processor_name = 'verification'",
        )
        .unwrap();
    let rows = statement
        .query_map([], |row| {
            let rest = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            Ok((row.get(0)?, rest))
        })
        .unwrap();
    rows.map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_any_legacy_rows_survive_unchanged(legacy_rows in rows(), present in rows()) {
        let mut conn = database("");
        fill(&conn, &legacy_rows, &present);
        migrate(&mut conn).unwrap();

        let mut expected = legacy_rows;
        expected.extend(present);
        prop_assert_eq!(verification_rows(&conn), expected);
    }

    #[test]
    fn invariant_applying_twice_equals_once(legacy_rows in rows(), present in rows(), later in 0..1_000_000_i64) {
        let mut conn = database("");
        fill(&conn, &legacy_rows, &present);
        migrate(&mut conn).unwrap();
        let once = dump(&conn);

        let again = apply(&mut conn, Apply::at(NOW + later)).unwrap();
        prop_assert_eq!(again, Applied { found: Found::At(CURRENT), applied: Vec::new(), renamed: Vec::new() });
        prop_assert_eq!(dump(&conn), once);
    }
}

proptest! {
    // Fewer: each case climbs the ladder four times, two of them in files.
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(4)))]

    #[test]
    fn invariant_an_end_anywhere_and_a_new_start_make_the_same_database(
        legacy_rows in rows(),
        present in rows(),
        place in any::<prop::sample::Index>(),
    ) {
        let setup = |conn: &Connection| fill(conn, &legacy_rows, &present);
        let mut uninterrupted = database("");
        setup(&uninterrupted);
        let mut points = Vec::new();
        migrate_watched(&mut uninterrupted, |point| {
            points.push(point.clone());
            Ok(())
        })
        .unwrap();
        let uninterrupted = dump(&uninterrupted);
        let (passed, place) = points.split_at(place.index(points.len()));
        let place = &place[0];

        let mut crashed = None;
        apply_in_file(setup, |path, point| {
            if point == place {
                crashed = Some(Files::copy(path));
            }
        });
        prop_assert_eq!(crashed.unwrap().recover(), &uninterrupted[..], "after a crash {}", place);

        let mut stopped = database("");
        setup(&stopped);
        apply_to_a_new_point(&mut stopped, &mut passed.to_vec()).unwrap_err();
        migrate(&mut stopped).unwrap();
        prop_assert_eq!(dump(&stopped), uninterrupted, "after an error {}", place);
    }
}
