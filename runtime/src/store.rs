//! The single owner of the database: one writer thread, any number of readers.
//!
//! SQL stands here, in [`crate::report`] and in the migrations, and nowhere else.
//! Only this room opens the database file: closing any second handle on it would drop DuckDB's lock,
//! so the one that checkpoints need is closed after DuckDB's own.

mod audit;
mod cancel;
mod checkpoint;
mod commit;
mod component_files;
mod components;
mod counts;
mod failures;
mod health;
mod jobs;
mod knowledge;
mod llm;
mod lock;
mod modes;
mod open;
mod quarantine;
mod requests;
mod retention;
mod runs;
mod schema;
mod sequence;
mod sessions;
mod shared;
mod sql;
mod state;
mod superseded;
mod tables;
mod tokens;
mod transaction;
mod updates;
mod users;
mod vanished;
mod waits;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, select_biased};
use duckdb::Connection;

use checkpoint::Checkpoints;

pub(crate) use audit::write_audit;
pub use audit::{Actor, AuditEntry, AuditRow, Audited, ClientKind};
pub use cancel::{CancelReason, Cancellation};
pub use commit::{CompletedSession, Entry, FailedSession, Group, SkippedSession};
pub use components::KnownComponent;
pub use health::{LatestRuns, ProcessorFailures};
pub use jobs::JobRow;
pub use llm::{LlmCall, LlmOutcome, LlmUse, OverBudget};
pub use lock::Holder;
pub(crate) use modes::private_folder;
pub(crate) use open::{EXPORT_PREFIX, spill_dir};
pub use open::{MigrationPlan, Opened, settings};
pub use requests::ReprocessRequests;
pub use runs::{RunRecord, RunResult, RunRow, Trigger};
pub use sequence::recorded_commits;
pub use sessions::{Keys, SessionCost, SessionState, SessionStates};
pub(crate) use sql::timestamp;
pub(crate) use transaction::{Writer, in_transaction};
pub(crate) use updates::{Turn, Updates};

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

impl StoreError {
    pub(crate) fn database(doing: &'static str) -> impl Fn(duckdb::Error) -> Self {
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
    pub(crate) fn is_of_the_database(&self) -> bool {
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
fn is_damage(text: &str) -> bool {
    let words = [
        "Corrupt database file",
        "not a valid DuckDB database file",
        "Could not read enough bytes",
    ];
    words.iter().any(|words| text.contains(words))
}

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// The open database of a data dir.
pub struct Store {
    reader: Mutex<Connection>,
    // Before the thread, so that dropping the store ends it; and the lock last of all.
    jobs: Option<Queues<Sender<Job>>>,
    writer: Option<JoinHandle<()>>,
    opened: Opened,
    checkpoints: Arc<Checkpoints>,
    updates: Arc<Updates>,
    /// Memory of the buffer pool, in bytes.
    memory_bytes: u64,
    requests: Arc<requests::RequestWatches>,
    lock: lock::DataDirLock,
}

/// The two ends of the writer's queues. Every urgent job is taken before any other one that waits.
struct Queues<End> {
    urgent: End,
    usual: End,
}

impl Queues<Receiver<Job>> {
    /// The next job; `None` when the store is dropped.
    fn next(&self) -> Option<Job> {
        select_biased! {
            recv(self.urgent) -> job => job.ok(),
            recv(self.usual) -> job => job.ok(),
        }
    }
}

impl Store {
    /// What opening came to: migrations, runs closed as interrupted.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Writes into the lock file where this process answers requests, for those who find it locked.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn announce(&self, url: &str) -> Result<(), StoreError> {
        self.lock.announce(url)
    }

    fn start(
        mut writer: Writer,
        opened: Opened,
        checkpoints: Arc<Checkpoints>,
        memory_bytes: u64,
        lock: lock::DataDirLock,
    ) -> Result<Self, StoreError> {
        let reader = writer
            .try_clone()
            .map_err(StoreError::database("a second connection"))?;
        let ((urgent, urgent_jobs), (usual, usual_jobs)) = (bounded::<Job>(0), bounded::<Job>(0));
        let jobs = Queues { urgent, usual };
        let queues = Queues {
            urgent: urgent_jobs,
            usual: usual_jobs,
        };
        writer.set_prepared_statement_cache_capacity(64);
        let thread = std::thread::Builder::new()
            .name("database-writer".to_owned())
            .spawn(move || {
                while let Some(job) = queues.next() {
                    job(&mut writer);
                }
                writer.end();
            })
            .map_err(|source| StoreError::Io {
                path: PathBuf::from("database-writer"),
                source,
            })?;
        Ok(Self {
            reader: Mutex::new(reader),
            jobs: Some(jobs),
            writer: Some(thread),
            opened,
            checkpoints,
            updates: Arc::default(),
            memory_bytes,
            requests: Arc::default(),
            lock,
        })
    }

    /// A connection of its own for reading, whose statements end with the request of this thread.
    ///
    /// # Errors
    /// When the request was cancelled, or there is no connection.
    pub(crate) fn reader(&self) -> Result<Connection, StoreError> {
        let connection = self.lasting_reader()?;
        cancel::watch(&connection)?;
        Ok(connection)
    }

    /// A connection of its own for reading, whatever becomes of the request of this thread.
    pub(crate) fn lasting_reader(&self) -> Result<Connection, StoreError> {
        let template = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        template
            .try_clone()
            .map_err(StoreError::database("another connection"))
    }

    /// Who brings the rollups of reports up to date.
    pub(crate) fn updates(&self) -> &Arc<Updates> {
        &self.updates
    }

    /// Memory of the buffer pool, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Ends what reports have the writer do, for the end of the service: it is not lost.
    pub fn stop_updates(&self) {
        self.updates.stop();
    }

    /// Runs a job on the writer's thread and waits for what it gives.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_by(|jobs| &jobs.usual, job)
    }

    /// As [`Store::write`], before every usual job that waits: for tokens, and for what ends the
    /// service.
    pub(crate) fn write_urgently<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_by(|jobs| &jobs.urgent, job)
    }

    fn write_by<T: Send + 'static>(
        &self,
        queue: impl FnOnce(&Queues<Sender<Job>>) -> &Sender<Job>,
        job: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, result) = bounded(1);
        let job: Job = Box::new(move |connection| {
            // Whoever asked waits for the answer; it can't be gone.
            let _ = answer.send(job(connection));
        });
        let jobs = self.jobs.as_ref().ok_or(StoreError::WriterStopped)?;
        queue(jobs)
            .send(job)
            .map_err(|_| StoreError::WriterStopped)?;
        result.recv().map_err(|_| StoreError::WriterStopped)?
    }

    /// Brings the log into the database file, so that the next start is quick; where somebody reads
    /// an older state, a later one does.
    ///
    /// # Errors
    /// When the disk is full or gone.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.write_urgently(|writer| writer.checkpoint())
    }

    /// Whether the database file is still where it was opened. If it was removed or replaced since,
    /// all that is written is lost when this process ends.
    pub fn is_in_place(&self) -> bool {
        self.checkpoints.is_in_place()
    }

    /// What the log holds that is not in the database file yet, in bytes.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub fn log_bytes(&self) -> Result<u64, StoreError> {
        self.checkpoints.log_bytes()
    }
}

/// So that whoever shares a pipeline, and whoever has only a store, can both be asked for it.
impl AsRef<Self> for Store {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("opened", &self.opened)
            .finish_non_exhaustive()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take() {
            // The thread has nothing to tell that its jobs did not.
            let _ = writer.join();
        }
    }
}
