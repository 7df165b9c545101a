//! The schema of the database and its history: the tables, and how an older database becomes a
//! newer one.
//!
//! Each step is a folder with SQL files in `sql/`, listed in [`LADDER`]. `schema.sql` shows the
//! result of all steps. [`apply()`] runs each pending step in one transaction, together with its
//! row in `schema_version`. If the process dies at any moment, the database is at the number before
//! or after a step, and the next start continues from there. [`create()`] gives an empty database the
//! same tables in one transaction.
//!
//! # How to add a step
//!
//! 1. Create a folder `sql/NNNN-some-words/` with one statement per file, and list it at the end of
//!    [`LADDER`]. Never change a released step.
//! 2. Make every statement safe to run twice, with `IF NOT EXISTS` or a condition ([`Condition`]).
//! 3. To add columns, rebuild the table as `0030` does. Do not use `ALTER TABLE`: DuckDB 1.5.6
//!    cannot replay an `ADD COLUMN` on a table with a computed default, so a crash right after it
//!    makes the database unusable. [`verify`] compares tables with their newest `CREATE TABLE`, so
//!    write it in the same plain form as the others.
//! 4. Use primary keys only, no other constraints. Times are UTC, bound from Rust, without
//!    defaults.
//!
//! # What this crate does not do
//!
//! It does not handle files, locks and clocks. The caller owns the connection, makes the backup
//! before an upgrade, and passes in the time. It does not use the tables: `runtime/store` does. It
//! does not create the tables of processors, which are in schemas of their own.

mod apply;
mod catalog;
mod create;
mod error;
mod ladder;
mod record;
mod rename;
mod shape;
mod status;

pub use apply::{
    Action, MigrationOptions, MigrationReport, Moment, Observer, Point, StopMigration, apply,
};
pub use create::create;
pub use error::MigrationError;
pub use ladder::{
    CURRENT, Condition, LADDER, LEGACY_LAYOUT, OLDEST, Statement, StatementKind, Step,
};
pub use record::DatabaseState;
pub use rename::{ObjectKind, RenamedObject};
pub use shape::{describe, verify};
pub use status::{Status, status};
