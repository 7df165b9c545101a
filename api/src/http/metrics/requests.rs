//! Counts requests and uploads.
//!
//! The labels of a request are its method, the template of its route and its status, so that no
//! client can create series.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::http::ServiceState;

/// The route of requests to unknown paths.
const UNMATCHED: &str = "(unknown)";
/// Upper bounds of the buckets of durations, in seconds.
const BOUNDS: [f64; 8] = [0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// The metrics of requests. They count since the start of the process.
#[derive(Debug)]
pub(in crate::http) struct RequestMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_progress: Gauge,
    uploads: Family<UploadLabels, Counter>,
    upload_bytes: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UploadLabels {
    outcome: &'static str,
}

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum UploadOutcome {
    /// It was stored, with this many bytes.
    Stored(u64),
    /// It was rejected, or it failed.
    Rejected,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let uploads = Family::<UploadLabels, Counter>::default();
        // Both series exist from the start, so that a rate over the first upload is right.
        for outcome in ["stored", "rejected"] {
            uploads.get_or_create(&UploadLabels { outcome }).inc_by(0);
        }
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BOUNDS)),
            in_progress: Gauge::default(),
            uploads,
            upload_bytes: Counter::default(),
        }
    }
}

impl RequestMetrics {
    /// Adds the metrics to a registry.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "http_requests",
            "Requests by method, route and status",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time from the head of a request to that of its response",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "http_requests_in_progress",
            "Requests in progress",
            self.in_progress.clone(),
        );
        registry.register("uploads", "Uploads by outcome", self.uploads.clone());
        registry.register_with_unit(
            "upload",
            "Decompressed bytes of stored uploads",
            Unit::Bytes,
            self.upload_bytes.clone(),
        );
    }

    /// Counts an upload.
    pub(in crate::http) fn uploaded(&self, outcome: UploadOutcome) {
        let name = match outcome {
            UploadOutcome::Stored(bytes) => {
                self.upload_bytes.inc_by(bytes);
                "stored"
            }
            UploadOutcome::Rejected => "rejected",
        };
        let labels = UploadLabels { outcome: name };
        self.uploads.get_or_create(&labels).inc();
    }
}

/// Middleware of all routes: counts each request with its response.
pub(in crate::http) async fn count_requests(
    State(service): State<Arc<ServiceState>>,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    let method = name_of(request.method());
    let metrics = &service.requests;
    let began = Instant::now();
    // Decremented even if the client disconnects and this future is dropped.
    let _in_progress = InProgress::begin(metrics.in_progress.clone());
    let response = next.run(request).await;
    let labels = RouteLabels {
        route: route.clone(),
    };
    let durations = metrics.durations.get_or_create(&labels);
    durations.observe(began.elapsed().as_secs_f64());
    drop(durations);
    let labels = RequestLabels {
        method,
        route,
        status: response.status().as_u16(),
    };
    metrics.requests.get_or_create(&labels).inc();
    response
}

struct InProgress(Gauge);

impl InProgress {
    fn begin(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The name of a method. A client can send any word.
fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
