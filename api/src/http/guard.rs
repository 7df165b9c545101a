//! The middleware of all routes. Every error response becomes a JSON problem, a panic becomes a 500
//! with an id, and clients that are too slow or send too much are rejected.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream, HttpBody, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, StreamExt};
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::token::Randomness;
use tokio::sync::Mutex;

use super::caller::{self, CallerIdentity};
use super::connections::Connection;
use super::metrics::count_requests;
use super::pace::{BodyDeadline, with_deadline};
use super::problem::{ApiError, log_failures};
use super::shares::CallerKey;
use super::{ServiceState, head, upload};
use crate::problem::ProblemClass;

/// Maximum number of body bytes read after the response is sent: twice the largest upload.
const DRAINED_BYTES_MAX: usize = 128 << 20;
/// Paths that are answered on every connection, including the reserved ones.
const ALWAYS_ANSWERED: [&str; 2] = ["/api/health", "/api/version"];
/// Maximum length of an error response of a library. Their texts are shorter.
const LIBRARY_ERROR_BYTES_MAX: usize = 4096;

/// Adds responses for unknown paths and methods.
pub(super) fn with_fallbacks(routes: Router) -> Router {
    routes
        .fallback(|| async {
            let detail = "unknown path; `/api/openapi.json` describes all paths";
            ApiError::new(ProblemClass::NotFound, detail)
        })
        .method_not_allowed_fallback(|| async {
            let detail = "method not allowed for this path; `/api/openapi.json` describes the allowed methods";
            ApiError::new(ProblemClass::MethodNotAllowed, detail)
        })
}

/// Wraps the routes of a server in all checks.
pub(super) fn with_checks(routes: Router, service: Arc<ServiceState>) -> Router {
    with_fallbacks(routes)
        .layer(middleware::from_fn(log_failures))
        .layer(DefaultBodyLimit::max(service.limits.body_bytes_max))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&service),
            limit_time,
        ))
        .layer(middleware::from_fn(convert_errors))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&service),
            catch_panics,
        ))
        .layer(middleware::from_fn_with_state(service, count_requests))
}

/// Wraps the routes of the API for calls in this process, which need no limits.
pub(super) fn for_calls_in_process(routes: Router, service: Arc<ServiceState>) -> Router {
    with_fallbacks(routes)
        .layer(middleware::from_fn(log_failures))
        .layer(middleware::from_fn(convert_errors))
        .layer(middleware::from_fn_with_state(service, catch_panics))
}

/// Checks the head of a request, identifies the caller, and limits the time for the body. The
/// response is sent as soon as it is ready, even while the client is still sending. The rest of the
/// body is then drained for a short time.
async fn limit_time(
    State(service): State<Arc<ServiceState>>,
    request: Request,
    next: Next,
) -> Response {
    let limits = &service.limits;
    let (mut parts, body) = request.into_parts();
    let caller = caller::identify(&parts.headers, &service);
    let is_upload = caller.is_ok() && upload::is_upload(parts.uri.path());
    let deadline = if is_upload {
        BodyDeadline::new(limits.upload_time_max)
            .with_minimum_rate(limits.upload_rate_min, limits.body_time_max)
    } else {
        BodyDeadline::new(limits.body_time_max)
    };
    let connection = parts.extensions.get::<Arc<Connection>>().cloned();
    let is_reserved = connection
        .as_ref()
        .is_some_and(|connection| connection.is_reserved);
    // A client that sends `Expect` waits for permission before it sends the body. A reserved slot
    // must become free immediately.
    let needs_drain =
        !body.is_end_stream() && !is_reserved && !parts.headers.contains_key(header::EXPECT);
    let is_chunked = parts.headers.contains_key(header::TRANSFER_ENCODING);
    let chunks = Arc::new(Mutex::new(body.into_data_stream()));
    let is_late = Arc::new(AtomicBool::new(false));
    let admitted = connection.as_deref().map_or(Ok(()), |connection| {
        head::check(&parts, connection, &service.config().service.hosts)?;
        check_slot(connection, parts.uri.path())
    });
    let key = caller.as_ref().ok().map(CallerKey::from);
    let busy = connection
        .filter(|_| admitted.is_ok())
        .zip(key.as_ref())
        .map(|(connection, key)| connection.busy(key));
    parts.extensions.insert(CallerIdentity(caller));
    let mut response = match admitted {
        Ok(()) => {
            let body = with_deadline(Arc::clone(&chunks), Arc::clone(&is_late), deadline);
            let request = next.run(Request::from_parts(parts, Body::from_stream(body)));
            match key {
                Some(key) => key.run(request).await,
                None => request.await,
            }
        }
        Err(error) => {
            let mut response = error.into_response();
            close(&mut response);
            response
        }
    };
    if is_late.load(Ordering::SeqCst) {
        let detail = format!(
            "the request body arrived too slowly; send it within {} s, or an upload within {} s and at no less than {} bytes per second",
            limits.body_time_max.as_secs_f64(),
            limits.upload_time_max.as_secs_f64(),
            limits.upload_rate_min
        );
        response = ApiError::new(ProblemClass::RequestTimeout, detail).into_response();
        close(&mut response);
    } else if needs_drain {
        drain(chunks, limits.drain_time_max);
    }
    if is_chunked {
        // The scan of heads cannot find the end of a chunked body, so the connection is closed.
        close(&mut response);
    }
    match busy {
        Some(busy) => response.map(|body| busy.until_sent(body)),
        None => response,
    }
}

