//! The router for a command that works on the data directory itself, in its own process.
//!
//! The routes are those of a server. What protects a server from its clients does not apply: no
//! token, no limits on time, and no audit rows for failed requests.

use std::sync::Arc;

use axum::{Router, middleware};
use session_pipeline_host::sessions::SkippedPath;
use session_pipeline_pipeline::report::PriceTableError;
use session_pipeline_pipeline::run::Progress;
use session_pipeline_store::{LlmUsage, ProcessorStatus};

use super::{ServiceState, documented, guard};
use crate::body::session::SessionBody;

/// A caller in the same process, who needs no token. A handler finds it among the extensions of a
/// request, where no request from outside can put it.
#[derive(Clone)]
pub(crate) struct LocalCaller(pub(crate) Arc<dyn Listener>);

/// Listens to what a handler reports to a caller in the same process.
pub(crate) trait Listener: Progress + Send + Sync {
    /// Takes one report; `false` if no more are wanted.
    fn hear(&self, report: LocalReport<'_>) -> bool;
}

/// What a handler reports beyond its response.
pub(crate) enum LocalReport<'a> {
    /// There is no sessions root.
    NoSessionsRoot,
    /// The walk over the sessions skipped these.
    Skipped(&'a [SkippedPath]),
    /// Reports are not possible with this price file.
    UnusablePrices(&'a PriceTableError),
    /// A run begins.
    RunBegins,
    /// What a run sent to language models.
    ModelUse(LlmUsage),
    /// The next sessions of a list.
    Sessions(Vec<SessionBody>),
    /// The counts of each processor.
    Counts(&'a [ProcessorStatus]),
    /// The report is empty because nothing was processed yet.
    NothingProcessed,
}

impl LocalCaller {
    pub(super) fn report(&self, report: LocalReport<'_>) -> bool {
        self.0.hear(report)
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

/// The routes over a service that [`ServiceState::local`] made.
pub(crate) fn local_router(service: ServiceState) -> Router {
    let service = Arc::new(service);
    let (routes, _) = documented();
    guard::with_fallbacks(routes.with_state(Arc::clone(&service)))
        .layer(middleware::from_fn(guard::in_json))
        .layer(middleware::from_fn_with_state(service, guard::caught))
}
