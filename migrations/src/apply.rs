//! Climbing the ladder: one transaction a number, and a checkpoint after it.
//!
//! An error anywhere drops the transaction at once.
//! It must never be caught on the way to a commit: DuckDB answers such a commit with success, and keeps nothing.

use std::fmt;

use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, Transaction};

use crate::catalog::Catalog;
use crate::error::MigrationError;
use crate::ladder::{Statement, Step, Task};
use crate::record::Found;
use crate::rename::{self, Renamed};
use crate::shape;
use crate::status::status;

/// What [`apply()`] is to do.
pub struct Apply<'a> {
    /// The time to record, in microseconds since 1970 UTC.
    pub now_micros: i64,
    /// The number to stop at; the newest one if not given.
    pub to: Option<u32>,
    /// Is told of every [`Point`], and may end the work there.
    pub observer: Option<&'a mut Observer<'a>>,
}

/// Whoever watches a migration: a progress bar, or a test that interrupts it.
pub type Observer<'a> = dyn FnMut(&Point) -> Result<(), Interrupted> + 'a;

/// The answer of an [`Observer`] that wants no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

/// A place at which a process could die.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The number of the step.
    pub number: u32,
    /// Before or after the action.
    pub moment: Moment,
    /// What was about to be done, or was done.
    pub action: Action,
}

/// Which side of an [`Action`] a [`Point`] is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It is about to be done.
    Before,
    /// It is done.
    After,
}

/// One thing that is done within a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A statement that makes room for one of our tables.
    Rename(String),
    /// A statement of the step, by its file.
    Statement(&'static str),
    /// The row in `schema_version`.
    Stamp,
    /// The end of the transaction.
    Commit,
    /// Writing the log into the file.
    Checkpoint,
}

/// What [`apply()`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Where the database was found.
    pub found: Found,
    /// The numbers that were applied, in order; none if it was up to date.
    pub applied: Vec<u32>,
    /// What was renamed to make room.
    pub renamed: Vec<Renamed>,
}

impl Apply<'_> {
    /// Everything there is, recorded with this time.
    #[must_use]
    pub fn at(now_micros: i64) -> Self {
        Self {
            now_micros,
            to: None,
            observer: None,
        }
    }
}

/// Brings a database up to date, whatever state it was left in, and verifies its shape.
///
/// Call it before anything else uses the database; the caller has made a copy if [`crate::status()`] says that steps are pending.
/// It may be called any number of times, and after any interruption.
///
/// # Errors
/// A database that must not be touched is refused before anything is written.
/// An error within a step leaves the database at the number before; the steps before that one stay applied.
pub fn apply(conn: &mut Connection, options: Apply<'_>) -> Result<Applied, MigrationError> {
    let Apply {
        now_micros,
        to,
        mut observer,
    } = options;
    let mut observe = |point: Point| match observer.as_mut() {
        Some(observer) => observer(&point).map_err(|Interrupted| MigrationError::Interrupted {
            point: point.to_string(),
        }),
        None => Ok(()),
    };

    let status = status(conn)?;
    let plan = status.plan(to)?;
    let mut applied = Applied {
        found: status.found,
        applied: Vec::new(),
        renamed: Vec::new(),
    };
    for step in plan {
        let renamed = climb(conn, step, now_micros, &mut observe)?;
        applied.applied.push(step.number);
        applied.renamed.extend(renamed);
    }
    if let Some(reached) = applied.applied.last() {
        shape::verify_at(&Catalog::read(conn)?, *reached)?;
    }
    Ok(applied)
}

type Observe<'a> = dyn FnMut(Point) -> Result<(), MigrationError> + 'a;

