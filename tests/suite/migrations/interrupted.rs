//! What an end at any point leaves: by an error, or by a crash.

use std::fs;
use std::path::Path;

use duckdb::Connection;
use proptest::prelude::*;
use session_pipeline_harness::cases;
use session_pipeline_migrations::{
    Action, MigrationError, MigrationOptions, MigrationReport, Moment, Point, StopMigration, apply,
};

use super::rename::in_the_way;
use super::rows::{fill, rows};
use super::{NOW, check, database, dump, legacy_at_28, migrate, migrate_watched};

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
) -> Result<MigrationReport, MigrationError> {
    migrate_watched(conn, |point| {
        if passed.contains(point) {
            return Ok(());
        }
        passed.push(point.clone());
        Err(StopMigration)
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
        MigrationOptions {
            to: Some(29),
            observer: Some(&mut observer),
            ..MigrationOptions::at(NOW)
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
