//! Who may bring the rollups of reports up to date: one at a time, in many short jobs of the writer.
//!
//! The turn is taken outside of the writer, so that commits and tokens never wait for a whole update.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use duckdb::{Connection, InterruptHandle};

use crate::cancel::{self, CancelReason};
use crate::error::StoreError;

/// How often a thread that waits for its turn checks whether its request was cancelled.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// The state that updates of the rollups share.
#[derive(Default)]
pub struct Updates {
    is_taken: Mutex<bool>,
    freed: Condvar,
    is_stopping: AtomicBool,
    /// Rises whenever rows change whose processing keeps its number.
    generation: AtomicU64,
    reading: Mutex<Option<Arc<InterruptHandle>>>,
}

impl Updates {
    /// Waits for the turn to update.
    ///
    /// # Errors
    /// When the request of this thread is cancelled, or the service stops.
    pub fn turn(&self) -> Result<Turn<'_>, StoreError> {
        let mut is_taken = self.is_taken.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.check()?;
            cancel::check()?;
            if !*is_taken {
                *is_taken = true;
                return Ok(Turn(self));
            }
            let waited = self.freed.wait_timeout(is_taken, CHECK_EVERY);
            is_taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the update in progress after the job that the writer is running. What it has committed
    /// stays, and the next update goes on from there.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = reading.as_ref() {
            handle.interrupt();
        }
    }

    /// Invalidates plans that were made before: call it in the writer's job that changes rows.
    pub fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Changes when plans are invalidated.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.is_stopping.load(Ordering::SeqCst) {
            return Err(StoreError::Cancelled(CancelReason::Stopping));
        }
        Ok(())
    }
}

/// The turn to update; it is free again when this is dropped.
pub struct Turn<'a>(&'a Updates);

impl Turn<'_> {
    /// Fails when the service stops. A round of an update that has begun asks for nothing else.
    pub fn check(&self) -> Result<(), StoreError> {
        self.0.check()
    }

    /// Fails when the service stops or the request of this thread was cancelled: between rounds.
    pub fn check_request(&self) -> Result<(), StoreError> {
        self.check()?;
        Ok(cancel::check()?)
    }

    /// Lets [`Updates::stop`] interrupt the statements of this connection.
    pub fn watch(&self, connection: &Connection) {
        let mut reading = self
            .0
            .reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *reading = Some(connection.interrupt_handle());
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut is_taken = self
            .0
            .is_taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *is_taken = false;
        self.0.freed.notify_one();
    }
}