fn climb(
    conn: &mut Connection,
    step: &Step,
    now_micros: i64,
    observe: &mut Observe<'_>,
) -> Result<Vec<Renamed>, MigrationError> {
    let failed = |action: String| {
        move |source: duckdb::Error| MigrationError::Step {
            number: step.number,
            name: step.name,
            action,
            source: Box::new(source),
        }
    };
    let transaction = conn
        .transaction()
        .map_err(failed("begin its transaction".to_owned()))?;

    // A step looks once and then acts: its own statements must not change which of them run.
    let catalog = Catalog::read(&transaction)?;
    let renamed = rename::plan(&transaction, &catalog, step.number)?;
    let statements = step
        .statements
        .iter()
        .filter(|statement| statement.only.holds(&catalog));

    for sql in renamed.iter().flat_map(Renamed::statements) {
        around(step, Action::Rename(sql.clone()), observe, || {
            let done = transaction.execute(&sql, []);
            done.map(drop).map_err(failed(format!("run `{sql}`")))
        })?;
    }
    for statement in statements {
        around(step, Action::Statement(statement.file), observe, || {
            run(&transaction, step, statement)
        })?;
    }
    around(step, Action::Stamp, observe, || {
        let stamped = stamp(&transaction, step, now_micros);
        stamped.map_err(failed("record itself in `schema_version`".to_owned()))
    })?;
    around(step, Action::Commit, observe, || {
        transaction.commit().map_err(failed("commit".to_owned()))
    })?;
    // At once: most of what DuckDB cannot replay after a crash is a change of tables that still stands in its log.
    around(step, Action::Checkpoint, observe, || {
        let done = conn.execute("CHECKPOINT", []);
        done.map(drop).map_err(|source| MigrationError::Checkpoint {
            number: step.number,
            name: step.name,
            source: Box::new(source),
        })
    })?;
    Ok(renamed)
}

/// Does one action, with the observer told before and after.
fn around(
    step: &Step,
    action: Action,
    observe: &mut Observe<'_>,
    act: impl FnOnce() -> Result<(), MigrationError>,
) -> Result<(), MigrationError> {
    let mut point = Point {
        number: step.number,
        moment: Moment::Before,
        action,
    };
    observe(point.clone())?;
    act()?;
    point.moment = Moment::After;
    observe(point)
}

fn run(
    transaction: &Transaction<'_>,
    step: &Step,
    statement: &Statement,
) -> Result<(), MigrationError> {
    let failed = |source: duckdb::Error| MigrationError::Step {
        number: step.number,
        name: step.name,
        action: format!("run `{}`", statement.file),
        source: Box::new(source),
    };
    match statement.task {
        Task::Change => {
            transaction.execute(statement.sql, []).map_err(failed)?;
        }
        Task::Check => {
            let count = transaction
                .query_row(statement.sql, [], |row| row.get::<_, i64>(0))
                .map_err(failed)?;
            if count != 0 {
                return Err(MigrationError::Check {
                    number: step.number,
                    name: step.name,
                    file: statement.file,
                    count,
                });
            }
        }
    }
    Ok(())
}

/// A number that is recorded already, as a legacy one is, keeps its time.
fn stamp(transaction: &Transaction<'_>, step: &Step, now_micros: i64) -> duckdb::Result<()> {
    let stamped = transaction.execute(
        "UPDATE schema_version SET name = ?, checksum = ? WHERE version = ?",
        duckdb::params![step.name, step.checksum(), step.number],
    )?;
    if stamped == 0 {
        let now = Value::Timestamp(TimeUnit::Microsecond, now_micros);
        transaction.execute(
            "INSERT INTO schema_version (version, applied_at, name, checksum) VALUES (?, ?, ?, ?)",
            duckdb::params![step.number, now, step.name, step.checksum()],
        )?;
    }
    Ok(())
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = match self.moment {
            Moment::Before => "before",
            Moment::After => "after",
        };
        match &self.action {
            Action::Rename(sql) => write!(f, "{moment} `{sql}`"),
            Action::Statement(file) => write!(f, "{moment} `{file}`"),
            Action::Stamp => write!(f, "{moment} recording `{}`", self.number),
            Action::Commit => write!(f, "{moment} the commit of `{}`", self.number),
            Action::Checkpoint => write!(f, "{moment} the checkpoint of `{}`", self.number),
        }
    }
}
