//! Creates the schema in an empty database, in one transaction.
//!
//! The steps would create some tables only to rebuild them, and would write each change to the file
//! on its own. An empty database has no rows to keep, so each table is created once, in its newest
//! shape. The result is the same as that of the steps. A test compares the two.

use duckdb::Connection;
use duckdb::types::{TimeUnit, Value};

use crate::apply::{
    Action, MigrationOptions, MigrationReport, Observe, apply, around, observed, run_statement,
};
use crate::catalog::Catalog;
use crate::error::MigrationError;
use crate::ladder::{LADDER, Statement, Step};
use crate::record::{self, DatabaseState};
use crate::shape::TableShape;

/// Creates the current schema in an empty database. Any other database, and a number to stop at,
/// are for [`apply()`], which it calls.
///
/// # Errors
/// See [`apply()`]. After an error or a crash, the database is empty as before.
pub fn create(
    conn: &mut Connection,
    options: MigrationOptions<'_>,
) -> Result<MigrationReport, MigrationError> {
    let found = record::read(conn, &Catalog::read(conn)?)?;
    let Some(last) = LADDER
        .last()
        .filter(|_| options.to.is_none() && found == DatabaseState::Fresh)
    else {
        return apply(conn, options);
    };
    let now_micros = options.now_micros;
    let mut observer = options.observer;
    let mut observe = observed(&mut observer);
    create_tables(conn, last, now_micros, &mut observe)?;
    around(last, Action::Checkpoint, &mut observe, || {
        let done = conn.execute("CHECKPOINT", []);
        done.map(drop).map_err(|source| MigrationError::Checkpoint {
            number: last.number,
            name: last.name,
            source: Box::new(source),
        })
    })?;
    Ok(MigrationReport {
        found,
        applied: LADDER.iter().map(|step| step.number).collect(),
        renamed: Vec::new(),
    })
}

/// Creates and stamps all tables in one transaction.
fn create_tables(
    conn: &mut Connection,
    last: &Step,
    now_micros: i64,
    observe: &mut Observe<'_>,
) -> Result<(), MigrationError> {
    let failed = |action: &str| {
        let action = action.to_owned();
        move |source: duckdb::Error| MigrationError::Step {
            number: last.number,
            name: last.name,
            action,
            source: Box::new(source),
        }
    };
    let transaction = conn.transaction().map_err(failed("begin a transaction"))?;
    for (step, statement) in newest_tables() {
        around(step, Action::Statement(statement.file), observe, || {
            run_statement(&transaction, step, statement)
        })?;
    }
    around(last, Action::Stamp, observe, || {
        stamp_all(&transaction, now_micros).map_err(failed("record the steps in `schema_version`"))
    })?;
    around(last, Action::Commit, observe, || {
        transaction.commit().map_err(failed("commit"))
    })
}

/// The statement that creates each table in its newest shape, in the order of the steps.
fn newest_tables() -> Vec<(&'static Step, &'static Statement)> {
    let mut tables: Vec<(String, &Step, &Statement)> = Vec::new();
    for step in LADDER {
        for statement in step.statements {
            if let Some(shape) = TableShape::parse(statement.sql) {
                tables.retain(|(name, ..)| *name != shape.name);
                tables.push((shape.name, step, statement));
            }
        }
    }
    tables
        .into_iter()
        .map(|(_, step, statement)| (step, statement))
        .collect()
}

/// Records all steps in `schema_version`.
fn stamp_all(conn: &Connection, now_micros: i64) -> duckdb::Result<()> {
    let rows = vec!["(?, ?, ?, ?)"; LADDER.len()].join(", ");
    let sql =
        format!("INSERT INTO schema_version (version, applied_at, name, checksum) VALUES {rows}");
    let values = LADDER.iter().flat_map(|step| {
        [
            Value::UInt(step.number),
            Value::Timestamp(TimeUnit::Microsecond, now_micros),
            Value::Text(step.name.to_owned()),
            Value::Text(step.checksum()),
        ]
    });
    conn.execute(&sql, duckdb::params_from_iter(values))?;
    Ok(())
}
