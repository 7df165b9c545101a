//! Cancels database reads. A read in the scope of a [`Cancellation`] ends early when its time is
//! up, when its client disconnects, or when the service stops.
//!
//! A scope belongs to a thread. Every connection that the store opens for reading on that thread
//! can be interrupted, so functions between the request and the statement need no extra parameter.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use duckdb::{Connection, InterruptHandle};

/// The reason for a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The read exceeded this time limit.
    TimedOut(Duration),
    /// The client disconnected.
    ClientGone,
    /// The service is stopping.
    Stopping,
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(limit) => write!(
                f,
                "the request took longer than {} s and was canceled; request fewer days, retry later, or raise `query_time_max` in the section `[service]` of the config file",
                limit.as_secs_f64()
            ),
            Self::ClientGone => {
                f.write_str("the request was canceled because the client disconnected")
            }
            Self::Stopping => f.write_str("the service is stopping; retry after it has restarted"),
        }
    }
}

/// Cancels the reads of one scope.
#[derive(Clone, Default)]
pub struct Cancellation(Arc<Reads>);

#[derive(Default)]
struct Reads {
    reason: OnceLock<CancelReason>,
    is_over: AtomicBool,
    /// Handles of closed connections have no effect.
    handles: Mutex<Vec<Arc<InterruptHandle>>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Cancellation>> = const { RefCell::new(None) };
}

impl Cancellation {
    /// Runs `work` on this thread, in the scope of this handle.
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        let _scope = Scope {
            cancellation: self.clone(),
            outer: CURRENT.replace(Some(self.clone())),
        };
        work()
    }

    /// Rejects new reads in the scope and interrupts running statements. If called several times,
    /// the first reason is kept.
    ///
    /// DuckDB drops an interrupt that arrives between two statements. Repeat the call until
    /// [`Cancellation::is_over`] returns true.
    pub fn cancel(&self, reason: CancelReason) {
        let _ = self.0.reason.set(reason);
        let handles = self
            .0
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        handles.iter().for_each(|handle| handle.interrupt());
    }

    /// Whether the scope has ended.
    pub fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::SeqCst)
    }

    /// The reason for the cancellation. `None` if the scope was not canceled.
    pub fn reason(&self) -> Option<CancelReason> {
        self.0.reason.get().copied()
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellation")
            .field("reason", &self.reason())
            .field("is_over", &self.is_over())
            .finish_non_exhaustive()
    }
}

struct Scope {
    cancellation: Cancellation,
    outer: Option<Cancellation>,
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.cancellation.0.is_over.store(true, Ordering::SeqCst);
        CURRENT.set(self.outer.take());
    }
}

/// Why this thread's scope was canceled. `None` if it was not, or if there is no scope.
pub(crate) fn current_reason() -> Option<CancelReason> {
    CURRENT.with_borrow(|current| current.as_ref()?.reason())
}

/// Fails if this thread's scope was canceled.
pub(crate) fn check() -> Result<(), CancelReason> {
    current_reason().map_or(Ok(()), Err)
}

/// Registers a connection with this thread's scope, so that its statements can be interrupted.
pub(crate) fn watch(connection: &Connection) -> Result<(), CancelReason> {
    CURRENT.with_borrow(|current| {
        if let Some(current) = current {
            let mut handles = current
                .0
                .handles
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            handles.push(connection.interrupt_handle());
        }
    });
    check()
}

// These tests are here because an external test cannot hit the gap between two statements.
#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{CancelReason, Cancellation};
    use crate::error::StoreError;
    use crate::open::StoreOptions;
    use crate::store::Store;
    use session_pipeline_host::clock::UtcMicros;

    const ENDLESS: &str =
        "SELECT sum(a.range * b.range) FROM range(1000000) AS a, range(1000000) AS b";

    #[test]
    fn a_cancelled_scope_interrupts_its_statement_and_begins_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions::new(dir.path()), UtcMicros(0)).unwrap();
        let cancellation = Cancellation::default();
        let started = Instant::now();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                while !cancellation.is_over() {
                    cancellation.cancel(CancelReason::ClientGone);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            cancellation.scope(|| {
                let read = store.reader().unwrap().execute_batch(ENDLESS);
                let error = read
                    .map_err(StoreError::database("run a test statement"))
                    .unwrap_err();
                assert!(
                    matches!(error, StoreError::Canceled(CancelReason::ClientGone)),
                    "{error}"
                );
                assert!(matches!(store.reader(), Err(StoreError::Canceled(_))));
            });
        });
        assert!(started.elapsed() < Duration::from_secs(30));
        store.reader().unwrap().execute_batch("SELECT 1").unwrap();
    }
}
