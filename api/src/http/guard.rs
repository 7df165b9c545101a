//! What stands before all routes: every failure becomes our JSON, a panic a 500 with an id, and a
//! client that is too slow or sends too much is sent away.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, StreamExt};
use session_pipeline_runtime::fault::printable;
use session_pipeline_runtime::token::Randomness;
use tokio::sync::Mutex;

use super::problem::ApiError;
use super::{Service, upload};

/// Of a body that nobody wants, so much is read all the same, so that its sender hears why.
const DRAINED_BYTES_MAX: usize = 16 << 20;
/// More than any refusal of a library's own says.
const REFUSAL_BYTES_MAX: usize = 4096;

pub(super) fn stand_before(routes: Router, service: Arc<Service>) -> Router {
    routes
        .fallback(|| async {
            let detail = "there is nothing here; /api/openapi.json shows what there is";
            ApiError::new(StatusCode::NOT_FOUND, detail)
        })
        .method_not_allowed_fallback(|| async {
            let detail = "this method is not allowed here; /api/openapi.json shows those that are";
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        })
        .layer(DefaultBodyLimit::max(service.limits.body_bytes_max))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&service),
            in_time,
        ))
        .layer(middleware::from_fn(in_json))
        .layer(middleware::from_fn_with_state(service, caught))
}

/// Ends a request whose body does not come in time, however steadily it drips.
async fn in_time(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let limits = &service.limits;
    let time_max = if request.uri().path() == upload::PATH {
        limits.upload_time_max
    } else {
        limits.body_time_max
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let deadline = tokio::time::Instant::now() + time_max;
    let waits = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let chunks = Arc::new(Mutex::new(body.into_data_stream()));
    let shared = (Arc::clone(&chunks), Arc::clone(&is_over));
    let timed = futures_util::stream::unfold(shared, move |(chunks, is_over)| async move {
        let chunk = tokio::time::timeout_at(deadline, async { chunks.lock().await.next().await });
        match chunk.await {
            Ok(chunk) => chunk.map(|chunk| (chunk, (chunks, is_over))),
            Err(_) => {
                is_over.store(true, Ordering::SeqCst);
                let error = axum::Error::new("the body did not come in time");
                Some((Err(error), (chunks, is_over)))
            }
        }
    });
    let response = next
        .run(Request::from_parts(parts, Body::from_stream(timed)))
        .await;
    if is_over.load(Ordering::SeqCst) {
        let detail = format!(
            "the body did not come within {} s; send it faster, or less of it",
            time_max.as_secs_f64()
        );
        return ApiError::new(StatusCode::REQUEST_TIMEOUT, detail).into_response();
    }
    if !waits {
        // A client that is still sending would find the connection gone, and never read why.
        let mut left = DRAINED_BYTES_MAX;
        let mut chunks = chunks.lock().await;
        while let Ok(Some(Ok(chunk))) = tokio::time::timeout_at(deadline, chunks.next()).await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    }
    response
}

/// Gives refusals that a library wrote the form of ours.
async fn in_json(request: Request, next: Next) -> Response {
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
    ApiError::new(status, detail).into_response()
}

/// A handler that panics costs only its own request.
async fn caught(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
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
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
}

// A panic that nobody can cause from outside: no handler of ours is known to panic.
#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    use axum::body::to_bytes;
    use axum::response::IntoResponse;
    use session_pipeline_runtime::token::Randomness;

    use super::panicked;
    use crate::body::Problem;

    struct Fixed;

    impl Randomness for Fixed {
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
            tracing::subscriber::with_default(subscriber, || panicked(&Fixed, panic.as_ref()));
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
