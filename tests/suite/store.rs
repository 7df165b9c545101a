//! The store: exclusive access to the database, backups before upgrades, and commits.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use duckdb::Connection;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use session_pipeline_harness::redact::redact;
use session_pipeline_harness::{DataDir, TestPipeline, clock};
use session_pipeline_host::content::ContentHash;
use session_pipeline_host::manifest::{ColumnKind, ColumnSpec, Manifest, Order, TableSpec};
use session_pipeline_host::processor::Cost;
use session_pipeline_host::rows::{ColumnValues, TableRows};
use session_pipeline_migrations::LEGACY_LAYOUT;
use session_pipeline_store::{
    CommitGroup, CompletedSession, ContentChange, OpenReport, SessionOutcome, Store, StoreError,
};

use crate::database::{cell, execute, rows};

fn open(dir: &DataDir) -> Result<Store, StoreError> {
    Store::open(&dir.config().store_options(), clock::START)
}

/// Returns a data directory with a database of the legacy system.
fn legacy_dir() -> DataDir {
    let dir = DataDir::new();
    fs::create_dir(dir.path().join("state")).unwrap();
    execute(&dir, LEGACY_LAYOUT);
    execute(
        &dir,
        "INSERT INTO schema_version VALUES (28, TIMESTAMP '2026-01-02 03:04:05');
         INSERT INTO session_extraction_state VALUES ('ada/one.jsonl', 'ada', TIMESTAMP '2026-01-01 00:00:00', 3, 'abc')",
    );
    dir
}

#[test]
fn the_error_for_a_data_directory_in_use_names_its_owner() {
    let dir = DataDir::new();
    let store = open(&dir).unwrap();
    let error = open(&dir).unwrap_err();
    insta::assert_snapshot!(
        redact(&error.to_string(), dir.path()),
        @"the data directory `[data-dir]` is in use by process [pid]; wait for it to finish or stop it"
    );
    assert!(error.to_string().contains(&std::process::id().to_string()));

    // A server adds its address in the second line.
    let lock = dir.path().join("state/lock");
    fs::write(&lock, "4711\nhttp://127.0.0.1:8080\n").unwrap();
    let error = open(&dir).unwrap_err().to_string();
    insta::assert_snapshot!(
        redact(&error, dir.path()),
        @"the data directory `[data-dir]` is in use by the server at http://127.0.0.1:8080 (process [pid]); wait for it to finish or stop it"
    );

    // The lock applies regardless of the content of the file.
    fs::write(&lock, b"\xff\x1b[2J").unwrap();
    let error = open(&dir).unwrap_err().to_string();
    insta::assert_snapshot!(
        redact(&error, dir.path()),
        @"the data directory `[data-dir]` is in use by another process; wait for it to finish or stop it"
    );

    drop(store);
    open(&dir).unwrap();
}

#[test]
fn a_lock_is_released_with_its_owner_even_if_a_child_inherited_the_descriptor() {
    let dir = DataDir::new();
    let store = open(&dir).unwrap();
    let lock = dir.path().join("state/lock");
    let is_lock = |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|to| to == lock);
    let mut files = fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap);
    let number = files.find(is_lock).unwrap().file_name();
    let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    // A child process inherits the descriptor between fork and exec.
    let number = number.to_str().unwrap().parse().unwrap();
    let inherited = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).unwrap();
    drop(store);
    drop(open(&dir).unwrap());
    drop(inherited);
}

#[test]
fn a_lock_file_of_a_dead_process_does_not_block_opening() {
    let dir = DataDir::new();
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::write(
        dir.path().join("state/lock"),
        "4711\nhttp://127.0.0.1:8080\n",
    )
    .unwrap();
    let store = open(&dir).unwrap();
    let text = fs::read_to_string(dir.path().join("state/lock")).unwrap();
    assert_eq!(text, format!("{}\n", std::process::id()));
    drop(store);
}

