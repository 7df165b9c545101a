//! Sends calls to a router in this process, for commands that open the data directory themselves.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use session_pipeline_pipeline::run::Progress;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::{RouteCall, RouteResponse};
use crate::cli::CommandFailure;
use crate::cli::random::SystemRandomness;
use crate::http::{HandlerSource, Listener, LocalCaller, LocalReport, ServiceState, local_router};

/// The router in this process.
#[derive(Clone)]
pub(in crate::cli) struct LocalClient {
    router: Router,
    runtime: Arc<Runtime>,
}

impl LocalClient {
    /// Creates a router over an opened data directory.
    ///
    /// # Errors
    /// The async runtime cannot be created.
    pub(super) fn new(source: HandlerSource) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        Ok(Self {
            router: local_router(ServiceState::local(source, Box::new(SystemRandomness))),
            runtime: Arc::new(runtime),
        })
    }

    pub(super) fn send(&self, call: &RouteCall<'_>) -> Result<RouteResponse, CommandFailure> {
        let listener = call.listener.clone();
        let caller = LocalCaller(listener.unwrap_or_else(|| Arc::new(NoListener)));
        let request = Request::builder()
            .method(call.method.clone())
            .uri(call.target())
            .header(header::CONTENT_TYPE, "application/json")
            .extension(caller)
            .body(Body::from(call.body.clone().unwrap_or_default()))
            // Building a request fails only if an argument makes the URI too long.
            .map_err(|error| {
                CommandFailure::usage_error(format!("the arguments are too long: {error}"))
            })?;
        let response = async {
            let Ok(response) = self.router.clone().oneshot(request).await;
            let (head, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await;
            body.map(|body| (head.status, body))
        };
        let (status, body) = self
            .runtime
            .block_on(response)
            .map_err(|error| CommandFailure::could_not_run(error.to_string()))?;
        let text = String::from_utf8(body.into())
            .map_err(|error| CommandFailure::could_not_run(error.to_string()))?;
        Ok(RouteResponse { status, text })
    }
}

/// Ignores all reports.
struct NoListener;

impl Listener for NoListener {
    fn receive(&self, _: LocalReport<'_>) -> bool {
        true
    }
}

impl Progress for NoListener {
    fn planned(&self, _: u64, _: u64) {}
    fn advanced(&self, _: u64) {}
}
