//! Errors of the store.

use std::path::PathBuf;

use crate::cancel::{self, CancelReason};
use crate::holder::Holder;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has locked the data directory.
    #[error(
        "the data directory `{data_dir}` is in use by {holder}; wait for it to finish or stop it"
    )]
    Locked {
        /// The data directory.
        data_dir: PathBuf,
        /// The process that has locked it.
        holder: Holder,
    },
    /// A program that does not use our lock file has opened the database.
    #[error("the database `{path}` is open in {holder}; close it there and retry")]
    OpenElsewhere {
        /// The database file.
        path: PathBuf,
        /// DuckDB's description of the program.
        holder: String,
    },
    /// A file or folder of the data directory cannot be used.
    #[error(
        "cannot access `{path}`; check that it exists, its permissions and the free disk space"
    )]
    Io {
        /// The path.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: std::io::Error,
    },
    /// The schema could not be migrated.
    #[error("cannot migrate the database `{path}`")]
    Migration {
        /// The database file.
        path: PathBuf,
        /// The failed migration.
        #[source]
        source: session_pipeline_migrations::MigrationError,
    },
    /// The rows after which a session was continued are gone.
    #[error(
        "the stored rows of the session `{session}` were deleted while it was continued; it is processed again as a whole"
    )]
    CheckpointGone {
        /// The session key.
        session: String,
    },
    /// A processor's table differs from its manifest.
    #[error(
        "the table `{table}` does not match the manifest: {difference}; use a new table name for the new columns"
    )]
    TableShape {
        /// The table.
        table: String,
        /// The difference.
        difference: String,
    },
    /// The database's log is corrupt.
    #[error(
        "the log `{path}` of the database is damaged; nothing was changed. Restore a backup of the database and its log. Or move the log away and restart: sessions that are only in the log are processed again; users, tokens and audit entries that are only in the log are lost"
    )]
    DamagedLog {
        /// The path of the log.
        path: PathBuf,
        /// DuckDB's error.
        #[source]
        source: duckdb::Error,
    },
    /// The log belongs to another database, or to another state of this one.
    #[error(
        "the log `{path}` does not belong to the database next to it, or not to its current state; nothing was changed. Restore the two files from the same backup. Or move the log away and restart: sessions that are only in the log are processed again; users, tokens and audit entries that are only in the log are lost"
    )]
    ForeignLog {
        /// The path of the log.
        path: PathBuf,
        /// DuckDB's error.
        #[source]
        source: duckdb::Error,
    },
    /// The database file is corrupt, or is not a database.
    #[error(
        "the database file `state/system.duckdb` of the data directory is damaged or is not a database. Restore a backup of the file and its log. Or move both away and restart: all sessions are processed again; users, tokens and audit entries are lost"
    )]
    Damaged(#[source] duckdb::Error),
    /// Opening the database needs more memory than its limit.
    #[error(
        "cannot open the database within its memory limit; raise `memory_limit` in the section `[database]` of the config file and restart"
    )]
    MemoryLimitTooLow(#[source] duckdb::Error),
    /// The database file cannot be opened.
    #[error(
        "cannot open the database `{path}`; check its disk, and that this user can write to the file and its folder"
    )]
    CannotOpen {
        /// The database file.
        path: PathBuf,
        /// DuckDB's error.
        #[source]
        source: duckdb::Error,
    },
    /// The program is linked to a shared library of DuckDB, which has another version.
    #[error(
        "the DuckDB library has version `{found}`, and this program needs `{expected}`; install the library of that version, or put the one from the program's package next to the program"
    )]
    OtherDuckDb {
        /// The version of the library, such as `v1.5.5`.
        found: String,
        /// The version that the program needs.
        expected: &'static str,
    },
    /// A newer version of DuckDB wrote the file.
    #[error(
        "the database `{path}` was written by a newer version of DuckDB; use the program version that wrote it, or restore an older backup"
    )]
    NewerDuckDb {
        /// The database file.
        path: PathBuf,
        /// DuckDB's error.
        #[source]
        source: duckdb::Error,
    },
    /// The disk is full or failed. Data that was committed before is safe.
    #[error(
        "cannot {action}: the disk is full or not writable; free space on the disk of the data directory and retry: committed data is safe"
    )]
    DiskFull {
        /// What failed, as a verb phrase: `read the tokens`.
        action: &'static str,
        /// DuckDB's error.
        #[source]
        source: duckdb::Error,
    },
    /// DuckDB invalidated the database. Only a new process can open it again.
    #[error(
        "the database stopped working and must be reopened; check its disk, free space if it is full, and restart: committed data is safe"
    )]
    Invalidated(#[source] duckdb::Error),
    /// The request was canceled before the database returned a result.
    #[error("{0}")]
    Canceled(CancelReason),
    /// A counter has a value that this program cannot have written.
    #[error(
        "the counter `{name}` of the database is {value} and cannot be incremented: it was changed manually or is damaged; restore a backup of `state/`"
    )]
    Counter {
        /// The name of the counter.
        name: String,
        /// The value of the counter.
        value: i64,
    },
    /// A statement failed.
    #[error("cannot {action}")]
    Database {
        /// What failed, as a verb phrase: `read the tokens`.
        action: &'static str,
        /// DuckDB's error.
        #[source]
        source: duckdb::Error,
    },
    /// The writer thread has exited.
    #[error("the database writer has stopped; restart the program")]
    WriterStopped,
}