#[test]
fn a_plan_to_migrate_respects_the_lock_and_changes_nothing() {
    let dir = legacy_dir();
    let before = fs::read(dir.database_path()).unwrap();
    let plan = Store::plan_migration(&dir.config().store_options(), None).unwrap();
    assert_eq!(plan.version_before, Some(28));
    assert_eq!(fs::read(dir.database_path()).unwrap(), before);

    let store = open(&dir).unwrap();
    assert_eq!(plan.pending.len(), store.open_report().applied.len());
    assert!(matches!(
        Store::plan_migration(&dir.config().store_options(), None),
        Err(StoreError::Locked { .. })
    ));
    drop(store);
    let plan = Store::plan_migration(&dir.config().store_options(), None).unwrap();
    assert_eq!(plan.pending, [""; 0]);
}

#[test]
fn a_plan_for_a_missing_database_does_not_create_it() {
    let dir = DataDir::new();
    let plan = Store::plan_migration(&dir.config().store_options(), None).unwrap();
    assert_eq!(plan.version_before, None);
    assert!(!plan.pending.is_empty());
    assert!(!dir.path().join("state").exists());
}

#[test]
fn a_partially_created_database_is_created_again() {
    for length in [0, 1, 4096, 8192, 12287] {
        let dir = DataDir::new();
        let whole = DataDir::new();
        drop(Store::open(&whole.config().store_options(), clock::START).unwrap());
        let partial = fs::read(whole.database_path()).unwrap()[..length].to_vec();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::write(state.join("system.duckdb.new"), partial).unwrap();
        fs::write(state.join("system.duckdb.new.wal"), "half").unwrap();
        // Files of a database that was removed.
        fs::write(state.join("system.duckdb.wal"), "another").unwrap();
        fs::write(state.join("checkpoint"), "its blocks").unwrap();
        let store = Store::open(&dir.config().store_options(), clock::START).unwrap();
        assert_eq!(store.open_report().version_before, None);
        let checkpoint = state.join("checkpoint");
        assert!(!checkpoint.exists(), "stale blocks were kept");
        drop(store);
        let names = fs::read_dir(&state)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let new: Vec<_> = names
            .filter(|name| name.to_string_lossy().contains(".new"))
            .collect();
        assert!(new.is_empty(), "{new:?}");
    }
}

#[test]
fn a_new_database_is_created_without_a_backup() {
    let dir = DataDir::without_sessions_root();
    let store = open(&dir).unwrap();
    let opened = store.open_report().clone();
    assert_eq!(
        (
            opened.version_before,
            opened.backup,
            opened.interrupted_runs
        ),
        (None, None, 0)
    );
    assert!(!opened.applied.is_empty());
    drop(store);

    let store = open(&dir).unwrap();
    let expected = OpenReport {
        version_before: opened.applied.last().copied(),
        ..OpenReport::default()
    };
    assert_eq!(
        store.open_report(),
        &expected,
        "reopening must change nothing"
    );
}

#[test]
fn an_upgrade_first_copies_the_database_to_a_backup_in_the_same_folder() {
    let dir = legacy_dir();
    let store = open(&dir).unwrap();
    let opened = store.open_report().clone();
    assert_eq!(opened.version_before, Some(28));
    let copy = opened.backup.unwrap();
    assert_eq!(
        copy,
        dir.path()
            .join("state/system.duckdb.before-upgrade-from-28")
    );
    drop(store);

    assert_eq!(legacy_rows(&copy), 1, "rows in the backup");
    assert_eq!(
        rows(
            &dir,
            "SELECT processor_name, session_file, items_extracted FROM session_processor_state"
        ),
        ["verification | ada/one.jsonl | 3"]
    );
    assert!(
        !has_unexpected_backup(&dir),
        "a partial backup was left behind"
    );
}

