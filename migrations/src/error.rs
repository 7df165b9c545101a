//! What stands between a database and the current schema, and what to do about it.

use std::fmt;

use crate::ladder::{CURRENT, OLDEST};

/// Why a database could not be read, brought up to date or found in order.
///
/// Whatever the reason, a step that did not get through has changed nothing; steps before it stay applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// A newer program was here; an older one must not write after it.
    #[error(
        "the database is at schema `{found}`, and this program knows schemas up to `{CURRENT}`; use the program that wrote it, or a newer one"
    )]
    Newer {
        /// The highest recorded number.
        found: i64,
    },

    /// The legacy system has steps below the first one we know.
    #[error(
        "the database is at schema `{found}`, and the oldest that can be taken over is `{OLDEST}`; bring it to `{OLDEST}` with the system that wrote it, or start with an empty data dir"
    )]
    TooOld {
        /// The highest recorded number.
        found: i64,
    },

    /// There are tables, but nothing says what they are.
    #[error(
        "the database has tables ({tables}) and no schema version, so it is not known whose they are; move the file away to start afresh, or restore the copy made before the last upgrade"
    )]
    Unversioned {
        /// Some of their names, in backticks.
        tables: String,
    },

    /// A number that should have come before the newest one is not recorded.
    #[error(
        "schema `{missing}` is not recorded although `{found}` is; restore the copy made before the last upgrade"
    )]
    Gap {
        /// The lowest number that is not there.
        missing: u32,
        /// The highest one that is.
        found: u32,
    },

    /// The number is ours, what stands behind it is not.
    #[error(
        "schema `{number}` is recorded as {recorded}, and this program knows it as `{expected}`: another system wrote this database; use that one, or start with an empty data dir"
    )]
    Foreign {
        /// The number in question.
        number: u32,
        /// The recorded name in backticks, or that there is none.
        recorded: String,
        /// Our name of the step.
        expected: &'static str,
    },

    /// The text of a step is no longer the one that was applied.
    #[error(
        "migration `{number}-{name}` was changed after it was applied; restore its files and add a new step, or use the program that applied it"
    )]
    Edited {
        /// The number of the step.
        number: u32,
        /// Its name.
        name: &'static str,
    },

    /// The ladder is climbed, never descended.
    #[error(
        "the database is at schema `{found}`, and there is no way down to `{to}`; restore the copy made before the upgrade"
    )]
    Downward {
        /// Where the database is.
        found: u32,
        /// Where it was to go.
        to: u32,
    },

    /// Somebody asked for a number that is not on the ladder.
    #[error("there is no schema `{to}`; choose one from `{OLDEST}` to `{CURRENT}`")]
    NoSuchNumber {
        /// The number asked for.
        to: u32,
    },

    /// One of our tables is not what its number says.
    #[error(
        "table `{table}` is not as schema `{number}` has it: {difference}; restore the copy made before the last upgrade, or change the table by hand to what `migrations/schema.sql` shows"
    )]
    Shape {
        /// The table.
        table: String,
        /// The number the database is at.
        number: u32,
        /// What is there, and what should be.
        difference: String,
    },

    /// A table has to make room for ours, and others hold on to it.
    #[error(
        "table `{table}` is in the way of ours and cannot be renamed, because {holders} refer to it; drop those foreign keys, or rename the table by hand"
    )]
    Held {
        /// The table in the way.
        table: String,
        /// The tables with a foreign key on it, in backticks.
        holders: String,
    },

    /// A check inside a step counted something.
    #[error(
        "migration `{number}-{name}` stopped at its check `{file}`, which counts `{count}`; the step was undone and nothing is lost, please report it"
    )]
    Check {
        /// The number of the step.
        number: u32,
        /// Its name.
        name: &'static str,
        /// The statement that counted.
        file: &'static str,
        /// What it counted instead of zero.
        count: i64,
    },

    /// DuckDB refused something within a step.
    #[error("migration `{number}-{name}` could not {action} and was undone")]
    Step {
        /// The number of the step.
        number: u32,
        /// Its name.
        name: &'static str,
        /// What was being done.
        action: String,
        /// What DuckDB says.
        source: Box<duckdb::Error>,
    },

    /// The step is applied; what failed is only to write it from the log into the file.
    #[error(
        "migration `{number}-{name}` is applied, but DuckDB could not write its log into the file; make room on the disk and start again"
    )]
    Checkpoint {
        /// The number of the step.
        number: u32,
        /// Its name.
        name: &'static str,
        /// What DuckDB says.
        source: Box<duckdb::Error>,
    },

    /// The catalog or `schema_version` could not be read.
    #[error("{what} could not be read")]
    Read {
        /// What was being read.
        what: &'static str,
        /// What DuckDB says.
        source: Box<duckdb::Error>,
    },

    /// The observer asked for an end.
    #[error("interrupted {point}")]
    Interrupted {
        /// Where.
        point: String,
    },
}

/// Names in backticks with commas between them.
pub(crate) fn listed<Name: fmt::Display>(names: impl IntoIterator<Item = Name>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