impl From<CancelReason> for StoreError {
    fn from(reason: CancelReason) -> Self {
        Self::Canceled(reason)
    }
}

/// Fails if the [`Cancellation`](crate::Cancellation) of this thread's scope was used. Long work
/// between reads calls it from time to time.
///
/// # Errors
/// The scope was canceled.
pub fn check_canceled() -> Result<(), StoreError> {
    cancel::check().map_err(StoreError::Canceled)
}

impl StoreError {
    /// Converts a DuckDB error, classified by its text. `action` completes the sentence "cannot …":
    /// `read the tokens`.
    pub fn database(action: &'static str) -> impl Fn(duckdb::Error) -> Self {
        // DuckDB errors have no codes, so only their text can be examined.
        move |source| {
            let text = source.to_string();
            // After a fatal or internal error, every statement fails until the file is reopened.
            if text.starts_with("FATAL Error") || text.starts_with("INTERNAL Error") {
                Self::Invalidated(source)
            } else if is_damage(&text) {
                Self::Damaged(source)
            } else if text.starts_with("INTERRUPT Error") {
                // Without a scope, only the shutdown of the service interrupts statements.
                Self::Canceled(cancel::current_reason().unwrap_or(CancelReason::Stopping))
            } else if ["Could not write", "Could not fsync"]
                .iter()
                .any(|pattern| text.contains(pattern))
            {
                Self::DiskFull { action, source }
            } else {
                Self::Database { action, source }
            }
        }
    }

    /// Whether the cause is the database or its disk, and not the data that was to be written.
    pub fn is_database_failure(&self) -> bool {
        match self {
            Self::Database { .. } | Self::TableShape { .. } | Self::CheckpointGone { .. } => false,
            Self::Locked { .. }
            | Self::OpenElsewhere { .. }
            | Self::Io { .. }
            | Self::Migration { .. }
            | Self::DamagedLog { .. }
            | Self::ForeignLog { .. }
            | Self::Damaged(_)
            | Self::MemoryLimitTooLow(_)
            | Self::CannotOpen { .. }
            | Self::NewerDuckDb { .. }
            | Self::OtherDuckDb { .. }
            | Self::DiskFull { .. }
            | Self::Counter { .. }
            | Self::Invalidated(_)
            | Self::Canceled(_)
            | Self::WriterStopped => true,
        }
    }
}

/// Whether DuckDB reports that the file is corrupt.
pub(crate) fn is_damage(text: &str) -> bool {
    let words = [
        "Corrupt database file",
        "not a valid DuckDB database file",
        "Could not read enough bytes",
    ];
    words.iter().any(|words| text.contains(words))
}