#[test]
fn a_backup_includes_the_write_ahead_log() {
    let dir = legacy_dir();
    {
        // A killed process leaves changes that are only in the log.
        let connection = Connection::open(dir.database_path()).unwrap();
        connection
            .execute_batch(
                "SET checkpoint_threshold = '1GB'; PRAGMA disable_checkpoint_on_shutdown;
                 INSERT INTO session_extraction_state VALUES ('ada/two.jsonl', 'ada', NULL, 0, 'def')",
            )
            .unwrap();
    }
    let wal = dir.path().join("state/system.duckdb.wal");
    assert!(wal.exists(), "the change must be in the log");
    let copy = open(&dir).unwrap().open_report().backup.clone().unwrap();
    assert_eq!(legacy_rows(&copy), 2);
}

#[test]
fn a_backup_of_an_earlier_attempt_is_replaced_with_its_log() {
    let dir = legacy_dir();
    let state = dir.path().join("state");
    fs::write(state.join("system.duckdb.before-upgrade-from-28"), "old").unwrap();
    fs::write(
        state.join("system.duckdb.before-upgrade-from-28.wal"),
        "old",
    )
    .unwrap();
    let copy = open(&dir).unwrap().open_report().backup.clone().unwrap();
    assert_eq!(legacy_rows(&copy), 1);
}

/// Returns the audit entries of upgrades.
fn audited_upgrades(dir: &DataDir) -> Vec<String> {
    let sql = "SELECT client_kind, resource, result, params FROM audit_log WHERE action = 'database.migrate' ORDER BY id";
    let mut audited = rows(dir, sql);
    for row in &mut audited {
        *row = redact(row, dir.path());
    }
    audited
}

#[test]
fn successful_and_failed_upgrades_are_audited() {
    let dir = DataDir::new();
    let to =
        |version| Store::open_at(&dir.config().store_options(), clock::START, version).map(drop);
    to(Some(31)).unwrap();
    to(Some(34)).unwrap();
    execute(&dir, "ALTER TABLE runs ADD COLUMN note VARCHAR");
    to(Some(36)).unwrap_err();
    execute(&dir, "ALTER TABLE runs DROP COLUMN note");
    let obstacle = dir
        .path()
        .join("state/system.duckdb.before-upgrade-from-34");
    fs::create_dir(&obstacle).unwrap();
    to(None).unwrap_err();
    to(Some(33)).unwrap_err();
    fs::remove_dir(obstacle).unwrap();
    to(None).unwrap();
    to(None).unwrap();
    insta::assert_snapshot!(audited_upgrades(&dir).join("\n"), @r#"
    system | database | ok | {"from":31,"renamed":[],"to":34}
    system | database | failed | {"error":"cannot migrate the database `[data-dir]/state/system.duckdb`: table `runs` does not match schema `34`: unexpected column `note VARCHAR`; restore the backup from before the last upgrade, or change the table manually to match `migrations/schema.sql`","from":null}
    system | database | failed | {"error":"cannot access `[data-dir]/state/system.duckdb.before-upgrade-from-34`; check that it exists, its permissions and the free disk space: Is a directory (os error 21)","from":34}
    system | database | ok | {"from":34,"renamed":[],"to":40}
    "#);
}

#[test]
fn a_failed_upgrade_without_an_audit_log_only_returns_an_error() {
    let dir = legacy_dir();
    execute(
        &dir,
        "ALTER TABLE session_extraction_state DROP COLUMN file_hash",
    );
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, StoreError::Migration { .. }), "{error}");
    assert_eq!(
        rows(&dir, "SELECT table_name FROM duckdb_tables() ORDER BY 1"),
        ["schema_version", "session_extraction_state"]
    );
}

#[test]
fn a_database_newer_than_the_program_is_rejected_and_unchanged() {
    let dir = DataDir::new();
    drop(open(&dir).unwrap());
    execute(
        &dir,
        "INSERT INTO schema_version (version, name) VALUES (999, 'of-the-future')",
    );
    let before = fs::read(dir.database_path()).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, StoreError::Migration { .. }));
    let text = redact(&error.to_string(), dir.path());
    insta::assert_snapshot!(text, @"cannot migrate the database `[data-dir]/state/system.duckdb`");
    assert!(error.source().unwrap().to_string().contains("999"));
    assert_eq!(fs::read(dir.database_path()).unwrap(), before);
    assert!(!has_unexpected_backup(&dir));
}

