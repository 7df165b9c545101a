//! Migrations of arbitrary rows.

use std::collections::BTreeMap;

use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, params};
use proptest::prelude::*;
use session_pipeline_harness::cases;
use session_pipeline_migrations::{
    CURRENT, DatabaseState, LADDER, MigrationOptions, MigrationReport, apply,
};

use super::{NOW, database, dump, legacy_at_28, migrate};

/// A state row without its key.
pub(super) type StateValues = (String, Option<i64>, Option<i32>, Option<String>);

fn session_file() -> impl Strategy<Value = String> {
    // Short names, so that legacy and existing rows collide, and arbitrary names.
    prop_oneof!["[ab]{1,2}\\.jsonl", any::<String>()]
}

fn state_values() -> impl Strategy<Value = StateValues> {
    (
        any::<String>(),
        // The years 1 to 9999, in microseconds.
        proptest::option::of(-62_135_596_800_000_000_i64..253_402_300_800_000_000),
        any::<Option<i32>>(),
        any::<Option<String>>(),
    )
}

pub(super) fn rows() -> impl Strategy<Value = BTreeMap<String, StateValues>> {
    proptest::collection::btree_map(session_file(), state_values(), 0..20)
}

/// Creates a legacy database with `legacy_rows`. If `existing` is not empty, it also creates a
/// state table with those rows.
pub(super) fn fill(
    conn: &Connection,
    legacy_rows: &BTreeMap<String, StateValues>,
    existing: &BTreeMap<String, StateValues>,
) {
    conn.execute_batch(&legacy_at_28("")).unwrap();
    if !existing.is_empty() {
        let state = LADDER[1].statements[0].sql;
        conn.execute_batch(state).unwrap();
    }
    for (table, rows) in [
        ("session_extraction_state SELECT", legacy_rows),
        ("session_processor_state SELECT 'verification',", existing),
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

fn verification_rows(conn: &Connection) -> BTreeMap<String, StateValues> {
    let mut statement = conn
        .prepare(
            "SELECT session_file, username, epoch_us(processed_at), items_extracted, file_hash
             FROM session_processor_state WHERE processor_name = 'verification'",
        )
        .unwrap();
    let rows = statement
        .query_map([], |row| {
            let values = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            Ok((row.get(0)?, values))
        })
        .unwrap();
    rows.map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_any_legacy_rows_survive_unchanged(legacy_rows in rows(), existing in rows()) {
        let mut conn = database("");
        fill(&conn, &legacy_rows, &existing);
        migrate(&mut conn).unwrap();

        let mut expected = legacy_rows;
        expected.extend(existing);
        prop_assert_eq!(verification_rows(&conn), expected);
    }

    #[test]
    fn invariant_migrating_twice_has_the_same_effect_as_once(legacy_rows in rows(), existing in rows(), later in 0..1_000_000_i64) {
        let mut conn = database("");
        fill(&conn, &legacy_rows, &existing);
        migrate(&mut conn).unwrap();
        let once = dump(&conn);

        let again = apply(&mut conn, MigrationOptions::at(NOW + later)).unwrap();
        prop_assert_eq!(again, MigrationReport { found: DatabaseState::At(CURRENT), applied: Vec::new(), renamed: Vec::new() });
        prop_assert_eq!(dump(&conn), once);
    }
}
