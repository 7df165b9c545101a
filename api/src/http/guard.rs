//! What stands before all routes: every failure becomes our JSON, a panic a 500 with an id, and a
//! client that is too slow or sends too much is sent away.

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
use super::pace::{BodyDeadline, paced};
use super::problem::{ApiError, logged};
use super::{ServiceState, head, upload};
use crate::problem::ProblemClass;

/// This much of a body is read after its request was answered: twice the largest upload.
const DRAINED_BYTES_MAX: usize = 128 << 20;
/// Answered on every connection, also where all others are taken.
const ALWAYS_ANSWERED: [&str; 2] = ["/api/health", "/api/version"];
/// More than any refusal of a library's own says.
const REFUSAL_BYTES_MAX: usize = 4096;

/// Answers what is at no route.
pub(super) fn with_fallbacks(routes: Router) -> Router {
    routes
        .fallback(|| async {
            let detail = "there is nothing here; /api/openapi.json shows what there is";
            ApiError::new(ProblemClass::NotFound, detail)
        })
        .method_not_allowed_fallback(|| async {
            let detail = "this method is not allowed here; /api/openapi.json shows those that are";
            ApiError::new(ProblemClass::MethodNotAllowed, detail)
        })
}

pub(super) fn stand_before(routes: Router, service: Arc<ServiceState>) -> Router {
    with_fallbacks(routes)
        .layer(middleware::from_fn(logged))
        .layer(DefaultBodyLimit::max(service.limits.body_bytes_max))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&service),
            in_time,
        ))
        .layer(middleware::from_fn(in_json))
        .layer(middleware::from_fn_with_state(service, caught))
}

/// Checks a request's head, decides who asks, and bounds the time for its body. A response is sent as
/// soon as it is known; what the client is still sending is read for a moment longer, so that a
/// client that only listens afterwards finds it.
async fn in_time(
    State(service): State<Arc<ServiceState>>,
    request: Request,
    next: Next,
) -> Response {
    let limits = &service.limits;
    let (mut parts, body) = request.into_parts();
    let caller = caller::identify(&parts.headers, &service);
    let is_upload = caller.is_ok() && parts.uri.path() == upload::PATH;
    let pace = if is_upload {
        BodyDeadline::new(limits.upload_time_max)
            .at_least(limits.upload_rate_min, limits.body_time_max)
    } else {
        BodyDeadline::new(limits.body_time_max)
    };
    let connection = parts.extensions.get::<Arc<Connection>>().cloned();
    let is_reserved = connection
        .as_ref()
        .is_some_and(|connection| connection.is_reserved);
    // A body that is announced with `Expect` comes only when it is asked for. A place that is reserved
    // for health is given back at once.
    let is_read =
        !body.is_end_stream() && !is_reserved && !parts.headers.contains_key(header::EXPECT);
    let is_chunked = parts.headers.contains_key(header::TRANSFER_ENCODING);
    let chunks = Arc::new(Mutex::new(body.into_data_stream()));
    let is_late = Arc::new(AtomicBool::new(false));
    let admitted = connection.as_deref().map_or(Ok(()), |connection| {
        head::check(&parts, connection, &service.config().service.hosts)?;
        has_room(connection, parts.uri.path())
    });
    let busy = connection
        .filter(|_| admitted.is_ok() && caller.is_ok())
        .map(|connection| connection.busy());
    parts.extensions.insert(CallerIdentity(caller));
    let mut response = match admitted {
        Ok(()) => {
            let body = paced(Arc::clone(&chunks), Arc::clone(&is_late), pace);
            next.run(Request::from_parts(parts, Body::from_stream(body)))
                .await
        }
        Err(error) => {
            let mut response = error.into_response();
            close(&mut response);
            response
        }
    };
    if is_late.load(Ordering::SeqCst) {
        let detail = format!(
            "the request body did not arrive in time: send it within {} s, an upload within {} s and at {} bytes a second or more",
            limits.body_time_max.as_secs_f64(),
            limits.upload_time_max.as_secs_f64(),
            limits.upload_rate_min
        );
        response = ApiError::new(ProblemClass::RequestTimeout, detail).into_response();
        close(&mut response);
    } else if is_read {
        drain(chunks, limits.drain_time_max);
    }
    if is_chunked {
        // Where its body ends is known to the HTTP library alone, not to the check of heads.
        close(&mut response);
    }
    match busy {
        Some(busy) => response.map(|body| busy.until_sent(body)),
        None => response,
    }
}

/// Whether the connection is one of those on which everything is answered.
fn has_room(connection: &Connection, path: &str) -> Result<(), ApiError> {
    if !connection.is_reserved || ALWAYS_ANSWERED.contains(&path) {
        return Ok(());
    }
    let detail = "too many connections are open; try again in a few seconds";
    Err(ApiError::new(ProblemClass::Unavailable, detail))
}

fn close(response: &mut Response) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
}

/// Reads what a client still sends after its request was answered: a client that only listens when
/// it has sent everything would otherwise find the connection gone, and never read the response.
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

/// Gives refusals that a library wrote the form of ours.
pub(super) async fn in_json(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_failure = status.is_client_error() || status.is_server_error();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_failure || is_json {
        return response;
    }
    let text = to_bytes(response.into_body(), REFUSAL_BYTES_MAX).await;
    let text = text.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let detail = match text.trim() {
        "" => status
            .canonical_reason()
            .unwrap_or("refused")
            .to_lowercase(),
        text => printable(text),
    };
    ApiError::of_library(status, detail).into_response()
}

/// A handler that panics costs only its own request.
pub(super) async fn caught(
    State(service): State<Arc<ServiceState>>,
    request: Request,
    next: Next,
) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answer.unwrap_or_else(|panic| {
        panicked(service.randomness.as_ref(), panic.as_ref()).into_response()
    })
}

/// What a client hears of a panic: an id, under which the log has the rest.
pub(super) fn panicked(randomness: &dyn Randomness, panic: &(dyn Any + Send)) -> ApiError {
    let mut id = [0; 8];
    // Without randomness the id is zero, and the log still has the rest.
    let _ = randomness.fill(&mut id);
    let id = format!("{:016x}", u64::from_be_bytes(id));
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    tracing::error!(id, "a request panicked: {}", printable(text));
    let detail = format!("something broke on our side; the log has more of it under {id}");
    ApiError::new(ProblemClass::Internal, detail)
}

// A panic that nobody can cause from outside: no handler of ours is known to panic.
#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    use axum::body::to_bytes;
    use axum::response::IntoResponse;
    use session_pipeline_pipeline::token::Randomness;

    use super::panicked;
    use crate::body::Problem;

    struct FixedBody;

    impl Randomness for FixedBody {
        fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
            buffer.fill(0xab);
            Ok(())
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            log.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_500_with_an_id_under_which_the_log_has_the_reason() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        let panic: Box<dyn std::any::Any + Send> = Box::new("a secret of ours");
        let error =
            tracing::subscriber::with_default(subscriber, || panicked(&FixedBody, panic.as_ref()));
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
