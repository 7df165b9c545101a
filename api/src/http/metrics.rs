//! Metrics for Prometheus.
//!
//! `requests` counts requests, and `stored` has the figures of the pipeline. Counters are read when
//! a scraper asks for them. Figures that need queries are read in the background, at most once in
//! [`session_pipeline_pipeline::config::MetricsConfig::max_age`], so that a scrape takes no time and
//! scrapers cannot cause work.

mod figures;
mod requests;
mod samples;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use super::caller::Analyst;
use super::problem::{ApiError, AuthenticatedResponses};
use super::{ServiceState, guard};

pub(super) use figures::FiguresCache;
pub(super) use requests::{RequestMetrics, UploadOutcome, count_requests};

/// The prefix of all names.
pub const PREFIX: &str = "session_pipeline";

/// How long the first scrape waits for the figures that need queries. Later scrapes do not wait.
const FIRST_WAIT: Duration = Duration::from_secs(5);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns metrics for Prometheus, in the format OpenMetrics if the client accepts it. Figures that
/// need queries can be older than the request by the configured age.
#[utoipa::path(get, path = "/metrics", operation_id = "get_metrics", tag = "health", security(("bearer" = ["analyst"])),
    responses(
        (status = 200, description = "The metrics.", content(
            (String = "text/plain"), (String = "application/openmetrics-text"))),
        AuthenticatedResponses))]
pub(super) async fn metrics(
    State(service): State<Arc<ServiceState>>,
    _: Analyst,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    scrape(&service, &headers).await
}

/// The routes of the listener without authentication.
pub(super) fn open_router(service: &Arc<ServiceState>) -> Router {
    let open = |State(service): State<Arc<ServiceState>>, headers: HeaderMap| async move {
        scrape(&service, &headers).await
    };
    let routes = Router::new().route("/metrics", get(open));
    guard::with_checks(routes.with_state(Arc::clone(service)), Arc::clone(service))
}

async fn scrape(service: &Arc<ServiceState>, headers: &HeaderMap) -> Result<Response, ApiError> {
    let figures = figures::current(service, FIRST_WAIT).await;
    let mut registry = Registry::with_prefix(PREFIX);
    service.requests.register(&mut registry);
    samples::register(&mut registry, stored::families(service, figures.as_deref()));
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let accepts_open_metrics =
        accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let mut body = String::new();
    let (encoded, content_type) = match accepts_open_metrics {
        true => (text::encode(&mut body, &registry), OPEN_METRICS),
        false => (
            prometheus_text::encode(&mut body, &registry),
            PROMETHEUS_TEXT,
        ),
    };
    encoded.map_err(|error| ApiError::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}
