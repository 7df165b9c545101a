//! The router for a command that opens the data directory in its own process.
//!
//! It has the same routes as a server, but not the protections against clients: no tokens, no time
//! limits, and no audit rows for failed requests.

use std::sync::Arc;

use axum::{Router, middleware};
use session_pipeline_host::sessions::SkippedPath;
use session_pipeline_pipeline::report::PriceTableError;
use session_pipeline_pipeline::run::Progress;
use session_pipeline_store::{LlmUsage, ProcessorStatus};

use super::{ServiceState, guard, routes_with_document};
use crate::body::session::SessionBody;

/// A caller in the same process, which needs no token. It is passed as an extension of the request,
/// which clients over the network cannot set.
#[derive(Clone)]
pub(crate) struct LocalCaller(pub(crate) Arc<dyn Listener>);

/// Receives the reports of a handler to a caller in the same process.
pub(crate) trait Listener: Progress + Send + Sync {
    /// Receives one report. Returns whether the handler can continue to report.
    fn receive(&self, report: LocalReport<'_>) -> bool;
}

/// A report of a handler that is not part of its response.
pub(crate) enum LocalReport<'a> {
    /// The sessions root does not exist.
    NoSessionsRoot,
    /// The paths that the walk over the sessions skipped.
    Skipped(&'a [SkippedPath]),
    /// The price file is invalid, so reports would fail.
    UnusablePrices(&'a PriceTableError),
    /// A run starts.
    RunStarts,
    /// The language model usage of a run.
    ModelUse(LlmUsage),
    /// Why a list of sessions is empty.
    Unmatched(Vec<String>),
    /// The next sessions of a list.
    Sessions(Vec<SessionBody>),
    /// The session counts of each processor.
    Counts(&'a [ProcessorStatus]),
    /// The report is empty because nothing was processed yet.
    NothingProcessed,
}

impl LocalCaller {
    pub(super) fn report(&self, report: LocalReport<'_>) -> bool {
        self.0.receive(report)
    }
}

impl Progress for LocalCaller {
    fn planned(&self, sessions: u64, bytes: u64) {
        self.0.planned(sessions, bytes);
    }

    fn advanced(&self, bytes: u64) {
        self.0.advanced(bytes);
    }
}

/// The routes over a service from [`ServiceState::local`].
pub(crate) fn local_router(service: ServiceState) -> Router {
    let service = Arc::new(service);
    let (routes, _) = routes_with_document();
    guard::with_fallbacks(routes.with_state(Arc::clone(&service)))
        .layer(middleware::from_fn(guard::convert_errors))
        .layer(middleware::from_fn_with_state(service, guard::catch_panics))
}
