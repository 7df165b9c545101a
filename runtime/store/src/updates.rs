//! Serializes the updates of report rollups. An update consists of many short jobs of the writer.
//!
//! The turn is taken outside of the writer's thread, so that commits and tokens never wait for a
//! complete update.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use duckdb::{Connection, InterruptHandle};

use crate::cancel::{self, CancelReason};
use crate::error::StoreError;

/// Interval at which a waiting thread checks for cancellation.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// The shared state of rollup updates.
#[derive(Default)]
pub struct RollupUpdates {
    is_taken: Mutex<bool>,
    freed: Condvar,
    is_stopping: AtomicBool,
    /// Incremented when rows change without a new session number.
    generation: AtomicU64,
    reading: Mutex<Option<Arc<InterruptHandle>>>,
}

impl RollupUpdates {
    /// Waits for the turn to update.
    ///
    /// # Errors
    /// This thread's request was canceled, or the service is stopping.
    pub fn turn(&self) -> Result<UpdateTurn<'_>, StoreError> {
        let mut is_taken = self.is_taken.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.check()?;
            cancel::check()?;
            if !*is_taken {
                *is_taken = true;
                return Ok(UpdateTurn(self));
            }
            let waited = self.freed.wait_timeout(is_taken, CHECK_EVERY);
            is_taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Stops the update in progress after the current job of the writer. Committed work is kept,
    /// and the next update continues from there.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = reading.as_ref() {
            handle.interrupt();
        }
    }

    /// Invalidates earlier plans. Call it in the writer's job that changes rows.
    pub fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// A number that changes when plans are invalidated.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.is_stopping.load(Ordering::SeqCst) {
            return Err(StoreError::Canceled(CancelReason::Stopping));
        }
        Ok(())
    }
}

/// The turn to update. Dropping it releases the turn.
pub struct UpdateTurn<'a>(&'a RollupUpdates);

impl UpdateTurn<'_> {
    /// Fails if the service is stopping. Called during a round of an update.
    pub fn check(&self) -> Result<(), StoreError> {
        self.0.check()
    }

    /// Fails if the service is stopping or this thread's request was canceled. Called between
    /// rounds.
    pub fn check_request(&self) -> Result<(), StoreError> {
        self.check()?;
        Ok(cancel::check()?)
    }

    /// Registers a connection, so that stopping the service can interrupt its statements.
    pub fn watch(&self, connection: &Connection) {
        let mut reading = self
            .0
            .reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *reading = Some(connection.interrupt_handle());
    }
}

impl Drop for UpdateTurn<'_> {
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
