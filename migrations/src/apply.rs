//! Applies steps: one transaction per step, followed by a checkpoint.
//!
//! Every error must drop the transaction immediately. If an error were caught before the commit,
//! DuckDB would report success for the commit but store nothing.

use std::fmt;

use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, Transaction};

use crate::catalog::Catalog;
use crate::error::MigrationError;
use crate::ladder::{Statement, StatementKind, Step};
use crate::record::DatabaseState;
use crate::rename::{self, RenamedObject};
use crate::shape;
use crate::status::status;

/// The options of [`apply()`].
pub struct MigrationOptions<'a> {
    /// The time to record, in microseconds since the epoch.
    pub now_micros: i64,
    /// The number to stop at. `None`: the newest.
    pub to: Option<u32>,
    /// Called at every [`Point`]. It can interrupt the migration.
    pub observer: Option<&'a mut Observer<'a>>,
}

/// Observes a migration: a progress bar, or a test that interrupts it.
pub type Observer<'a> = dyn FnMut(&Point) -> Result<(), StopMigration> + 'a;

/// Returned by an [`Observer`] to stop the migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopMigration;

/// A point at which a process could die.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The number of the step.
    pub number: u32,
    /// Whether the point is before or after the action.
    pub moment: Moment,
    /// The action.
    pub action: Action,
}

/// The position of a [`Point`] relative to its [`Action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The action is about to run.
    Before,
    /// The action has run.
    After,
}

/// A single action of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A statement that renames a table whose name the schema needs.
    Rename(String),
    /// A statement of the step, by its file.
    Statement(&'static str),
    /// Recording the step in `schema_version`.
    Stamp,
    /// The commit of the transaction.
    Commit,
    /// Writing the log to the database file.
    Checkpoint,
}

/// The result of [`apply()`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    /// The state in which the database was found.
    pub found: DatabaseState,
    /// The numbers that were applied, in order. Empty if the database was up to date.
    pub applied: Vec<u32>,
    /// The tables and views that were renamed.
    pub renamed: Vec<RenamedObject>,
}

impl MigrationOptions<'_> {
    /// Applies all steps and records this time.
    #[must_use]
    pub fn at(now_micros: i64) -> Self {
        Self {
            now_micros,
            to: None,
            observer: None,
        }
    }
}

/// Migrates a database to the current schema, from any state, and verifies the result.
///
/// Call it before anything else uses the database. If [`crate::status()`] reports pending steps,
/// make a backup first. It is safe to call any number of times, and after any interruption.
///
/// # Errors
/// A database that must not be changed is rejected before anything is written. An error during a
/// step leaves the database at the previous number. Earlier steps stay applied.
pub fn apply(
    conn: &mut Connection,
    options: MigrationOptions<'_>,
) -> Result<MigrationReport, MigrationError> {
    let MigrationOptions {
        now_micros,
        to,
        mut observer,
    } = options;
    let mut observe = observed(&mut observer);

    let status = status(conn)?;
    let plan = status.plan(to)?;
    let mut applied = MigrationReport {
        found: status.found,
        applied: Vec::new(),
        renamed: Vec::new(),
    };
    for step in plan {
        let renamed = run_step(conn, step, now_micros, &mut observe)?;
        applied.applied.push(step.number);
        applied.renamed.extend(renamed);
    }
    if let Some(reached) = applied.applied.last() {
        shape::verify_at(&Catalog::read(conn)?, *reached)?;
    }
    Ok(applied)
}

pub(crate) type Observe<'a> = dyn FnMut(Point) -> Result<(), MigrationError> + 'a;

/// Calls the observer, if there is one, and turns its interruption into an error.
pub(crate) fn observed<'a, 'o: 'a>(
    observer: &'a mut Option<&'o mut Observer<'o>>,
) -> impl FnMut(Point) -> Result<(), MigrationError> + 'a {
    |point: Point| match observer.as_mut() {
        Some(observer) => observer(&point).map_err(|StopMigration| MigrationError::Interrupted {
            point: point.to_string(),
        }),
        None => Ok(()),
    }
}

fn run_step(
    conn: &mut Connection,
    step: &Step,
    now_micros: i64,
    observe: &mut Observe<'_>,
) -> Result<Vec<RenamedObject>, MigrationError> {
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
        .map_err(failed("begin a transaction".to_owned()))?;

    // Evaluate all conditions first, so that the statements of a step do not affect them.
    let catalog = Catalog::read(&transaction)?;
    let renamed = rename::plan(&transaction, &catalog, step.number)?;
    let statements = step
        .statements
        .iter()
        .filter(|statement| statement.only.holds(&catalog));

    for sql in renamed.iter().flat_map(RenamedObject::statements) {
        around(step, Action::Rename(sql.clone()), observe, || {
            let done = transaction.execute(&sql, []);
            done.map(drop).map_err(failed(format!("run `{sql}`")))
        })?;
    }
    for statement in statements {
        around(step, Action::Statement(statement.file), observe, || {
            run_statement(&transaction, step, statement)
        })?;
    }
    around(step, Action::Stamp, observe, || {
        let stamped = stamp(&transaction, step, now_micros);
        stamped.map_err(failed("record the step in `schema_version`".to_owned()))
    })?;
    around(step, Action::Commit, observe, || {
        transaction.commit().map_err(failed("commit".to_owned()))
    })?;
    // Run a checkpoint immediately. Most cases in which DuckDB cannot replay its log after a crash
    // involve schema changes in the log.
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

/// Runs an action and calls the observer before and after it.
pub(crate) fn around(
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

pub(crate) fn run_statement(
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
        StatementKind::Change => {
            transaction.execute(statement.sql, []).map_err(failed)?;
        }
        StatementKind::Check => {
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

/// If the number is already recorded, as in a legacy database, keeps its time.
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
