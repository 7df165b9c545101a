//! Limits concurrent database requests. Each role has its own lane, and so do token requests, so
//! that one cannot starve another. Within the lane of a role, one caller has at most half of the places.
//!
//! A read is canceled when it times out, when its client disconnects, and when the service stops. A
//! change is never canceled, because its response must report what was done.

use std::sync::Arc;
use std::time::Duration;

use session_pipeline_store::{CancelReason, Cancellation, Role};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::problem::ApiError;
use super::shares::Shares;
use super::{HttpLimits, ServiceState};
use crate::problem::ProblemClass;

/// Interval at which an interrupt is repeated. DuckDB discards an interrupt between two statements.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(20);

/// The semaphores of all requests that use the database.
pub(super) struct Lanes {
    members: Arc<Semaphore>,
    analysts: Arc<Semaphore>,
    admins: Arc<Semaphore>,
    tokens: Arc<Semaphore>,
    /// The reads of one caller at the same time.
    callers: Shares,
    monitoring: Arc<Semaphore>,
    /// Set when all reads must end.
    is_stopping: watch::Sender<bool>,
}

impl Lanes {
    pub(super) fn new(limits: &HttpLimits) -> Self {
        Self {
            members: Arc::new(Semaphore::new(limits.queries_max)),
            analysts: Arc::new(Semaphore::new(limits.queries_max)),
            admins: Arc::new(Semaphore::new(limits.queries_max)),
            tokens: Arc::new(Semaphore::new(limits.token_requests_max)),
            callers: Shares::new(limits.queries_max / 2),
            // The figures for metrics and the check of budgets take turns.
            monitoring: Arc::new(Semaphore::new(1)),
            is_stopping: watch::Sender::new(false),
        }
    }

    /// Cancels all reads, including reads that start later.
    pub(super) fn stop_reads(&self) {
        self.is_stopping.send_replace(true);
    }
}

impl ServiceState {
    /// Runs a change in the lane of admins.
    pub(super) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        if self.is_local() {
            return self.run_blocking((), work).await;
        }
        let permit = Arc::clone(&self.lanes.admins).acquire_owned().await;
        self.run_blocking(permit, work).await
    }

    /// Runs a token request in the lane of tokens. Other requests do not delay it.
    pub(crate) async fn run_token_request<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = Arc::clone(&self.lanes.tokens).acquire_owned().await;
        self.run_blocking(permit, work).await
    }

    /// Runs a read in the lane of a role, with the configured time limit.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        role: Role,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        if self.is_local() {
            // The user can interrupt the command, and no other request is waiting.
            return self.run_blocking((), work).await;
        }
        let lane = match role {
            Role::Member => &self.lanes.members,
            Role::Analyst => &self.lanes.analysts,
            Role::Admin => &self.lanes.admins,
        };
        let busy = format!("requests of the role `{}`", role.as_str());
        self.read_in(lane, &busy, work).await
    }

    /// Runs a read for monitoring. Requests do not wait for it.
    pub(super) async fn read_for_monitoring<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.read_in(&self.lanes.monitoring, "checks", work).await
    }

    async fn read_in<T: Send + 'static>(
        self: &Arc<Self>,
        lane: &Arc<Semaphore>,
        busy: &str,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let limit = self.config().service.query_time_max;
        let until = Instant::now() + limit;
        let permits = async {
            let own = self.lanes.callers.take().await;
            (own, Arc::clone(lane).acquire_owned().await.ok())
        };
        let permit = tokio::time::timeout_at(until, permits).await;
        let Ok(permit) = permit else {
            let detail = format!(
                "the database was busy with other {busy} for {} s; retry later",
                limit.as_secs_f64()
            );
            return Err(ApiError::new(ProblemClass::Unavailable, detail));
        };
        let cancellation = Cancellation::default();
        let _cancel_guard = CancelOnDrop(cancellation.clone());
        let scope = cancellation.clone();
        let mut task =
            std::pin::pin!(self.run_blocking(permit, move |service| scope.scope(|| work(service))));
        let mut stopping = self.lanes.is_stopping.subscribe();
        let reason = tokio::select! {
            result = &mut task => return result,
            () = tokio::time::sleep_until(until) => CancelReason::TimedOut(limit),
            _ = stopping.wait_for(|stopping| *stopping) => CancelReason::Stopping,
        };
        loop {
            cancellation.cancel(reason);
            if let Ok(result) = tokio::time::timeout(INTERRUPT_INTERVAL, &mut task).await {
                return result;
            }
        }
    }
}

/// Cancels the reads of a request when its future is dropped, because the client disconnected.
struct CancelOnDrop(Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if self.0.is_over() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let cancellation = self.0.clone();
            runtime.spawn(async move {
                while !cancellation.is_over() {
                    cancellation.cancel(CancelReason::ClientGone);
                    tokio::time::sleep(INTERRUPT_INTERVAL).await;
                }
            });
        }
    }
}
