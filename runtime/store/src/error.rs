//! Why the store could not do what was asked.

use std::path::PathBuf;

use crate::cancel::{self, CancelReason};
use crate::holder::Holder;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the data dir.
    #[error("the data dir `{data_dir}` is in use by {holder}; wait for it to end, or stop it")]
    Locked {
        /// The data dir.
        data_dir: PathBuf,
        /// Who holds it.
        holder: Holder,
    },
    /// A program that knows nothing of our lock has the database open.
    #[error("the database `{path}` is open in {holder}; close it there, and try again")]
    OpenElsewhere {
        /// The database file.
        path: PathBuf,
        /// What DuckDB tells of the program.
        holder: String,
    },
    /// A file or folder of ours can't be used.
    #[error(
        "`{path}` can't be used; check that it exists, its permissions and the space on its disk"
    )]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database's shape could not be brought up to date.
    #[error("the database `{path}` can't be brought up to date")]
    Migration {
        /// The database file.
        path: PathBuf,
        /// Why.
        #[source]
        source: session_pipeline_migrations::MigrationError,
    },
    /// A table of a processor has another shape than its manifest says.
    #[error(
        "the table `{table}` does not fit its manifest: {difference}; give the new shape a new table name"
    )]
    TableShape {
        /// The table.
        table: String,
        /// What differs.
        difference: String,
    },
    /// The log beside the database is not what was written to it.
    #[error(
        "the log `{path}` of the database is damaged, and nothing was changed; put back a backup of both, or move the log away and start again: sessions that only it knew are processed again, users, tokens and audit rows that only it knew are gone"
    )]
    DamagedLog {
        /// The log.
        path: PathBuf,
        /// What DuckDB found.
        #[source]
        source: duckdb::Error,
    },
    /// The log beside the database is that of another one, or of another state of this one.
    #[error(
        "the log `{path}` does not belong to the database beside it, or not to this state of it, and nothing was changed; put back the two files as they were together, or move the log away and start again: sessions that only it knew are processed again, users, tokens and audit rows that only it knew are not there"
    )]
    LogOfAnother {
        /// The log.
        path: PathBuf,
        /// What DuckDB found.
        #[source]
        source: duckdb::Error,
    },
    /// The database file is not what was written to it, or never was a database.
    #[error(
        "the database file `state/system.duckdb` of the data dir is damaged, or is none; put back a backup of it and of its log, or move both away and start again: all sessions are processed again, users, tokens and audit rows are gone"
    )]
    Damaged(#[source] duckdb::Error),
    /// To open the database takes more memory than it may have.
    #[error(
        "the database can't be opened in the memory that it may have; raise `memory_limit` in the section `[database]` of the config file, and start again"
    )]
    TooLittleMemory(#[source] duckdb::Error),
    /// The database file can't be opened at all.
    #[error(
        "the database `{path}` can't be opened; check its disk, and that this user may write to it and to its folder"
    )]
    NotOpened {
        /// The database file.
        path: PathBuf,
        /// What DuckDB says.
        #[source]
        source: duckdb::Error,
    },
    /// A newer DuckDB than ours wrote the file.
    #[error(
        "the database `{path}` was written by a newer DuckDB than the one of this program; use the version of the program that wrote it, or put back a backup from before"
    )]
    NewerDuckDb {
        /// The database file.
        path: PathBuf,
        /// What DuckDB says.
        #[source]
        source: duckdb::Error,
    },
    /// The disk took no more. What was committed before stands.
    #[error(
        "the disk did not take {doing}; free space on the disk of the data dir, and try again: nothing of it is lost"
    )]
    DiskFull {
        /// What was tried.
        doing: &'static str,
        /// Why.
        #[source]
        source: duckdb::Error,
    },
    /// The database gave up on itself; only a new process can open it again.
    #[error(
        "the database stopped working and must be opened anew; look at its disk, free space where it is full, and start again: what was committed stands"
    )]
    Invalidated(#[source] duckdb::Error),
    /// The request was cancelled before the database had answered.
    #[error("{0}")]
    Cancelled(CancelReason),
    /// A counter is not what this program can have written.
    #[error(
        "the counter `{name}` of the database is {value}, which has no next number: it was changed by hand or is damaged; restore a backup of `state/`"
    )]
    Counter {
        /// Its name.
        name: String,
        /// Its value.
        value: i64,
    },
    /// A statement failed.
    #[error("the database refused {doing}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// Why.
        #[source]
        source: duckdb::Error,
    },
    /// The writer thread is gone.
    #[error("the database's writer has stopped; start again")]
    WriterStopped,
}

impl From<CancelReason> for StoreError {
    fn from(reason: CancelReason) -> Self {
        Self::Cancelled(reason)
    }
}

impl StoreError {
    /// Turns an error of DuckDB into one of the store, by its class. `doing` says what failed.
    pub fn database(doing: &'static str) -> impl Fn(duckdb::Error) -> Self {
        // DuckDB has words for its errors, and nothing else that a program could look at.
        move |source| {
            let text = source.to_string();
            // After an error of these kinds every statement is refused, until the file is opened anew.
            if text.starts_with("FATAL Error") || text.starts_with("INTERNAL Error") {
                Self::Invalidated(source)
            } else if is_damage(&text) {
                Self::Damaged(source)
            } else if text.starts_with("INTERRUPT Error") {
                // Without a scope, only the end of the service interrupts.
                Self::Cancelled(cancel::current_reason().unwrap_or(CancelReason::Stopping))
            } else if ["Could not write", "Could not fsync"]
                .iter()
                .any(|refused| text.contains(refused))
            {
                Self::DiskFull { doing, source }
            } else {
                Self::Database { doing, source }
            }
        }
    }

    /// Whether it says something of the database or its disk, and nothing of what was to be written.
    pub fn is_of_the_database(&self) -> bool {
        match self {
            Self::Database { .. } | Self::TableShape { .. } => false,
            Self::Locked { .. }
            | Self::OpenElsewhere { .. }
            | Self::Io { .. }
            | Self::Migration { .. }
            | Self::DamagedLog { .. }
            | Self::LogOfAnother { .. }
            | Self::Damaged(_)
            | Self::TooLittleMemory(_)
            | Self::NotOpened { .. }
            | Self::NewerDuckDb { .. }
            | Self::DiskFull { .. }
            | Self::Counter { .. }
            | Self::Invalidated(_)
            | Self::Cancelled(_)
            | Self::WriterStopped => true,
        }
    }
}

/// Whether DuckDB says that what it read is not what it had written.
pub(crate) fn is_damage(text: &str) -> bool {
    let words = [
        "Corrupt database file",
        "not a valid DuckDB database file",
        "Could not read enough bytes",
    ];
    words.iter().any(|words| text.contains(words))
}