/// Rejects all paths but health and version on a reserved connection.
fn check_slot(connection: &Connection, path: &str) -> Result<(), ApiError> {
    if !connection.is_reserved || ALWAYS_ANSWERED.contains(&path) {
        return Ok(());
    }
    let detail = "too many open connections; retry in a few seconds";
    Err(ApiError::new(ProblemClass::Unavailable, detail))
}

fn close(response: &mut Response) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
}

/// Reads the rest of a body after the response was sent. Otherwise, a client that reads the
/// response only after sending the whole body would get a connection reset instead.
fn drain(chunks: Arc<Mutex<BodyDataStream>>, time_max: Duration) {
    tokio::spawn(async move {
        let deadline = tokio::time::Instant::now() + time_max;
        let mut left = DRAINED_BYTES_MAX;
        let mut chunks = chunks.lock().await;
        while let Ok(Some(Ok(chunk))) = tokio::time::timeout_at(deadline, chunks.next()).await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    });
}

/// Converts error responses of libraries to JSON problems.
pub(super) async fn convert_errors(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_failure = status.is_client_error() || status.is_server_error();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    // A page for people has chosen its error itself.
    let is_page = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !is_failure || is_json || is_page {
        return response;
    }
    let text = to_bytes(response.into_body(), LIBRARY_ERROR_BYTES_MAX).await;
    let text = text.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let detail = match text.trim() {
        "" => status
            .canonical_reason()
            .unwrap_or("request rejected")
            .to_lowercase(),
        text => printable(text),
    };
    ApiError::from_status(status, detail).into_response()
}

/// Converts a panic of a handler to a 500, so that it affects only its own request.
pub(super) async fn catch_panics(
    State(service): State<Arc<ServiceState>>,
    request: Request,
    next: Next,
) -> Response {
    let response = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    response.unwrap_or_else(|panic| {
        panic_error(service.randomness.as_ref(), panic.as_ref()).into_response()
    })
}

/// The error for a panic. The client gets an id, and the log has the message with the same id.
pub(super) fn panic_error(randomness: &dyn Randomness, panic: &(dyn Any + Send)) -> ApiError {
    let mut id = [0; 8];
    // If the random source fails, the id is zero, and the log still has the message.
    let _ = randomness.fill(&mut id);
    let id = format!("{:016x}", u64::from_be_bytes(id));
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(id, "panic in a request handler: {}", printable(text));
    let detail = format!("internal error; the server log has the details with the id `{id}`");
    ApiError::new(ProblemClass::Internal, detail)
}

// A unit test, because no request is known to cause a panic in a handler.
#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    use axum::body::to_bytes;
    use axum::response::IntoResponse;
    use session_pipeline_pipeline::token::Randomness;

    use super::panic_error;
    use crate::body::Problem;

    struct FixedRandomness;

    impl Randomness for FixedRandomness {
        fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
            buffer.fill(0xab);
            Ok(())
        }
    }

    #[derive(Clone, Default)]
    struct LogBuffer(Arc<Mutex<Vec<u8>>>);

    impl Write for LogBuffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            log.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_panic_returns_500_with_an_id_and_logs_its_message_with_that_id() {
        let log = LogBuffer::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        let panic: Box<dyn std::any::Any + Send> = Box::new("a secret of ours");
        let error = tracing::subscriber::with_default(subscriber, || {
            panic_error(&FixedRandomness, panic.as_ref())
        });
        let response = error.into_response();
        assert_eq!(response.status(), 500);
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert!(problem.detail.contains("abababababababab"), "{problem:?}");
        assert!(!problem.detail.contains("secret"), "{problem:?}");
        let log = log.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let log = String::from_utf8(log).unwrap();
        assert!(
            log.contains("abababababababab") && log.contains("a secret of ours"),
            "{log}"
        );
    }
}
