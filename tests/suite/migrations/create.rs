//! The schema of a new database, which is created without the steps.

use duckdb::Connection;
use session_pipeline_migrations::{
    DatabaseState, LADDER, MigrationError, MigrationOptions, MigrationReport, Point, StopMigration,
    create,
};

use super::{NOW, database, dump, legacy_at_28, migrate_new, migrate_to};

fn create_observed(
    conn: &mut Connection,
    mut observe: impl FnMut(&Point) -> Result<(), StopMigration>,
) -> Result<MigrationReport, MigrationError> {
    create(
        conn,
        MigrationOptions {
            observer: Some(&mut observe),
            ..MigrationOptions::at(NOW)
        },
    )
}

#[test]
fn a_created_database_is_the_same_as_one_that_all_steps_migrated() {
    let mut conn = database("");
    let report = create(&mut conn, MigrationOptions::at(NOW)).unwrap();
    assert_eq!((report, dump(&conn)), migrate_new(""));
    let again = migrate_to(&mut conn, None).unwrap();
    assert_eq!(again.applied, Vec::<u32>::new());
    let newest = LADDER.last().unwrap().number;
    assert_eq!(again.found, DatabaseState::At(newest));
}

#[test]
fn a_creation_that_stops_at_any_point_is_repeated_or_complete() {
    let (_, whole) = migrate_new("");
    let mut points = Vec::new();
    create_observed(&mut database(""), |point| {
        points.push(point.clone());
        Ok(())
    })
    .unwrap();
    assert!(points.len() > 30, "{points:?}");
    for stop in points {
        let mut conn = database("");
        let stopped = create_observed(&mut conn, |point| match *point == stop {
            true => Err(StopMigration),
            false => Ok(()),
        });
        assert!(
            matches!(stopped, Err(MigrationError::Interrupted { .. })),
            "{stop}"
        );
        let left = dump(&conn);
        assert!(left.is_empty() || left == whole, "stopped {stop}: {left}");
        create(&mut conn, MigrationOptions::at(NOW)).unwrap();
        assert_eq!(dump(&conn), whole, "stopped {stop}");
    }
}

#[test]
fn a_database_with_tables_or_an_older_schema_is_migrated_by_the_steps() {
    let setup = legacy_at_28("");
    let mut conn = database(&setup);
    let report = create(&mut conn, MigrationOptions::at(NOW)).unwrap();
    assert_eq!((report, dump(&conn)), migrate_new(&setup));

    let older = LADDER[3].number;
    let options = MigrationOptions {
        to: Some(older),
        ..MigrationOptions::at(NOW)
    };
    let report = create(&mut database(""), options).unwrap();
    assert_eq!(report.applied.last(), Some(&older));
}
