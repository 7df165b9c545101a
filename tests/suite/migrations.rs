//! Migrations: the effect of each step, databases that are rejected, and interruptions.
//!
//! Hazards: a version is recorded although its step did not run, the source of a copy is dropped
//! too early, a program writes to a database newer than itself, and DuckDB cannot replay the log
//! after a crash.

mod create;
mod interrupted;
mod ladder;
mod refused;
mod rename;
mod rows;
mod steps;
mod upgrade;

use std::error::Error;
use std::path::{Path, PathBuf};

use duckdb::Connection;
use session_pipeline_migrations::{
    LEGACY_LAYOUT, MigrationError, MigrationOptions, MigrationReport, Point, StopMigration, apply,
    describe,
};
use session_pipeline_pipeline::config::Config;
use session_pipeline_store as store;

/// 2026-09-21 14:13:20 UTC.
const NOW: i64 = 1_790_000_000_000_000;

/// A legacy database with one row, and with objects whose names conflict with the new tables.
const LEGACY_WITH_NAME_CONFLICTS: &str = "
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

/// Migrates a database created by `setup`. Returns the report and a dump of the database.
fn migrate_new(setup: &str) -> (MigrationReport, String) {
    let mut conn = database(setup);
    let report = migrate(&mut conn).unwrap();
    (report, dump(&conn))
}

/// Asserts that a database created by `setup` is rejected and unchanged. Returns the error message.
fn rejection(setup: &str) -> String {
    rejection_to(setup, None)
}

fn rejection_to(setup: &str, to: Option<u32>) -> String {
    let mut conn = database(setup);
    let before = dump(&conn);
    let error = migrate_to(&mut conn, to).unwrap_err();
    assert_eq!(before, dump(&conn), "the rejected database was changed");
    assert_sources_are_not_repeated(&error);
    error.to_string()
}

/// Returns an in-memory database with the settings of the store.
fn database(setup: &str) -> Connection {
    let config = Config::new(std::env::temp_dir());
    let settings = store::settings(&config.store_options(), config.database_memory_bytes).unwrap();
    let conn = Connection::open_in_memory_with_flags(settings).unwrap();
    conn.execute_batch(setup).unwrap();
    conn
}

fn migrate(conn: &mut Connection) -> Result<MigrationReport, MigrationError> {
    migrate_to(conn, None)
}

fn migrate_to(conn: &mut Connection, to: Option<u32>) -> Result<MigrationReport, MigrationError> {
    apply(
        conn,
        MigrationOptions {
            to,
            ..MigrationOptions::at(NOW)
        },
    )
}

/// Migrates with an observer that can stop the migration.
fn migrate_observed(
    conn: &mut Connection,
    mut observe: impl FnMut(&Point) -> Result<(), StopMigration>,
) -> Result<MigrationReport, MigrationError> {
    apply(
        conn,
        MigrationOptions {
            observer: Some(&mut observe),
            ..MigrationOptions::at(NOW)
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

/// Asserts that a migrated database is rejected after a change. Returns the error message.
fn rejection_after(change: &str) -> String {
    let mut conn = database("");
    migrate(&mut conn).unwrap();
    conn.execute_batch(change).unwrap();
    let before = dump(&conn);
    let error = migrate(&mut conn).unwrap_err();
    assert_eq!(before, dump(&conn), "the rejected database was changed");
    assert_sources_are_not_repeated(&error);
    error.to_string()
}

fn assert_sources_are_not_repeated(error: &MigrationError) {
    if let Some(source) = error.source() {
        assert!(!error.to_string().contains(&source.to_string()), "{error}");
    }
}

/// Returns the schema and the rows of all tables in `main`.
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
