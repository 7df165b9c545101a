//! The open database: one writer thread and any number of readers.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, select_biased};
use duckdb::Connection;

use crate::activity::Activity;
use crate::checkpoint::Checkpoints;
use crate::error::StoreError;
use crate::transaction::Writer;
use crate::updates::RollupUpdates;
use crate::{cancel, lock, requests};

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// What happened when the database was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The previous schema version. `None` for a new database.
    pub version_before: Option<u32>,
    /// The schema versions that were applied.
    pub applied: Vec<u32>,
    /// Tables whose names the schema needs, with the names they were renamed to.
    pub renamed: Vec<(String, String)>,
    /// The path of the backup that was made before an upgrade.
    pub backup: Option<PathBuf>,
    /// The number of runs that a crash left open.
    pub interrupted_runs: u64,
    /// The number of commits that are missing, because the log was lost or truncated.
    pub lost_commits: u64,
}

/// The open database of a data directory.
pub struct Store {
    reader: Mutex<Connection>,
    // The order of the fields matters: dropping the senders ends the writer thread, and the lock
    // must be dropped last.
    jobs: Option<Queues<Sender<Job>>>,
    writer: Option<JoinHandle<()>>,
    opened: OpenReport,
    checkpoints: Arc<Checkpoints>,
    updates: Arc<RollupUpdates>,
    activity: Arc<Activity>,
    /// Size of the buffer pool in bytes.
    memory_bytes: u64,
    pub(crate) requests: Arc<requests::RequestWatches>,
    lock: lock::DataDirLock,
}

/// The two ends of the writer's queues. Urgent jobs run before all other waiting jobs.
struct Queues<End> {
    urgent: End,
    normal: End,
}

impl Queues<Receiver<Job>> {
    /// The next job. `None` once the store is dropped.
    fn next(&self) -> Option<Job> {
        select_biased! {
            recv(self.urgent) -> job => job.ok(),
            recv(self.normal) -> job => job.ok(),
        }
    }
}

impl Store {
    /// What happened when the database was opened, such as migrations and interrupted runs.
    pub fn open_report(&self) -> &OpenReport {
        &self.opened
    }

    /// Writes this server's URL to the lock file, for other processes that find the data directory
    /// locked.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn publish_url(&self, url: &str) -> Result<(), StoreError> {
        self.lock.announce(url)
    }

    pub(crate) fn start(
        mut writer: Writer,
        opened: OpenReport,
        checkpoints: Arc<Checkpoints>,
        memory_bytes: u64,
        lock: lock::DataDirLock,
    ) -> Result<Self, StoreError> {
        let reader = writer
            .try_clone()
            .map_err(StoreError::database("open a second connection"))?;
        let ((urgent, urgent_jobs), (normal, normal_jobs)) = (bounded::<Job>(0), bounded::<Job>(0));
        let jobs = Queues { urgent, normal };
        let queues = Queues {
            urgent: urgent_jobs,
            normal: normal_jobs,
        };
        let activity = Arc::clone(writer.activity());
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
            activity,
            memory_bytes,
            requests: Arc::default(),
            lock,
        })
    }

    /// A new connection for reading. Canceling this thread's request interrupts its statements.
    ///
    /// # Errors
    /// The request was canceled, or no connection could be opened.
    pub fn reader(&self) -> Result<Connection, StoreError> {
        let connection = self.uncancelable_reader()?;
        cancel::watch(&connection)?;
        Ok(connection)
    }

    /// A new connection for reading that a cancellation does not affect.
    pub fn uncancelable_reader(&self) -> Result<Connection, StoreError> {
        let template = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        template
            .try_clone()
            .map_err(StoreError::database("open another connection"))
    }

    /// Coordinates the updates of report rollups.
    pub fn rollup_updates(&self) -> &Arc<RollupUpdates> {
        &self.updates
    }

    /// What this process committed since it opened the database.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Size of the buffer pool in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Stops rollup updates in progress, because the service is stopping. Committed work is kept.
    pub fn stop_rollup_updates(&self) {
        self.updates.stop();
    }

    /// Runs a job on the writer's thread and returns its result.
    pub fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_by(|jobs| &jobs.normal, job)
    }

    /// Like [`Store::write`], but before all waiting normal jobs. For tokens and for the shutdown
    /// of the service.
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
            // The caller waits for the result, so sending cannot fail.
            let _ = answer.send(job(connection));
        });
        let jobs = self.jobs.as_ref().ok_or(StoreError::WriterStopped)?;
        // The queue has no capacity: the job is sent when the writer takes it.
        let wait = self.activity.wait_for_writer();
        queue(jobs)
            .send(job)
            .map_err(|_| StoreError::WriterStopped)?;
        drop(wait);
        result.recv().map_err(|_| StoreError::WriterStopped)?
    }

    /// Writes the log to the database file, so that the next start is fast. Has no effect while a
    /// reader uses an older state.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.write_urgently(|writer| writer.checkpoint())
    }

    /// Whether the database file is still at the path from which it was opened. If it was removed
    /// or replaced, everything written is lost when this process exits.
    pub fn is_file_in_place(&self) -> bool {
        self.checkpoints.is_in_place()
    }

    /// The size of the database file in bytes.
    ///
    /// # Errors
    /// The metadata of the file cannot be read.
    pub fn file_bytes(&self) -> Result<u64, StoreError> {
        self.checkpoints.file_bytes()
    }

    /// The size of the write-ahead log in bytes, which is the data that is not in the database file
    /// yet.
    ///
    /// # Errors
    /// The metadata of the log cannot be read.
    pub fn log_bytes(&self) -> Result<u64, StoreError> {
        self.checkpoints.log_bytes()
    }
}

/// Lets functions accept both a store and a value that contains one.
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
            // Ignore the result. Errors were returned by the jobs.
            let _ = writer.join();
        }
    }
}
