//! Errors of migrations, and how to resolve them.

use std::fmt;

use crate::ladder::{CURRENT, OLDEST};

/// A database that cannot be read, migrated or verified.
///
/// A step that fails changes nothing. Earlier steps stay applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// A newer program wrote the database. An older program must not write to it.
    #[error(
        "the database is at schema `{found}`, but this program supports schemas up to `{CURRENT}`; use the program that wrote it, or a newer one"
    )]
    Newer {
        /// The highest recorded number.
        found: i64,
    },

    /// The legacy database is older than the first step.
    #[error(
        "the database is at schema `{found}`, but the oldest supported schema is `{OLDEST}`; upgrade it to `{OLDEST}` with the system that wrote it, or start with an empty data directory"
    )]
    TooOld {
        /// The highest recorded number.
        found: i64,
    },

    /// The database has tables but no schema version.
    #[error(
        "the database has tables ({tables}) but no schema version, so its origin is unknown; move the file away to start over, or restore the backup from before the last upgrade"
    )]
    Unversioned {
        /// Some of the names, in backticks.
        tables: String,
    },

    /// A number below the newest one is not recorded.
    #[error(
        "schema `{missing}` is not recorded although `{found}` is; restore the backup from before the last upgrade"
    )]
    Gap {
        /// The lowest missing number.
        missing: u32,
        /// The highest recorded number.
        found: u32,
    },

    /// The number exists, but the recorded step is a different one.
    #[error(
        "schema `{number}` is recorded as {recorded}, but this program expects `{expected}`: another system wrote this database; use that system, or start with an empty data directory"
    )]
    Foreign {
        /// The number of the step.
        number: u32,
        /// The recorded name in backticks, or `nothing`.
        recorded: String,
        /// The name of the step in this program.
        expected: &'static str,
    },

    /// The text of a step differs from the text that was applied.
    #[error(
        "migration `{number}-{name}` was changed after it was applied; restore its files and add a new step, or use the program that applied it"
    )]
    Edited {
        /// The number of the step.
        number: u32,
        /// The name of the step.
        name: &'static str,
    },

    /// The database cannot be downgraded.
    #[error(
        "the database is at schema `{found}` and cannot be downgraded to `{to}`; restore the backup from before the upgrade"
    )]
    Downward {
        /// The number of the database.
        found: u32,
        /// The requested number.
        to: u32,
    },

    /// The requested number does not exist.
    #[error("schema `{to}` does not exist; choose a number from `{OLDEST}` to `{CURRENT}`")]
    NoSuchNumber {
        /// The requested number.
        to: u32,
    },

    /// A table does not match the schema.
    #[error(
        "table `{table}` does not match schema `{number}`: {difference}; restore the backup from before the last upgrade, or change the table manually to match `migrations/schema.sql`"
    )]
    Shape {
        /// The name of the table.
        table: String,
        /// The number of the database.
        number: u32,
        /// The difference between the actual and the expected table.
        difference: String,
    },

    /// A table must be renamed, but foreign keys reference it.
    #[error(
        "cannot rename table `{table}` to free its name: foreign keys of {holders} reference it; drop these foreign keys, or rename the table manually"
    )]
    ReferencedTable {
        /// The name of the table.
        table: String,
        /// The tables with a foreign key on it, in backticks.
        holders: String,
    },

    /// A check within a step failed.
    #[error(
        "migration `{number}-{name}` failed its check `{file}`, which found `{count}` rows; the step was rolled back and no data was lost; please report this"
    )]
    Check {
        /// The number of the step.
        number: u32,
        /// The name of the step.
        name: &'static str,
        /// The file of the check.
        file: &'static str,
        /// The number of rows that the check found. Zero is expected.
        count: i64,
    },

    /// A statement of a step failed.
    #[error("migration `{number}-{name}` could not {action} and was rolled back")]
    Step {
        /// The number of the step.
        number: u32,
        /// The name of the step.
        name: &'static str,
        /// What failed, as a verb phrase.
        action: String,
        /// DuckDB's error.
        source: Box<duckdb::Error>,
    },

    /// The step was applied, but the log could not be written to the database file.
    #[error(
        "migration `{number}-{name}` was applied, but DuckDB could not write its log to the database file; free disk space and restart"
    )]
    Checkpoint {
        /// The number of the step.
        number: u32,
        /// The name of the step.
        name: &'static str,
        /// DuckDB's error.
        source: Box<duckdb::Error>,
    },

    /// The catalog or `schema_version` could not be read.
    #[error("cannot read {what}")]
    Read {
        /// What was read, as a noun phrase.
        what: &'static str,
        /// DuckDB's error.
        source: Box<duckdb::Error>,
    },

    /// The observer stopped the migration.
    #[error("interrupted {point}")]
    Interrupted {
        /// The point at which it was stopped.
        point: String,
    },
}

/// Names in backticks, separated by commas.
pub(crate) fn listed<Name: fmt::Display>(names: impl IntoIterator<Item = Name>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
