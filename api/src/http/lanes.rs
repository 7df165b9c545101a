//! Who waits for whom: each role has its own places for requests to the database, and requests about
//! tokens have theirs.
//!
//! A read ends when its time is up, when its client disconnects, and when the service stops. A change
//! is never broken off: its answer has to say what was done.

use std::sync::Arc;
use std::time::Duration;

use session_pipeline_store::{CancelReason, Cancellation, Role};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::problem::ApiError;
use super::{HttpLimits, ServiceState};
use crate::problem::ProblemClass;

/// DuckDB forgets an interrupt between two statements, so it is repeated this often.
const INTERRUPT_EVERY: Duration = Duration::from_millis(20);

/// The places of all requests that use the database.
pub(super) struct Lanes {
    analysts: Arc<Semaphore>,
    admins: Arc<Semaphore>,
    tokens: Arc<Semaphore>,
    /// Whether reads have to end now.
    is_stopping: watch::Sender<bool>,
}

impl Lanes {
    pub(super) fn new(limits: &HttpLimits) -> Self {
        Self {
            analysts: Arc::new(Semaphore::new(limits.queries_max)),
            admins: Arc::new(Semaphore::new(limits.queries_max)),
            tokens: Arc::new(Semaphore::new(limits.token_requests_max)),
            is_stopping: watch::Sender::new(false),
        }
    }

    /// Ends all reads, those that begin later as well.
    pub(super) fn stop_reads(&self) {
        self.is_stopping.send_replace(true);
    }
}

impl ServiceState {
    /// Changes something, in the place of an admin.
    pub(super) async fn query<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        if self.is_local() {
            return self.off_thread(None, work).await;
        }
        let permit = Arc::clone(&self.lanes.admins).acquire_owned().await;
        self.off_thread(permit.ok(), work).await
    }

    /// Lists or changes tokens, whatever else is going on.
    pub(super) async fn about_tokens<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = Arc::clone(&self.lanes.tokens).acquire_owned().await;
        self.off_thread(permit.ok(), work).await
    }

    /// Reads, in the place of a role and within the time that the configuration allows.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        role: Role,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        if self.is_local() {
            // Its user can stop the command, and no other request waits.
            return self.off_thread(None, work).await;
        }
        let limit = self.config().service.query_time_max;
        let until = Instant::now() + limit;
        let lane = match role {
            Role::Analyst => &self.lanes.analysts,
            Role::Admin => &self.lanes.admins,
        };
        let permit = tokio::time::timeout_at(until, Arc::clone(lane).acquire_owned()).await;
        let Ok(permit) = permit else {
            let detail = format!(
                "{} other requests of role `{}` kept the database busy for {} s; try again later",
                self.limits.queries_max,
                role.as_str(),
                limit.as_secs_f64()
            );
            return Err(ApiError::new(ProblemClass::Unavailable, detail));
        };
        let cancellation = Cancellation::default();
        let _gone = CancelledWhenDropped(cancellation.clone());
        let scope = cancellation.clone();
        let mut done = std::pin::pin!(
            self.off_thread(permit.ok(), move |service| scope.scope(|| work(service)))
        );
        let mut stopping = self.lanes.is_stopping.subscribe();
        let reason = tokio::select! {
            done = &mut done => return done,
            () = tokio::time::sleep_until(until) => CancelReason::TimedOut(limit),
            _ = stopping.wait_for(|stopping| *stopping) => CancelReason::Stopping,
        };
        loop {
            cancellation.cancel(reason);
            if let Ok(done) = tokio::time::timeout(INTERRUPT_EVERY, &mut done).await {
                return done;
            }
        }
    }
}

/// Cancels the reads of a request whose client disconnects: its future is dropped then.
struct CancelledWhenDropped(Cancellation);

impl Drop for CancelledWhenDropped {
    fn drop(&mut self) {
        if self.0.is_over() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let cancellation = self.0.clone();
            runtime.spawn(async move {
                while !cancellation.is_over() {
                    cancellation.cancel(CancelReason::ClientGone);
                    tokio::time::sleep(INTERRUPT_EVERY).await;
                }
            });
        }
    }
}
