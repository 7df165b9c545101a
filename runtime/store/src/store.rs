//! The open database: one writer thread, any number of readers.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, select_biased};
use duckdb::Connection;

use crate::checkpoint::Checkpoints;
use crate::error::StoreError;
use crate::transaction::Writer;
use crate::updates::Updates;
use crate::{cancel, lock, requests};

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// What opening a store came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The version before; `None` for a new database.
    pub version_before: Option<u32>,
    /// The versions applied now.
    pub applied: Vec<u32>,
    /// Tables in our way that were renamed, with their new names.
    pub renamed: Vec<(String, String)>,
    /// The copy made before an upgrade.
    pub copy: Option<PathBuf>,
    /// Runs that a crash had left open.
    pub interrupted_runs: u64,
    /// Commits that were made and are not there any more: the log was lost or cut.
    pub lost_commits: u64,
}

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
    pub(crate) requests: Arc<requests::RequestWatches>,
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

    pub(crate) fn start(
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
    pub fn reader(&self) -> Result<Connection, StoreError> {
        let connection = self.lasting_reader()?;
        cancel::watch(&connection)?;
        Ok(connection)
    }

    /// A connection of its own for reading, whatever becomes of the request of this thread.
    pub fn lasting_reader(&self) -> Result<Connection, StoreError> {
        let template = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        template
            .try_clone()
            .map_err(StoreError::database("another connection"))
    }

    /// Who brings the rollups of reports up to date.
    pub fn updates(&self) -> &Arc<Updates> {
        &self.updates
    }

    /// Memory of the buffer pool, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Ends what reports have the writer do, for the end of the service: it is not lost.
    pub fn stop_updates(&self) {
        self.updates.stop();
    }

    /// Runs a job on the writer's thread and waits for what it gives.
    pub fn write<T: Send + 'static>(
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
