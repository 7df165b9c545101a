//! The shape of the database over time: which tables there are, and how an older database becomes a newer one.
//!
//! The change of each number is a folder of plain SQL under `sql/`, listed in [`LADDER`]; `schema.sql` shows where the ladder ends.
//! [`apply()`] climbs it: one transaction a number, which holds the statements and the row in `schema_version` that says so.
//! A process that dies anywhere therefore leaves a database at one number or the next, and the next start goes on from there.
//!
//! # How to add a step
//!
//! 1. A new folder `sql/NNNN-some-words/`, one statement a file, listed at the end of [`LADDER`]. A step that was shipped never changes.
//! 2. Every statement may run twice: `IF NOT EXISTS`, or a condition ([`Only`]).
//! 3. A table that gets new columns is rebuilt, as `0030` does, and not altered:
//!    DuckDB 1.5.6 cannot replay an `ADD COLUMN` on a table with a computed default, so a crash right after it costs the whole database.
//!    The new `CREATE TABLE` is also what [`verify`] compares with, so it keeps the plain form of the others.
//! 4. Primary keys only. Times are UTC, bound from Rust, and have no default.
//!
//! # What this crate does not know
//!
//! Files, locks and clocks: the caller owns the connection, makes the copy before an upgrade, and says what time it is.
//! What the tables mean: that is `runtime/src/store`. Tables of processors: those live in schemas of their own.

mod apply;
mod catalog;
mod error;
mod ladder;
mod record;
mod rename;
mod shape;
mod status;

pub use apply::{Action, Applied, Apply, Interrupted, Moment, Observer, Point, apply};
pub use error::MigrationError;
pub use ladder::{CURRENT, LADDER, LEGACY_LAYOUT, OLDEST, Only, Statement, Step, Task};
pub use record::Found;
pub use rename::{ObjectKind, Renamed};
pub use shape::{describe, verify};
pub use status::{Status, status};