#[test]
fn a_file_that_is_not_a_database_is_rejected_and_unchanged() {
    let dir = DataDir::new();
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::write(dir.database_path(), "not a database ".repeat(1000)).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    assert_eq!(
        fs::read(dir.database_path()).unwrap(),
        "not a database ".repeat(1000).as_bytes()
    );
}

#[test]
fn spill_files_of_a_killed_process_are_removed_only_by_the_next_owner() {
    let dir = DataDir::new();
    let store = open(&dir).unwrap();
    let spilled = dir
        .path()
        .join("state/spill/duckdb_temp_storage_DEFAULT-0.tmp");
    fs::create_dir_all(spilled.parent().unwrap()).unwrap();
    fs::write(&spilled, "rows of a report").unwrap();
    open(&dir).unwrap_err();
    assert!(spilled.exists(), "the owner of the files is still running");
    drop(store);
    drop(open(&dir).unwrap());
    assert!(!spilled.exists());
}

#[test]
fn the_state_folder_is_accessible_only_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let dir = DataDir::new();
    drop(open(&dir).unwrap());
    let mode = fs::metadata(dir.path().join("state"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn names_are_quoted_and_cannot_inject_sql() {
    let dir = DataDir::new();
    let store = open(&dir).unwrap();
    // The manifest parser rejects this name. If it did not, no other table would be affected.
    let hostile = "x\"; DROP TABLE main.runs; --";
    let column = ColumnSpec {
        name: hostile.to_owned(),
        kind: ColumnKind::Text,
    };
    let manifest = Manifest {
        name: hostile.to_owned(),
        version: 1,
        description: String::new(),
        cadence_seconds: 600,
        order: Order::Independent,
        uses_llm: false,
        redacts_secrets: false,
        tables: vec![TableSpec {
            name: hostile.to_owned(),
            shared_key: None,
            columns: vec![column],
            identity: Vec::new(),
        }],
    };
    store.register_tables(&manifest).unwrap();
    store.register_tables(&manifest).unwrap();
    drop(store);
    assert_eq!(
        cell(
            &dir,
            "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'runs'"
        ),
        "1"
    );
}

/// Returns a manifest with one table that has these columns.
fn manifest(columns: &[(&str, ColumnKind)]) -> Manifest {
    let columns = columns.iter().map(|(name, kind)| ColumnSpec {
        name: (*name).to_owned(),
        kind: *kind,
    });
    Manifest {
        name: "demo".to_owned(),
        version: 1,
        description: String::new(),
        cadence_seconds: 600,
        order: Order::Independent,
        uses_llm: false,
        redacts_secrets: false,
        tables: vec![TableSpec {
            name: "facts".to_owned(),
            shared_key: None,
            columns: columns.collect(),
            identity: Vec::new(),
        }],
    }
}

#[test]
fn a_manifest_can_add_columns_and_existing_rows_are_kept() {
    let dir = DataDir::new();
    let store = open(&dir).unwrap();
    store
        .register_tables(&manifest(&[("a", ColumnKind::Text)]))
        .unwrap();
    drop(store);
    execute(
        &dir,
        "INSERT INTO demo.facts VALUES (1, 'ada/one.jsonl', TIMESTAMP '2026-01-01', 'kept')",
    );
    let store = open(&dir).unwrap();
    store
        .register_tables(&manifest(&[
            ("a", ColumnKind::Text),
            ("b", ColumnKind::S64),
        ]))
        .unwrap();
    drop(store);
    assert_eq!(rows(&dir, "SELECT a, b FROM demo.facts"), ["kept | -"]);
}

#[test]
fn any_other_change_to_a_table_is_rejected_with_the_difference() {
    let dir = DataDir::new();
    let store = open(&dir).unwrap();
    let before = manifest(&[("a", ColumnKind::Text), ("b", ColumnKind::S64)]);
    store.register_tables(&before).unwrap();
    let rejection = |columns: &[(&str, ColumnKind)]| {
        let error = store.register_tables(&manifest(columns)).unwrap_err();
        error.to_string()
    };
    let texts = [
        rejection(&[("a", ColumnKind::Text)]),
        rejection(&[("a", ColumnKind::Text), ("b", ColumnKind::F64)]),
        rejection(&[("b", ColumnKind::S64), ("a", ColumnKind::Text)]),
        rejection(&[
            ("a", ColumnKind::Text),
            ("new", ColumnKind::Bool),
            ("b", ColumnKind::S64),
        ]),
    ];
    insta::assert_snapshot!(texts.join("\n"), @r"
    the table `demo.facts` does not match the manifest: the column `b` is no longer in the manifest; use a new table name for the new columns
    the table `demo.facts` does not match the manifest: column 5 is `b BIGINT` and should be `b DOUBLE`; use a new table name for the new columns
    the table `demo.facts` does not match the manifest: column 4 is `a VARCHAR` and should be `b BIGINT`; use a new table name for the new columns
    the table `demo.facts` does not match the manifest: column 5 is `b BIGINT` and should be `new BOOLEAN`; use a new table name for the new columns
    ");
    store.register_tables(&before).unwrap();
}

/// Like [`manifest`], but the table is shared and has this key.
fn shared_manifest(key: &str, columns: &[(&str, ColumnKind)]) -> Manifest {
    let mut shared = manifest(columns);
    shared.order = Order::Serial;
    shared.tables[0].shared_key = Some(key.to_owned());
    shared
}

#[test]
fn a_shared_table_can_gain_columns_and_keeps_its_key() {
    let dir = DataDir::new();
    let store = open(&dir).unwrap();
    store
        .register_tables(&shared_manifest("a", &[("a", ColumnKind::Text)]))
        .unwrap();
    drop(store);
    execute(
        &dir,
        "INSERT INTO demo.facts VALUES (TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', 'kept')",
    );
    let store = open(&dir).unwrap();
    let wider = shared_manifest("a", &[("a", ColumnKind::Text), ("b", ColumnKind::S64)]);
    store.register_tables(&wider).unwrap();
    store.register_tables(&wider).unwrap();
    drop(store);
    assert_eq!(rows(&dir, "SELECT a, b FROM demo.facts"), ["kept | -"]);
    let duplicate = Connection::open(dir.database_path()).unwrap().execute_batch(
        "INSERT INTO demo.facts VALUES (TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', 'kept', 1)",
    );
    assert!(duplicate.unwrap_err().to_string().contains("Duplicate key"));
}

#[test]
fn a_table_cannot_change_its_key_or_the_owner_of_its_rows() {
    let dir = DataDir::new();
    let store = open(&dir).unwrap();
    let columns = [("a", ColumnKind::Text), ("b", ColumnKind::Text)];
    let rejection = |manifest: &Manifest| store.register_tables(manifest).unwrap_err().to_string();
    store
        .register_tables(&shared_manifest("a", &columns))
        .unwrap();
    let texts = [
        rejection(&shared_manifest("b", &columns)),
        rejection(&manifest(&columns)),
    ];
    insta::assert_snapshot!(texts.join("\n"), @r"
    the table `demo.facts` does not match the manifest: the table has the key `a` and should have the key `b`; use a new table name for the new columns
    the table `demo.facts` does not match the manifest: column 1 is `created_at TIMESTAMP` and should be `session_seq BIGINT`; use a new table name for the new columns
    ");
}

#[test]
fn two_pipelines_cannot_share_a_data_directory() {
    let dir = DataDir::new();
    let pipeline = TestPipeline::open(&dir, &[]);
    let error = TestPipeline::try_open_with(&dir, dir.config(), &[]).unwrap_err();
    assert!(
        error.to_string().contains("is in use by process"),
        "{error}"
    );
    drop(pipeline);
    TestPipeline::open(&dir, &[]);
}

/// Returns a completed session with one row.
fn completed(key: &str) -> SessionOutcome {
    let spec = manifest(&[("a", ColumnKind::S64)]).tables.remove(0);
    let mut rows = TableRows::new(&spec);
    rows.rows = 1;
    rows.columns = vec![ColumnValues::S64(vec![Some(7)])];
    SessionOutcome::Completed(Box::new(CompletedSession {
        key: key.to_owned(),
        username: "ada".to_owned(),
        state_row: None,
        failure: None,
        read_at: clock::START,
        observed: None,
        hash: ContentHash([7; 16]),
        items: 1,
        tables: vec![rows],
        resumed_from: None,
        checkpoint: None,
        cost: Cost::default(),
        change: ContentChange::Unknown,
    }))
}

#[test]
fn a_failed_statement_rolls_back_the_whole_commit() {
    let dir = DataDir::new();
    let store = open(&dir).unwrap();
    let manifest = Arc::new(manifest(&[("a", ColumnKind::S64)]));
    store.register_tables(&manifest).unwrap();
    let commit = |keys: &[&str]| {
        store.commit(&Arc::new(CommitGroup {
            manifest: Arc::clone(&manifest),
            digest: "d".to_owned(),
            run_id: "1".to_owned(),
            now: clock::START,
            requests: Arc::default(),
            outcomes: keys.iter().map(|key| completed(key)).collect(),
        }))
    };
    // Rows are written before states, so the duplicate key is rejected late in the transaction.
    let error = commit(&["ada/one.jsonl", "ada/twice.jsonl", "ada/twice.jsonl"]).unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error:?}");
    commit(&["ada/three.jsonl"]).unwrap();
    drop(store);
    let facts = "SELECT session_seq, session_file, a FROM demo.facts";
    assert_eq!(rows(&dir, facts), ["1 | ada/three.jsonl | 7"]);
    let states = "SELECT session_seq, session_file FROM session_processor_state";
    assert_eq!(rows(&dir, states), ["1 | ada/three.jsonl"]);
}

fn legacy_rows(database: &Path) -> i64 {
    let connection = Connection::open(database).unwrap();
    connection
        .query_row("SELECT count(*) FROM session_extraction_state", [], |row| {
            row.get(0)
        })
        .unwrap()
}

/// Returns whether there is a partial backup, or one of a version other than 28.
fn has_unexpected_backup(dir: &DataDir) -> bool {
    let entries = fs::read_dir(dir.path().join("state")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .any(|name| {
            name.ends_with(".part") || name.contains("before-upgrade") && !name.contains("from-28")
        })
}

#[test]
fn a_manually_changed_counter_is_reported_without_a_panic() {
    for value in [i64::MAX, i64::MAX - 1, -1, i64::MIN] {
        let dir = DataDir::new();
        drop(open(&dir).unwrap());
        let insert =
            format!("INSERT OR REPLACE INTO counters (name, value) VALUES ('run', {value})");
        crate::database::execute(&dir, &insert);
        let store = open(&dir).unwrap();
        let begin = || store.begin_run("usage", session_pipeline_store::Trigger::Cli, clock::START);
        let error = begin().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the counter `run` of the database is {value} and cannot be incremented: it was changed manually or is damaged; restore a backup of `state/`"
            )
        );
        // The writer thread is still running.
        assert!(matches!(begin(), Err(StoreError::Counter { .. })));
        drop(store);
        let insert = format!(
            "INSERT OR REPLACE INTO counters (name, value) VALUES ('run', 0), ('commit', {value})"
        );
        crate::database::execute(&dir, &insert);
        assert!(
            matches!(open(&dir), Err(StoreError::Counter { .. })),
            "{value}"
        );
    }
}

#[test]
fn the_last_second_of_the_year_9999_is_formatted_as_a_date() {
    use session_pipeline_host::clock::UtcMicros;
    assert_eq!(
        UtcMicros(253_402_300_799_000_000).to_string(),
        "9999-12-31T23:59:59Z"
    );
    assert_eq!(
        UtcMicros(253_370_764_800_000_000).to_string(),
        "9999-01-01T00:00:00Z"
    );
    assert_eq!(UtcMicros(i64::MAX).to_string(), format!("{} µs", i64::MAX));
}
