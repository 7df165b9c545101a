//! Migrations that are interrupted at any point by an error or a crash.

use std::fs;
use std::path::Path;

use duckdb::Connection;
use proptest::prelude::*;
use session_pipeline_harness::cases;
use session_pipeline_migrations::{
    Action, MigrationError, MigrationOptions, MigrationReport, Moment, Point, StopMigration, apply,
};

use super::rename::legacy_with_conflicts;
use super::rows::{fill, rows};
use super::{NOW, database, dump, legacy_at_28, migrate, migrate_new, migrate_observed};

/// The files of a database as a crash at this moment would leave them.
#[derive(PartialEq)]
struct CrashFiles {
    database: Vec<u8>,
    log: Option<Vec<u8>>,
}

impl CrashFiles {
    fn copy(database: &Path) -> Self {
        Self {
            database: fs::read(database).unwrap(),
            log: fs::read(database.with_extension("duckdb.wal")).ok(),
        }
    }

    /// Opens the copy, migrates it, and returns a dump.
    fn recover(self) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("system.duckdb");
        fs::write(&path, self.database).unwrap();
        if let Some(log) = self.log {
            fs::write(path.with_extension("duckdb.wal"), log).unwrap();
        }
        let mut conn = Connection::open(&path)
            .unwrap_or_else(|error| panic!("the database cannot be opened after a crash: {error}"));
        migrate(&mut conn).unwrap();
        dump(&conn)
    }
}

/// Migrates a database file with an observer that can copy the file.
fn migrate_file(setup: impl Fn(&Connection), mut observe: impl FnMut(&Path, &Point)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("system.duckdb");
    let mut conn = Connection::open(&path).unwrap();
    setup(&conn);
    conn.execute_batch("CHECKPOINT").unwrap();
    migrate_observed(&mut conn, |point| {
        observe(&path, point);
        Ok(())
    })
    .unwrap();
}

/// Stops the migration at the first point that is not in `passed`, and adds the point.
fn migrate_to_new_point(
    conn: &mut Connection,
    passed: &mut Vec<Point>,
) -> Result<MigrationReport, MigrationError> {
    migrate_observed(conn, |point| {
        if passed.contains(point) {
            return Ok(());
        }
        passed.push(point.clone());
        Err(StopMigration)
    })
}

/// Detects migrations that only succeed without interruptions.
#[test]
fn errors_at_every_point_lead_to_the_same_database() {
    for setup in [legacy_with_conflicts(), legacy_at_28(""), String::new()] {
        let mut conn = database(&setup);
        let mut passed = Vec::new();
        while let Err(error) = migrate_to_new_point(&mut conn, &mut passed) {
            assert!(
                matches!(error, MigrationError::Interrupted { .. }),
                "{error}"
            );
        }
        assert!(passed.len() > 50, "only {} points", passed.len());
        assert_eq!(dump(&conn), migrate_new(&setup).1);
    }
}

/// Detects an `ADD COLUMN` on a table with a computed default. DuckDB 1.5.6 cannot replay it, and
/// the file cannot be opened again.
#[test]
fn a_crash_at_any_point_leads_to_the_same_database() {
    for setup in [legacy_with_conflicts(), legacy_at_28(""), String::new()] {
        let mut states: Vec<CrashFiles> = Vec::new();
        migrate_file(
            |conn| conn.execute_batch(&setup).unwrap(),
            |path, _| {
                let files = CrashFiles::copy(path);
                if states.last() != Some(&files) {
                    states.push(files);
                }
            },
        );
        // The files do not change within a transaction, so there are fewer states than points.
        assert!(states.len() > 10, "only {} states", states.len());
        let uninterrupted = migrate_new(&setup).1;
        for files in states {
            assert_eq!(files.recover(), uninterrupted);
        }
    }
}

#[test]
fn the_observer_is_called_before_and_after_every_action_in_order() {
    let mut conn = database("");
    let mut points = Vec::new();
    let mut observer = |point: &Point| {
        points.push(point.clone());
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
    for pair in points.chunks(2) {
        assert_eq!(pair[0].moment, Moment::Before);
        assert_eq!(pair[1].moment, Moment::After);
        assert_eq!(pair[0].action, pair[1].action);
    }
    assert_eq!(
        points[0].action,
        Action::Statement("0028-legacy/02-create-schema-version.sql")
    );
    let texts: Vec<String> = points.iter().step_by(2).map(ToString::to_string).collect();
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
    // Fewer cases: each one migrates four times, twice in files.
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(4)))]

    #[test]
    fn invariant_an_interruption_and_a_retry_lead_to_the_same_database(
        legacy_rows in rows(),
        existing in rows(),
        place in any::<prop::sample::Index>(),
    ) {
        let setup = |conn: &Connection| fill(conn, &legacy_rows, &existing);
        let mut uninterrupted = database("");
        setup(&uninterrupted);
        let mut points = Vec::new();
        migrate_observed(&mut uninterrupted, |point| {
            points.push(point.clone());
            Ok(())
        })
        .unwrap();
        let uninterrupted = dump(&uninterrupted);
        let (passed, place) = points.split_at(place.index(points.len()));
        let place = &place[0];

        let mut crashed = None;
        migrate_file(setup, |path, point| {
            if point == place {
                crashed = Some(CrashFiles::copy(path));
            }
        });
        prop_assert_eq!(crashed.unwrap().recover(), &uninterrupted[..], "after a crash {}", place);

        let mut stopped = database("");
        setup(&stopped);
        migrate_to_new_point(&mut stopped, &mut passed.to_vec()).unwrap_err();
        migrate(&mut stopped).unwrap();
        prop_assert_eq!(dump(&stopped), uninterrupted, "after an error {}", place);
    }
}
